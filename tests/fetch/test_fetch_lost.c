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

#define FEW     2U /* units for which there is room */
#define READERS 8U

static int set_up_small(void **state)
{
	const struct world_wish wish = { .in_flight_max_bytes = (uint64_t)FEW * WORLD_CHUNK_BYTES };

	return world_set_up(state, &wish);
}

static uint32_t chunk_of(uint32_t i)
{
	return 1 + 3 * i;
}

/* Each of a chunk whose neighbours are here: a question is for one unit. */
static void read_apart(struct engine_world *w, struct world_read *r, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		fake_cas_set_ready(w->cas, chunk_of(i) - 1);
		fake_cas_set_ready(w->cas, chunk_of(i) + 1);
		assert_int_equal(world_read_start(w, &r[i], chunk_of(i), 1), FETCH_PENDING);
	}
	world_settle(w);
}

static void what_waits_for_a_dead_registry_leaves_the_room_to_a_healthy_one(void **state)
{
	struct engine_world *w = *state;
	struct world_blob dead = world_blob_open(w, 64, WORLD_CHUNK_BYTES);
	struct world_read r[FEW] = { 0 };
	struct world_read healthy = { 0 };

	w->origin.refuse = -EAGAIN;
	w->origin.refused = dead.cas;
	world_swap(w, &dead);
	read_apart(w, r, FEW);
	world_swap(w, &dead);
	read_apart(w, &healthy, 1);
	world_serve(w);
	world_read_ends_well(w, &healthy);
	w->origin.refuse = 0;
	world_swap(w, &dead);
	for (uint32_t i = 0; i < FEW; i++) {
		while (r[i].n_done == 0) {
			world_turn(w);
			world_serve(w);
		}
		world_read_ends_well(w, &r[i]);
	}
	world_swap(w, &dead);
	world_blob_release(w, &dead);
}

static bool any_pauses(const struct engine_world *w)
{
	for (uint32_t i = 0; i < READERS; i++) {
		struct fetch_event events[8];
		const uint32_t n = fetch_explain(w->fetch, cas_blob_key(w->cas), chunk_of(i),
		                                 events, ARRAY_LEN(events));

		for (uint32_t k = 0; k < n; k++) {
			if (strstr(events[k].detail, "asked for again in a moment") != NULL)
				return true;
		}
	}
	return false;
}

static uint32_t n_open(const struct fake_source *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_asks; i++)
		n += s->asks[i].open;
	return n;
}

static void so_many_that_all_pauses_end_at_once_stay_within_the_room(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[READERS] = { 0 };

	w->origin.refuse = -EAGAIN;
	read_apart(w, r, READERS);
	assert_int_equal(w->origin.n_asks, READERS);
	w->origin.refuse = 0;
	while (any_pauses(w))
		world_turn(w);
	assert_int_equal(n_open(&w->origin), FEW);
	world_serve(w);
	for (uint32_t i = 0; i < READERS; i++)
		world_read_ends_well(w, &r[i]);
}

/* A prefetch asked, a reader came, nobody had it: what is asked then is asked for the reader. */
static void what_a_reader_waits_for_by_now_is_asked_again_in_his_name(void **state)
{
	struct engine_world *w = *state;
	struct world_read first = { .read = { .prefetch = true } };
	struct world_read r = { 0 };

	assert_int_equal(world_read_start(w, &first, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_false(w->origin.asks[0].run.reader);
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	world_wait(w, &w->origin.n_asks, 2);
	assert_true(w->origin.asks[1].run.reader);
	world_serve(w);
	world_read_ends_well(w, &r);
	assert_int_equal(first.result, 0);
	world_read_end(w, &first);
}

int main(void)
{
#define TEST(fn)       cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
#define TEST_SMALL(fn) cmocka_unit_test_setup_teardown(fn, set_up_small, world_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_source_that_is_down_is_asked_behind_the_others),
		TEST(it_is_asked_all_the_same_when_nobody_else_has_it),
		TEST(when_all_have_said_no_the_reader_hears_it_at_once),
		TEST(a_read_waits_for_the_join_and_takes_what_it_finds),
		TEST(when_the_join_finds_nothing_it_fails),
		TEST(a_join_that_takes_too_long_is_not_waited_for),
		TEST(what_another_blob_got_meanwhile_is_not_asked_for_again),
		TEST_SMALL(what_waits_for_a_dead_registry_leaves_the_room_to_a_healthy_one),
		TEST_SMALL(so_many_that_all_pauses_end_at_once_stay_within_the_room),
		TEST(what_a_reader_waits_for_by_now_is_asked_again_in_his_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
