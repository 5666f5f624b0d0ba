/*
 * test_image_stop: reads that wait, and mounts that end under them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "tree_fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_READERS 8

struct reader {
	pthread_t thread;
	char *path;
	off_t at; /* of its page */
	int64_t result;
	bool right;
};

static void *read_it(void *arg)
{
	struct reader *r = arg;

	r->result = read_big(r->path, &r->right);
	return NULL;
}

/* Of a page that nobody else reads: whoever waits for a page in flight asks for it himself later.
 */
static void *read_page(void *arg)
{
	struct reader *r = arg;
	AUTO(close_fd) int fd = open(r->path, O_RDONLY | O_CLOEXEC);
	uint8_t page[4096];

	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	r->result = pread(fd, page, sizeof(page), r->at);
	if (r->result < 0)
		r->result = -errno;
	return NULL;
}

static void start_readers(const char *dir, struct reader *readers, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		readers[i] = (struct reader){ .path = xasprintf("%s/big", dir) };
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_it, &readers[i]), 0);
	}
}

static void join_readers(struct reader *readers, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		pthread_join(readers[i].thread, NULL);
		free(readers[i].path);
	}
}

static struct image_mount *mounted(struct fixture *f)
{
	struct image_mount *m = NULL;
	struct err e = { 0 };

	assert_int_equal(mount_start(f, f->dir, &m, &e), 0);
	return m;
}

static void a_read_waits_until_fetch_has_its_bytes(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	const char *const origin[] = { "origin", "registry.test/fake:1" };
	struct reader r;

	fake_fetch_set_hold(&f->fetch, true);
	start_readers(f->dir, &r, 1);
	fake_fetch_wait_held(&f->fetch, 1);
	fake_fetch_set_hold(&f->fetch, false);
	fake_fetch_answer(&f->fetch, 0);
	join_readers(&r, 1);
	assert_int_equal(r.result, FAKE_BIG_BYTES);
	assert_true(r.right);
	assert_true(series_get(metrics_series(f->metrics, METRIC_READ_BYTES, origin)) > 0);
	assert_int_equal(mount_stop(f, m, false), 0);
}

static void a_read_that_is_done_before_it_is_pending_is_forgotten(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	struct reader r;

	fake_fetch_set_early(&f->fetch, true);
	start_readers(f->dir, &r, 1);
	join_readers(&r, 1);
	assert_int_equal(r.result, FAKE_BIG_BYTES);
	assert_true(r.right);
	assert_int_equal(mount_stop(f, m, true), 0); /* cancels what it still knows of */
	assert_int_equal(fake_fetch_n_strays(&f->fetch), 0);
}

static void a_failed_fetch_is_an_io_error_and_the_next_read_is_not(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	struct reader r;

	fake_fetch_set_fail(&f->fetch, true);
	start_readers(f->dir, &r, 1);
	join_readers(&r, 1);
	assert_int_equal(r.result, -EIO);
	fake_fetch_set_fail(&f->fetch, false);
	start_readers(f->dir, &r, 1);
	join_readers(&r, 1);
	assert_int_equal(r.result, FAKE_BIG_BYTES);
	assert_true(r.right);
	assert_int_equal(mount_stop(f, m, false), 0);
}

static void a_mount_in_use_stays_mounted(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "big");
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte = 0;

	assert_int_equal(mount_stop(f, m, false), -EBUSY);
	assert_int_equal(pread(fd, &byte, 1, 12345), 1);
	assert_int_equal(byte, fake_byte(12345));
	close_fd(&fd);
	assert_int_equal(mount_stop(f, m, false), 0);
	assert_int_equal(atomic_load(&f->n_ended), 0);
}

static void something_mounted_over_it_is_not_taken_for_it(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);

	assert_int_equal(mount("tmpfs", f->dir, "tmpfs", 0, NULL), 0);
	assert_int_equal(mount_stop(f, m, false), -EBUSY);
	assert_int_equal(umount2(f->dir, 0), 0); /* still there */
	assert_int_equal(mount_stop(f, m, false), 0);
}

static void readers_in_flight_get_eio_when_the_mount_is_detached(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	struct reader readers[N_READERS];
	AUTO(free_str) char *path = path_of(f, "big");
	struct stat st;

	fake_fetch_set_hold(&f->fetch, true);
	for (uint32_t i = 0; i < N_READERS; i++) {
		readers[i] = (struct reader){ .path = xstrdup(path),
			                      .at = (off_t)i * (FAKE_BIG_BYTES / N_READERS) };
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_page, &readers[i]),
		                 0);
	}
	fake_fetch_wait_held(&f->fetch, N_READERS);
	assert_int_equal(mount_stop(f, m, true), 0);
	join_readers(readers, N_READERS);
	for (uint32_t i = 0; i < N_READERS; i++)
		assert_int_equal(readers[i].result, -EIO);
	assert_int_equal(fake_fetch_n_cancelled(&f->fetch), N_READERS);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(atomic_load(&f->n_ended), 0);
}

static void an_open_file_of_a_detached_mount_does_not_hang(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	AUTO(free_str) char *path = path_of(f, "big");
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char byte;

	assert_int_equal(mount_stop(f, m, true), 0);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
}

static void umount_from_outside_is_noticed_once(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);

	assert_int_equal(umount2(f->dir, 0), 0);
	wait_ended(f, 1);
	assert_int_equal(mount_stop(f, m, false), 0);
	assert_int_equal(atomic_load(&f->n_ended), 1);
}

static void an_aborted_connection_ends_readers_and_mount(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *m = mounted(f);
	struct reader readers[N_READERS];
	fake_fetch_set_hold(&f->fetch, true);
	start_readers(f->dir, readers, N_READERS);
	fake_fetch_wait_held(&f->fetch, 1);
	(void)umount2(f->dir, MNT_FORCE); /* aborts; in use, it stays mounted */
	join_readers(readers, N_READERS);
	for (uint32_t i = 0; i < N_READERS; i++)
		assert_true(readers[i].result < 0);
	wait_ended(f, 1);
	assert_int_equal(mount_stop(f, m, false), 0);
	(void)umount2(f->dir, MNT_DETACH); /* an abort leaves the mount behind */
}

struct answerer {
	struct fixture *f;
	atomic_bool stop;
};

/* A worker that answers whatever is held, as fast as it comes. */
static void *answer_all(void *arg)
{
	struct answerer *a = arg;

	while (!atomic_load(&a->stop))
		fake_fetch_answer(&a->f->fetch, 0);
	return NULL;
}

static void thirty_two_readers_on_eight_mounts_all_read_right(void **state)
{
	struct fixture *f = fixture_of(state);
	struct image_mount *mounts[8];
	char *dirs[8];
	struct reader readers[8][4];
	struct answerer a = { .f = f };
	pthread_t answerers[2];
	struct err e = { 0 };

	fake_fetch_set_hold(&f->fetch, true);
	for (int i = 0; i < 2; i++)
		pthread_create(&answerers[i], NULL, answer_all, &a);
	for (int i = 0; i < 8; i++) {
		dirs[i] = xasprintf("%s-%d", f->dir, i);
		assert_int_equal(mkdir(dirs[i], 0700), 0);
		assert_int_equal(mount_start(f, dirs[i], &mounts[i], &e), 0);
	}
	for (int i = 0; i < 8; i++)
		start_readers(dirs[i], readers[i], 4);
	for (int i = 0; i < 8; i++) {
		join_readers(readers[i], 4);
		for (int k = 0; k < 4; k++) {
			assert_int_equal(readers[i][k].result, FAKE_BIG_BYTES);
			assert_true(readers[i][k].right);
		}
		assert_int_equal(mount_stop(f, mounts[i], false), 0);
		assert_int_equal(rmdir(dirs[i]), 0);
		free(dirs[i]);
	}
	atomic_store(&a.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(answerers[i], NULL);
}

/* Cancel against done: whoever comes first, the read is answered once and its memory lives. */
static void a_mount_can_be_detached_while_reads_are_being_answered(void **state)
{
	struct fixture *f = fixture_of(state);
	struct answerer a = { .f = f };
	struct reader readers[4];
	pthread_t answerer;

	fake_fetch_set_hold(&f->fetch, true);
	pthread_create(&answerer, NULL, answer_all, &a);
	for (int i = 0; i < 20; i++) {
		struct image_mount *m = mounted(f);

		start_readers(f->dir, readers, 4);
		assert_int_equal(mount_stop(f, m, true), 0);
		join_readers(readers, 4);
	}
	atomic_store(&a.stop, true);
	pthread_join(answerer, NULL);
}

#define MOUNT_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_up, fixture_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MOUNT_TEST(a_read_waits_until_fetch_has_its_bytes),
		MOUNT_TEST(a_read_that_is_done_before_it_is_pending_is_forgotten),
		MOUNT_TEST(a_failed_fetch_is_an_io_error_and_the_next_read_is_not),
		MOUNT_TEST(a_mount_in_use_stays_mounted),
		MOUNT_TEST(something_mounted_over_it_is_not_taken_for_it),
		MOUNT_TEST(readers_in_flight_get_eio_when_the_mount_is_detached),
		MOUNT_TEST(an_open_file_of_a_detached_mount_does_not_hang),
		MOUNT_TEST(umount_from_outside_is_noticed_once),
		MOUNT_TEST(an_aborted_connection_ends_readers_and_mount),
		MOUNT_TEST(thirty_two_readers_on_eight_mounts_all_read_right),
		MOUNT_TEST(a_mount_can_be_detached_while_reads_are_being_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
