/*
 * The fetch engine among fakes: who goes first, and how much is in flight.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "engine_world.h"
#include "mem.h"
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#define BIG_BYTES (UINT64_C(64) << 10)

static int set_up(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES,
		                         .in_flight_max_bytes = 4 * BIG_BYTES };

	return world_set_up(state, &wish);
}

static int set_up_roomy(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES };

	return world_set_up(state, &wish);
}

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	(void)arg;
	assert_true(done_bytes <= total_bytes);
}

static void on_prefetch_done(void *arg, int result, const struct err *why)
{
	(void)arg;
	(void)why;
	assert_int_equal(result, -ECANCELED);
}

/* It has asked for something when this returns. */
static struct fetch_prefetch *prefetch(struct engine_world *w)
{
	const struct fetch_prefetch_opts opts = {
		.blobs = &w->blob, .n_blobs = 1, .progress = on_progress, .done = on_prefetch_done
	};
	struct fetch_prefetch *p = fetch_prefetch_start(w->fetch, &opts);

	world_wait(w, &w->origin.n_asks, 1);
	return p;
}

/* Packed bytes that were asked for and did not come. */
static uint64_t asked_bytes(const struct fake_source *s)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < s->n_asks; i++)
		bytes += s->asks[i].open ? (uint64_t)s->asks[i].run.n_units * BIG_BYTES : 0;
	return bytes;
}

/* Answer everything that is asked, in order. @return the largest number of bytes in flight */
static uint64_t serve_all(struct engine_world *w)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		most = asked_bytes(&w->origin) > most ? asked_bytes(&w->origin) : most;
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
		world_settle(w);
	}
	return most;
}

static void readers_together_stay_within_the_budget(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[32] = { 0 };
	uint64_t most;

	for (uint32_t i = 0; i < 32; i++)
		(void)world_read_start(w, &r[i], i * 10, 1);
	world_settle(w);
	most = serve_all(w);
	assert_in_range(most, 1, 4 * BIG_BYTES);
	for (uint32_t i = 0; i < 32; i++)
		world_read_ends_well(w, &r[i]);
}

static void units_above_the_budget_go_alone(void **state)
{
	const struct world_wish wish = { .n_chunks = 64,
		                         .chunk_bytes = BIG_BYTES,
		                         .in_flight_max_bytes = BIG_BYTES / 2 };
	struct engine_world *w = xcalloc(1, sizeof(*w));
	struct world_read r[3] = { 0 };

	(void)state;
	world_open(w, &wish);
	for (uint32_t i = 0; i < 3; i++)
		(void)world_read_start(w, &r[i], i * 10, 1);
	world_settle(w);
	assert_int_equal(serve_all(w), BIG_BYTES);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(r[i].n_done, 1);
		world_read_end(w, &r[i]);
	}
	world_close(w);
	free(w);
}

static void a_reader_overtakes_a_prefetch(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_prefetch *p = prefetch(w);
	uint32_t ask;

	world_settle(w);
	/* What the prefetch asked for has not come; the reader's question does not wait for it. */
	assert_int_equal(world_read_start(w, &r, WORLD_CHUNKS - 1, 1), FETCH_PENDING);
	world_settle(w);
	ask = world_ask_of(&w->origin, WORLD_CHUNKS - 1);
	assert_true(w->origin.asks[ask].run.reader);
	world_give(w, &w->origin, ask, WORLD_CHUNKS - 1);
	world_settle(w);
	world_read_ends_well(w, &r);
	fetch_prefetch_cancel(p);
}

static void a_reader_overtakes_units_that_wait_for_a_worker(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_prefetch *p = prefetch(w);
	uint32_t n_left;

	assert_true(w->origin.asks[0].run.n_units >= 40);
	/* Many have come: some are with the workers, the rest waits in the engine. */
	for (uint32_t i = 0; i < 40; i++)
		world_give(w, &w->origin, 0, i);
	(void)world_read_start(w, &r, 39, 1);
	(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
	n_left = fake_pool_n_waiting(w->pool);
	assert_true(n_left > 1);
	(void)fake_pool_run_one(w->pool); /* readers first */
	world_read_ends_well(w, &r);
	fetch_prefetch_cancel(p);
}

static void closing_a_blob_cancels_what_was_asked_for_it(void **state)
{
	struct engine_world *w = *state;
	struct fetch_prefetch *p = prefetch(w);

	fetch_prefetch_cancel(p);
	fetch_blob_release(&w->blob);
	assert_int_equal(w->origin.n_cancels, w->origin.n_asks);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
}

/* Readers of an image have all the room, and what they read is unmounted. */
static void a_blob_that_is_closed_leaves_its_room_to_others(void **state)
{
	struct engine_world *w = *state;
	struct world_blob silent = world_blob_open(w, WORLD_CHUNKS, BIG_BYTES);
	struct world_read r[4] = { 0 };
	struct world_read other = { 0 };

	world_swap(w, &silent);
	for (uint32_t i = 0; i < ARRAY_LEN(r); i++)
		(void)world_read_start(w, &r[i], i * 10, 1);
	world_settle(w);
	world_swap(w, &silent);
	assert_int_equal(world_read_start(w, &other, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(fake_source_n_asks(&w->origin, w->cas), 0);
	fetch_blob_release(&silent.blob);
	world_settle(w);
	assert_int_equal(fake_source_n_asks(&w->origin, w->cas), 1);
	world_give_all(w, &w->origin, w->origin.n_asks - 1);
	world_settle(w);
	world_read_ends_well(w, &other);
	for (uint32_t i = 0; i < ARRAY_LEN(r); i++) {
		assert_int_equal(r[i].result, -EIO);
		world_read_end(w, &r[i]);
	}
	cas_blob_release(&silent.cas);
}

static void a_marked_unit_brings_the_next_window_before_the_reader_needs_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[64] = { 0 };
	uint32_t n_pending = 0;

	for (uint32_t i = 0; i < 64; i++) {
		n_pending += world_read_start(w, &r[i], i, 1) == FETCH_PENDING;
		world_settle(w);
		world_serve(w);
		assert_true(r[i].n_done <= 1);
		world_read_end(w, &r[i]);
	}
	/* All but the first few were here before they were asked for. */
	assert_in_range(n_pending, 1, 8);
}

static void on_a_full_disk_nothing_is_read_ahead(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	assert_int_equal(world_read_start(w, &r, 7, 2), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->origin.asks[0].run.first_unit, 7);
	assert_int_equal(w->origin.asks[0].run.n_units, 2);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
}

#define TEST(f)       cmocka_unit_test_setup_teardown(f, set_up, world_tear_down)
#define TEST_ROOMY(f) cmocka_unit_test_setup_teardown(f, set_up_roomy, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(readers_together_stay_within_the_budget),
		cmocka_unit_test(units_above_the_budget_go_alone),
		TEST_ROOMY(a_reader_overtakes_a_prefetch),
		TEST_ROOMY(a_reader_overtakes_units_that_wait_for_a_worker),
		TEST_ROOMY(closing_a_blob_cancels_what_was_asked_for_it),
		TEST(a_blob_that_is_closed_leaves_its_room_to_others),
		TEST_ROOMY(on_a_full_disk_nothing_is_read_ahead),
		TEST_ROOMY(a_marked_unit_brings_the_next_window_before_the_reader_needs_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
