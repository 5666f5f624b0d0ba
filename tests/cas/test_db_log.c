/*
 * The database's log: room that is held in it, and that is used again when there is no other.
 */
#include "fixture.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#define HELD_BYTES 262144
#define N_ROWS     40U
#define OTHER_ID   "2123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct stat stat_of_log(const struct fixture *f)
{
	AUTO(free_str) char *path = fixture_path(f, "shoal.db-wal");
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st;
}

typedef int open_fn(const struct db_opts *opts, struct db **ret_db, struct err *e);

static struct db *open_by(struct fixture *f, open_fn *open_it)
{
	AUTO(free_str) char *path = fixture_path(f, "shoal.db");
	const struct db_opts opts = { .path = path, .log = f->log };
	struct db *db = NULL;

	assert_int_equal(open_it(&opts, &db, &f->e), 0);
	return db;
}

static struct db *open_writer(struct fixture *f)
{
	return open_by(f, db_open_writer);
}

/* Each a transaction. */
static void change_rows(struct fixture *f, struct db *db)
{
	for (uint64_t i = 0; i < N_ROWS; i++)
		assert_int_equal(
			db_run_with(db,
		                    "INSERT OR REPLACE INTO used(blob, at_s) VALUES(?1, "
		                    "1 + coalesce((SELECT at_s FROM used WHERE blob = ?1), 0))",
		                    &i, 1, &f->e),
			0);
}

static bool can_hold_room(const struct fixture *f)
{
	AUTO(free_str) char *path = fixture_path(f, "trial");
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	bool can;

	assert_true(fd >= 0);
	can = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, HELD_BYTES) == 0;
	(void)close(fd);
	(void)unlink(path);
	return can;
}

static void it_holds_room_from_the_beginning(void **state)
{
	struct fixture *f = *state;
	struct db *db = open_writer(f);

	if (can_hold_room(f))
		assert_true(stat_of_log(f).st_blocks * 512 >= HELD_BYTES);
	assert_true(stat_of_log(f).st_size < HELD_BYTES);
	db_close(&db);
}

static void what_it_holds_is_written_over(void **state)
{
	struct fixture *f = *state;
	struct db *db = open_writer(f);
	off_t size;

	change_rows(f, db);
	size = stat_of_log(f).st_size;
	change_rows(f, db);
	assert_true(stat_of_log(f).st_size > size); /* it goes on at its end */
	size = stat_of_log(f).st_size;
	for (int i = 0; i < 3; i++) {
		assert_true(db_reuse_log(db));
		change_rows(f, db);
		assert_int_equal(stat_of_log(f).st_size, size);
	}
	db_close(&db);
	db = open_writer(f);
	assert_int_equal(query(f, "SELECT count(*) FROM used WHERE at_s = 5"), N_ROWS);
	db_close(&db);
}

static void one_that_somebody_still_reads_stays(void **state)
{
	struct fixture *f = *state;
	struct db *db = open_writer(f);
	struct db *reader;
	struct tx tx = { .db = NULL };

	change_rows(f, db);
	reader = open_by(f, db_open_reader);
	assert_int_equal(tx_begin_read(reader, &tx, &f->e), 0);
	assert_int_equal(db_exec(reader, "SELECT count(*) FROM used", &f->e), 0);
	(void)sqlite3_busy_timeout(db->sql, 1);
	assert_false(db_reuse_log(db));
	tx_end(&tx);
	assert_true(db_reuse_log(db));
	db_close(&reader);
	db_close(&db);
}

/* There is no room for another page of it. */
static void a_full_database_has_room_made_also_after_a_sync_failed(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *old;
	struct cas_blob *b;

	fixture_open(f);
	old = open_full(f, SAMPLE_ID, 200, 1);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	room_sync_failed(&f->cas->room, EIO);
	assert_int_equal(db_exec(f->cas->db, "PRAGMA max_page_count = 1", &f->e), 0);
	b = open_sample(f, OTHER_ID, 200, 2);
	assert_int_equal(put_sample(b, 2, 0), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), -ENOSPC);
	while (cas_blob_n_ready(old) == 200)
		(void)sched_yield();
	cas_blob_release(&b);
	cas_blob_release(&old);
	fixture_close(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(it_holds_room_from_the_beginning),
		T(what_it_holds_is_written_over),
		T(one_that_somebody_still_reads_stays),
		T(a_full_database_has_room_made_also_after_a_sync_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
