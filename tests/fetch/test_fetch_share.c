/*
 * The fetch engine and chunks that another blob has: who is asked, and who is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"
#include "engine_world.h"
#include <errno.h>

struct watch {
	uint32_t n_done;
	int result;
	uint64_t done_bytes;
};

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct watch *watch = arg;

	assert_true(done_bytes <= total_bytes);
	watch->done_bytes = done_bytes;
}

static void on_prefetch_done(void *arg, int result, const struct err *why)
{
	struct watch *watch = arg;

	(void)why;
	watch->n_done++;
	watch->result = result;
}

/* named: NULL: all of it */
static void prefetch(struct engine_world *w, struct bitmap *const *named, struct watch *watch)
{
	const struct fetch_prefetch_opts opts = { .blobs = &w->blob,
		                                  .n_blobs = 1,
		                                  .named = named,
		                                  .progress = on_progress,
		                                  .done = on_prefetch_done,
		                                  .arg = watch };

	(void)fetch_prefetch_start(w->fetch, &opts);
}

static void what_another_blob_has_is_shared_at_once_and_nobody_asked(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	for (uint32_t i = 6; i < 12; i++)
		fake_cas_set_candidate(w->cas, i, true);
	assert_int_equal(world_read_start(w, &r, 7, 2), 0);
	world_read_is_right(w, &r);
	assert_int_equal(r.read.found, FOUND_DEDUP);
	assert_int_equal(r.read.found_bytes[FOUND_DEDUP], 2 * WORLD_CHUNK_BYTES);
	assert_int_equal(r.read.found_bytes[FOUND_CACHE], 0);
	world_settle(w);
	assert_int_equal(w->peer.n_asks + w->origin.n_asks, 0);
	world_read_end(w, &r);
}

static void a_part_of_a_chunk_is_shared_whole(void **state)
{
	struct engine_world *w = *state;
	uint8_t right[WORLD_CHUNK_BYTES];
	uint8_t bytes[100];
	struct fetch_piece piece = { .blob = w->blob,
		                     .chunk_idx = 7,
		                     .chunk_offset = 50,
		                     .size_bytes = sizeof(bytes),
		                     .dst = bytes };
	struct fetch_read read = { .pieces = &piece, .n_pieces = 1 };
	struct err e;

	fake_cas_set_candidate(w->cas, 7, true);
	assert_int_equal(fetch_read(w->fetch, &read, &e), 0);
	fake_cas_fill(7, right, sizeof(right));
	assert_memory_equal(bytes, right + 50, sizeof(bytes));
	assert_true(cas_blob_is_present(w->cas, 7));
}

static void a_read_of_what_is_here_and_what_is_not_counts_each_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_set_ready(w->cas, 6);
	fake_cas_set_candidate(w->cas, 7, true);
	assert_int_equal(world_read_start(w, &r, 6, 3), FETCH_PENDING);
	world_settle(w);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	assert_int_equal(r.read.found_bytes[FOUND_CACHE], WORLD_CHUNK_BYTES);
	assert_int_equal(r.read.found_bytes[FOUND_DEDUP], WORLD_CHUNK_BYTES);
	assert_int_equal(r.read.found_bytes[FOUND_ORIGIN], WORLD_CHUNK_BYTES);
	assert_int_equal(r.read.found, FOUND_ORIGIN);
	world_read_end(w, &r);
}

/* All but every fifth from the twentieth on. */
static bool is_island(uint32_t chunk_idx)
{
	return chunk_idx >= 20 && chunk_idx % 5 == 0;
}

static void all_but_islands(struct engine_world *w)
{
	for (uint32_t i = 0; i < WORLD_CHUNKS; i++)
		if (!is_island(i))
			fake_cas_set_candidate(w->cas, i, true);
}

static void read_one(struct engine_world *w, uint32_t chunk_idx, int expected)
{
	struct world_read r = { 0 };

	assert_int_equal(world_read_start(w, &r, chunk_idx, 1), expected);
	world_settle(w);
	for (uint32_t i = 0; i < w->origin.n_asks; i++)
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
	world_settle(w);
	assert_int_equal(r.n_done, expected == FETCH_PENDING);
	assert_int_equal(r.result, 0);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
}

static void who_reads_in_order_finds_what_is_missing_between(void **state)
{
	struct engine_world *w = *state;
	uint32_t n_units = 0;

	all_but_islands(w);
	for (uint32_t i = 0; i < 20; i++)
		read_one(w, i, 0);
	for (uint32_t i = 20; i < WORLD_CHUNKS; i++)
		read_one(w, i, i == 20 ? FETCH_PENDING : 0);
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		assert_true(is_island(w->origin.asks[i].run.first_unit));
		n_units += w->origin.asks[i].run.n_units;
	}
	assert_int_equal(n_units, (WORLD_CHUNKS - 20 + 4) / 5); /* each once, nothing else */
}

static void few_are_asked_for_at_a_time(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	all_but_islands(w);
	for (uint32_t i = 0; i < 20; i++)
		read_one(w, i, 0);
	assert_int_equal(world_read_start(w, &r, 20, 1), FETCH_PENDING);
	world_settle(w);
	assert_in_range(w->origin.n_asks, 2, 9);
	for (uint32_t i = 0; i < w->origin.n_asks; i++)
		world_give_all(w, &w->origin, i);
	world_settle(w);
	world_read_end(w, &r);
}

static void who_reads_here_and_there_gets_what_was_asked_for(void **state)
{
	struct engine_world *w = *state;

	all_but_islands(w);
	for (uint32_t i = 0; i < 20; i += 2)
		read_one(w, i, 0);
	read_one(w, 20, FETCH_PENDING);
	read_one(w, 60, FETCH_PENDING);
	assert_int_equal(w->origin.n_asks, 2);
}

static void what_cannot_be_shared_after_all_is_fetched(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_set_candidate(w->cas, 7, false);
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	world_give(w, &w->origin, 0, 7);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.read.found, FOUND_ORIGIN);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
}

static void requests_are_not_widened_over_what_another_blob_has(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_set_candidate(w->cas, 6, true);
	fake_cas_set_candidate(w->cas, 9, true);
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->origin.asks[0].run.first_unit, 7);
	assert_int_equal(w->origin.asks[0].run.n_units, 2);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_end(w, &r);
}

static void a_prefetch_of_what_others_have_moves_nothing(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	for (uint32_t i = 0; i < WORLD_CHUNKS; i++)
		fake_cas_set_candidate(w->cas, i, true);
	prefetch(w, NULL, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(watch.result, 0);
	assert_int_equal(watch.done_bytes, (uint64_t)WORLD_CHUNKS * WORLD_CHUNK_BYTES);
	assert_int_equal(w->peer.n_asks + w->origin.n_asks, 0);
}

/* The rest is another image's. */
static void a_prefetch_shares_what_the_image_names_and_no_more(void **state)
{
	static const uint32_t chunks[] = { 3, 4, 5, 7, 100 };
	struct engine_world *w = *state;
	struct bitmap *named = bitmap_new(WORLD_CHUNKS);
	struct watch watch = { 0 };

	assert_non_null(named);
	for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
		(void)bitmap_set(named, chunks[i]);
	for (uint32_t i = 0; i < WORLD_CHUNKS; i++)
		fake_cas_set_candidate(w->cas, i, true);
	prefetch(w, &named, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(watch.result, 0);
	assert_int_equal(watch.done_bytes, ARRAY_LEN(chunks) * WORLD_CHUNK_BYTES);
	for (uint32_t i = 0; i < WORLD_CHUNKS; i++)
		assert_int_equal(cas_blob_is_present(w->cas, i), bitmap_get(named, i));
	assert_int_equal(w->peer.n_asks + w->origin.n_asks, 0);
	bitmap_free(&named);
}

static void a_prefetch_fetches_what_could_not_be_shared(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	uint32_t n_units = 0;

	for (uint32_t i = 10; i < 20; i++)
		fake_cas_set_candidate(w->cas, i, false);
	prefetch(w, NULL, &watch);
	while (watch.n_done == 0) {
		for (uint32_t i = 0; i < w->origin.n_asks; i++) {
			if (!w->origin.asks[i].open)
				continue;
			n_units += w->origin.asks[i].run.n_units;
			world_give_all(w, &w->origin, i);
		}
		world_turn(w);
	}
	assert_int_equal(watch.result, 0);
	assert_int_equal(n_units, WORLD_CHUNKS);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, world_set_up_plain, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_another_blob_has_is_shared_at_once_and_nobody_asked),
		T(a_part_of_a_chunk_is_shared_whole),
		T(a_read_of_what_is_here_and_what_is_not_counts_each_once),
		T(who_reads_in_order_finds_what_is_missing_between),
		T(few_are_asked_for_at_a_time),
		T(who_reads_here_and_there_gets_what_was_asked_for),
		T(what_cannot_be_shared_after_all_is_fetched),
		T(requests_are_not_widened_over_what_another_blob_has),
		T(a_prefetch_of_what_others_have_moves_nothing),
		T(a_prefetch_shares_what_the_image_names_and_no_more),
		T(a_prefetch_fetches_what_could_not_be_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
