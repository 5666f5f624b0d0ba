/*
 * The fetch engine among fakes: who goes first, how much is in flight, and whole blobs.
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
#include <string.h>

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

struct watch {
	uint32_t n_done;
	int result;
	uint64_t done_bytes, total_bytes;
	uint32_t n_progress;
};

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct watch *watch = arg;

	assert_true(done_bytes >= watch->done_bytes && done_bytes <= total_bytes);
	watch->done_bytes = done_bytes;
	watch->total_bytes = total_bytes;
	watch->n_progress++;
}

static void on_prefetch_done(void *arg, int result, const struct err *why)
{
	struct watch *watch = arg;

	(void)why;
	watch->n_done++;
	watch->result = result;
}

static struct fetch_prefetch *prefetch(struct engine_world *w, struct watch *watch)
{
	const struct fetch_prefetch_opts opts = { .blobs = &w->blob,
		                                  .n_blobs = 1,
		                                  .progress = on_progress,
		                                  .done = on_prefetch_done,
		                                  .arg = watch };

	return fetch_prefetch_start(w->fetch, &opts);
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
	for (uint32_t i = 0; i < 32; i++) {
		assert_int_equal(r[i].n_done, 1);
		assert_int_equal(r[i].result, 0);
		world_read_is_right(w, &r[i]);
		world_read_end(w, &r[i]);
	}
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

/* @return packed bytes of the largest question */
static uint64_t bring_everything_once(struct engine_world *w)
{
	uint64_t largest_bytes = 0;
	uint32_t next_unit = 0;
	struct watch watch = { 0 };
	uint32_t n_units = 0;

	fake_cas_set_ready(w->cas, 5);
	(void)prefetch(w, &watch);
	world_wait(w, &w->origin.n_asks, 1);
	while (watch.n_done == 0) {
		for (uint32_t i = 0; i < w->origin.n_asks; i++) {
			assert_false(w->origin.asks[i].run.reader);
			if (!w->origin.asks[i].open)
				continue;
			assert_true(w->origin.asks[i].run.first_unit >= next_unit);
			next_unit = w->origin.asks[i].run.first_unit;
			n_units += w->origin.asks[i].run.n_units;
			largest_bytes = max_u64(
				largest_bytes, (uint64_t)BIG_BYTES * w->origin.asks[i].run.n_units);
			world_give_all(w, &w->origin, i);
		}
		(void)event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
		world_settle(w);
	}
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, 0);
	assert_int_equal(n_units, WORLD_CHUNKS - 1);
	assert_true(watch.n_progress > 1);
	assert_int_equal(watch.done_bytes, (uint64_t)WORLD_CHUNKS * BIG_BYTES);
	assert_int_equal(watch.total_bytes, watch.done_bytes);
	return largest_bytes;
}

static void a_prefetch_brings_everything_once(void **state)
{
	assert_true(bring_everything_once(*state) > BIG_BYTES);
}

static void among_neighbours_a_prefetch_goes_the_same_way_in_small_runs(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES,
		                         .prefetch_run_bytes = 2 * BIG_BYTES };
	struct engine_world *w = xcalloc(1, sizeof(*w));

	(void)state;
	world_open(w, &wish);
	assert_int_equal(bring_everything_once(w), 2 * BIG_BYTES);
	world_close(w);
	free(w);
}

static void a_prefetch_asks_again_for_what_failed(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	bool failed = false;

	(void)prefetch(w, &watch);
	world_wait(w, &w->origin.n_asks, 1);
	while (watch.n_done == 0) {
		for (uint32_t i = 0; i < w->origin.n_asks; i++) {
			if (!w->origin.asks[i].open)
				continue;
			if (failed)
				world_give_all(w, &w->origin, i);
			else
				fake_source_end(&w->origin, i, -EAGAIN, "reset");
			failed = true;
		}
		(void)event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
		world_settle(w);
	}
	assert_int_equal(watch.result, 0);
	assert_int_equal(cas_blob_is_present(w->cas, 0), true);
}

static void a_prefetch_ends_when_the_disk_is_full(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	(void)prefetch(w, &watch);
	world_wait(w, &w->origin.n_asks, 1);
	while (watch.n_done == 0) {
		for (uint32_t i = 0; i < w->origin.n_asks; i++) {
			if (w->origin.asks[i].open)
				world_give_all(w, &w->origin, i);
		}
		(void)event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
		world_settle(w);
	}
	assert_int_equal(watch.result, -ENOSPC);
	assert_in_range(w->origin.n_asks, 1, 8);
}

/* One turn of a prefetch at which all that was asked for comes. */
static void give_all_once(struct engine_world *w)
{
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
	}
	(void)event_base_loop(loop_base(w->loop), EVLOOP_ONCE);
	world_settle(w);
}

static void a_prefetch_fetches_again_what_is_evicted_meanwhile(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_put_says(w->cas, CAS_MISS);
	(void)prefetch(w, &watch);
	world_wait(w, &w->origin.n_asks, 1);
	while (watch.n_done == 0) {
		give_all_once(w);
		fake_cas_put_says(w->cas, 0);
	}
	assert_int_equal(watch.result, 0);
	assert_true(cas_blob_is_present(w->cas, 0));
}

/* The image is larger than the cache, and the registry slower than eviction. */
static void a_prefetch_ends_where_all_is_evicted_as_it_comes(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_put_says(w->cas, CAS_MISS);
	(void)prefetch(w, &watch);
	world_wait(w, &w->origin.n_asks, 1);
	for (uint32_t i = 0; i < 300 && watch.n_done == 0; i++)
		give_all_once(w);
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, -ENOSPC);
}

static void a_prefetch_that_is_cancelled_says_so_at_once(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);

	world_wait(w, &w->origin.n_asks, 1);
	fetch_prefetch_cancel(p);
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, -ECANCELED);
}

static void a_reader_overtakes_a_prefetch(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct world_read r = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);
	uint32_t ask;

	world_wait(w, &w->origin.n_asks, 1);
	world_settle(w);
	/* What the prefetch asked for has not come; the reader's question does not wait for it. */
	assert_int_equal(world_read_start(w, &r, WORLD_CHUNKS - 1, 1), FETCH_PENDING);
	world_settle(w);
	ask = world_ask_of(&w->origin, WORLD_CHUNKS - 1);
	assert_true(w->origin.asks[ask].run.reader);
	world_give(w, &w->origin, ask, WORLD_CHUNKS - 1);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
	fetch_prefetch_cancel(p);
}

static void a_reader_overtakes_units_that_wait_for_a_worker(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct world_read r = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);
	uint32_t n_left;

	world_wait(w, &w->origin.n_asks, 1);
	assert_true(w->origin.asks[0].run.n_units >= 40);
	/* Many have come: some are with the workers, the rest waits in the engine. */
	for (uint32_t i = 0; i < 40; i++)
		world_give(w, &w->origin, 0, i);
	(void)world_read_start(w, &r, 39, 1);
	(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
	n_left = fake_pool_n_waiting(w->pool);
	assert_true(n_left > 1);
	(void)fake_pool_run_one(w->pool); /* readers first */
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
	fetch_prefetch_cancel(p);
}

static void closing_a_blob_cancels_what_was_asked_for_it(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);

	world_wait(w, &w->origin.n_asks, 1);
	fetch_prefetch_cancel(p);
	fetch_blob_release(&w->blob);
	assert_int_equal(w->origin.n_cancels, w->origin.n_asks);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
}

static void a_marked_unit_brings_the_next_window_before_the_reader_needs_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[64] = { 0 };
	uint32_t n_pending = 0;

	for (uint32_t i = 0; i < 64; i++) {
		n_pending += world_read_start(w, &r[i], i, 1) == FETCH_PENDING;
		world_settle(w);
		(void)serve_all(w);
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
		TEST_ROOMY(a_prefetch_brings_everything_once),
		cmocka_unit_test(among_neighbours_a_prefetch_goes_the_same_way_in_small_runs),
		TEST_ROOMY(a_prefetch_asks_again_for_what_failed),
		TEST_ROOMY(a_prefetch_ends_when_the_disk_is_full),
		TEST_ROOMY(a_prefetch_fetches_again_what_is_evicted_meanwhile),
		TEST_ROOMY(a_prefetch_ends_where_all_is_evicted_as_it_comes),
		TEST_ROOMY(a_prefetch_that_is_cancelled_says_so_at_once),
		TEST_ROOMY(a_reader_overtakes_a_prefetch),
		TEST_ROOMY(a_reader_overtakes_units_that_wait_for_a_worker),
		TEST_ROOMY(closing_a_blob_cancels_what_was_asked_for_it),
		TEST_ROOMY(on_a_full_disk_nothing_is_read_ahead),
		TEST_ROOMY(a_marked_unit_brings_the_next_window_before_the_reader_needs_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
