/*
 * Rows that go: of removed blobs, a step at a time; and those that contradict themselves, which
 * cost their own blob and nothing else.
 */
#include "gc.h"
#include "mem.h"
#include "share_world.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- removal ---- */

#define N_MANY 25000U /* chunk rows of three transactions */

/* Chunks of a byte each, none of which is ever put. */
static struct blob_layout *layout_of_many(const char *id)
{
	struct blob_layout *l = layout_new(N_MANY);

	assert_non_null(l);
	(void)snprintf(l->blob_id, sizeof(l->blob_id), "%s", id);
	for (uint32_t i = 0; i < N_MANY; i++) {
		l->chunks[i].plain_offset = i;
		l->chunks[i].plain_size_bytes = 1;
		l->chunks[i].packed_size_bytes = 1;
		l->chunks[i].place = i;
		memcpy(l->chunks[i].digest, &i, sizeof(i));
		l->chunks[i].flags = CHUNK_HAS_DIGEST;
	}
	l->plain_size_bytes = N_MANY;
	l->packed_size_bytes = N_MANY;
	l->packed_data_end = N_MANY;
	return l;
}

static void register_many(struct fixture *f, const char *id)
{
	struct blob_layout *l = layout_of_many(id);
	struct cas_blob *b = NULL;

	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	while (query(f, "SELECT count(*) FROM chunk") < N_MANY)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&b);
	layout_unref(&l);
	do /* at least twice: behind the job that makes them, and the one that closes the blob */
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	while (query(f, "SELECT n_named FROM blob") < N_MANY);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

struct removed {
	uint64_t n_chunks; /* rows left when the call returned */
	bool stop;         /* the agent ends right then */
};

static int remove_many(struct cas *cas, void *arg, struct err *e)
{
	struct removed *removed = arg;
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = unregister_blob(cas, SAMPLE_ID, e);

	if (r == 0)
		r = db_prepare(cas->db, "SELECT count(*) FROM chunk", &stmt, e);
	if (r == 0)
		r = db_step(stmt, e);
	if (r == 1)
		removed->n_chunks = db_u64(stmt, 0);
	if (removed->stop)
		atomic_store(&cas->closing, true);
	return r == 1 ? 0 : -1;
}

static uint64_t n_rows(struct fixture *f)
{
	return query(f, "SELECT (SELECT count(*) FROM blob) + (SELECT count(*) FROM chunk)"
	                " + (SELECT count(*) FROM layout) + (SELECT count(*) FROM origin)");
}

static void chunk_rows_go_behind_everything_else(void **state)
{
	struct fixture *f = *state;
	struct removed removed = { .stop = false };

	register_many(f, SAMPLE_ID);
	assert_int_equal(writer_do(f->cas, remove_many, &removed, &f->e), 0);
	assert_int_equal(removed.n_chunks, N_MANY); /* the writer's next job need not wait */
	rows_are_removed(f);
	assert_int_equal(n_rows(f), 0);
}

static void a_removal_that_was_cut_off_goes_on_at_the_next_start(void **state)
{
	struct fixture *f = *state;
	struct removed removed = { .stop = true };

	register_many(f, SAMPLE_ID);
	assert_int_equal(writer_do(f->cas, remove_many, &removed, &f->e), 0);
	fixture_close(f);
	assert_int_equal(query(f, "SELECT count(*) FROM chunk"), N_MANY);
	assert_int_equal(query(f, "SELECT count(*) FROM blob WHERE dying = 1"), 1);
	fixture_open(f);
	rows_are_removed(f);
	assert_int_equal(n_rows(f), 0);
}

static int remove_without_more(struct cas *cas, void *arg, struct err *e)
{
	const int r = unregister_blob(cas, SAMPLE_ID, e);

	return r == 0 ? db_exec(cas->db, arg, e) : r;
}

static void a_removal_that_failed_goes_on_when_it_can(void **state)
{
	static char on[] = "PRAGMA query_only=1";
	struct fixture *f = *state;

	register_many(f, SAMPLE_ID);
	assert_int_equal(writer_do(f->cas, remove_without_more, on, &f->e), 0);
	while (!atomic_load(&f->cas->removal.stopped))
		(void)sched_yield();
	assert_int_equal(query(f, "SELECT count(*) FROM chunk"), N_MANY);
	exec_on_writer(f, "PRAGMA query_only=0");
	evict_chores_soon(f->cas);
	rows_are_removed(f);
	assert_int_equal(n_rows(f), 0);
}

static int count_a_step(void *arg)
{
	(*(uint64_t *)arg)++;
	return 0;
}

static int count_steps(struct cas *cas, void *arg, struct err *e)
{
	(void)e;
	sqlite3_progress_handler(cas->db->sql, 1, arg == NULL ? NULL : count_a_step, arg);
	return 0;
}

#define N_ORIGINS     1000
#define N_ORIGINS_SQL "1000"

/* Other blobs have origins, too: each of all those is not looked for among all rows. */
static void what_a_removal_costs_grows_with_the_rows_and_not_their_square(void **state)
{
	static char nothing[] = "SELECT 1";
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, 7);
	struct cas_blob *other = open_sample(f, OTHER_ID, 20, 8);
	uint64_t n_steps = 0;

	cas_blob_add_origin(b, "registry:r.example/gone");
	cas_blob_add_origin(b, "registry:r.example/both");
	cas_blob_add_origin(other, "registry:r.example/both");
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	exec_sql(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
	            " WHERE i < " N_ORIGINS_SQL ") INSERT INTO origin(text) SELECT i FROM n");
	exec_sql(f, "INSERT INTO blob_origin SELECT b.id, o.id, 0 FROM blob b, origin o"
	            " WHERE b.key = '" OTHER_ID "' AND o.text < 'a'");
	cas_blob_release(&b);
	writer_is_done(f);
	assert_int_equal(writer_do(f->cas, count_steps, &n_steps, &f->e), 0);
	assert_int_equal(writer_do(f->cas, remove_without_more, nothing, &f->e), 0);
	rows_are_removed(f);
	assert_int_equal(writer_do(f->cas, count_steps, NULL, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM origin"), N_ORIGINS + 1);
	assert_int_equal(query(f, "SELECT count(*) FROM origin WHERE text LIKE '%gone'"), 0);
	assert_true(n_steps < UINT64_C(100) * N_ORIGINS);
	cas_blob_release(&other);
}

static void a_key_is_free_while_its_old_rows_go(void **state)
{
	struct fixture *f = *state;
	struct removed removed = { .stop = true };
	struct cas_blob *b = NULL;

	register_many(f, SAMPLE_ID);
	assert_int_equal(writer_do(f->cas, remove_many, &removed, &f->e), 0);
	b = open_sample(f, SAMPLE_ID, N, 1); /* another layout would need another key */
	assert_string_equal(cas_blob_key(b), SAMPLE_ID);
	assert_int_equal(put_sample(b, 1, 3), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	rows_are_removed(f);
	assert_int_equal(query(f, "SELECT count(*) FROM blob"), 1);
	assert_int_equal(query(f, "SELECT count(*) FROM layout"), 1);
	b = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(read_sample(b, 1, 3), 0);
	while (query(f, "SELECT count(*) FROM chunk") < N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&b);
}

/* ---- rotten rows ---- */

static int spoil_row(struct cas *cas, void *arg, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r = db_prepare(cas->db,
	                         "UPDATE layout SET places = x'ffff' WHERE id >> 12 ="
	                         " (SELECT id FROM blob WHERE key = ?)",
	                         &stmt, e);

	if (r < 0)
		return r;
	db_bind_text(stmt, 1, arg);
	return db_run(stmt, e);
}

/* Two blobs that have all, and both names of each chunk; the layout of the first is rotten. */
static void make_rotten(struct fixture *f)
{
	char rotten[] = SAMPLE_ID;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);

	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(put_sample(a, 1, i), 0);
		assert_int_equal(put_sample(c, 1, i), 0);
	}
	while (query(f, "SELECT count(*) FROM chunk") < UINT64_C(2) * N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	cas_blob_release(&c);
	fixture_reopen(f);
	assert_int_equal(writer_do(f->cas, spoil_row, rotten, &f->e), 0);
}

static int setup_rotten(void **state)
{
	struct fixture *f;

	if (fixture_setup(state) != 0)
		return -1;
	f = *state;
	f->dedup = false; /* each has its own bytes */
	fixture_open(f);
	f->dedup = true;
	make_rotten(f);
	return 0;
}

static int count_blob(void *arg, const struct cas_blob_info *info)
{
	assert_string_equal(info->key, THIRD_ID);
	++*(uint32_t *)arg;
	return 0;
}

static int count_place(void *arg, const struct cas_chunk_place *place)
{
	assert_string_equal(place->key, THIRD_ID);
	++*(uint32_t *)arg;
	return 0;
}

static void what_goes_over_all_blobs_leaves_a_rotten_one_out(void **state)
{
	struct fixture *f = *state;
	struct blob_layout *l = sample_layout(OTHER_ID, N, 1);
	struct cas_verify_progress seen;
	struct cas_blob *found = NULL;
	struct cas_blob *b = NULL;
	uint8_t name[PUBLIC_NAME_BYTES];
	uint32_t n = 0;
	uint32_t idx = 0;

	assert_int_equal(cas_blobs(f->cas, count_blob, &n, &f->e), 0);
	assert_int_equal(n, 1);
	n = 0;
	assert_int_equal(cas_chunk_find(f->cas, l->chunks[2].digest, count_place, &n, &f->e), 0);
	assert_int_equal(n, 1);
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &seen, &f->e), 0);
	assert_int_equal(seen.chunks_done, N);
	assert_int_equal(seen.n_faults, 0);
	layout_unref(&l);

	b = open_reversed(f, OTHER_ID, 1); /* the join finds both, and the rotten one first */
	assert_true(cas_blob_is_candidate(b, N - 1 - 4));
	name_of(b, 4, name);
	assert_int_equal(cas_blob_share(b, N - 1 - 4, &f->e), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	assert_int_equal(cas_find_ready(f->cas, name, &found, &idx, &f->e), 0);
	assert_string_equal(cas_blob_key(found), THIRD_ID);
	cas_blob_release(&found);
}

static void a_rotten_blob_can_be_opened_again_and_starts_cold(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);

	assert_string_equal(cas_blob_key(a), SAMPLE_ID);
	assert_int_equal(cas_blob_n_ready(a), 0);
	assert_int_equal(put_sample(a, 1, 5), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	rows_are_removed(f);
	while (query(f, "SELECT count(*) FROM chunk") < UINT64_C(2) * N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM blob"), 2);
	cas_blob_release(&a);
	fixture_reopen(f);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(cas_blob_n_ready(a), 1);
	assert_int_equal(read_sample(a, 1, 5), 0);
	cas_blob_release(&a);
}

static void a_rotten_blob_is_garbage_like_any_other(void **state)
{
	struct fixture *f = *state;
	const struct cas_gc_opts opts = { .to_bytes = UINT64_MAX };
	struct cas_gc_result result;

	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	assert_int_equal(result.n_garbage, 2);
	rows_are_removed(f);
	assert_int_equal(n_rows(f), 0);
}

#define R(name) cmocka_unit_test_setup_teardown(name, setup_rotten, fixture_teardown)
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chunk_rows_go_behind_everything_else),
		T(a_removal_that_was_cut_off_goes_on_at_the_next_start),
		T(a_removal_that_failed_goes_on_when_it_can),
		T(what_a_removal_costs_grows_with_the_rows_and_not_their_square),
		T(a_key_is_free_while_its_old_rows_go),
		R(what_goes_over_all_blobs_leaves_a_rotten_one_out),
		R(a_rotten_blob_can_be_opened_again_and_starts_cold),
		R(a_rotten_blob_is_garbage_like_any_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
