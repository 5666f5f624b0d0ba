/*
 * test_whole_steps: a blob without digests on a disk that the cache has filled.
 */
#include "buffer.h"
#include "gc.h"
#include "whole_steps.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PIECE_BYTES 1000U
#define A_ROOM      400U /* what one round of eviction frees here */

/* The disk, and the cache on it. */
static uint64_t free_bytes, cached_bytes;
static uint32_t n_rounds;

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */
ssize_t __real_pwrite64(int fd, const void *bytes, size_t n_bytes, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n_bytes, off_t offset);

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n_bytes, off_t offset)
{
	ssize_t n;

	if (free_bytes == 0) {
		errno = ENOSPC;
		return -1;
	}
	n = __real_pwrite64(fd, bytes, n_bytes < free_bytes ? n_bytes : free_bytes, offset);
	free_bytes -= n > 0 ? (uint64_t)n : 0;
	return n;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */

bool cas_make_room(struct cas *cas, uint64_t n_bytes)
{
	const uint64_t gone_bytes = cached_bytes < A_ROOM ? cached_bytes : A_ROOM;

	(void)cas;
	assert_in_range(n_bytes, 1, PIECE_BYTES);
	n_rounds++;
	cached_bytes -= gone_bytes;
	free_bytes += gone_bytes;
	return gone_bytes > 0;
}

int cas_blob_open(struct cas *cas, struct blob_layout *layout, struct cas_blob **ret_blob,
                  struct err *e)
{
	(void)cas;
	(void)layout;
	(void)ret_blob;
	return err_set(e, ENOSYS, "not here");
}

int cas_blob_put(struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain, struct err *e)
{
	(void)blob;
	(void)chunk_idx;
	(void)plain;
	return err_set(e, ENOSYS, "not here");
}

void cas_blob_release(struct cas_blob **blob)
{
	*blob = NULL;
}

static int append(uint64_t disk_bytes, uint64_t of_cache_bytes, struct whole_file *ret_file,
                  struct err *e)
{
	uint8_t bytes[PIECE_BYTES];
	uint8_t read[PIECE_BYTES];
	const struct buffer piece = { .data = bytes, .size_bytes = sizeof(bytes) };
	int r;

	free_bytes = disk_bytes;
	cached_bytes = of_cache_bytes;
	n_rounds = 0;
	for (uint32_t i = 0; i < PIECE_BYTES; i++)
		bytes[i] = (uint8_t)(i * 7);
	assert_int_equal(whole_file_open("/tmp", NULL, ret_file, e), 0);
	r = whole_file_append(ret_file, &piece, e);
	if (r == 0) {
		assert_int_equal(ret_file->size_bytes, PIECE_BYTES);
		assert_int_equal(pread(ret_file->fd, read, PIECE_BYTES, 0), PIECE_BYTES);
		assert_memory_equal(read, bytes, PIECE_BYTES);
	}
	whole_file_close(ret_file);
	return r;
}

static void chunks_go_for_a_blob_that_must_be_whole(void **state)
{
	struct whole_file file;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(append(300, 10000, &file, &e), 0);
	assert_int_equal(n_rounds, 2);
}

static void without_room_it_is_said_what_to_do(void **state)
{
	struct whole_file file;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(append(300, 500, &file, &e), -ENOSPC);
	assert_int_equal(n_rounds, 3);
	assert_non_null(strstr(e.msg, "(make room: without chunk digests"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_go_for_a_blob_that_must_be_whole),
		cmocka_unit_test(without_room_it_is_said_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
