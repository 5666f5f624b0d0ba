/*
 * The fetch engine among fakes: who is asked, how often, and what readers get.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine.h"
#include "engine_world.h"
#include "mem.h"
#include <errno.h>
#include <string.h>

static void what_is_ready_is_read_at_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_set_ready(w->cas, 3);
	fake_cas_set_ready(w->cas, 4);
	assert_int_equal(world_read_start(w, &r, 3, 2), 0);
	world_read_is_right(w, &r);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(r.read.found_bytes[FOUND_CACHE], 2 * WORLD_CHUNK_BYTES);
	world_read_end(w, &r);
}

static void a_miss_is_fetched_verified_kept_and_answered_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->peer.n_asks, 1); /* in order */
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->origin.asks[0].run.first_unit, 7);
	assert_true(w->origin.asks[0].run.reader);
	world_give(w, &w->origin, 0, 7);
	world_settle(w);
	assert_int_equal(r.n_done, 1); /* before the rest of the request is there */
	assert_int_equal(r.result, 0);
	world_read_is_right(w, &r);
	assert_int_equal(r.read.found, FOUND_ORIGIN);
	assert_int_equal(fake_cas_n_puts(w->cas), 1);
	assert_int_equal(metrics_sum(w->metrics, METRIC_CHUNKS), 1);
	world_read_end(w, &r);
}

static void many_readers_of_a_unit_share_one_question(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[8] = { 0 };
	uint32_t n_before;

	for (int i = 0; i < 8; i++)
		assert_int_equal(world_read_start(w, &r[i], 20, 2), FETCH_PENDING);
	world_settle(w);
	n_before = w->origin.n_asks;
	assert_int_equal(n_before, 1);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	for (int i = 0; i < 8; i++)
		world_read_ends_well(w, &r[i]);
	assert_int_equal(w->origin.n_asks, 1);
}

static void a_reader_that_comes_while_the_worker_is_busy_is_answered_too(void **state)
{
	struct engine_world *w = *state;
	struct world_read first = { 0 };
	struct world_read late = { 0 };

	(void)world_read_start(w, &first, 5, 1);
	world_settle(w);
	world_give(w, &w->origin, 0, 5); /* the job waits */
	assert_int_equal(world_read_start(w, &late, 5, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(first.n_done, 1);
	assert_int_equal(late.n_done, 1);
	world_read_is_right(w, &late);
	assert_int_equal(w->origin.n_asks, 1);
	world_read_end(w, &first);
	world_read_end(w, &late);
}

static void wrong_bytes_never_reach_a_reader_and_are_asked_for_again(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 9, 1);
	world_settle(w);
	world_give_wrong(w, &w->origin, 0, 9);
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	assert_int_equal(w->origin.n_distrusts, 1);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 1);
	assert_int_equal(w->origin.n_asks, 2);
	assert_int_equal(w->origin.asks[1].run.first_unit, 9);
	assert_int_equal(w->origin.asks[1].run.n_units, 1);
	world_give(w, &w->origin, 1, 9);
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void wrong_bytes_twice_from_the_only_source_are_an_error_at_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->peer.refuse = SOURCE_GONE;
	(void)world_read_start(w, &r, 9, 1);
	world_settle(w);
	world_give_wrong(w, &w->origin, 0, 9);
	world_settle(w);
	world_give_wrong(w, &w->origin, 1, 9);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	assert_int_equal(fake_cas_n_puts(w->cas), 0);
	assert_int_equal(metrics_sum(w->metrics, METRIC_VERIFY_FAILURES), 2);
	world_read_end(w, &r);
}

static void final_answers_of_all_sources_are_an_error_at_once(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->peer.refuse = SOURCE_GONE;
	(void)world_read_start(w, &r, 1, 1);
	world_settle(w);
	fake_source_end(&w->origin, 0, SOURCE_GONE, NULL);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	assert_non_null(strstr(r.why, "does not have it"));
	world_read_end(w, &r);
}

/* The one thing of all that was heard that somebody can mend. */
static void a_refusal_is_what_readers_are_told_last(void **state)
{
	struct engine_world *w = *state;
	struct fetch_event events[8];
	struct world_read r = { 0 };
	uint32_t n;

	w->peer.refuse = -EAGAIN;
	(void)world_read_start(w, &r, 1, 1);
	world_settle(w);
	w->peer.refuse = SOURCE_GONE;
	fake_source_end(&w->origin, 0, SOURCE_GONE, "the registry refuses access");
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	assert_non_null(strstr(r.why, "the registry refuses access"));
	n = fetch_explain(w->fetch, cas_blob_key(fetch_blob_cas(w->blob)), 1, events,
	                  ARRAY_LEN(events));
	assert_true(n >= 2);
	assert_int_equal(events[1].result, -EACCES);
	assert_string_equal(events[1].detail, "the registry refuses access");
	world_read_end(w, &r);
}

static void neighbours_without_it_keep_no_reader_waiting_when_the_origin_lost_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	w->peer.refuse = SOURCE_MISS;
	(void)world_read_start(w, &r, 1, 1);
	world_settle(w);
	fake_source_end(&w->origin, 0, SOURCE_GONE, NULL);
	world_settle(w);
	assert_int_equal(r.n_done, 0); /* a neighbour may be about to have it */
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->peer.n_asks, 4); /* a few looks, not all that the deadline allows */
	world_read_end(w, &r);
}

static void a_failure_is_tried_again_after_a_pause(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 1, 1);
	world_settle(w);
	fake_source_end(&w->origin, 0, -EAGAIN, "connection reset");
	assert_int_equal(w->origin.n_asks, 1); /* the pause's timer is real: it may end below */
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	world_wait(w, &w->origin.n_asks, 2);
	/* What nobody waits for is not asked for again. */
	assert_int_equal(w->origin.asks[1].run.n_units, 1);
	world_give_all(w, &w->origin, 1);
	world_settle(w);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.n_done, 1);
	world_read_end(w, &r);
}

static void a_short_answer_goes_on_with_what_is_missing(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 10, 4);
	world_settle(w);
	world_give(w, &w->origin, 0, 10);
	world_give(w, &w->origin, 0, 12);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	world_settle(w);
	assert_int_equal(r.n_done, 0);
	world_wait(w, &w->origin.n_asks, 3);
	for (uint32_t unit = 11; unit <= 13; unit += 2) {
		const uint32_t ask = world_ask_of(&w->origin, unit);

		assert_int_equal(w->origin.asks[ask].run.n_units, 1);
		world_give_all(w, &w->origin, ask);
	}
	world_settle(w);
	world_read_ends_well(w, &r);
}

static void a_cancelled_read_is_answered_at_once_and_what_comes_is_kept(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 30, 1);
	world_settle(w);
	fetch_cancel(w->fetch, &r.read);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, -ECANCELED);
	fetch_cancel(w->fetch, &r.read); /* again: nothing */
	assert_int_equal(r.n_done, 1);
	world_read_end(w, &r); /* the bytes must not be written to any more: sanitizers tell */
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	assert_true(cas_blob_is_present(w->cas, 30));
	assert_int_equal(r.n_done, 1);
}

static void a_read_cancelled_before_the_loop_saw_it_asks_nobody(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 30, 1);
	fetch_cancel(w->fetch, &r.read);
	assert_int_equal(r.n_done, 1);
	world_read_end(w, &r);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 0);
}

static void widening_covers_nothing_that_is_ready_or_on_its_way(void **state)
{
	struct engine_world *w = *state;
	struct world_read a = { 0 };
	struct world_read b = { 0 };

	fake_cas_set_ready(w->cas, 103);
	(void)world_read_start(w, &a, 101, 1);
	world_settle(w);
	assert_int_equal(w->origin.asks[0].run.first_unit, 101);
	assert_int_equal(w->origin.asks[0].run.n_units, 2); /* 101, 102; 103 is here */
	(void)world_read_start(w, &b, 100, 1);
	world_settle(w);
	assert_int_equal(w->origin.asks[1].run.first_unit + w->origin.asks[1].run.n_units, 101);
	world_give_all(w, &w->origin, 0);
	world_give_all(w, &w->origin, 1);
	world_settle(w);
	assert_int_equal(a.result + b.result, 0);
	world_read_end(w, &a);
	world_read_end(w, &b);
}

static void a_read_with_ready_and_missing_chunks_asks_for_the_missing_alone(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_set_ready(w->cas, 41);
	fake_cas_set_ready(w->cas, 43);
	fake_cas_set_ready(w->cas, 45);
	assert_int_equal(world_read_start(w, &r, 40, 6), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 3);
	for (uint32_t i = 0; i < 3; i++)
		world_give_all(w, &w->origin, i);
	world_settle(w);
	assert_int_equal(r.n_done, 1);
	world_read_is_right(w, &r);
	assert_int_equal(r.read.found_bytes[FOUND_CACHE], 3 * WORLD_CHUNK_BYTES);
	assert_int_equal(r.read.found_bytes[FOUND_ORIGIN], 3 * WORLD_CHUNK_BYTES);
	world_read_end(w, &r);
}

static void a_full_disk_does_not_keep_bytes_from_readers(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	(void)world_read_start(w, &r, 2, 1);
	world_settle(w);
	world_give(w, &w->origin, 0, 2);
	world_settle(w);
	assert_int_equal(r.result, 0);
	world_read_ends_well(w, &r);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	fake_cas_put_says(w->cas, -EIO);
	(void)world_read_start(w, &r, 2, 1);
	world_settle(w);
	world_give(w, &w->origin, world_ask_of(&w->origin, 2), 2);
	world_settle(w);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.n_done, 1);
	world_read_end(w, &r);
}

static void failed_readahead_fails_nobody(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, 50, 1);
	world_settle(w);
	assert_true(w->origin.asks[0].run.n_units > 1);
	world_give(w, &w->origin, 0, 50);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	world_settle(w);
	assert_int_equal(r.result, 0);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
	world_read_end(w, &r);
}

/* Two reads wait for one run; the first answer releases the blob, as the end of a mount does. */
struct last_read {
	struct world_read r;
	struct engine_world *w;
};

static void release_blob(struct fetch_read *read, int result, const struct err *why)
{
	struct last_read *last = container_of(read, struct last_read, r.read);

	(void)why;
	last->r.n_done++;
	last->r.result = result;
	if (last->r.n_done == 1)
		fetch_blob_release(&last->w->blob);
}

static void the_last_answer_may_release_the_blob(void **state)
{
	struct engine_world *w = *state;
	struct last_read last = { .w = w };

	w->peer.refuse = SOURCE_GONE;
	(void)world_read_start(w, &last.r, 10, 8);
	last.r.read.done = release_blob;
	world_settle(w);
	world_give(w, &w->origin, 0, 12); /* what is left falls into two */
	fake_source_end(&w->origin, 0, SOURCE_GONE, NULL);
	world_settle(w);
	assert_int_equal(last.r.n_done, 1);
	assert_int_equal(last.r.result, -EIO);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
	world_read_end(w, &last.r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up_plain, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_ready_is_read_at_once),
		TEST(a_miss_is_fetched_verified_kept_and_answered_once),
		TEST(many_readers_of_a_unit_share_one_question),
		TEST(a_reader_that_comes_while_the_worker_is_busy_is_answered_too),
		TEST(wrong_bytes_never_reach_a_reader_and_are_asked_for_again),
		TEST(wrong_bytes_twice_from_the_only_source_are_an_error_at_once),
		TEST(final_answers_of_all_sources_are_an_error_at_once),
		TEST(a_refusal_is_what_readers_are_told_last),
		TEST(neighbours_without_it_keep_no_reader_waiting_when_the_origin_lost_it),
		TEST(a_failure_is_tried_again_after_a_pause),
		TEST(a_short_answer_goes_on_with_what_is_missing),
		TEST(a_cancelled_read_is_answered_at_once_and_what_comes_is_kept),
		TEST(a_read_cancelled_before_the_loop_saw_it_asks_nobody),
		TEST(widening_covers_nothing_that_is_ready_or_on_its_way),
		TEST(a_read_with_ready_and_missing_chunks_asks_for_the_missing_alone),
		TEST(a_full_disk_does_not_keep_bytes_from_readers),
		TEST(failed_readahead_fails_nobody),
		TEST(the_last_answer_may_release_the_blob),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
