/*
 * The state directory: one agent, a database that is ours, a clear word where it is not.
 */
#include "fixture.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED 5

static void leave_a_chunk(struct fixture *f)
{
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 10, SEED);

	assert_int_equal(put_sample(b, SEED, 3), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

static void expect_cold(struct fixture *f)
{
	struct cas_blob *b = NULL;

	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, 10, SEED);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(put_sample(b, SEED, 4), 0);
	assert_int_equal(read_sample(b, SEED, 4), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 10, SEED);
	assert_int_equal(cas_blob_n_ready(b), 1);
	cas_blob_release(&b);
}

static void the_second_agent_is_told_who_has_the_directory(void **state)
{
	struct fixture *f = *state;
	struct fixture second = *f;
	char pid[32];

	(void)snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
	second.cas = NULL;
	assert_int_equal(fixture_try_open(&second), -EBUSY);
	assert_non_null(strstr(second.e.msg, pid));
	assert_null(second.cas);
}

static void a_corrupt_database_is_moved_aside_and_the_cache_starts_cold(void **state)
{
	struct fixture *f = *state;
	char *path = fixture_path(f, "shoal.db");
	uint8_t junk[8192];
	int fd;

	leave_a_chunk(f);
	memset(junk, 0xa5, sizeof(junk));
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
	assert_int_equal(close(fd), 0);
	expect_cold(f);
	assert_true(n_moved_aside(f->dir) > 0);
	free(path);
}

static void a_database_with_broken_pages_is_moved_aside(void **state)
{
	struct fixture *f = *state;
	char *path = fixture_path(f, "shoal.db");
	uint8_t junk[4096 * 6];
	int fd;

	leave_a_chunk(f);
	memset(junk, 0x11, sizeof(junk));
	fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 4096), sizeof(junk));
	assert_int_equal(close(fd), 0);
	expect_cold(f);
	assert_true(n_moved_aside(f->dir) > 0);
	free(path);
}

static void a_foreign_database_is_moved_aside(void **state)
{
	struct fixture *f = *state;

	exec_sql(f, "CREATE TABLE somebody_elses(x); PRAGMA application_id=42");
	expect_cold(f);
	assert_true(n_moved_aside(f->dir) > 0);
}

static void a_database_without_one_of_its_tables_is_moved_aside(void **state)
{
	struct fixture *f = *state;

	leave_a_chunk(f);
	exec_sql(f, "DROP TABLE chunk");
	expect_cold(f);
	assert_true(n_moved_aside(f->dir) > 0);
}

static void a_newer_database_is_refused_and_left_alone(void **state)
{
	struct fixture *f = *state;

	leave_a_chunk(f);
	exec_sql(f, "PRAGMA user_version=4");
	assert_int_equal(fixture_try_open(f), -ENOTSUP);
	assert_non_null(strstr(f->e.msg, "newer shoal"));
	assert_int_equal(n_moved_aside(f->dir), 0);
	exec_sql(f, "PRAGMA user_version=3");
	fixture_open(f);
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 10, SEED);

	assert_int_equal(cas_blob_n_ready(b), 1);
	cas_blob_release(&b);
}

static void a_layout_that_rotted_in_the_database_costs_its_chunks_and_is_no_crash(void **state)
{
	struct fixture *f = *state;
	struct blob_layout *l = sample_layout(SAMPLE_ID, 10, SEED);
	struct cas_blob *b = NULL;

	leave_a_chunk(f);
	exec_sql(f, "UPDATE layout SET places = x'0cffffffffffffffffff'");
	fixture_open(f);
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_blob_release(&b);
	layout_unref(&l);
}

static void everything_is_the_owners_alone(void **state)
{
	struct fixture *f = *state;
	char *db = fixture_path(f, "shoal.db");
	char *wal = fixture_path(f, "shoal.db-wal");
	char *blobs = fixture_path(f, "blobs");
	char *data = fixture_path(f, "blobs/" SAMPLE_ID ".blob.data");
	struct stat st;

	assert_int_equal(stat(db, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	leave_a_chunk(f);
	assert_int_equal(stat(blobs, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(data, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	free(db);
	free(wal);
	free(blobs);
	free(data);
}

/* ---- kill -9 ---- */

#define KILL_CHUNKS 400
#define KILLS       12

/* A child that opens, puts and flushes, and says so on a pipe, until it is killed. */
static void child(const char *dir, int pipe_fd)
{
	struct fixture f = { .cas = NULL };
	struct cas_blob *b = NULL;

	(void)snprintf(f.dir, sizeof(f.dir), "%s", dir);
	if (loop_new(&f.loop, &f.e) != 0)
		_exit(1);
	f.metrics = metrics_new();
	fixture_open(&f);
	b = open_sample(&f, SAMPLE_ID, KILL_CHUNKS, SEED);
	for (uint32_t i = 0; i < KILL_CHUNKS; i++) {
		const uint32_t idx = i * 7 % KILL_CHUNKS;

		if (put_sample(b, SEED, idx) != 0 || (i % 16 == 15 && cas_flush(f.cas, &f.e) != 0))
			_exit(1);
		if (i % 16 == 15 && write(pipe_fd, &i, sizeof(i)) != (ssize_t)sizeof(i))
			_exit(1);
	}
	_exit(0);
}

/* @return chunks that were flushed for certain before the kill */
static uint32_t run_and_kill(const char *dir, uint32_t n_reports)
{
	uint32_t last = 0;
	uint32_t n_flushed = 0;
	int fds[2];
	int status;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(fds[0]);
		child(dir, fds[1]);
	}
	(void)close(fds[1]);
	for (uint32_t i = 0; i < n_reports && read(fds[0], &last, sizeof(last)) > 0; i++)
		n_flushed = last + 1;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(fds[0]);
	return n_flushed;
}

static void after_kill_9_what_was_flushed_is_ready_and_all_of_it_right(void **state)
{
	struct fixture *f = *state;

	for (uint32_t k = 0; k < KILLS; k++) {
		struct cas_verify_progress total;
		const uint32_t n_flushed = run_and_kill(f->dir, k * 2);
		struct cas_blob *b = NULL;

		fixture_open(f);
		assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
		assert_int_equal(total.n_faults, 0);
		b = open_sample(f, SAMPLE_ID, KILL_CHUNKS, SEED);
		for (uint32_t i = 0; i < n_flushed; i++)
			assert_int_equal(read_sample(b, SEED, i * 7 % KILL_CHUNKS), 0);
		cas_blob_release(&b);
		fixture_close(f);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define O(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(after_kill_9_what_was_flushed_is_ready_and_all_of_it_right),
		O(the_second_agent_is_told_who_has_the_directory),
		O(a_corrupt_database_is_moved_aside_and_the_cache_starts_cold),
		O(a_database_with_broken_pages_is_moved_aside),
		T(a_foreign_database_is_moved_aside),
		O(a_database_without_one_of_its_tables_is_moved_aside),
		O(a_newer_database_is_refused_and_left_alone),
		O(a_layout_that_rotted_in_the_database_costs_its_chunks_and_is_no_crash),
		O(everything_is_the_owners_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
