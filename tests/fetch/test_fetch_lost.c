/*
 * The fetch engine when sources have nothing to give: who is asked then, and who may still wait.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_world.h"
#include <errno.h>
#include <string.h>

static int set_up(void **state)
{
	const struct world_wish wish = { .read_timeout_ms = 2000 };

	return world_set_up(state, &wish);
}

static void a_source_that_is_down_is_asked_behind_the_others(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->peer.down = true;
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->peer.n_asks, 0);
	assert_int_equal(w->origin.n_asks, 1);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(w->peer.n_asks, 0);
	world_read_end(w, &r);
}

static void it_is_asked_all_the_same_when_nobody_else_has_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->peer.down = true;
	w->peer.refuse = 0;
	w->origin.refuse = SOURCE_GONE;
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->peer.n_asks, 1);
	world_give_all(w, &w->peer, 0);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.read.found, FOUND_PEER);
	world_read_end(w, &r);
}

static void when_all_have_said_no_the_reader_hears_it_at_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->peer.down = true;
	w->peer.refuse = SOURCE_GONE;
	w->origin.refuse = SOURCE_GONE;
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->peer.n_asks, 1);
	assert_non_null(strstr(r.why, "peer does not have it")); /* it comes before the other */
	world_read_end(w, &r);
}

static void read_while_joining(struct engine_world *w, struct world_read *r)
{
	fake_cas_set_joining(w->cas, true);
	w->peer.refuse = SOURCE_GONE;
	w->origin.refuse = SOURCE_GONE;
	assert_int_equal(world_read_start(w, r, 7, 2), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(r->n_done, 0);
}

static void a_read_waits_for_the_join_and_takes_what_it_finds(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };
	uint32_t n_asks;

	read_while_joining(w, &r);
	n_asks = w->origin.n_asks;
	fake_cas_set_candidate(w->cas, 7, true);
	fake_cas_set_candidate(w->cas, 8, true);
	fake_cas_set_joining(w->cas, false);
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.read.found, FOUND_DEDUP);
	world_read_is_right(w, &r);
	assert_int_equal(w->origin.n_asks, n_asks); /* what it said is final */
	world_read_end(w, &r);
}

static void when_the_join_finds_nothing_it_fails(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	read_while_joining(w, &r);
	fake_cas_set_joining(w->cas, false);
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	world_read_end(w, &r);
}

static void a_join_that_takes_too_long_is_not_waited_for(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	read_while_joining(w, &r);
	fake_clock_advance_ms(&w->clock, 2001);
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	fake_cas_set_joining(w->cas, false);
	world_read_end(w, &r);
}

/* Everybody fails, another blob gets the chunk meanwhile: nobody is asked again. */
static void what_another_blob_got_meanwhile_is_not_asked_for_again(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->origin.refuse = -EAGAIN;
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	fake_cas_set_candidate(w->cas, 7, true);
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.read.found, FOUND_DEDUP);
	assert_int_equal(w->origin.n_asks, 1);
	world_read_end(w, &r);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_source_that_is_down_is_asked_behind_the_others),
		TEST(it_is_asked_all_the_same_when_nobody_else_has_it),
		TEST(when_all_have_said_no_the_reader_hears_it_at_once),
		TEST(a_read_waits_for_the_join_and_takes_what_it_finds),
		TEST(when_the_join_finds_nothing_it_fails),
		TEST(a_join_that_takes_too_long_is_not_waited_for),
		TEST(what_another_blob_got_meanwhile_is_not_asked_for_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
