/*
 * test_rate: budgets in bytes a second, on a clock that the test moves.
 */
#include "rate.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MB UINT64_C(1000000)

/* Take pieces as soon as it is allowed, for so long. @return bytes taken */
static uint64_t take_for(struct rate *r, uint64_t *now_ns, uint64_t for_ns, uint64_t piece,
                         bool urgent)
{
	const uint64_t end_ns = *now_ns + for_ns;
	uint64_t taken = 0;

	while (*now_ns < end_ns) {
		const uint64_t due_ns = rate_take(r, *now_ns, piece, urgent);

		if (due_ns == 0) {
			taken += piece;
			continue;
		}
		assert_true(due_ns > *now_ns);
		*now_ns = due_ns;
	}
	return taken;
}

static void without_a_limit_everything_goes(void **state)
{
	struct rate r = { .bytes_per_s = 0 };

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(rate_take(&r, 5, UINT64_C(1) << 40, false), 0);
}

static void the_rate_holds_whatever_the_size_of_the_pieces(void **state)
{
	static const uint64_t pieces[] = { 1, 100, 16384, 4 * MB, 30 * MB };

	(void)state;
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		for (int urgent = 0; urgent < 2; urgent++) {
			struct rate r = { .bytes_per_s = pieces[i] < 16384 ? 100000 : 10 * MB };
			const uint64_t fair = 60 * r.bytes_per_s;
			uint64_t now_ns = 1000 * NS_PER_S;
			const uint64_t taken =
				take_for(&r, &now_ns, 60 * NS_PER_S, pieces[i], urgent != 0);

			assert_in_range(taken, fair - fair / 20 - pieces[i],
			                fair + r.bytes_per_s / 8 + pieces[i] + 1);
		}
	}
}

static void what_was_not_used_is_no_credit_for_later(void **state)
{
	struct rate r = { .bytes_per_s = 8 * MB };
	uint64_t now_ns = 1000 * NS_PER_S;

	(void)state;
	(void)take_for(&r, &now_ns, NS_PER_S, 1000, true);
	now_ns += 3600 * NS_PER_S;
	assert_in_range(take_for(&r, &now_ns, NS_PER_S, 1000, true), 8 * MB, 9 * MB + 2000);
}

static void a_large_piece_is_made_up_for(void **state)
{
	struct rate r = { .bytes_per_s = 1 * MB };
	const uint64_t now_ns = 1000 * NS_PER_S;
	uint64_t due_ns;

	(void)state;
	assert_int_equal(rate_take(&r, now_ns, 20 * MB, true), 0);
	due_ns = rate_take(&r, now_ns, 1, true);
	assert_in_range(due_ns, now_ns + 19 * NS_PER_S, now_ns + 21 * NS_PER_S);
	assert_int_not_equal(rate_take(&r, due_ns - NS_PER_S, 1, true), 0);
	assert_int_equal(rate_take(&r, due_ns, 1, true), 0);
	rate_give_back(&r, 5 * MB);
	assert_int_equal(rate_take(&r, due_ns, 1, true), 0);
}

static void the_urgent_come_first(void **state)
{
	struct rate r = { .bytes_per_s = 1 * MB };
	uint64_t now_ns = 1000 * NS_PER_S;
	uint64_t urgent = 0;
	uint64_t others = 0;

	(void)state;
	/* Both want all that they can get. */
	for (int ms = 0; ms < 10000; ms++, now_ns += NS_PER_MS) {
		while (rate_take(&r, now_ns, 1000, false) == 0)
			others += 1000;
		while (rate_take(&r, now_ns, 1000, true) == 0)
			urgent += 1000;
	}
	assert_in_range(urgent, 9 * MB, 11 * MB);
	assert_true(others < 200000);
	/* Alone, the others get all. */
	assert_in_range(take_for(&r, &now_ns, 10 * NS_PER_S, 1000, false), 9 * MB, 11 * MB);
}

static void the_urgent_do_not_make_up_for_the_large_pieces_of_others(void **state)
{
	struct split_rate r = { .all.bytes_per_s = 0 };
	uint64_t now_ns = 1000 * NS_PER_S;
	uint64_t urgent = 0;
	uint64_t others = 0;
	uint64_t due_ns;

	(void)state;
	split_rate_set(&r, 1 * MB);
	assert_int_equal(split_rate_take(&r, now_ns, 4 * MB, false), 0);
	assert_int_equal(split_rate_take(&r, now_ns, 100000, true), 0);
	due_ns = split_rate_take(&r, now_ns, 4 * MB, false);
	assert_in_range(due_ns, now_ns + 4 * NS_PER_S, now_ns + 5 * NS_PER_S);
	split_rate_give_back(&r, 4 * MB, false); /* it came from elsewhere */
	split_rate_give_back(&r, 100000, true);
	assert_int_equal(split_rate_take(&r, now_ns, 1, false), 0);
	for (int ms = 0; ms < 20000; ms++, now_ns += NS_PER_MS) {
		if (ms >= 10000 && split_rate_take(&r, now_ns, 4 * MB, false) == 0)
			others += 4 * MB;
		while (ms < 15000 && split_rate_take(&r, now_ns, 1000, true) == 0)
			urgent += 1000;
	}
	assert_in_range(urgent, 14 * MB, 16 * MB); /* all that there is, as long as they want it */
	assert_in_range(others, 4 * MB, 8 * MB);   /* the rest; a piece at a time */
	split_rate_set(&r, 0);
	assert_int_equal(split_rate_take(&r, now_ns, 100 * MB, false), 0);
}

static void it_may_be_changed_and_taken_away(void **state)
{
	struct rate r = { .bytes_per_s = 1 * MB };
	uint64_t now_ns = 1000 * NS_PER_S;

	(void)state;
	(void)take_for(&r, &now_ns, NS_PER_S, 1000, true);
	r.bytes_per_s = 10 * MB;
	assert_in_range(take_for(&r, &now_ns, NS_PER_S, 1000, true), 9 * MB, 12 * MB);
	r.bytes_per_s = 0;
	assert_int_equal(rate_take(&r, now_ns, 100 * MB, false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_limit_everything_goes),
		cmocka_unit_test(the_rate_holds_whatever_the_size_of_the_pieces),
		cmocka_unit_test(what_was_not_used_is_no_credit_for_later),
		cmocka_unit_test(a_large_piece_is_made_up_for),
		cmocka_unit_test(the_urgent_come_first),
		cmocka_unit_test(the_urgent_do_not_make_up_for_the_large_pieces_of_others),
		cmocka_unit_test(it_may_be_changed_and_taken_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
