/*
 * A disk quota that is used up says EDQUOT: the same as a full disk.
 */
#include "fixture.h"
#include "gc.h"
#include <errno.h>
#include <fcntl.h>

#define OTHER_ID "1111111111111111111111111111111111111111111111111111111111111111"
#define SEED     7U
#define N_CHUNKS 40U

struct quota_disk {
	struct disk disk;
	const struct cas_blob *takes; /* not NULL: nothing is made while it has all of its chunks */
};

static int open_within(const struct disk *d, int dir_fd, const char *name, int flags, mode_t mode)
{
	const struct quota_disk *quota = (const struct quota_disk *)d;

	if ((flags & O_CREAT) != 0 && quota->takes != NULL &&
	    cas_blob_n_ready(quota->takes) == N_CHUNKS) {
		errno = EDQUOT;
		return -1;
	}
	return disk_real()->open(d, dir_fd, name, flags, mode);
}

static int no_id(const struct disk *d, int fd, const uint8_t id[FILE_ID_BYTES])
{
	(void)d;
	(void)fd;
	(void)id;
	errno = EDQUOT;
	return -1;
}

static void a_blob_for_which_the_quota_has_no_room_is_opened_once_chunks_went(void **state)
{
	struct fixture *f = *state;
	struct quota_disk quota = { .disk = *disk_real() };
	struct cas_blob *old = NULL;
	struct cas_blob *b = NULL;

	quota.disk.open = open_within;
	f->disk = &quota.disk;
	fixture_open(f);
	old = open_full(f, OTHER_ID, N_CHUNKS, SEED + 1);
	quota.takes = old;
	b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	assert_in_range(cas_blob_n_ready(old), 0, N_CHUNKS - 1);
	assert_int_equal(put_sample(b, SEED, 0), 0);
	cas_blob_release(&old);
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_file_does_without_a_mark_that_the_quota_has_no_room_for(void **state)
{
	struct fixture *f = *state;
	struct quota_disk quota = { .disk = *disk_real() };
	struct cas_blob *b = NULL;

	quota.disk.set_id = no_id;
	f->disk = &quota.disk;
	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	assert_int_equal(put_sample(b, SEED, 0), 0);
	assert_int_equal(read_sample(b, SEED, 0), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_blob_for_which_the_quota_has_no_room_is_opened_once_chunks_went),
		TEST(a_file_does_without_a_mark_that_the_quota_has_no_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
