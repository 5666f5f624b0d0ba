/*
 * Sources that bring chunks, as peers do, packed or not: alone, or one by one for units that hold
 * many.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"
#include "bytes.h"
#include "engine_world.h"
#include "fake_pool.h"
#include <errno.h>

static bool no_decoder;
static uint64_t longest_ms; /* pause */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */
struct decoder *__real_decoder_take(struct fetch *f); /* named by the linker */
struct decoder *__wrap_decoder_take(struct fetch *f);

struct decoder *__wrap_decoder_take(struct fetch *f)
{
	return no_decoder ? NULL : __real_decoder_take(f);
}

/* Those that were made before are at hand still. */
struct decoder *__real_decoder_new(void);
struct decoder *__wrap_decoder_new(void);

struct decoder *__wrap_decoder_new(void)
{
	return no_decoder ? NULL : __real_decoder_new();
}
void __real_timer_start(struct timer *t, uint64_t delay_ms);
void __wrap_timer_start(struct timer *t, uint64_t delay_ms);

/* Pauses are over soon. What has more is somebody's deadline. */
void __wrap_timer_start(struct timer *t, uint64_t delay_ms)
{
	if (delay_ms < 5000) {
		longest_ms = max_u64(longest_ms, delay_ms);
		delay_ms = min_u64(delay_ms, 1);
	}
	__real_timer_start(t, delay_ms);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */

static int set_up_batches(void **state)
{
	const struct world_wish wish = { .chunks_per_unit = 4, .peer_answers = true };

	return world_set_up(state, &wish);
}

static void a_chunk_that_is_its_own_unit_takes_the_way_of_units(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->peer.n_asks, 1);
	world_chunk(w, &w->peer, 0, 7, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.read.found, FOUND_PEER);
	world_read_is_right(w, &r);
	assert_int_equal(w->origin.n_asks, 0);
	world_read_end(w, &r);
}

static void a_wrong_chunk_is_held_against_its_giver_and_asked_for_again(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint32_t ask;

	(void)world_read_start(w, &r, 7, 1);
	world_settle(w);
	world_chunk(w, &w->peer, 0, 7, 1);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->peer.n_distrusts, 1);
	assert_int_equal(w->peer.last_giver, WORLD_GIVERS + 7);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 1);
	assert_int_equal(w->peer.n_asks, 2); /* another peer may have it */
	ask = 1;
	assert_int_equal(w->peer.asks[ask].run.first_unit, 7);
	world_chunk(w, &w->peer, ask, 7, 0);
	fake_source_end(&w->peer, ask, SOURCE_OK, NULL);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void what_came_packed_is_unpacked_verified_and_passed_on_as_it_came(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 7, 1);
	world_settle(w);
	world_packed_chunk(w, &w->peer, 0, 7, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	world_read_is_right(w, &r);
	assert_int_equal(w->n_passed_on, 1);
	assert_int_equal(w->passed_on, 7);
	world_read_end(w, &r);
}

static void what_does_not_unpack_is_held_against_its_giver(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 7, 1);
	world_settle(w);
	world_packed_chunk(w, &w->peer, 0, 7, 1);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->peer.n_distrusts, 1);
	assert_int_equal(w->peer.last_giver, WORLD_GIVERS + 7);
	assert_int_equal(w->n_passed_on, 0);
	assert_int_equal(w->peer.n_asks, 2);
	world_packed_chunk(w, &w->peer, 1, 7, 0);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void a_chunk_is_kept_while_its_question_goes_on(void **state)
{
	struct engine_world *w = *state;
	const uint32_t n_puts = fake_cas_n_puts(w->cas);
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 7, 1); /* and more is read ahead */
	world_settle(w);
	assert_true(w->peer.asks[0].run.n_units > 1);
	world_chunk(w, &w->peer, 0, 7, 0);
	world_chunk(w, &w->peer, 0, 8, 0); /* nobody here waits for it; another node may */
	world_settle(w);
	assert_int_equal(fake_cas_n_puts(w->cas), n_puts + 2);
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	world_settle(w);
	world_read_end(w, &r);
}

/* Some plain, some packed. */
static void neighbours_that_nobody_waits_for_are_kept_by_one_write(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct world_read again = { 0 };

	(void)world_read_start(w, &r, 7, 1); /* and more is read ahead */
	world_settle(w);
	assert_in_range(w->peer.asks[0].run.n_units, 5, 1000);
	world_chunk(w, &w->peer, 0, 7, 0);
	for (uint32_t i = 8; i < 12; i++) {
		if (i % 2 == 0)
			world_packed_chunk(w, &w->peer, 0, i, 0);
		else
			world_chunk(w, &w->peer, 0, i, 0);
	}
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(fake_cas_n_puts(w->cas), 5);
	assert_int_equal(fake_cas_n_rows(w->cas), 1); /* the reader's is not held up by others */
	assert_int_equal(metrics_sum(w->metrics, METRIC_CHUNKS), 5);
	assert_int_equal(w->n_passed_on, 2);
	world_read_end(w, &r);
	assert_int_equal(world_read_start(w, &again, 7, 5), 0); /* done: all of it is here */
	world_read_is_right(w, &again);
	world_read_end(w, &again);
}

static void a_wrong_one_among_neighbours_costs_nobody_but_itself(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 7, 1);
	world_settle(w);
	world_chunk(w, &w->peer, 0, 7, 0);
	for (uint32_t i = 8; i < 12; i++)
		world_chunk(w, &w->peer, 0, i, i == 10);
	world_settle(w);
	assert_int_equal(fake_cas_n_puts(w->cas), 4);
	assert_int_equal(fake_cas_n_rows(w->cas), 0);
	assert_false(cas_blob_is_present(w->cas, 10));
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 1);
	assert_int_equal(w->peer.n_distrusts, 1);
	assert_int_equal(w->peer.last_giver, WORLD_GIVERS + 10);
	world_read_end(w, &r);
}

static void what_nobody_asked_for_is_thrown_away(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	const uint32_t n_puts = fake_cas_n_puts(w->cas);

	(void)world_read_start(w, &r, 400, 1);
	world_settle(w);
	world_chunk(w, &w->peer, 0, 3, 0);
	world_settle(w);
	assert_int_equal(fake_cas_n_puts(w->cas), n_puts);
	world_chunk(w, &w->peer, 0, 400, 0);
	world_chunk(w, &w->peer, 0, 400, 1); /* once more, and spoilt: not asked for any more */
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 0);
	world_read_end(w, &r);
}

/* ---- units of four chunks ---- */

static void a_reader_gets_its_chunk_before_the_rest_of_the_unit(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 9, 1);
	world_settle(w);
	assert_int_equal(w->peer.asks[0].run.first_unit, 2);
	world_chunk(w, &w->peer, 0, 8, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	world_chunk(w, &w->peer, 0, 9, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.read.found, FOUND_PEER);
	world_read_is_right(w, &r);
	assert_int_equal(metrics_sum(w->metrics, METRIC_CHUNKS), 2);
	world_read_end(w, &r);
}

static void a_unit_is_settled_when_its_last_chunk_is_here(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	const struct unit_run *run;

	fake_cas_set_ready(w->cas, 10); /* kept from earlier: need not come */
	(void)world_read_start(w, &r, 8, 4);
	world_settle(w);
	run = &w->peer.asks[0].run;
	assert_int_equal(run->first_unit, 2);
	for (uint32_t i = 0; i < run->n_units * 4; i++) {
		if (8 + i != 10)
			world_chunk(w, &w->peer, 0, 8 + i, 0);
	}
	fake_source_end(&w->peer, 0, SOURCE_OK, NULL); /* before the workers have looked */
	assert_int_equal(w->origin.n_asks, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	assert_int_equal(w->origin.n_asks, 0);
	assert_int_equal(w->peer.n_asks, 1);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
	assert_int_equal(metrics_sum(w->metrics, METRIC_CHUNKS), run->n_units * 4 - 1);
	world_read_end(w, &r);
}

static void workers_may_be_done_with_a_unit_before_the_loop_hears_of_its_chunks(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 11, 1);
	world_settle(w);
	for (uint32_t i = 8; i < 12; i++)
		world_chunk(w, &w->peer, 0, i, 0);
	assert_true(fake_pool_drain(w->pool) >= 4); /* all four are kept, and none is told */
	assert_int_equal(r.n_done, 0);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void what_a_peer_gave_of_a_unit_is_kept_when_the_origin_brings_the_rest(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint32_t n_units;
	uint32_t ask;

	(void)world_read_start(w, &r, 8, 4);
	world_settle(w);
	n_units = w->peer.asks[0].run.n_units;
	world_chunk(w, &w->peer, 0, 8, 0);
	world_chunk(w, &w->peer, 0, 9, 0);
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	world_settle(w);
	assert_int_equal(fake_cas_n_puts(w->cas), 2);
	ask = world_ask_of(&w->origin, 2);
	world_give_all(w, &w->origin, ask);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	assert_int_equal(metrics_sum(w->metrics, METRIC_CHUNKS), 4 * n_units); /* each once */
	world_read_end(w, &r);
}

static void a_wrong_chunk_of_a_unit_is_asked_of_the_same_source_again(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 8, 4);
	world_settle(w);
	for (uint32_t i = 0; i < 4 * w->peer.asks[0].run.n_units; i++)
		world_chunk(w, &w->peer, 0, 8 + i, i == 1);
	fake_source_end(&w->peer, 0, SOURCE_OK, NULL);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->peer.n_distrusts, 1);
	assert_int_equal(w->peer.last_giver, WORLD_GIVERS + 9);
	assert_int_equal(w->origin.n_asks, 0);
	assert_int_equal(w->peer.n_asks, 2);
	assert_int_equal(w->peer.asks[1].run.first_unit, 2);
	assert_int_equal(w->peer.asks[1].run.n_units, 1);
	world_chunk(w, &w->peer, 1, 9, 1); /* twice: the next source */
	fake_source_end(&w->peer, 1, SOURCE_OK, NULL);
	world_settle(w);
	assert_int_equal(w->peer.n_asks, 2);
	assert_int_equal(w->origin.n_asks, 1);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void a_wrong_chunk_of_a_unit_fails_nobody_who_wants_another(void **state)
{
	struct engine_world *w = *state;
	struct world_read right = { 0 };
	struct world_read wrong = { 0 };

	w->peer.refuse = SOURCE_GONE;
	(void)world_read_start(w, &right, 8, 2);
	(void)world_read_start(w, &wrong, 10, 1);
	world_settle(w);
	world_give_wrong(w, &w->origin, world_ask_of(&w->origin, 2), 2); /* its chunk 10 */
	world_settle(w);
	assert_int_equal(right.read.found, FOUND_ORIGIN);
	world_read_ends_well(w, &right);
	assert_int_equal(wrong.n_done, 0);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 1);
	world_give_wrong(w, &w->origin, w->origin.n_asks - 1, 2);
	world_settle(w);
	assert_int_equal(wrong.n_done, 1);
	assert_int_equal(wrong.result, -EIO);
	world_read_end(w, &wrong);
}

static void note_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)arg;
	(void)done_bytes;
	(void)total_bytes;
}

static void note_end(void *arg, int result, const struct err *why)
{
	int *ret_result = arg;

	(void)why;
	*ret_result = result;
}

static void a_prefetch_of_a_part_of_a_unit_is_done_where_another_part_is_wrong(void **state)
{
	struct engine_world *w = *state;
	struct bitmap *named = bitmap_new(WORLD_CHUNKS);
	int result = 1;
	const struct fetch_prefetch_opts opts = { .blobs = &w->blob,
		                                  .named = &named,
		                                  .n_blobs = 1,
		                                  .progress = note_progress,
		                                  .done = note_end,
		                                  .arg = &result };

	assert_non_null(named);
	(void)bitmap_set(named, 8);
	(void)bitmap_set(named, 9);
	w->peer.refuse = SOURCE_GONE;
	(void)fetch_prefetch_start(w->fetch, &opts);
	world_turn(w);
	world_give_wrong(w, &w->origin, world_ask_of(&w->origin, 2), 2); /* its chunk 10 */
	fake_source_end(&w->origin, 0, SOURCE_OK, NULL);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(result, 0);
	bitmap_free(&named);
}

static void chunks_of_a_unit_may_come_packed(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint32_t n;

	(void)world_read_start(w, &r, 8, 4);
	world_settle(w);
	n = 4 * w->peer.asks[0].run.n_units;
	for (uint32_t i = 0; i < n; i++)
		world_packed_chunk(w, &w->peer, 0, 8 + i, i == 1);
	fake_source_end(&w->peer, 0, SOURCE_OK, NULL);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->peer.n_distrusts, 1);
	assert_int_equal(w->peer.last_giver, WORLD_GIVERS + 9);
	assert_int_equal(w->n_passed_on, n - 1);
	world_packed_chunk(w, &w->peer, 1, 9, 0);
	fake_source_end(&w->peer, 1, SOURCE_OK, NULL);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	world_read_is_right(w, &r);
	assert_int_equal(w->n_passed_on, n);
	world_read_end(w, &r);
}

static void a_full_disk_does_not_keep_chunks_of_units_from_readers(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	(void)world_read_start(w, &r, 8, 2);
	world_settle(w);
	world_chunk(w, &w->peer, 0, 8, 0);
	world_chunk(w, &w->peer, 0, 9, 0);
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	world_read_is_right(w, &r);
	assert_int_equal(w->origin.n_asks, 0); /* nobody waits for the rest */
	world_read_end(w, &r);
}

static void a_chunk_that_was_not_looked_at_for_want_of_memory_is_nobodys(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint32_t ask;

	(void)world_read_start(w, &r, 9, 1);
	world_settle(w);
	no_decoder = true;
	world_packed_chunk(w, &w->peer, 0, 9, 0);
	world_settle(w);
	no_decoder = false;
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->peer.n_distrusts, 0);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 0);
	assert_int_equal(w->n_passed_on, 0);
	fake_source_end(&w->peer, 0, SOURCE_OK, NULL);
	world_settle(w);
	ask = world_ask_of(&w->origin, 2);
	world_give_all(w, &w->origin, ask);
	world_settle(w);
	world_read_ends_well(w, &r);
}

/* Its readers wait: for the next source, and then until there is memory. */
static void a_unit_that_finds_no_memory_to_unpack_is_asked_for_again(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	no_decoder = true;
	world_packed_chunk(w, &w->peer, 0, 7, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->peer.n_distrusts, 0);
	assert_int_equal(w->origin.n_asks, 1);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	no_decoder = false;
	world_wait(w, &w->peer.n_asks, 2);
	world_packed_chunk(w, &w->peer, 1, 7, 0);
	world_settle(w);
	world_read_ends_well(w, &r);
}

/* It would be brought ten times a second, and dropped, while memory is short. Of a unit that is a
 * chunk, and of one of several. */
static void what_finds_no_memory_is_asked_for_more_and_more_rarely(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->origin.refuse = -EAGAIN;
	longest_ms = 0;
	(void)world_read_start(w, &r, 9, 1);
	world_settle(w);
	no_decoder = true;
	for (uint32_t i = 0; i < 4; i++) {
		world_wait(w, &w->peer.n_asks, i + 1);
		world_packed_chunk(w, &w->peer, i, 9, 0);
		world_settle(w);
		fake_source_end(&w->peer, i, SOURCE_OK, NULL);
		world_settle(w);
	}
	no_decoder = false;
	world_wait(w, &w->peer.n_asks, 5);
	assert_true(longest_ms >= 800);
	world_packed_chunk(w, &w->peer, 4, 9, 0);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void a_blob_may_be_closed_while_a_worker_has_chunks_of_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 8, 4);
	world_settle(w);
	world_chunk(w, &w->peer, 0, 8, 0);
	fetch_blob_release(&w->blob);
	assert_int_equal(w->peer.n_cancels, 1);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	world_read_end(w, &r);
}

#define TEST(f)    cmocka_unit_test_setup_teardown(f, world_set_up_with_a_peer, world_tear_down)
#define BATCHES(f) cmocka_unit_test_setup_teardown(f, set_up_batches, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_chunk_that_is_its_own_unit_takes_the_way_of_units),
		TEST(a_wrong_chunk_is_held_against_its_giver_and_asked_for_again),
		TEST(what_came_packed_is_unpacked_verified_and_passed_on_as_it_came),
		TEST(what_does_not_unpack_is_held_against_its_giver),
		TEST(a_chunk_is_kept_while_its_question_goes_on),
		TEST(neighbours_that_nobody_waits_for_are_kept_by_one_write),
		TEST(a_wrong_one_among_neighbours_costs_nobody_but_itself),
		TEST(what_nobody_asked_for_is_thrown_away),
		BATCHES(a_reader_gets_its_chunk_before_the_rest_of_the_unit),
		BATCHES(a_unit_is_settled_when_its_last_chunk_is_here),
		BATCHES(workers_may_be_done_with_a_unit_before_the_loop_hears_of_its_chunks),
		BATCHES(what_a_peer_gave_of_a_unit_is_kept_when_the_origin_brings_the_rest),
		BATCHES(a_wrong_chunk_of_a_unit_is_asked_of_the_same_source_again),
		BATCHES(a_wrong_chunk_of_a_unit_fails_nobody_who_wants_another),
		BATCHES(a_prefetch_of_a_part_of_a_unit_is_done_where_another_part_is_wrong),
		BATCHES(chunks_of_a_unit_may_come_packed),
		BATCHES(a_full_disk_does_not_keep_chunks_of_units_from_readers),
		TEST(a_unit_that_finds_no_memory_to_unpack_is_asked_for_again),
		TEST(what_finds_no_memory_is_asked_for_more_and_more_rarely),
		BATCHES(what_finds_no_memory_is_asked_for_more_and_more_rarely),
		BATCHES(a_chunk_that_was_not_looked_at_for_want_of_memory_is_nobodys),
		BATCHES(a_blob_may_be_closed_while_a_worker_has_chunks_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
