/*
 * The fetch engine among fakes: what is expected to be read soon.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_world.h"
#include "mem.h"
#include <event2/event.h>
#include <stdlib.h>

#define BIG_BYTES (64U << 10)

static int set_up(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES };

	return world_set_up(state, &wish);
}

static int set_up_large(void **state)
{
	const struct world_wish wish = { .n_chunks = 2048, .chunk_bytes = BIG_BYTES };

	return world_set_up(state, &wish);
}

static int set_up_units(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES, .chunks_per_unit = 4 };

	return world_set_up(state, &wish);
}

struct watch {
	uint32_t n_done;
	uint64_t asked_bytes;
};

static void on_done(void *arg, uint64_t packed_bytes_asked)
{
	struct watch *watch = arg;

	watch->n_done++;
	watch->asked_bytes = packed_bytes_asked;
}

static struct fetch_bring *bring(struct engine_world *w, const struct fetch_stretch *stretches,
                                 uint32_t n, struct watch *watch)
{
	const struct fetch_bring_opts opts = { .blobs = &w->blob,
		                               .n_blobs = 1,
		                               .stretches = stretches,
		                               .n_stretches = n,
		                               .done = on_done,
		                               .arg = watch };

	return fetch_bring_start(w->fetch, &opts);
}

static void was_asked(const struct engine_world *w, uint32_t i, uint32_t first_unit,
                      uint32_t n_units)
{
	assert_true(i < w->origin.n_asks);
	assert_int_equal(w->origin.asks[i].run.first_unit, first_unit);
	assert_int_equal(w->origin.asks[i].run.n_units, n_units);
	assert_false(w->origin.asks[i].run.reader);
}

static void neighbours_share_a_question_and_nothing_else_is_asked_for(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 100, 2 },
		                                          { 0, 7, 1 },
		                                          { 0, 102, 3 } };
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	(void)bring(w, stretches, 3, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(w->origin.n_asks, 2);
	was_asked(w, 0, 7, 1);
	was_asked(w, 1, 100, 5);
	assert_int_equal(watch.asked_bytes, 6 * BIG_BYTES);
	world_serve(w);
	assert_true(cas_blob_is_present(w->cas, 104));
	assert_int_equal(w->origin.n_asks, 2);
}

static void what_is_here_or_nowhere_is_passed_over(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 10, 5 },
		                                          { 0, WORLD_CHUNKS - 1, 100 },
		                                          { 0, WORLD_CHUNKS, 1 },
		                                          { 0, UINT32_MAX - 1, 1 },
		                                          { 1, 0, 1 } };
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_set_ready(w->cas, 12);
	(void)bring(w, stretches, 5, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(w->origin.n_asks, 3);
	was_asked(w, 0, 10, 2);
	was_asked(w, 1, 13, 2);
	was_asked(w, 2, WORLD_CHUNKS - 1, 1);
	world_serve(w);
}

static void a_unit_of_several_is_asked_for_once_though_nobody_has_it(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 2, 7 } }; /* of three units */
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	w->origin.refuse = SOURCE_MISS;
	(void)bring(w, stretches, 1, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(watch.asked_bytes, 3 * 4 * BIG_BYTES);
}

static void with_all_of_it_here_nothing_is_asked_for(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 3, 1 } };
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_set_ready(w->cas, 3);
	(void)bring(w, stretches, 1, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(w->origin.n_asks, 0);
	assert_int_equal(watch.asked_bytes, 0);
}

static void a_reader_waits_for_what_is_on_its_way(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 20, 4 } };
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct world_read r = { 0 };

	(void)bring(w, stretches, 1, &watch);
	world_wait(w, &watch.n_done, 1);
	assert_int_equal(world_read_start(w, &r, 21, 2), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	world_serve(w);
	world_read_ends_well(w, &r);
}

static void it_has_a_bound_whatever_the_list_says(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 0, UINT32_MAX } };
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	(void)bring(w, stretches, 1, &watch);
	world_wait(w, &w->origin.n_asks, 1);
	while (watch.n_done == 0) {
		world_serve(w);
		(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
		world_settle(w);
	}
	assert_in_range(watch.asked_bytes, 32U << 20, (32U << 20) + (1U << 20));
	world_serve(w);
}

static void a_cancelled_one_asks_no_more(void **state)
{
	static const struct fetch_stretch stretches[] = { { 0, 20, 4 } };
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fetch_bring_cancel(bring(w, stretches, 1, &watch));
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 0);
	assert_int_equal(watch.n_done, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			neighbours_share_a_question_and_nothing_else_is_asked_for, set_up,
			world_tear_down),
		cmocka_unit_test_setup_teardown(what_is_here_or_nowhere_is_passed_over, set_up,
		                                world_tear_down),
		cmocka_unit_test_setup_teardown(
			a_unit_of_several_is_asked_for_once_though_nobody_has_it, set_up_units,
			world_tear_down),
		cmocka_unit_test_setup_teardown(with_all_of_it_here_nothing_is_asked_for, set_up,
		                                world_tear_down),
		cmocka_unit_test_setup_teardown(a_reader_waits_for_what_is_on_its_way, set_up,
		                                world_tear_down),
		cmocka_unit_test_setup_teardown(it_has_a_bound_whatever_the_list_says, set_up_large,
		                                world_tear_down),
		cmocka_unit_test_setup_teardown(a_cancelled_one_asks_no_more, set_up,
		                                world_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
