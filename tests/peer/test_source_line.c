/*
 * test_source_line: holders that are slow, and questions that are behind others on one connection.
 */
#include "clock.h"
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* With a full cache that other one may never have it. */
static void who_is_slow_and_has_it_is_not_left_for_one_who_is_to_receive_it(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);
	const struct wire_ask *again = &s->home.asks[1];

	is_sent_to_other(s, ask, &all);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(again->avoid_why[0], WIRE_AVOID_SLOW);
	actor_answer(&s->home, again, WIRE_WAIT, &all, &s->home);
	actor_end(&s->home, again->req, WIRE_DONE, 0);
	peers_run_ms(s->w->peers, 20);
	gives(&s->other, &s->other.gets[0], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 2);
	assert_int_equal(s->other.stranger.n_cancelled, 0);
	assert_int_equal(s->home.n_gets, 0);
}

/* Another question to the other, of those that the agent asks it in a row. */
static void asks_other(struct scene *s, const struct wire_set *set)
{
	const uint32_t n_gets = s->other.n_gets;

	actor_answer(&s->home, &s->home.asks[0], WIRE_HOLDERS, set, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, n_gets + 1);
}

/* Two more, and the home has no more to say. */
static void asks_other_last(struct scene *s, const struct wire_set *one,
                            const struct wire_set *last)
{
	asks_other(s, one);
	asks_other(s, last);
	actor_end(&s->home, s->home.asks[0].req, WIRE_DONE, 0);
}

/* Two questions to the other; of the first nothing came yet, and the second is behind it. */
static void is_in_line(struct scene *s, const struct wire_set *first, const struct wire_set *second)
{
	const struct wire_set none = { .n = first->n };

	asks_other_last(s, first, second);
	gives(&s->other, &s->other.gets[0], &none, false);
	actor_grant(&s->other, &s->other.gets[1], true);
}

/* One more of the question that it serves, and then nothing for a while. */
static void one_more(struct scene *s, uint32_t chunk_idx, uint32_t then_ms)
{
	const struct wire_set one = chunks_of(chunk_idx, 1);

	actor_send_more(&s->other, &one, false);
	peers_run_ms(s->w->peers, then_ms);
}

/* On a slow line the second has nothing for long; no other source would be sooner. */
static void who_is_behind_another_question_is_not_given_up(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, 8);
	const struct wire_set eighth = chunks_of(7, 1);
	const struct wire_set second = chunks_of(8, 1);

	(void)wants_within(s, 9, 30000);
	is_in_line(s, &first, &second);
	for (uint32_t i = 0; i < 7; i++) /* 2.1 s: who lives and brings nothing has 2 */
		one_more(s, i, 300);
	assert_int_equal(s->w->n_chunks, 7);
	assert_int_equal(s->other.stranger.n_cancelled, 0);
	actor_send_more(&s->other, &eighth, true);
	peers_until(s->w->peers, &s->w->n_chunks, 8);
	actor_send(&s->other, &s->other.gets[1], &second, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 9);
}

static void who_is_behind_another_question_for_a_third_of_its_time_is_given_up(void **state)
{
	enum { FIRST = CHUNKS - 1 };

	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, FIRST);
	const struct wire_set second = chunks_of(FIRST, 1);
	struct wire_set rest;
	uint32_t n = 0;

	(void)wants_within(s, CHUNKS, 9000); /* 3 s in line */
	is_in_line(s, &first, &second);
	while (n < FIRST - 1 && s->other.stranger.n_cancelled == 0)
		one_more(s, n++, 200);
	rest = chunks_of(n, FIRST - n);
	assert_int_equal(s->other.stranger.n_cancelled, 1);
	assert_int_equal(s->w->n_ends, 0); /* others can be asked */
	actor_end(&s->home, s->home.asks[s->home.n_asks - 1].req, WIRE_NOT_HERE, 0);
	actor_send_more(&s->other, &rest, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, FIRST);
}

/* Others come, from that one on, until a question that has nothing is given up. @return after so
 * many ms */
static uint64_t others_come(struct scene *s, uint32_t *chunk_idx)
{
	const uint64_t from_ms = now_ms(s);

	while (s->other.stranger.n_cancelled == 0) {
		assert_true(*chunk_idx < CHUNKS);
		one_more(s, (*chunk_idx)++, 300);
	}
	return now_ms(s) - from_ms;
}

/* It was not the question of these. */
static void the_rest_comes(struct scene *s, uint32_t from, uint32_t to, uint32_t n_chunks)
{
	const struct wire_set rest = chunks_of(from, to - from);

	actor_send_more(&s->other, &rest, true);
	peers_until(s->w->peers, &s->w->n_chunks, n_chunks);
	assert_int_equal(s->other.stranger.n_cancelled, 1);
	assert_int_equal(scene_info(s, &s->other).n_failed, 1);
}

/* It sends by turns. Who was asked before has all, and so have some who were asked later. */
static void who_keeps_one_back_and_gives_what_was_asked_later_is_given_up(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, 2);
	const struct wire_set kept = chunks_of(2, 1);
	const struct wire_set later = chunks_of(3, CHUNKS - 3);
	const struct wire_set none = { .n = later.n };
	uint32_t next = 3;

	(void)wants_within(s, CHUNKS, 30000); /* 10 s in line */
	asks_other(s, &first);
	asks_other_last(s, &kept, &later);
	gives(&s->other, &s->other.gets[0], &first, true);
	actor_grant(&s->other, &s->other.gets[1], true);
	peers_until(s->w->peers, &s->w->n_chunks, 2);
	gives(&s->other, &s->other.gets[2], &none, false);
	assert_in_range(others_come(s, &next), 2000, 4500);
	the_rest_comes(s, next, CHUNKS, CHUNKS - 1);
}

/* A GRANT is behind no chunk: it has answered the ping behind the question. */
static void who_gives_others_and_does_not_say_that_it_knows_one_is_given_up(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, CHUNKS - 1);
	const struct wire_set kept = chunks_of(CHUNKS - 1, 1);
	const struct wire_set none = { .n = first.n };
	uint32_t next = 0;

	(void)wants_within(s, CHUNKS, 30000);
	asks_other_last(s, &first, &kept);
	gives(&s->other, &s->other.gets[0], &none, false);
	assert_in_range(others_come(s, &next), 2000, 4500);
	the_rest_comes(s, next, CHUNKS - 1, CHUNKS - 1);
}

/* By turns: a chunk of the first, then one of the second, which takes long, and the first again. */
static void who_has_had_a_turn_waits_for_that_of_the_others(void **state)
{
	enum { AT_ONCE = 300 };

	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, 2);
	const struct wire_set half = chunks_of(0, 1);
	const struct wire_set other_half = chunks_of(1, 1);
	const struct wire_set second = chunks_of(2, 1);
	const uint64_t from_ms = now_ms(s);

	(void)wants_within(s, 3, 30000);
	asks_other_last(s, &first, &second);
	gives(&s->other, &s->other.gets[0], &half, false);
	actor_grant(&s->other, &s->other.gets[1], true);
	peers_until(s->w->peers, &s->w->n_chunks, 1);
	for (uint32_t at = 0; at < CHUNK_BYTES; at += AT_ONCE) { /* 6 KB/s */
		actor_trickle(&s->other, &s->other.gets[1], at,
		              CHUNK_BYTES - at < AT_ONCE ? CHUNK_BYTES - at : AT_ONCE);
		peers_run_ms(s->w->peers, 50);
	}
	assert_true(now_ms(s) - from_ms > 3000);
	assert_int_equal(s->w->n_chunks, 2);
	assert_int_equal(scene_info(s, &s->other).n_failed, 0);
	actor_send_more(&s->other, &other_half, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 3);
}

/* n bytes of one chunk each 50 ms, until the question is cancelled. @return after so many ms */
static uint64_t trickles(struct scene *s, uint32_t n_bytes)
{
	const uint64_t from_ms = now_ms(s);
	const uint32_t n_cancelled = s->other.stranger.n_cancelled;
	const struct wire_get *get;
	uint32_t offset = 0;

	peers_until(s->w->peers, &s->other.n_gets, n_cancelled + 1);
	get = &s->other.gets[n_cancelled];
	actor_grant(&s->other, get, true);
	peers_run_ms(s->w->peers, 5);
	while (s->other.stranger.n_cancelled == n_cancelled) {
		actor_trickle(&s->other, get, offset, n_bytes);
		offset += n_bytes;
		peers_run_ms(s->w->peers, 50);
	}
	return now_ms(s) - from_ms;
}

/* Bytes that trickle are no progress: another is asked as soon as of who sends nothing, and in the
 * end it is given up. */
static void who_trickles_is_late_and_given_up(void **state)
{
	struct scene *s = *state;
	const struct wire_set one = chunks_of(0, 1);
	const struct wire_ask *again = &s->home.asks[1];

	is_sent_to_other(s, wants(s, 1), &one);
	assert_in_range(trickles(s, 1), 500, 3500);
	assert_int_equal(again->avoid_why[0], WIRE_AVOID_SLOW);
	assert_int_equal(scene_info(s, &s->other).n_failed, 1);
}

/* It is faster than that, and of no use. */
static void who_is_slow_until_the_time_is_over_has_failed(void **state)
{
	struct scene *s = *state;
	const struct wire_set one = chunks_of(0, 1);

	is_sent_to_other(s, wants_within(s, 1, 4000), &one);
	assert_in_range(trickles(s, 150), 2000, 3500); /* 3 KB/s; two thirds of its time */
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_int_equal(s->w->n_ends, 1);
	assert_int_equal(s->home.asks[1].avoid_why[0], WIRE_AVOID_SLOW);
	assert_int_equal(scene_info(s, &s->other).n_failed, 1);
}

/* 9 KB/s: a little is heard of it all the time, and too late comes all of it. */
#define TOO_SLOW_BYTES 450U
#define READ_MS        3100U

static void reads_what_is_too_slow(struct scene *s, uint32_t min_ms, uint32_t max_ms)
{
	const uint32_t n_cancelled = s->other.stranger.n_cancelled;

	chunks_want(s->w, 0, CHUNKS);
	has_time(s, READ_MS);
	if (n_cancelled == 0) {
		const struct wire_set all = chunks_of(0, CHUNKS);

		peers_until(s->w->peers, &s->home.n_asks, 1);
		is_sent_to_other(s, &s->home.asks[0], &all);
	}
	assert_in_range(trickles(s, TOO_SLOW_BYTES), min_ms, max_ms);
	assert_int_equal(scene_info(s, &s->other).n_failed, n_cancelled + 1);
}

static void who_is_too_slow_for_its_reader_has_failed_and_costs_less_then(void **state)
{
	struct scene *s = *state;

	reads_what_is_too_slow(s, 2000, READ_MS);
	assert_int_equal(s->w->r, SOURCE_MISS);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	reads_what_is_too_slow(s, 300, 1500);
}

/* What it has to say of one chunk does not depend on how slow another one comes. */
static void a_queue_is_not_stood_in_for_longer_since_a_holder_trickles(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, 1);
	const struct wire_set second = chunks_of(1, 1);
	const struct wire_ask *ask = wants_within(s, 2, 6000);
	const uint64_t from_ms = now_ms(s);

	actor_answer(&s->home, ask, WIRE_WAIT, &second, NULL);
	actor_answer(&s->home, ask, WIRE_HOLDERS, &first, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 1);
	actor_grant(&s->other, &s->other.gets[0], true);
	peers_run_ms(s->w->peers, 5);
	for (uint32_t offset = 0; s->w->n_leases == 0 && s->w->n_ends == 0; offset += 150) {
		actor_trickle(&s->other, &s->other.gets[0], offset, 150);
		peers_run_ms(s->w->peers, 50);
	}
	assert_int_equal(s->w->n_leases, 1); /* of the next in rank: the agent itself */
	assert_in_range(now_ms(s) - from_ms, 1400, 2500);
	assert_int_equal(scene_info(s, &s->home).n_failed, 1);
	chunks_lease_end(s->w, true);
}

/* ---- answers that are behind bytes ---- */

/* Some of a chunk of its first question, for so long, or until the agent leases the rest. */
static void is_busy_sending(struct scene *s, struct actor *a, uint32_t ms)
{
	struct wire_get get = a->gets[0];
	uint32_t offset = CHUNK_BYTES;

	for (uint32_t chunk = 0; ms > 0 && s->w->n_leases == 0; ms -= 50) {
		if (offset + 500 > CHUNK_BYTES) {
			get.part.set = chunks_of(chunk++, 1);
			offset = 0;
		}
		actor_trickle(a, &get, offset, 500); /* 10 KB/s */
		offset += 500;
		peers_run_ms(s->w->peers, 50);
	}
}

/* The other has a part of what is wanted, and sends it; the rest, n, is to come there first. */
static void is_waited_for_at_who_sends(struct scene *s, uint32_t n)
{
	const struct wire_set first = chunks_of(0, 8);
	const struct wire_set second = chunks_of(8, n);
	const struct wire_ask *ask = wants_within(s, 8 + n, 30000);

	actor_answer(&s->home, ask, WIRE_HOLDERS, &first, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 1);
	actor_grant(&s->other, &s->other.gets[0], true);
	peers_run_ms(s->w->peers, 5);
	actor_hang(&s->other, true);
	actor_answer(&s->home, ask, WIRE_WAIT, &second, &s->other);
}

static bool any_is_stalled(const struct scene *s)
{
	bool any = false;

	for (uint32_t i = 0; i < s->home.n_asks; i++)
		any = any || (s->home.asks[i].flags & WIRE_ASK_STALLED) != 0;
	return any;
}

/* What it has to say waits behind what it sends, and so does its answer to a ping. */
static void who_sends_and_could_not_say_that_it_knows_them_is_not_stalled(void **state)
{
	struct scene *s = *state;
	const struct wire_set second = chunks_of(8, 1);

	is_waited_for_at_who_sends(s, 1);
	is_busy_sending(s, &s->other, 3500);
	assert_false(any_is_stalled(s));
	assert_int_equal(s->other.stranger.n_cancelled, 0);
	actor_hang(&s->other, false);
	peers_until(s->w->peers, &s->other.n_gets, 2);
	gives(&s->other, &s->other.gets[1], &second, true);
	peers_until(s->w->peers, &s->w->n_chunks, 2);
	assert_true(s->w->came[8]);
}

/* It could: it has answered the ping behind that. */
static void who_sends_and_does_not_say_that_it_knows_them_is_stalled(void **state)
{
	struct scene *s = *state;

	is_waited_for_at_who_sends(s, 1);
	actor_hang(&s->other, false);
	is_busy_sending(s, &s->other, 3500);
	assert_true(any_is_stalled(s));
}

/* 320 KB in 20 s would be more than it sends: how much it was asked for says nothing of whether it
 * could answer. */
static void who_could_not_say_that_it_knows_many_is_not_stalled(void **state)
{
	struct scene *s = *state;

	is_waited_for_at_who_sends(s, CHUNKS - 8);
	is_busy_sending(s, &s->other, 3500);
	assert_false(any_is_stalled(s));
	assert_int_equal(s->other.stranger.n_cancelled, 0);
	actor_hang(&s->other, false);
	peers_until(s->w->peers, &s->other.n_gets, 2);
}

/* The home is a holder as well: it is asked for a part of what is wanted, and then whom to ask for
 * the rest. */
static void is_asked_behind_what_it_sends(struct scene *s)
{
	const struct wire_set first = chunks_of(0, 8);
	const struct wire_ask *ask = wants_within(s, 9, 30000);

	actor_answer(&s->home, ask, WIRE_HOLDERS, &first, &s->home);
	peers_until(s->w->peers, &s->home.n_gets, 1);
	actor_grant(&s->home, &s->home.gets[0], true);
	actor_end(&s->home, ask->req, WIRE_DONE, 0);
	peers_until(s->w->peers, &s->home.n_asks, 2);
}

/* Its answer is behind what it sends. */
static void a_home_that_sends_and_could_not_answer_is_not_passed_by(void **state)
{
	struct scene *s = *state;
	const struct wire_set second = chunks_of(8, 1);

	is_asked_behind_what_it_sends(s);
	actor_hang(&s->home, true);
	is_busy_sending(s, &s->home, 3500);
	assert_int_equal(s->w->n_leases, 0); /* of the next in rank: the agent itself */
	actor_hang(&s->home, false);
	actor_answer(&s->home, &s->home.asks[1], WIRE_HOLDERS, &second, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 1);
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
}

/* It could: it answers pings. */
static void a_home_that_sends_and_does_not_answer_is_passed_by(void **state)
{
	struct scene *s = *state;

	is_asked_behind_what_it_sends(s);
	is_busy_sending(s, &s->home, 1700);
	assert_int_equal(s->w->n_leases, 0);
	peers_until(s->w->peers, &s->w->n_leases, 1); /* of the next in rank: the agent itself */
	chunks_lease_end(s->w, true);
}

/* What it sent would do for much longer. */
static void a_home_that_dies_once_it_has_sent_costs_as_one_that_does_not_answer(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, 8);
	uint64_t from_ms;

	is_asked_behind_what_it_sends(s);
	from_ms = now_ms(s);
	actor_send(&s->home, &s->home.gets[0], &first, true); /* 160 KB: 19 s of 8 KiB/s */
	peers_run_ms(s->w->peers, 50);
	actor_hang(&s->home, true);
	peers_until(s->w->peers, &s->w->n_leases, 1); /* of the next in rank: the agent itself */
	assert_in_range(now_ms(s) - from_ms, 1500, 3000);
	chunks_lease_end(s->w, true);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		T(who_is_slow_and_has_it_is_not_left_for_one_who_is_to_receive_it),
		T(who_is_behind_another_question_is_not_given_up),
		T(who_is_behind_another_question_for_a_third_of_its_time_is_given_up),
		T(who_keeps_one_back_and_gives_what_was_asked_later_is_given_up),
		T(who_gives_others_and_does_not_say_that_it_knows_one_is_given_up),
		T(who_has_had_a_turn_waits_for_that_of_the_others),
		T(who_trickles_is_late_and_given_up),
		T(who_is_slow_until_the_time_is_over_has_failed),
		T(who_is_too_slow_for_its_reader_has_failed_and_costs_less_then),
		T(a_queue_is_not_stood_in_for_longer_since_a_holder_trickles),
		T(who_sends_and_could_not_say_that_it_knows_them_is_not_stalled),
		T(who_sends_and_does_not_say_that_it_knows_them_is_stalled),
		T(who_could_not_say_that_it_knows_many_is_not_stalled),
		T(a_home_that_sends_and_could_not_answer_is_not_passed_by),
		T(a_home_that_sends_and_does_not_answer_is_passed_by),
		T(a_home_that_dies_once_it_has_sent_costs_as_one_that_does_not_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
