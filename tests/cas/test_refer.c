/*
 * References: chunks that stand in the file of another blob, and the join that finds them.
 */
#include "mem.h"
#include "refer.h"
#include "share_world.h"
#include "unconst.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct heard {
	uint32_t n_ready;
	uint32_t n_gone;
	uint32_t idx;
};

static void on_gone(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct heard *heard = arg;

	(void)blob;
	heard->n_gone++;
	heard->idx = chunk_idx;
}

/* ---- references ---- */

static uint64_t data_bytes(struct fixture *f, const char *key)
{
	char *name = xasprintf("blobs/%s.blob.data", key);
	char *path = fixture_path(f, name);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	free(path);
	free(name);
	return (uint64_t)st.st_blocks * 512;
}

/* a has all, b refers to all of it. */
static void share_all(struct fixture *f, struct cas_blob **ret_a, struct cas_blob **ret_b)
{
	*ret_a = open_sample(f, SAMPLE_ID, N, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(put_sample(*ret_a, 1, i), 0);
	*ret_b = open_reversed(f, OTHER_ID, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(cas_blob_share(*ret_b, i, &f->e), 0);
}

static void shared_chunks_take_no_second_place(void **state)
{
	struct fixture *f = *state;
	static const char *const dedup[] = { "dedup" };
	struct cas_blob *a;
	struct cas_blob *b;
	int64_t bytes = 0;

	share_all(f, &a, &b);
	for (uint32_t i = 0; i < N; i++) {
		assert_false(cas_blob_is_ready(b, i));
		assert_true(holds(b, i, 1, N - 1 - i));
		bytes += sample_size(1, i);
	}
	assert_int_equal(cas_blob_n_ready(b), N);
	assert_int_equal(data_bytes(f, OTHER_ID), 0);
	assert_int_equal(series_get(metrics_series(f->metrics, METRIC_CHUNKS, dedup)), N);
	assert_int_equal(metrics_sum(f->metrics, METRIC_DEDUP_SAVED_BYTES), bytes);
	/* Once more is no news, and what is put again is here already. */
	assert_int_equal(cas_blob_share(b, 0, &f->e), 0);
	assert_int_equal(series_get(metrics_series(f->metrics, METRIC_CHUNKS, dedup)), N);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* Every range that begins and ends somewhere in three chunks, some ready, some referred. */
static void mixed_ranges_read_as_if_they_stood_together(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b;
	const struct blob_layout *l;
	uint8_t *want;
	uint8_t *got;

	for (uint32_t i = 0; i < N; i++)
		if (i != 3)
			assert_int_equal(put_sample(a, 1, i), 0);
	b = open_sample(f, OTHER_ID, N, 1); /* the same order */
	assert_int_equal(put_sample(b, 1, 3), 0);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(cas_blob_share(b, i, &f->e), 0);
	l = cas_blob_layout(b);
	want = calloc(1, l->plain_size_bytes);
	got = malloc(l->plain_size_bytes);
	for (uint32_t i = 0; i < N; i++) {
		uint8_t *bytes = sample_bytes(1, i);

		memcpy(want + l->chunks[i].plain_offset, bytes, sample_size(1, i));
		free(bytes);
	}
	for (uint32_t first = 0; first < N; first++) {
		for (uint32_t n = 1; first + n <= N; n++) {
			const uint64_t begin = l->chunks[first].plain_offset;
			const struct chunk_rec *last = &l->chunks[first + n - 1];
			const uint64_t end = last->plain_offset + last->plain_size_bytes;

			for (uint64_t cut = 0; cut < l->chunks[first].plain_size_bytes;
			     cut += 977) {
				const uint32_t size = (uint32_t)(end - begin - cut);

				memset(got, 0xee, size);
				assert_int_equal(
					cas_blob_read(b, first, n, begin + cut, size, got, &f->e),
					0);
				assert_memory_equal(got, want + begin + cut, size);
			}
		}
	}
	free(want);
	free(got);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* A chunk that another image described, and brought, has no place here. */
static void a_mixed_range_goes_around_what_only_another_image_described(void **state)
{
	struct fixture *f = *state;
	AUTO(layout_unref) struct blob_layout *l = sample_layout(SAMPLE_ID, N, 1);
	struct cas_blob *a = open_full(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = NULL;
	const struct chunk_rec *c;
	uint64_t from;
	uint32_t size_bytes;
	uint8_t *want;
	uint8_t *got;

	cas_blob_release(&a);
	all_are_closed(f);
	l->chunks[3] = (struct chunk_rec){ .plain_size_bytes = 0 };
	assert_int_equal(cas_blob_open(f->cas, l, &a, &f->e), 0);
	assert_true(cas_blob_is_ready(a, 3));
	b = open_full(f, OTHER_ID, N, 1);
	blob_void(a, 4, VOID_NO_DATA);
	assert_int_equal(cas_blob_share(a, 4, &f->e), 0);
	c = cas_blob_layout(a)->chunks;
	from = c[2].plain_offset;
	size_bytes = (uint32_t)(c[4].plain_offset + c[4].plain_size_bytes - from);
	got = malloc(size_bytes);
	assert_int_equal(cas_blob_read(a, 2, 3, from, size_bytes, got, &f->e), 0);
	for (uint32_t i = 2; i <= 4; i += 2) {
		want = sample_bytes(1, i);
		assert_memory_equal(got + (c[i].plain_offset - from), want, c[i].plain_size_bytes);
		free(want);
	}
	free(got);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void references_are_there_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a;
	struct cas_blob *b;

	share_all(f, &a, &b);
	cas_blob_release(&a);
	assert_true(holds(b, 0, 1, N - 1)); /* it keeps its owner open */
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_reversed(f, OTHER_ID, 1);
	assert_int_equal(cas_blob_n_ready(b), N);
	for (uint32_t i = 0; i < N; i++)
		assert_true(holds(b, i, 1, N - 1 - i));
	assert_int_equal(query(f, "SELECT count(*) FROM refer_owner"), 1);
	cas_blob_release(&b);
}

static void what_the_owner_loses_its_referrers_lose(void **state)
{
	struct fixture *f = *state;
	struct heard heard = { .n_ready = 0 };
	struct cas_blob *a;
	struct cas_blob *b;

	fixture_close(f);
	f->hooks.on_gone = on_gone;
	f->hooks.arg = &heard;
	fixture_open(f);
	share_all(f, &a, &b);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[2].plain_offset);
	assert_int_equal(cas_blob_check(b, N - 1 - 2, &f->e), CAS_MISMATCH);
	assert_false(cas_blob_is_present(a, 2));
	assert_false(cas_blob_is_present(b, N - 1 - 2));
	assert_int_equal(heard.n_gone, 2);
	assert_false(holds(b, N - 1 - 2, 1, 2));
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_reversed(f, OTHER_ID, 1);
	assert_false(cas_blob_is_present(b, N - 1 - 2));
	assert_true(cas_blob_is_present(b, N - 1 - 3));
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(put_sample(a, 1, 2), 0);
	assert_true(holds(b, N - 1 - 2, 1, 2)); /* and has it when the owner has it again */
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void on_fault(void *arg, const struct cas_fault *fault)
{
	assert_string_equal(fault->what, "refers to another chunk");
	assert_string_equal(fault->key, OTHER_ID);
	(*(uint32_t *)arg)++;
}

static void verify_tells_references_that_contradict_and_counts_dead_ones(void **state)
{
	struct fixture *f = *state;
	struct cas_verify_progress total;
	struct cas_blob *a;
	struct cas_blob *b;
	uint32_t n = 0;

	share_all(f, &a, &b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(cas_verify(f->cas, on_fault, NULL, &n, &total, &f->e), 0);
	assert_int_equal(n + total.n_faults + total.n_dead_refs + total.n_needless_refs, 0);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[2].plain_offset);
	assert_int_equal(cas_blob_check(a, 2, &f->e), CAS_MISMATCH);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(cas_verify(f->cas, on_fault, NULL, &n, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 0);
	assert_int_equal(total.n_dead_refs, 1);
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_close(f);
	/* All of it, in the order of the owner, which is the wrong one. */
	exec_sql(f, "UPDATE refer SET runs = (SELECT x'0008' || CAST(char(owner) AS BLOB) ||"
	            " x'00' FROM refer_owner)");
	fixture_open(f);
	assert_int_equal(cas_verify(f->cas, on_fault, NULL, &n, &total, &f->e), 0);
	assert_int_equal(n, N);
	assert_int_equal(total.n_faults, N);
	b = open_reversed(f, OTHER_ID, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_false(cas_blob_is_present(b, i));
	cas_blob_release(&b);
}

#define MANY 100U

static void all_referrers_hear_of_it_however_many(void **state)
{
	struct fixture *f = *state;
	struct heard heard = { .n_ready = 0 };
	struct cas_blob *a;
	struct cas_blob *others[MANY];

	fixture_close(f);
	f->hooks.on_gone = on_gone;
	f->hooks.arg = &heard;
	fixture_open(f);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(put_sample(a, 1, 2), 0);
	for (uint32_t i = 0; i < MANY; i++) {
		AUTO(free_str) char *id = xasprintf("%064u", i);

		others[i] = open_reversed(f, id, 1);
		assert_int_equal(cas_blob_share(others[i], N - 1 - 2, &f->e), 0);
	}
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[2].plain_offset);
	assert_int_equal(cas_blob_check(a, 2, &f->e), CAS_MISMATCH);
	assert_int_equal(heard.n_gone, MANY + 1);
	for (uint32_t i = 0; i < MANY; i++)
		cas_blob_release(&others[i]);
	cas_blob_release(&a);
}

static void two_that_refer_to_each_other_can_be_closed(void **state)
{
	struct fixture *f = *state;

	for (uint32_t round = 0; round < 2; round++) {
		struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
		struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

		if (round == 0) {
			uint8_t *bytes = sample_bytes(1, 5);

			assert_int_equal(put_sample(a, 1, 2), 0);
			assert_int_equal(cas_blob_put(b, N - 1 - 5, bytes, &f->e), 0);
			free(bytes);
			assert_int_equal(cas_blob_share(b, N - 1 - 2, &f->e), 0);
			assert_int_equal(cas_blob_share(a, 5, &f->e), 0);
		}
		assert_true(holds(a, 2, 1, 2));
		assert_true(holds(a, 5, 1, 5));
		assert_true(holds(b, N - 1 - 2, 1, 2));
		assert_true(holds(b, N - 1 - 5, 1, 5));
		cas_blob_release(&a);
		assert_true(holds(b, N - 1 - 2, 1, 2));
		cas_blob_release(&b);
		all_are_closed(f);
	}
}

/* A disk that flushes when a certain blob's file is opened: in the middle of the loading of a map
 * that names it. */
struct flushing_disk {
	struct disk disk;
	struct fixture *f;
	const char *at_name;
	uint32_t n_flushed;
};

static int open_and_flush(const struct disk *d, int dir_fd, const char *name, int flags,
                          mode_t mode)
{
	struct flushing_disk *it = unconst(d);
	struct err e;

	if (it->at_name != NULL && strncmp(name, it->at_name, strlen(it->at_name)) == 0 &&
	    cas_flush(it->f->cas, &e) == 0)
		it->n_flushed++;
	return disk_real()->open(disk_real(), dir_fd, name, flags, mode);
}

/* The first chunk is said to stand with a, where it is another one; the second with c, rightly. */
static int store_runs(struct cas *cas, void *arg, struct err *e)
{
	const uint64_t *rows = arg; /* of b, a, c */
	const struct refer_run runs[] = {
		{ .chunk_idx = 0, .n_chunks = 1, .owner_row = rows[1], .owner_idx = 0 },
		{ .chunk_idx = 1, .n_chunks = 1, .owner_row = rows[2], .owner_idx = N - 2 },
	};
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = tx_begin(cas->db, TX_SYNCED, &tx, e);

	if (r == 0)
		r = refer_rows_store(cas->db, rows[0], 0, runs, 2, e);
	if (r == 0)
		r = refer_rows_owners(cas->db, rows[0], &rows[1], 2, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

static void a_flush_while_a_map_is_loaded_loses_none_of_it(void **state)
{
	struct fixture *f = *state;
	struct flushing_disk d = { .disk = *disk_real(), .f = f };
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	uint64_t rows[3];

	assert_int_equal(put_sample(a, 1, 0), 0);
	assert_int_equal(put_sample(c, 1, N - 2), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	rows[0] = b->row;
	rows[1] = a->row;
	rows[2] = c->row;
	assert_int_equal(writer_do(f->cas, store_runs, rows, &f->e), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	cas_blob_release(&c);
	fixture_close(f);

	d.disk.open = open_and_flush;
	f->disk = &d.disk;
	fixture_open(f);
	d.at_name = THIRD_ID;
	b = open_reversed(f, OTHER_ID, 1);
	assert_int_equal(d.n_flushed, 1);
	assert_true(holds(b, 1, 1, N - 2));
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer_owner"), 1);
	cas_blob_release(&b);
	f->disk = NULL;
	fixture_reopen(f);
	b = open_reversed(f, OTHER_ID, 1);
	assert_true(holds(b, 1, 1, N - 2));
	cas_blob_release(&b);
}

/* Its last user goes while the database takes no references; others still hold it open, so that
 * later flushes come by it when its map is gone. */
static void a_map_that_could_not_be_stored_leaves_what_was(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	struct cas_blob *c;

	for (uint32_t i = 1; i < N; i++)
		assert_int_equal(cas_blob_share(b, i, &f->e), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer_owner"), 1);
	c = open_sample(f, THIRD_ID, N, 77);
	refer_hold(c, b);
	refuse_rows(f, "refer");
	assert_int_equal(cas_blob_share(b, 0, &f->e), 0);
	cas_blob_release(&b);
	writer_is_done(f);
	take_rows_again(f);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer"), 1);
	assert_int_equal(query(f, "SELECT count(*) FROM refer_owner"), 1);
	b = open_reversed(f, OTHER_ID, 1);
	for (uint32_t i = 1; i < N; i++)
		assert_true(holds(b, i, 1, N - 1 - i));
	cas_blob_release(&b);
	cas_blob_release(&c);
	cas_blob_release(&a);
}

static void a_blob_that_is_referred_to_outlives_its_image(void **state)
{
	struct fixture *f = *state;
	static const char *const keys_a[] = { SAMPLE_ID };
	static const char *const keys_b[] = { OTHER_ID };
	struct image_record ra = { .name = "a" };
	struct image_record rb = { .name = "b" };
	struct cas_blob *a;
	struct cas_blob *b;

	memset(ra.digest, 'a', 64);
	memset(rb.digest, 'b', 64);
	share_all(f, &a, &b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	record_image(f, &ra, keys_a, 1);
	record_image(f, &rb, keys_b, 1);
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_reopen(f);
	assert_int_equal(remove_image(f, ra.digest), 0);
	b = open_reversed(f, OTHER_ID, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_true(holds(b, i, 1, N - 1 - i));
	cas_blob_release(&b);
	fixture_reopen(f);
	assert_int_equal(query(f, "SELECT count(*) FROM blob"), 2);
	assert_int_equal(remove_image(f, rb.digest), 0);
	rows_are_removed(f);
	assert_int_equal(query(f, "SELECT count(*) FROM blob"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer_owner"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM chunk"), 0);
}

static void what_closed_blobs_have_is_joined_when_a_blob_is_opened(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b;

	for (uint32_t i = 0; i < N; i += 2)
		assert_int_equal(put_sample(a, 1, i), 0);
	while (query(f, "SELECT count(*) FROM chunk") < N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	fixture_reopen(f);
	b = open_reversed(f, OTHER_ID, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(cas_blob_is_candidate(b, N - 1 - i), i % 2 == 0);
	assert_int_equal(cas_blob_share(b, N - 1 - 4, &f->e), 0);
	assert_true(holds(b, N - 1 - 4, 1, 4));
	/* Closed and opened again: the same, by references and by a new join. */
	cas_blob_release(&b);
	all_are_closed(f);
	b = open_reversed(f, OTHER_ID, 1);
	assert_true(cas_blob_is_present(b, N - 1 - 4));
	assert_true(cas_blob_is_candidate(b, N - 1 - 2));
	assert_int_equal(cas_blob_share(b, N - 1 - 2, &f->e), 0);
	cas_blob_release(&b);
}

static void a_blob_that_is_only_an_owner_joins_when_it_is_used_again(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a;
	struct cas_blob *b;
	uint8_t *bytes = sample_bytes(1, 5);

	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(put_sample(a, 1, 2), 0);
	b = open_reversed(f, OTHER_ID, 1);
	assert_int_equal(cas_blob_share(b, N - 1 - 2, &f->e), 0);
	cas_blob_release(&a); /* open as b's owner */
	for (uint32_t i = 0; i < 4; i++)
		writer_is_done(f);
	assert_int_equal(cas_blob_put(b, N - 1 - 5, bytes, &f->e), 0);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_true(cas_blob_is_candidate(a, 5));
	assert_int_equal(cas_blob_share(a, 5, &f->e), 0);
	assert_true(holds(a, 5, 1, 5));
	free(bytes);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, share_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(shared_chunks_take_no_second_place),
		T(mixed_ranges_read_as_if_they_stood_together),
		T(a_mixed_range_goes_around_what_only_another_image_described),
		T(references_are_there_after_a_restart),
		T(a_flush_while_a_map_is_loaded_loses_none_of_it),
		T(what_the_owner_loses_its_referrers_lose),
		T(all_referrers_hear_of_it_however_many),
		T(verify_tells_references_that_contradict_and_counts_dead_ones),
		T(two_that_refer_to_each_other_can_be_closed),
		T(a_map_that_could_not_be_stored_leaves_what_was),
		T(a_blob_that_is_referred_to_outlives_its_image),
		T(what_closed_blobs_have_is_joined_when_a_blob_is_opened),
		T(a_blob_that_is_only_an_owner_joins_when_it_is_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
