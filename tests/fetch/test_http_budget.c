/*
 * test_http_budget: whose transfer rests, and who goes on, on a clock that the test moves.
 */
#include "http_budget.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND   NS_PER_S
#define RATE     UINT64_C(8000) /* 1001 may come at once */
#define PIECE    UINT64_C(1001)
#define START_NS (1000 * SECOND)

struct fixture {
	struct http_budget b;
	struct http_req reqs[4];
	bool urgent[4];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->b.rate.bytes_per_s = RATE;
	for (int i = 0; i < 4; i++)
		f->reqs[i].urgent = &f->urgent[i];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static bool take(struct fixture *f, int i, uint64_t now_ns)
{
	return http_budget_take(&f->b, &f->reqs[i], PIECE, now_ns);
}

/* The first takes what there is, the others rest, in this order. */
static void all_rest_but_the_first(struct fixture *f)
{
	assert_true(take(f, 0, START_NS));
	for (int i = 1; i < 4; i++)
		assert_false(take(f, i, START_NS));
	assert_true(f->b.due_ns > START_NS);
	assert_null(http_budget_next(&f->b, START_NS));
}

static void without_a_budget_nobody_rests(void **state)
{
	struct fixture *f = *state;

	f->b.rate.bytes_per_s = 0;
	for (int i = 0; i < 100; i++)
		assert_true(take(f, i % 4, START_NS));
	assert_null(http_budget_next(&f->b, START_NS));
	assert_true(f->b.due_ns == 0);
}

static void who_rests_goes_on_in_order_and_with_what_it_rested_for(void **state)
{
	struct fixture *f = *state;
	uint64_t now_ns = START_NS;

	all_rest_but_the_first(f);
	for (int i = 1; i < 4; i++) {
		now_ns = f->b.due_ns;
		assert_ptr_equal(http_budget_next(&f->b, now_ns), &f->reqs[i]);
		assert_true(take(f, i, now_ns)); /* the same bytes come again: paid for */
		assert_null(http_budget_next(&f->b, now_ns));
	}
	assert_in_range(now_ns, START_NS + 3 * SECOND / 8 - SECOND / 10,
	                START_NS + 3 * SECOND / 8 + SECOND / 10);
	assert_false(take(f, 1, now_ns));
}

static void a_blocked_reader_comes_first(void **state)
{
	struct fixture *f = *state;
	uint64_t now_ns;

	all_rest_but_the_first(f);
	f->urgent[3] = true; /* somebody wants it by now */
	(void)http_budget_next(&f->b, START_NS);
	now_ns = f->b.due_ns;
	assert_ptr_equal(http_budget_next(&f->b, now_ns), &f->reqs[3]);
	assert_null(http_budget_next(&f->b, now_ns));
}

static void who_is_gone_is_not_waited_for(void **state)
{
	struct fixture *f = *state;

	all_rest_but_the_first(f);
	http_budget_forget(&f->b, &f->reqs[1]);
	http_budget_forget(&f->b, &f->reqs[1]);
	assert_ptr_equal(http_budget_next(&f->b, START_NS + SECOND), &f->reqs[2]);
	http_budget_forget(&f->b, &f->reqs[3]);
	assert_null(http_budget_next(&f->b, START_NS + 9 * SECOND));
	assert_true(f->b.due_ns == 0);
}

static void when_the_budget_goes_everybody_goes_on(void **state)
{
	struct fixture *f = *state;

	all_rest_but_the_first(f);
	f->b.rate.bytes_per_s = 0;
	for (int i = 1; i < 4; i++)
		assert_ptr_equal(http_budget_next(&f->b, START_NS), &f->reqs[i]);
	assert_null(http_budget_next(&f->b, START_NS));
}

static void half_of_what_was_paid_for_may_come_first(void **state)
{
	struct fixture *f = *state;

	all_rest_but_the_first(f);
	assert_ptr_equal(http_budget_next(&f->b, START_NS + SECOND), &f->reqs[1]);
	assert_true(http_budget_take(&f->b, &f->reqs[1], PIECE / 2, START_NS + SECOND));
	assert_true(http_budget_take(&f->b, &f->reqs[1], PIECE - PIECE / 2, START_NS + SECOND));
	assert_true(f->reqs[1].paid_bytes == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_a_budget_nobody_rests),
		TEST(who_rests_goes_on_in_order_and_with_what_it_rested_for),
		TEST(a_blocked_reader_comes_first),
		TEST(who_is_gone_is_not_waited_for),
		TEST(when_the_budget_goes_everybody_goes_on),
		TEST(half_of_what_was_paid_for_may_come_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
