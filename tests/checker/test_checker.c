/*
 * The independent checker and cas_verify() agree: about a cache that is right, and about one that
 * is not. The bootstrap here has what the checker reads of one: tables, no tree.
 */
#include "fixture.h"
#include "mem.h"
#include "share.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED         17
#define OTHER_ID     "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define N_CHUNKS     50
#define BLOB_TABLE   4096U
#define CHUNK_TABLE  8192U
#define RECORD_BYTES 80U

static void put32(uint8_t *to, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static void put64(uint8_t *to, uint64_t value)
{
	put32(to, (uint32_t)value);
	put32(to + 4, (uint32_t)(value >> 32));
}

/* Source: docs/rafs.md, "RAFS v6" and "Chunk records". */
static char *write_bootstrap(struct fixture *f, const struct blob_layout *l, const char *name)
{
	const size_t n_bytes = CHUNK_TABLE + (size_t)l->n_chunks * RECORD_BYTES;
	uint8_t *b = xcalloc(1, n_bytes);
	char *path = fixture_path(f, name);
	int fd;

	put32(b + 1024, 0xE0F5E1E2U);
	put64(b + 1152 + 8, BLOB_TABLE);
	put32(b + 1152 + 16, 256);
	put64(b + 1152 + 24, CHUNK_TABLE);
	put64(b + 1152 + 32, (uint64_t)l->n_chunks * RECORD_BYTES);
	memcpy(b + BLOB_TABLE, l->blob_id, strlen(l->blob_id));
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		uint8_t *rec = b + CHUNK_TABLE + (size_t)i * RECORD_BYTES;
		const uint32_t idx = l->n_chunks - 1 - i; /* in any order */

		memcpy(rec, l->chunks[idx].digest, DIGEST_BYTES);
		put32(rec + 44, l->chunks[idx].plain_size_bytes);
		put64(rec + 56, l->chunks[idx].plain_offset);
		put32(rec + 72, idx);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, b, n_bytes), n_bytes);
	assert_int_equal(close(fd), 0);
	free(b);
	return path;
}

/* @return its exit status; ret_said: its last line */
static int run_checker(const struct fixture *f, const char *bootstrap, char *ret_said, size_t n)
{
	char *command = xasprintf("python3 %s %s %s", CHECKER, f->dir, bootstrap);
	FILE *out = popen(command, "r"); /* NOLINT(cert-env33-c): our own words */

	assert_non_null(out);
	while (fgets(ret_said, (int)n, out) != NULL)
		continue;
	free(command);
	return WEXITSTATUS(pclose(out));
}

static void the_checker_agrees_with_verify(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	char *bootstrap = write_bootstrap(f, cas_blob_layout(b), "some.bootstrap");
	char *data = fixture_path(f, "blobs/" SAMPLE_ID ".blob.data");
	const off_t at = (off_t)cas_blob_layout(b)->chunks[8].plain_offset;
	struct cas_verify_progress total;
	char said[256] = "";
	int fd;

	for (uint32_t i = 0; i < N_CHUNKS; i += 2)
		assert_int_equal(put_sample(b, SEED, i), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(run_checker(f, bootstrap, said, sizeof(said)), 0);
	assert_non_null(strstr(said, "25 chunks checked, 0 faults, 0 ready"));
	fd = open(data, O_RDWR);
	assert_int_equal(pwrite(fd, "\0", 1, at), 1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(run_checker(f, bootstrap, said, sizeof(said)), 1);
	assert_non_null(strstr(said, "25 chunks checked, 1 faults, 0 ready"));
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
	assert_int_equal(total.chunks_done, 25);
	assert_int_equal(total.n_faults, 1);
	assert_int_equal(run_checker(f, bootstrap, said, sizeof(said)), 0); /* made absent */
	assert_non_null(strstr(said, "24 chunks checked, 0 faults, 0 ready"));
	cas_blob_release(&b);
	free(bootstrap);
	free(data);
}

static void the_checker_follows_references_to_other_blobs(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *owner;
	struct cas_blob *other;
	char *bootstraps[2];
	char *both;
	char said[256] = "";
	char *data = fixture_path(f, "blobs/" SAMPLE_ID ".blob.data");
	off_t at;
	int fd;

	f->dedup = true;
	fixture_open(f);
	owner = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	other = open_sample(f, OTHER_ID, N_CHUNKS, SEED);
	bootstraps[0] = write_bootstrap(f, cas_blob_layout(owner), "some.bootstrap");
	bootstraps[1] = write_bootstrap(f, cas_blob_layout(other), "other.bootstrap");
	both = xasprintf("%s %s", bootstraps[0], bootstraps[1]);
	at = (off_t)cas_blob_layout(owner)->chunks[8].plain_offset;
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(put_sample(owner, SEED, i), 0);
		assert_int_equal(cas_blob_share(other, i, &f->e), 0);
	}
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(run_checker(f, both, said, sizeof(said)), 0);
	assert_non_null(strstr(said, "40 chunks checked, 0 faults, 0 ready"));
	fd = open(data, O_RDWR);
	assert_int_equal(pwrite(fd, "\0", 1, at), 1);
	assert_int_equal(close(fd), 0);
	assert_int_equal(run_checker(f, both, said, sizeof(said)), 1); /* seen by both */
	assert_non_null(strstr(said, "40 chunks checked, 2 faults, 0 ready"));
	cas_blob_release(&owner);
	cas_blob_release(&other);
	free(bootstraps[0]);
	free(bootstraps[1]);
	free(both);
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_checker_agrees_with_verify, fixture_setup_open,
		                                fixture_teardown),
		cmocka_unit_test_setup_teardown(the_checker_follows_references_to_other_blobs,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
