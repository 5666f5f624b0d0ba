/*
 * Why the bytes of a chunk took as long as they did: one sentence for each case.
 */
#include "mem.h"
#include "source.h"
#include "why.h"
#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N_EVENTS(events) ((uint32_t)ARRAY_LEN(events))

static void must_say(const struct fetch_event *events, uint32_t n, enum why_place place,
                     const char *want)
{
	AUTO(free_str) char *got = why_words(events, n, place);

	assert_string_equal(got, want);
}

static void without_a_question_the_place_is_the_reason(void **state)
{
	(void)state;
	must_say(NULL, 0, WHY_ABSENT, "it is not here: nobody has read it");
	must_say(NULL, 0, WHY_SHARED, "another image here had the chunk: nobody had to be asked");
	must_say(NULL, 0, WHY_HERE,
	         "it is here, and no question for it is remembered: a read takes what the disk "
	         "takes");
}

static void the_origins_first_chunk_and_all_of_it_are_told_apart(void **state)
{
	const struct fetch_event events[] = {
		{ .source = "peer", .reader = true, .result = SOURCE_MISS, .took_us = 1500 },
		{ .source = "origin",
		  .reader = true,
		  .result = SOURCE_OK,
		  .first_unit_us = 80000,
		  .took_us = 95500 },
	};

	(void)state;
	must_say(events, N_EVENTS(events), WHY_HERE,
	         "a reader waited: no peer had it, asked for 1.5 ms; then the origin's first "
	         "chunk came after 80.0 ms, all that was asked for after 95.5 ms");
}

static void somebody_elses_lease_is_named_with_who_had_it(void **state)
{
	const struct fetch_event events[] = {
		{ .source = "peer", .kind = FETCH_STEP, .detail = "home 11223344: segment 1" },
		{ .source = "peer",
		  .kind = FETCH_STEP,
		  .reader = true,
		  .took_us = 120000,
		  .detail = "peer a1b2c3d4: 3 of 3 chunks, ok, 118.0 ms" SOURCE_NOTE_WAITED },
		{ .source = "peer", .reader = true, .result = SOURCE_OK, .took_us = 120500 },
	};

	(void)state;
	must_say(events, N_EVENTS(events), WHY_HERE,
	         "a reader waited: peer a1b2c3d4 was fetching it: waited for that, 120.0 ms; then "
	         "a peer gave it in 120.5 ms");
}

static void a_lease_is_no_delivery(void **state)
{
	const struct fetch_event events[] = {
		{ .source = "peer", .reader = true, .kind = FETCH_LEASE, .took_us = 100 },
		{ .source = "origin",
		  .reader = true,
		  .result = SOURCE_OK,
		  .first_unit_us = 6300,
		  .took_us = 7000 },
	};

	(void)state;
	assert_false(why_gave(&events[0]));
	assert_true(why_gave(&events[1]));
	must_say(events, 1, WHY_ABSENT,
	         "a reader waited: no peer had it, and this node was let fetch it after 0.1 ms");
	must_say(events, N_EVENTS(events), WHY_HERE,
	         "a reader waited: no peer had it, and this node was let fetch it after 0.1 ms; "
	         "then the origin's first chunk came after 6.3 ms, all that was asked for after "
	         "7.0 ms");
}

static void who_has_not_answered_yet_is_said_with_the_time_so_far(void **state)
{
	const struct fetch_event events[] = {
		{ .source = "elsewhere",
		  .result = SOURCE_GONE,
		  .took_us = 6400,
		  .detail = "no other blob has it" },
		{ .source = "origin",
		  .reader = true,
		  .kind = FETCH_OPEN,
		  .took_us = 3012000,
		  .detail = "127.0.0.1:5000" },
	};

	(void)state;
	assert_false(why_gave(&events[1]));
	must_say(events, N_EVENTS(events), WHY_ABSENT,
	         "a reader waits: no other blob's origin has it (6.4 ms); then the origin "
	         "(127.0.0.1:5000) has been asked for 3012.0 ms, and has not given it yet");
}

static void what_no_question_is_out_for_is_said_to_wait(void **state)
{
	const struct fetch_event event = { .source = FETCH_NOBODY,
		                           .kind = FETCH_OPEN,
		                           .detail = "it waits for its turn" };

	(void)state;
	must_say(&event, 1, WHY_ABSENT,
	         "it is being fetched, and nobody waits for it: it waits for its turn");
}

static void what_came_and_went_is_said_to_be_gone(void **state)
{
	const struct fetch_event event = { .source = "peer", .took_us = 1500 };

	(void)state;
	must_say(&event, 1, WHY_ABSENT,
	         "fetched before anybody asked: a peer gave it in 1.5 ms; now it is not here");
}

static void what_was_given_in_parts_is_no_delivery_of_one(void **state)
{
	const struct fetch_event event = { .source = "peer", .kind = FETCH_SOME, .took_us = 1500 };

	(void)state;
	assert_false(why_gave(&event));
	must_say(&event, 1, WHY_ABSENT,
	         "fetched before anybody asked: a peer gave some of what was asked for in 1.5 ms");
}

static void a_wrong_digest_and_a_failure_are_said(void **state)
{
	const struct fetch_event events[] = {
		{ .source = "origin", .result = -EAGAIN, .took_us = 2000, .detail = "503" },
		{ .source = "origin", .result = -EBADMSG },
		{ .source = "origin", .result = SOURCE_GONE, .took_us = 1000 },
		{ .source = "origin", .result = -EACCES, .took_us = 500, .detail = "401" },
		{ .source = "elsewhere", .result = SOURCE_OK, .took_us = 3000 },
	};

	(void)state;
	must_say(
		events, N_EVENTS(events), WHY_HERE,
		"fetched before anybody asked: the origin failed after 2.0 ms (503); then what "
		"the origin gave had a wrong digest, and it was fetched again; then the origin has "
		"it no more (1.0 ms); then the origin refused access after 0.5 ms (401); then the "
		"origin of another blob that has it gave it in 3.0 "
		"ms");
}

static void of_many_questions_the_last_are_told(void **state)
{
	struct fetch_event events[64];
	char *got;
	uint32_t n = 0;

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(events); i++)
		events[i] = (struct fetch_event){ .source = "origin",
			                          .result = -EAGAIN,
			                          .took_us = 1000 * i };
	got = why_words(events, N_EVENTS(events), WHY_ABSENT);
	for (const char *at = got; (at = strstr(at, "failed")) != NULL; at++)
		n++;
	assert_int_equal(n, 6);
	assert_non_null(strstr(got, "63.0 ms"));
	free_str(&got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_question_the_place_is_the_reason),
		cmocka_unit_test(the_origins_first_chunk_and_all_of_it_are_told_apart),
		cmocka_unit_test(somebody_elses_lease_is_named_with_who_had_it),
		cmocka_unit_test(a_lease_is_no_delivery),
		cmocka_unit_test(who_has_not_answered_yet_is_said_with_the_time_so_far),
		cmocka_unit_test(what_no_question_is_out_for_is_said_to_wait),
		cmocka_unit_test(what_came_and_went_is_said_to_be_gone),
		cmocka_unit_test(what_was_given_in_parts_is_no_delivery_of_one),
		cmocka_unit_test(a_wrong_digest_and_a_failure_are_said),
		cmocka_unit_test(of_many_questions_the_last_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
