/*
 * What is remembered of questions to sources, for people who ask why a read was slow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_world.h"
#include <string.h>

#define N_EVENTS 4

/* The last of what is remembered of a unit. @return how many of events[N_EVENTS] */
static uint32_t explain(const struct engine_world *w, uint32_t unit_idx, struct fetch_event *events)
{
	return fetch_explain(w->fetch, cas_blob_key(w->cas), unit_idx, events, N_EVENTS);
}

static void a_question_is_remembered(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_event events[N_EVENTS];
	uint64_t asked_ms;

	fake_clock_advance_ms(&w->clock, 7);
	asked_ms = clock_wall_ms(&w->clock.clock);
	assert_int_equal(asked_ms % MS_PER_S, 7);
	(void)world_read_start(w, &r, 60, 1);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 3);
	world_give(w, &w->origin, 0, 60);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_int_equal(explain(w, 60, events), 2);
	assert_string_equal(events[0].source, "peer");
	assert_int_equal(events[0].result, SOURCE_MISS);
	assert_string_equal(events[1].source, "origin");
	assert_true(events[1].reader);
	assert_int_equal(events[1].took_us, 3000);
	assert_int_equal(events[1].asked_wall_ms, asked_ms);
	assert_int_equal(explain(w, 59, events), 0);
	world_read_end(w, &r);
}

static struct fetch_event only_event(const struct engine_world *w, uint32_t unit_idx)
{
	struct fetch_event events[N_EVENTS];

	assert_int_equal(explain(w, unit_idx, events), 1);
	return events[0];
}

static void a_question_that_hangs_is_told_with_its_time_so_far(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_event event;

	(void)world_read_start(w, &r, 60, 2);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 3000);
	event = only_event(w, 60);
	assert_string_equal(event.source, "peer");
	assert_int_equal(event.kind, FETCH_OPEN);
	assert_true(event.reader);
	assert_int_equal(event.took_us, 3000000);
	world_give(w, &w->peer, 0, 60);
	/* That came; the question goes on. */
	assert_int_equal(only_event(w, 60).kind, FETCH_ANSWER);
	assert_int_equal(only_event(w, 60).result, SOURCE_OK);
	assert_int_equal(only_event(w, 61).kind, FETCH_OPEN);
	world_give_all(w, &w->peer, 0);
	world_settle(w);
	assert_int_equal(only_event(w, 60).kind, FETCH_ANSWER);
	assert_int_equal(only_event(w, 61).kind, FETCH_ANSWER);
	world_read_end(w, &r);
}

static void a_question_tells_of_each_unit_whether_it_gave_that_one(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_event events[N_EVENTS];

	(void)world_read_start(w, &r, 60, 3);
	world_settle(w);
	world_give(w, &w->peer, 0, 61);
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	world_settle(w);
	assert_int_equal(only_event(w, 61).result, SOURCE_OK);
	assert_int_equal(only_event(w, 61).n_units, 1);
	assert_int_equal(explain(w, 60, events), 2);
	assert_int_equal(events[0].result, SOURCE_MISS);
	assert_string_equal(events[1].source, "origin");
	assert_int_equal(events[1].kind, FETCH_OPEN);
	fetch_cancel(w->fetch, &r.read);
	world_read_end(w, &r);
}

static void of_a_question_that_was_leased_the_end_says_nothing(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_event events[N_EVENTS];

	(void)world_read_start(w, &r, 60, 2);
	world_settle(w);
	fake_source_lease(&w->peer, 0, 77, 60, 1);
	world_settle(w);
	assert_int_equal(explain(w, 60, events), 2);
	assert_int_equal(events[0].kind, FETCH_LEASE);
	assert_string_equal(events[1].source, "origin");
	assert_int_equal(events[1].kind, FETCH_OPEN);
	world_give_all(w, &w->origin, 0);
	world_give_all(w, &w->peer, 0);
	world_settle(w);
	assert_int_equal(explain(w, 60, events), 2);
	assert_int_equal(events[0].kind, FETCH_LEASE);
	assert_string_equal(events[1].source, "origin");
	assert_int_equal(events[1].result, SOURCE_OK);
	assert_string_equal(only_event(w, 61).source, "peer");
	world_read_end(w, &r);
}

static void what_is_scattered_is_told_in_few_words(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_event events[N_EVENTS];
	const uint32_t n = 100;

	(void)world_read_start(w, &r, 60, n);
	world_settle(w);
	assert_int_equal(w->peer.n_asks, 1);
	for (uint32_t i = 0; i < n; i += 2)
		world_give(w, &w->peer, 0, 60 + i);
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	assert_int_equal(only_event(w, 60).result, SOURCE_OK);
	assert_int_equal(explain(w, 61, events), 2);
	assert_int_equal(events[0].kind, FETCH_ANSWER);
	assert_int_equal(only_event(w, 60 + n - 2).kind, FETCH_SOME);
	world_settle(w);
	fetch_cancel(w->fetch, &r.read);
	world_read_end(w, &r);
}

static void what_waits_for_its_turn_is_told_to(void **state)
{
	struct engine_world *w = *state;
	struct world_read first = { .read = { .prefetch = true } };
	struct world_read r = { .read = { .prefetch = true } };
	struct fetch_event event;

	(void)world_read_start(w, &first, 60, 4);
	(void)world_read_start(w, &r, 200, 4);
	world_settle(w);
	event = only_event(w, 200);
	assert_int_equal(event.kind, FETCH_OPEN);
	assert_string_equal(event.source, FETCH_NOBODY);
	assert_non_null(strstr(event.detail, "its turn"));
	fetch_cancel(w->fetch, &first.read);
	fetch_cancel(w->fetch, &r.read);
	world_read_end(w, &first);
	world_read_end(w, &r);
}

static int set_up_narrow(void **state)
{
	const struct world_wish wish = { .peer_answers = true, .in_flight_max_bytes = 16384 };

	return world_set_up(state, &wish);
}

/* Nobody has the unit: two questions each time. */
static void ask_in_vain(struct engine_world *w, uint32_t unit_idx, uint32_t n_times)
{
	for (uint32_t i = 0; i < n_times; i++) {
		struct world_read r = { 0 };

		w->peer.n_asks = w->origin.n_asks = 0; /* none is open */
		fake_clock_advance_ms(&w->clock, 1);
		(void)world_read_start(w, &r, unit_idx, 1);
		world_settle(w);
		assert_int_equal(r.n_done, 1);
		world_read_end(w, &r);
	}
}

static void a_container_start_later_a_question_is_remembered_and_the_newest_are_told(void **state)
{
	struct engine_world *w = *state;
	struct fetch_event events[N_EVENTS];

	w->peer.refuse = SOURCE_GONE;
	w->origin.refuse = SOURCE_GONE;
	ask_in_vain(w, 60, 1);
	ask_in_vain(w, 80, 1000);
	assert_int_equal(explain(w, 60, events), 2);
	assert_int_equal(explain(w, 80, events), 4);
	assert_int_equal(events[3].asked_wall_ms, clock_wall_ms(&w->clock.clock));
	assert_int_equal(events[0].asked_wall_ms, clock_wall_ms(&w->clock.clock) - 1);
	assert_int_equal(fetch_explain_since_ms(w->fetch), 0);
	ask_in_vain(w, 80, 2000);
	assert_int_equal(explain(w, 60, events), 0);
	assert_true(fetch_explain_since_ms(w->fetch) > 0);
	assert_true(fetch_explain_since_ms(w->fetch) < clock_wall_ms(&w->clock.clock) - 2000);
}

#define TEST_WITH(f, up) cmocka_unit_test_setup_teardown(f, up, world_tear_down)
#define TEST(f)          cmocka_unit_test_setup_teardown(f, world_set_up_plain, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_question_is_remembered),
		TEST_WITH(a_question_that_hangs_is_told_with_its_time_so_far,
		          world_set_up_with_a_peer),
		TEST_WITH(a_question_tells_of_each_unit_whether_it_gave_that_one,
		          world_set_up_with_a_peer),
		TEST_WITH(of_a_question_that_was_leased_the_end_says_nothing,
		          world_set_up_with_a_peer),
		TEST_WITH(what_is_scattered_is_told_in_few_words, world_set_up_with_a_peer),
		TEST_WITH(what_waits_for_its_turn_is_told_to, set_up_narrow),
		TEST(a_container_start_later_a_question_is_remembered_and_the_newest_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
