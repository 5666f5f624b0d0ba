/*
 * Leases: units that a source lets be asked from the next one in everybody's name; and what else a
 * source may say while it is at it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_world.h"
#include <errno.h>
#include <string.h>

static void leased_units_go_to_the_next_source_at_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 100, 8);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 0);
	fake_source_lease(&w->peer, 0, 77, 102, 3);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1); /* and the peer goes on with the rest */
	assert_int_equal(w->origin.asks[0].run.first_unit, 102);
	assert_int_equal(w->origin.asks[0].run.n_units, 3);
	assert_true(w->peer.asks[0].open);
	world_chunk(w, &w->peer, 0, 103, 1); /* not the peer's any more */
	for (uint32_t i = 0; i < 3; i++)
		world_give(w, &w->origin, 0, 102 + i);
	world_settle(w);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 0);
	assert_int_equal(w->peer.n_lease_ends, 1);
	assert_int_equal(w->peer.lease_ends[0].token, 77);
	assert_true(w->peer.lease_ends[0].ok);
	for (uint32_t i = 100; i < 108; i++) {
		if (i < 102 || i > 104)
			world_chunk(w, &w->peer, 0, i, 0);
	}
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	assert_int_equal(w->peer.n_lease_ends, 1);
	world_read_end(w, &r);
}

static void a_lease_over_units_that_came_covers_what_is_left(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 100, 4);
	world_settle(w);
	world_chunk(w, &w->peer, 0, 101, 0);
	fake_source_lease(&w->peer, 0, 5, 100, 4);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 2); /* 100; 102, 103 */
	world_give(w, &w->origin, world_ask_of(&w->origin, 100), 100);
	world_settle(w);
	assert_int_equal(w->peer.n_lease_ends, 0);
	world_give(w, &w->origin, world_ask_of(&w->origin, 102), 102);
	world_give(w, &w->origin, world_ask_of(&w->origin, 103), 103);
	world_settle(w);
	assert_int_equal(w->peer.n_lease_ends, 1);
	assert_true(w->peer.lease_ends[0].ok);
	assert_int_equal(r.n_done, 1);
	world_read_end(w, &r);
}

static void a_lease_over_nothing_that_was_asked_for_ends_at_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint32_t n_units;

	(void)world_read_start(w, &r, 100, 1);
	world_settle(w);
	n_units = w->peer.asks[0].run.n_units;
	fake_source_lease(&w->peer, 0, 5, 1, 1);
	fake_source_lease(&w->peer, 0, 6, 100, n_units + 1);
	fake_source_lease(&w->peer, 0, 7, UINT32_MAX, UINT32_MAX);
	assert_int_equal(w->origin.n_asks, 0);
	assert_int_equal(w->peer.n_lease_ends, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_false(w->peer.lease_ends[i].ok);
	fetch_cancel(w->fetch, &r.read);
	world_read_end(w, &r);
}

static void a_lease_ends_as_failed_when_the_origin_fails_and_peers_are_asked_again(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 100, 1);
	world_settle(w);
	fake_source_lease(&w->peer, 0, 5, 100, w->peer.asks[0].run.n_units);
	fake_source_end(&w->peer, 0, SOURCE_OK, NULL);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	world_settle(w);
	assert_int_equal(w->peer.n_lease_ends, 1);
	assert_false(w->peer.lease_ends[0].ok);
	world_wait(w, &w->peer.n_asks, 2);
	world_chunk(w, &w->peer, 1, 100, 0);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void a_full_disk_at_the_lease_holder_is_a_failed_lease(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	(void)world_read_start(w, &r, 100, 1);
	world_settle(w);
	fake_source_lease(&w->peer, 0, 5, 100, 1);
	world_settle(w);
	world_give(w, &w->origin, 0, 100);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(w->peer.n_lease_ends, 1);
	assert_false(w->peer.lease_ends[0].ok);
	world_read_end(w, &r);
}

static void progress_of_leased_units_is_told(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 100, 1);
	world_settle(w);
	fake_source_lease(&w->peer, 0, 5, 100, 1);
	world_settle(w);
	fake_source_wait(&w->origin, 0, 1000);
	fake_source_wait(&w->origin, 0, 1000);
	fake_source_wait(&w->origin, 0, 1500);
	assert_int_equal(w->peer.lease_bytes, 1500);
	world_give(w, &w->origin, 0, 100);
	world_settle(w);
	world_read_end(w, &r);
}

static void progress_is_told_as_long_as_a_leased_unit_is_to_come(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 100, 4);
	world_settle(w);
	fake_source_lease(&w->peer, 0, 5, 100, 4);
	world_settle(w);
	fake_source_wait(&w->origin, 0, 1000);
	world_give(w, &w->origin, 0, 100);
	world_give(w, &w->origin, 0, 102);
	world_settle(w);
	fake_source_wait(&w->origin, 0, 1500);
	world_give(w, &w->origin, 0, 101);
	world_settle(w);
	fake_source_wait(&w->origin, 0, 2100);
	assert_int_equal(w->peer.lease_bytes, 2100);
	world_give(w, &w->origin, 0, 103);
	world_settle(w);
	assert_int_equal(w->peer.n_lease_ends, 1);
	assert_true(w->peer.lease_ends[0].ok);
	world_read_end(w, &r);
}

static void progress_moves_the_deadline_of_a_question_and_nothing_else_does(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint64_t first_ns;

	(void)world_read_start(w, &r, 100, 1);
	world_settle(w);
	first_ns = w->peer.asks[0].live->deadline_ns;
	fake_clock_advance_ms(&w->clock, 50);
	fake_source_wait(&w->peer, 0, 0);
	assert_int_equal(w->peer.asks[0].live->deadline_ns, first_ns);
	fake_source_wait(&w->peer, 0, 10);
	assert_int_equal(w->peer.asks[0].live->deadline_ns, first_ns + 50 * NS_PER_MS);
	fetch_cancel(w->fetch, &r.read);
	world_read_end(w, &r);
}

static void a_reader_that_joins_readahead_hurries_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read quiet = { .read = { .prefetch = true } };
	struct world_read r = { 0 };

	(void)world_read_start(w, &quiet, 100, 4);
	world_settle(w);
	assert_false(w->peer.asks[0].live->reader);
	(void)world_read_start(w, &r, 102, 1);
	world_settle(w);
	assert_int_equal(w->peer.n_hurries, 1);
	assert_true(w->peer.asks[0].live->reader);
	fetch_cancel(w->fetch, &r.read);
	fetch_cancel(w->fetch, &quiet.read);
	world_read_end(w, &r);
	world_read_end(w, &quiet);
}

static void what_a_source_says_of_whom_it_asked_is_remembered(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	struct fetch_event events[4];

	(void)world_read_start(w, &r, 100, 1);
	world_settle(w);
	w->peer.asks[0].ev->note(w->peer.asks[0].arg, "b: has it, 3 ms");
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	world_settle(w);
	assert_int_equal(fetch_explain(w->fetch, cas_blob_key(w->cas), 100, events, 4), 3);
	assert_int_equal(events[0].kind, FETCH_STEP);
	assert_string_equal(events[0].source, "peer");
	assert_non_null(strstr(events[0].detail, "has it"));
	assert_int_equal(events[1].kind, FETCH_ANSWER);
	assert_string_equal(events[2].source, "origin"); /* which is asked now */
	assert_int_equal(events[2].kind, FETCH_OPEN);
	fetch_cancel(w->fetch, &r.read);
	world_read_end(w, &r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up_with_a_peer, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(leased_units_go_to_the_next_source_at_once),
		TEST(a_lease_over_units_that_came_covers_what_is_left),
		TEST(a_lease_over_nothing_that_was_asked_for_ends_at_once),
		TEST(a_lease_ends_as_failed_when_the_origin_fails_and_peers_are_asked_again),
		TEST(a_full_disk_at_the_lease_holder_is_a_failed_lease),
		TEST(progress_of_leased_units_is_told),
		TEST(progress_is_told_as_long_as_a_leased_unit_is_to_come),
		TEST(progress_moves_the_deadline_of_a_question_and_nothing_else_does),
		TEST(a_reader_that_joins_readahead_hurries_it),
		TEST(what_a_source_says_of_whom_it_asked_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
