/*
 * How long a reader waits for what does not come, or comes slowly.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "engine.h"
#include "engine_world.h"
#include "mem.h"
#include <errno.h>
#include <string.h>

static int set_up_impatient(void **state)
{
	const struct world_wish wish = { .read_timeout_ms = 20 };

	return world_set_up(state, &wish);
}

static void silence_is_an_error_when_the_deadline_has_passed(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 1, 1);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	fake_clock_advance_ms(&w->clock, 21);
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	assert_non_null(strstr(r.why, "20 ms"));
	/* The answer that comes too late serves the next reader. */
	world_give(w, &w->origin, 0, 1);
	world_settle(w);
	world_read_end(w, &r);
	assert_int_equal(world_read_start(w, &r, 1, 1), 0);
	world_read_end(w, &r);
}

/* Of the question for that unit so many thousandths came. */
static void came(struct engine_world *w, uint32_t unit, uint64_t per_mille)
{
	const uint32_t ask = world_ask_of(&w->origin, unit);
	const uint64_t all = (uint64_t)w->origin.asks[ask].run.n_units * WORLD_CHUNK_BYTES;

	fake_source_wait(&w->origin, ask, all * per_mille / 1000);
}

static void expire_after_ms(struct engine_world *w, uint64_t ms)
{
	fake_clock_advance_ms(&w->clock, ms);
	reads_expire(w->fetch);
}

/* Of the first half, and of the second. */
static void start_two(struct engine_world *w, struct world_read *first, struct world_read *second)
{
	(void)world_read_start(w, first, 1, 1);
	(void)world_read_start(w, second, WORLD_CHUNKS / 2, 1);
	world_settle(w);
}

/* Much of the first came just when their time is over. n_done: is the other one told that it is? */
static void end_beside_what_comes(struct engine_world *w, struct world_read *first,
                                  struct world_read *fails, uint32_t n_done)
{
	came(w, 1, 300);
	expire_after_ms(w, 1);
	assert_int_equal(fails->n_done, n_done);
	expire_after_ms(w, 200);
	world_read_end(w, first);
	world_read_end(w, fails);
}

static void what_comes_slowly_is_waited_for_and_what_trickles_is_not(void **state)
{
	struct engine_world *w = *state;
	struct world_read slow = { 0 };
	struct world_read trickle = { 0 };

	start_two(w, &slow, &trickle);
	fake_clock_advance_ms(&w->clock, 20);
	came(w, 1, 100);
	came(w, WORLD_CHUNKS / 2, 1); /* of the first chunk, too, less than a tenth */
	expire_after_ms(w, 1);
	assert_int_equal(trickle.n_done, 1);
	assert_int_equal(trickle.result, -EIO);
	assert_int_equal(slow.n_done, 0);
	expire_after_ms(w, 7); /* and now nothing comes any more */
	assert_int_equal(slow.n_done, 1);
	assert_int_equal(slow.result, -EIO);
	world_read_end(w, &slow);
	world_read_end(w, &trickle);
}

static void who_is_behind_what_comes_slowly_is_not_given_up(void **state)
{
	struct engine_world *w = *state;
	struct world_read first = { 0 };
	struct world_read behind = { 0 };

	start_two(w, &first, &behind);
	fake_clock_advance_ms(&w->clock, 20);
	came(w, 1, 300);
	expire_after_ms(w, 1);
	assert_int_equal(behind.n_done, 0);
	expire_after_ms(w, 7);
	assert_int_equal(behind.n_done, 1);
	assert_int_equal(behind.result, -EIO);
	world_read_end(w, &first);
	world_read_end(w, &behind);
}

/* A reader of another blob, of which nothing came; of the first one much did. */
static void expire_behind_another_blob(struct engine_world *w, bool apart, uint32_t n_done)
{
	struct world_blob other = world_blob_open(w, WORLD_CHUNKS, WORLD_CHUNK_BYTES);
	struct world_read first = { 0 };
	struct world_read behind = { 0 };

	w->origin.apart = apart;
	(void)world_read_start(w, &first, 1, 1);
	world_settle(w);
	world_swap(w, &other);
	(void)world_read_start(w, &behind, 1, 1);
	world_settle(w);
	world_swap(w, &other);
	fake_clock_advance_ms(&w->clock, 20);
	came(w, 1, 300);
	expire_after_ms(w, 1);
	assert_int_equal(behind.n_done, n_done);
	expire_after_ms(w, 7);
	assert_int_equal(behind.n_done, 1);
	assert_int_equal(behind.result, -EIO);
	world_read_end(w, &first);
	world_read_end(w, &behind);
	world_blob_release(w, &other);
}

static void of_another_blob_it_is_asked_once_whether_its_line_is_the_same(void **state)
{
	struct engine_world *w = *state;
	struct world_blob other = world_blob_open(w, WORLD_CHUNKS, WORLD_CHUNK_BYTES);
	struct world_read behind = { 0 };
	struct world_read others[4] = { { .n_done = 0 } };

	(void)world_read_start(w, &behind, 1, 1);
	world_settle(w);
	world_swap(w, &other);
	for (uint32_t i = 0; i < ARRAY_LEN(others); i++)
		(void)world_read_start(w, &others[i], 100 * (i + 1), 1);
	world_settle(w);
	world_swap(w, &other);
	assert_int_equal(w->origin.n_asks, 1 + ARRAY_LEN(others));
	fake_clock_advance_ms(&w->clock, 20);
	came(w, 100, 900);
	assert_true(run_is_coming(flight_find(w->blob, 1)->run, 1, 20 * NS_PER_MS));
	assert_int_equal(w->origin.n_one_line, 1);
	expire_after_ms(w, 200);
	world_read_end(w, &behind);
	for (uint32_t i = 0; i < ARRAY_LEN(others); i++)
		world_read_end(w, &others[i]);
	world_blob_release(w, &other);
}

static void who_is_behind_another_blob_on_its_line_is_not_given_up(void **state)
{
	expire_behind_another_blob(*state, false, 0);
}

static void what_comes_by_another_line_keeps_no_reader(void **state)
{
	expire_behind_another_blob(*state, true, 1);
}

/* A reader whose own question fails after so long, while another's comes slowly. */
static void fail_beside_what_comes(struct engine_world *w, uint64_t after_ms, uint32_t n_done)
{
	struct world_read first = { 0 };
	struct world_read fails = { 0 };

	start_two(w, &first, &fails);
	fake_clock_advance_ms(&w->clock, after_ms);
	fake_source_end(&w->origin, world_ask_of(&w->origin, WORLD_CHUNKS / 2), -EAGAIN, "503");
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 20 - after_ms);
	end_beside_what_comes(w, &first, &fails, n_done);
}

static void whose_own_question_fails_again_and_again_is_not_kept_by_others(void **state)
{
	fail_beside_what_comes(*state, 1, 1);
}

static void whose_own_question_was_silent_on_a_line_that_moves_is_kept(void **state)
{
	fail_beside_what_comes(*state, 15, 0);
}

static void one_quick_failure_behind_a_long_silence_is_no_reason_to_end(void **state)
{
	struct engine_world *w = *state;
	struct world_read first = { 0 };
	struct world_read fails = { 0 };
	uint32_t n_asks;

	start_two(w, &first, &fails);
	n_asks = w->origin.n_asks;
	fake_clock_advance_ms(&w->clock, 15);
	fake_source_end(&w->origin, world_ask_of(&w->origin, WORLD_CHUNKS / 2), -EAGAIN, "late");
	world_wait(w, &w->origin.n_asks, n_asks + 1);
	fake_source_end(&w->origin, n_asks, -EAGAIN, "503");
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 5);
	end_beside_what_comes(w, &first, &fails, 0);
}

static void what_comes_slowly_is_not_waited_for_without_end(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 1, 1);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 15);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	world_wait(w, &w->origin.n_asks, 2);
	fake_clock_advance_ms(&w->clock, 186);
	came(w, 1, 999); /* a moment ago, and fast enough for the second question alone */
	reads_expire(w->fetch);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	world_read_end(w, &r);
}

static void a_shorter_budget_counts_for_reads_from_then_on_and_for_none_before(void **state)
{
	struct engine_world *w = *state;
	struct world_read before = { 0 };
	struct world_read after = { 0 };

	(void)world_read_start(w, &before, 1, 1);
	world_settle(w);
	fetch_set_read_timeout(w->fetch, 20);
	(void)world_read_start(w, &after, 1, 1);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 21);
	world_wait(w, &after.n_done, 1); /* behind one whose time is not over */
	assert_int_equal(after.result, -EIO);
	assert_non_null(strstr(after.why, "20 ms"));
	assert_int_equal(before.n_done, 0);
	world_give(w, &w->origin, 0, 1);
	world_settle(w);
	assert_int_equal(before.result, 0);
	assert_int_equal(before.n_done, 1);
	world_read_end(w, &before);
	world_read_end(w, &after);
}

static int set_up_impatient_with_a_peer(void **state)
{
	const struct world_wish wish = { .read_timeout_ms = 20, .peer_answers = true };

	return world_set_up(state, &wish);
}

/* Of two that a reader wants peers bring one, and withhold the other until its time is nearly over.
 */
static void peers_bring_one_of_two(struct engine_world *w, struct world_read *r)
{
	(void)world_read_start(w, r, 1, 2);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 9);
	world_give(w, &w->peer, 0, 1);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, 9);
	fake_source_end(&w->peer, 0, SOURCE_MISS, NULL);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	expire_after_ms(w, 3);
	assert_int_equal(r->n_done, 0);
}

static void a_source_that_was_asked_only_now_has_a_moment_to_answer(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	peers_bring_one_of_two(w, &r);
	world_give(w, &w->origin, 0, 2);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void and_no_more_than_that(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	peers_bring_one_of_two(w, &r);
	expire_after_ms(w, 7);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	world_read_end(w, &r);
}

static int set_up_one_at_a_time(void **state)
{
	const struct world_wish wish = { .in_flight_max_bytes = 1 };

	return world_set_up(state, &wish);
}

/* All places are taken by others: that, too, is of its reader's time. */
static void a_source_is_told_how_long_its_reader_has_waited_for_a_place(void **state)
{
	struct engine_world *w = *state;
	struct world_read first = { 0 };
	struct world_read queued = { 0 };

	start_two(w, &first, &queued);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->origin.asks[0].run.waited_ns, 0);
	fake_clock_advance_ms(&w->clock, 9000);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 2);
	assert_int_equal(w->origin.asks[1].run.waited_ns, 9000 * NS_PER_MS);
	world_serve(w);
	world_read_ends_well(w, &first);
	world_read_ends_well(w, &queued);
}

#define ONE_AT_A_TIME(fn) cmocka_unit_test_setup_teardown(fn, set_up_one_at_a_time, world_tear_down)
#define WITH_PEER(fn)                                                                              \
	cmocka_unit_test_setup_teardown(fn, set_up_impatient_with_a_peer, world_tear_down)
#define TEST(fn)      cmocka_unit_test_setup_teardown(fn, world_set_up_plain, world_tear_down)
#define IMPATIENT(fn) cmocka_unit_test_setup_teardown(fn, set_up_impatient, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IMPATIENT(of_another_blob_it_is_asked_once_whether_its_line_is_the_same),
		IMPATIENT(silence_is_an_error_when_the_deadline_has_passed),
		IMPATIENT(what_comes_slowly_is_waited_for_and_what_trickles_is_not),
		IMPATIENT(who_is_behind_what_comes_slowly_is_not_given_up),
		IMPATIENT(who_is_behind_another_blob_on_its_line_is_not_given_up),
		IMPATIENT(what_comes_by_another_line_keeps_no_reader),
		IMPATIENT(whose_own_question_fails_again_and_again_is_not_kept_by_others),
		IMPATIENT(whose_own_question_was_silent_on_a_line_that_moves_is_kept),
		IMPATIENT(one_quick_failure_behind_a_long_silence_is_no_reason_to_end),
		IMPATIENT(what_comes_slowly_is_not_waited_for_without_end),
		WITH_PEER(a_source_that_was_asked_only_now_has_a_moment_to_answer),
		WITH_PEER(and_no_more_than_that),
		ONE_AT_A_TIME(a_source_is_told_how_long_its_reader_has_waited_for_a_place),
		TEST(a_shorter_budget_counts_for_reads_from_then_on_and_for_none_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
