/*
 * Eviction: who goes first, what stays, and that disk space comes back while every byte that is
 * read is right.
 */
#include "broken_dir.h"
#include "fake_clock.h"
#include "fixture.h"
#include "gc.h"
#include "mem.h"
#include "use_rows.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEED     31
#define N_CHUNKS 40
#define ID_A     "00000000000000000000000000000000000000000000000000000000000000aa"
#define ID_B     "00000000000000000000000000000000000000000000000000000000000000bb"

static struct cas_gc_result gc(struct fixture *f, uint64_t to_bytes, bool dry_run)
{
	const struct cas_gc_opts opts = { .to_bytes = to_bytes, .dry_run = dry_run };
	struct cas_gc_result result = { .n_chunks = 0 };

	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	return result;
}

static uint64_t disk_bytes(struct fixture *f)
{
	uint64_t bytes = 0;

	assert_int_equal(cas_disk_bytes(f->cas, &bytes, &f->e), 0);
	return bytes;
}

/* What it did not see, it would take for room. */
static void a_list_of_files_that_breaks_off_is_no_small_cache(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *blobs = fixture_path(f, "blobs");
	struct cas_blob *a = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_blob *b = open_full(f, ID_B, N_CHUNKS, SEED + 1);
	const uint64_t before = disk_bytes(f);
	uint64_t bytes = 0;

	break_dir(blobs);
	assert_int_equal(cas_disk_bytes(f->cas, &bytes, &f->e), -EIO);
	break_dir(NULL);
	assert_int_equal(disk_bytes(f), before);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* The clock of uses moves on. */
static void later(struct fixture *f)
{
	use_clock_wrote(&f->cas->use, 2, 64);
}

static void chunks_that_were_not_read_for_long_go_first(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);
	const uint64_t before = disk_bytes(f);
	struct cas_gc_result result;

	for (uint32_t i = 10; i < 20; i++) {
		later(f);
		assert_int_equal(read_sample(b, SEED, i), 0);
	}
	record_image_of(f, ID_A);
	result = gc(f, before / 5, false);
	assert_int_equal(result.before_bytes, before);
	assert_true(result.after_bytes <= before / 5);
	assert_int_equal(result.after_bytes, disk_bytes(f));
	assert_int_equal(result.n_chunks, N_CHUNKS - cas_blob_n_ready(b));
	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		const bool here = cas_blob_is_ready(b, i);

		assert_true(!here || (i >= 10 && i < 20));
		/* those that were read last stay longest */
		assert_true(i < 10 || i >= 19 || !here || cas_blob_is_ready(b, i + 1));
		assert_int_equal(read_sample(b, SEED, i), here ? 0 : CAS_MISS);
	}
	assert_true(cas_blob_is_ready(b, 19));
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(read_sample(b, SEED, i), 0);
	assert_int_equal(disk_bytes(f), before);
	cas_blob_release(&b);
}

static uint32_t n_ready_of(struct fixture *f, const char *id, uint32_t seed)
{
	struct cas_blob *b = open_sample(f, id, N_CHUNKS, seed);
	const uint32_t n = cas_blob_n_ready(b);

	cas_blob_release(&b);
	return n;
}

static void blobs_go_in_the_order_of_their_last_use_also_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_blob *b = open_full(f, ID_B, N_CHUNKS, SEED + 1);
	uint64_t bytes;

	record_image_of(f, ID_A);
	record_image_of(f, ID_B);
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_reopen(f);
	assert_int_equal(query(f, "SELECT count(*) FROM used"), 2);
	exec_on_writer(f, "UPDATE used SET at_s = at_s - 1000 - 1000 * (blob = (SELECT id"
	                  " FROM blob WHERE key LIKE '%bb'))");
	fixture_reopen(f);
	bytes = disk_bytes(f);
	(void)gc(f, bytes - 8192, false);
	assert_int_equal(n_ready_of(f, ID_A, SEED), N_CHUNKS);
	assert_in_range(n_ready_of(f, ID_B, SEED + 1), N_CHUNKS / 2, N_CHUNKS - 1);
	(void)gc(f, bytes / 3, false);
	assert_int_equal(n_ready_of(f, ID_B, SEED + 1), 0);
	assert_in_range(n_ready_of(f, ID_A, SEED), 1, N_CHUNKS - 1);
}

static void a_pinned_blob_stays_whole(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_blob *b = open_full(f, ID_B, N_CHUNKS, SEED + 1);
	struct cas_gc_result result;

	record_image_of(f, ID_A);
	record_image_of(f, ID_B);
	cas_blob_pin(a);
	cas_blob_pin(a);
	cas_blob_unpin(a);
	result = gc(f, 0, false);
	assert_int_equal(cas_blob_n_ready(a), N_CHUNKS);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(result.pinned_bytes, result.after_bytes);
	cas_blob_unpin(a);
	result = gc(f, 0, false);
	assert_int_equal(cas_blob_n_ready(a), 0);
	assert_int_equal(result.after_bytes, 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void a_dry_run_changes_nothing_and_says_what_would_go(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);
	const uint64_t before = disk_bytes(f);
	struct cas_gc_result result;

	record_image_of(f, ID_A);
	result = gc(f, before / 2, true);
	assert_int_equal(result.before_bytes, before);
	assert_int_equal(result.after_bytes, before / 2);
	assert_int_equal(result.n_chunks, 0);
	assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	assert_int_equal(disk_bytes(f), before);
	cas_blob_release(&b);
}

#define N_SMALL 600U

/* A blob of many small files: each chunk is the end of one, and alone in its block. */
static struct cas_blob *open_small(struct fixture *f)
{
	AUTO(layout_unref) struct blob_layout *l = sample_layout(ID_A, N_SMALL, SEED);
	struct cas_blob *b = NULL;

	for (uint32_t i = 0; i < N_SMALL; i++) {
		struct chunk_rec *c = &l->chunks[i];

		c->plain_offset = (uint64_t)i * 4096;
		c->plain_size_bytes = 1 + i % 9;
		c->packed_size_bytes = c->plain_size_bytes;
		digest_compute(DIGEST_BLAKE3, (const uint8_t *)"123456789", c->plain_size_bytes,
		               c->digest);
	}
	l->plain_size_bytes = (uint64_t)N_SMALL * 4096;
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	for (uint32_t i = 0; i < N_SMALL; i++)
		assert_int_equal(cas_blob_put(b, i, (const uint8_t *)"123456789", &f->e), 0);
	return b;
}

static void small_chunks_count_as_the_blocks_that_they_take(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_small(f);
	const uint64_t before = disk_bytes(f);
	struct cas_gc_result result;

	record_image_of(f, ID_A);
	assert_int_equal(before, (uint64_t)N_SMALL * 4096);
	result = gc(f, 0, true);
	assert_int_equal(result.after_bytes, 0);
	result = gc(f, before / 2, false);
	assert_in_range(result.after_bytes, before / 2 - 8192, before / 2);
	assert_int_equal(result.n_chunks, N_SMALL - cas_blob_n_ready(b));
	cas_blob_release(&b);
}

static int stop_at_once(void *arg, const struct cas_gc_progress *p)
{
	(void)p;
	return ++*(int *)arg;
}

static void gc_stops_when_it_is_told_to(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_blob *b = open_full(f, ID_B, N_CHUNKS, SEED);
	int n_told = 0;
	const struct cas_gc_opts opts = { .progress = stop_at_once, .arg = &n_told };
	struct cas_gc_result result;

	record_image_of(f, ID_A);
	record_image_of(f, ID_B);
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), -ECANCELED);
	assert_int_equal(n_told, 1);
	assert_int_equal(cas_blob_n_ready(a) + cas_blob_n_ready(b), N_CHUNKS);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void what_was_evicted_is_not_ready_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_verify_progress total;
	uint32_t n;

	record_image_of(f, ID_A);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	(void)gc(f, disk_bytes(f) / 2, false);
	n = cas_blob_n_ready(b);
	assert_in_range(n, 1, N_CHUNKS - 1);
	cas_blob_release(&b);
	fixture_reopen(f);
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 0);
	assert_int_equal(total.chunks_done, n);
}

static void without_the_transaction_nothing_is_punched(void **state)
{
	const struct cas_gc_opts opts = { .to_bytes = 0 };
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_gc_result result;
	uint64_t before;

	record_image_of(f, ID_A);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	before = disk_bytes(f);
	exec_on_writer(f, "PRAGMA query_only=1");
	assert_true(cas_gc(f->cas, &opts, &result, &f->e) < 0);
	exec_on_writer(f, "PRAGMA query_only=0");
	assert_int_equal(disk_bytes(f), before);
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(read_sample(b, SEED, i), 0);
	(void)gc(f, 0, false);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(put_sample(b, SEED, 3), 0); /* no bar was left */
	cas_blob_release(&b);
}

/* Chunks next to each other, sharing blocks. */
static struct cas_blob *open_unaligned(struct fixture *f)
{
	struct blob_layout *l = sample_layout(ID_A, N_CHUNKS, SEED);
	struct cas_blob *b = NULL;
	uint64_t offset = 0;

	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		l->chunks[i].plain_offset = offset;
		offset += l->chunks[i].plain_size_bytes;
	}
	l->plain_size_bytes = offset;
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	layout_unref(&l);
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	record_image_of(f, ID_A);
	return b;
}

static void evict_one(struct fixture *f, struct cas_blob *b, uint32_t idx)
{
	AUTO(bitmap_free) struct bitmap *victims = bitmap_new(N_CHUNKS);
	AUTO(bitmap_free) struct bitmap *zeros = bitmap_new(N_CHUNKS);
	struct evict_batch batch = {
		.blob = b, .layout = blob_layout(b), .victims = victims, .barred_here = zeros
	};

	(void)bitmap_set(victims, idx);
	assert_int_equal(evict_batch_run(f->cas, &batch, &f->e), 0);
	assert_int_equal(batch.n_chunks, 1);
}

static void a_block_goes_with_its_last_chunk_and_no_neighbour_is_hurt(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_unaligned(f);

	for (uint32_t pass = 0; pass < 3; pass++)
		for (uint32_t i = pass; i < N_CHUNKS; i += 3) {
			evict_one(f, b, i);
			for (uint32_t j = 0; j < N_CHUNKS; j++)
				assert_int_equal(read_sample(b, SEED, j),
				                 cas_blob_is_ready(b, j) ? 0 : CAS_MISS);
		}
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(disk_bytes(f), 0);
	cas_blob_release(&b);
}

static void bytes_that_a_crash_left_behind_go_too(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);

	record_image_of(f, ID_A);
	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		blob_void(b, i, VOID_WRONG_BYTES);
		assert_int_equal(blob_clear_now(b, &f->e), 0);
	}
	cas_blob_release(&b);
	fixture_reopen(f);
	assert_true(disk_bytes(f) > 0);
	(void)gc(f, 0, false);
	assert_int_equal(disk_bytes(f), 0);
}

static void the_quota_holds_while_more_than_it_is_put(void **state)
{
	struct fixture *f = *state;
	const uint32_t n_chunks = 1500; /* of 6 KiB on average */
	struct cas_verify_progress total;
	struct cas_blob *b = NULL;
	uint32_t n_kept = 0;

	f->quota_bytes = 1 << 20;
	fixture_open(f);
	b = open_sample(f, ID_A, n_chunks, SEED);
	record_image_of(f, ID_A);
	for (uint32_t i = 0; i < n_chunks; i++) {
		int r = put_sample(b, SEED, i);

		if (r == CAS_FULL) { /* the evictor had no turn yet: this comes behind it */
			(void)gc(f, UINT64_MAX, true);
			r = put_sample(b, SEED, i);
		}
		assert_true(r == 0 || r == CAS_FULL);
		n_kept += r == 0;
		if (i % 16 == 0)
			assert_true(disk_bytes(f) <= f->quota_bytes);
	}
	assert_true(n_kept > n_chunks / 2);
	assert_true(cas_blob_n_ready(b) > 50); /* room is used */
	assert_true(metrics_sum(f->metrics, METRIC_CACHE_EVICTED_BYTES) > (4 << 20));
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_ROOM_BYTES), f->quota_bytes);
	for (uint32_t i = 0; i < n_chunks; i++)
		assert_int_equal(read_sample(b, SEED, i), cas_blob_is_ready(b, i) ? 0 : CAS_MISS);
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
	assert_int_equal(total.n_faults, 0);
	cas_blob_release(&b);
}

/* ---- garbage ---- */

static bool data_exists(struct fixture *f, const char *id)
{
	AUTO(free_str) char *name = xasprintf("blobs/%s.blob.data", id);
	AUTO(free_str) char *path = fixture_path(f, name);

	return access(path, F_OK) == 0;
}

static void a_file_that_no_row_names_is_removed(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = fixture_path(f, "blobs/" ID_B ".blob.data");
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);
	struct cas_gc_result result;

	record_image_of(f, ID_A);
	cas_blob_release(&b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	result = gc(f, UINT64_MAX, true);
	assert_int_equal(result.n_garbage, 1);
	assert_true(data_exists(f, ID_B));
	result = gc(f, UINT64_MAX, false);
	assert_int_equal(result.n_garbage, 1);
	assert_false(data_exists(f, ID_B));
	assert_true(data_exists(f, ID_A));
	assert_int_equal(n_ready_of(f, ID_A, SEED), N_CHUNKS);
}

static void a_blob_that_no_image_uses_is_garbage_unless_it_is_open(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);

	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(gc(f, UINT64_MAX, false).n_garbage, 0);
	assert_int_equal(cas_blob_n_ready(b), N_CHUNKS);
	cas_blob_release(&b);
	do /* until its chunks have their rows, and it is closed */
		(void)gc(f, UINT64_MAX, false);
	while (data_exists(f, ID_A));
	rows_are_removed(f);
	assert_int_equal(query(f,
	                       "SELECT (SELECT count(*) FROM blob) + (SELECT count(*) FROM chunk)"
	                       " + (SELECT count(*) FROM ready) + (SELECT count(*) FROM used)"),
	                 0);
}

static void garbage_that_is_open_is_not_swept_every_second(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_full(f, ID_A, N_CHUNKS, SEED);
	uint64_t next_chore_ns;

	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	(void)gc(f, UINT64_MAX, false);
	assert_true(atomic_load(&f->cas->evictor.has_garbage));
	next_chore_ns = atomic_load(&f->cas->evictor.next_chore_ns);
	evict_on_time(f->cas);
	assert_true(atomic_load(&f->cas->evictor.next_chore_ns) == next_chore_ns); /* none began */
	cas_blob_release(&b); /* that sweeps it */
	while (data_exists(f, ID_A))
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

/* ---- the clock ---- */

#define YEAR_MS (UINT64_C(365) * 24 * 3600 * MS_PER_S)

/* Only what people call the time. */
static void set_wall_back(struct fake_clock *c, uint64_t ms)
{
	atomic_fetch_sub(&c->wall_ms, ms);
}

static void a_minute_passes(struct fixture *f, struct fake_clock *c)
{
	fake_clock_advance_ms(c, USE_TICK_S * MS_PER_S);
	use_clock_time(&f->cas->use);
}

static void read_first(struct fixture *f)
{
	struct cas_blob *a = open_sample(f, ID_A, N_CHUNKS, SEED);

	assert_int_equal(read_sample(a, SEED, 0), 0);
	cas_blob_release(&a);
}

/* Each minute what was used is stored. */
static void chore(struct fixture *f, struct fake_clock *c)
{
	assert_int_equal(use_rows_store_all(f->cas, &f->e), 0);
	a_minute_passes(f, c);
}

/* Two blobs, one after the other, a year after the clock's start. */
static void fill_two(struct fixture *f, struct fake_clock *c)
{
	const char *const ids[] = { ID_A, ID_B };

	fake_clock_init(c);
	f->clock = &c->clock;
	fake_clock_advance_ms(c, YEAR_MS);
	fixture_open(f);
	for (uint8_t i = 0; i < 2; i++) {
		struct cas_blob *blob = open_full(f, ids[i], N_CHUNKS, SEED + i);

		record_image_of(f, ids[i]);
		cas_blob_release(&blob);
		a_minute_passes(f, c);
	}
}

static void second_goes_first(struct fixture *f)
{
	fixture_open(f);
	(void)gc(f, disk_bytes(f) - 8192, false);
	assert_int_equal(n_ready_of(f, ID_A, SEED), N_CHUNKS);
	assert_in_range(n_ready_of(f, ID_B, SEED + 1), N_CHUNKS / 2, N_CHUNKS - 1);
	fixture_close(f); /* the clock goes */
}

static void what_was_used_while_the_clock_was_ahead_does_not_stay_longest(void **state)
{
	struct fixture *f = *state;
	struct fake_clock c;

	fill_two(f, &c);
	fixture_close(f);
	set_wall_back(&c, YEAR_MS);
	fixture_open(f);
	chore(f, &c);
	read_first(f);
	fixture_close(f);
	second_goes_first(f);
}

/* A machine without a clock of its own, before it has heard what time it is. */
static void a_clock_that_is_behind_for_a_while_keeps_the_order(void **state)
{
	struct fixture *f = *state;
	struct fake_clock c;

	fill_two(f, &c);
	read_first(f);
	fixture_close(f);
	set_wall_back(&c, YEAR_MS);
	fixture_open(f);
	chore(f, &c);
	fixture_close(f);
	fake_clock_advance_ms(&c, YEAR_MS);
	second_goes_first(f);
}

#define O(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		O(chunks_that_were_not_read_for_long_go_first),
		O(blobs_go_in_the_order_of_their_last_use_also_after_a_restart),
		O(a_pinned_blob_stays_whole),
		O(a_dry_run_changes_nothing_and_says_what_would_go),
		O(small_chunks_count_as_the_blocks_that_they_take),
		O(gc_stops_when_it_is_told_to),
		O(what_was_evicted_is_not_ready_after_a_restart),
		O(without_the_transaction_nothing_is_punched),
		O(a_block_goes_with_its_last_chunk_and_no_neighbour_is_hurt),
		O(bytes_that_a_crash_left_behind_go_too),
		O(a_list_of_files_that_breaks_off_is_no_small_cache),
		T(the_quota_holds_while_more_than_it_is_put),
		O(a_file_that_no_row_names_is_removed),
		O(a_blob_that_no_image_uses_is_garbage_unless_it_is_open),
		O(garbage_that_is_open_is_not_swept_every_second),
		T(what_was_used_while_the_clock_was_ahead_does_not_stay_longest),
		T(a_clock_that_is_behind_for_a_while_keeps_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
