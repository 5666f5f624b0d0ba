/*
 * The last step of a program: its loop ends when nothing is out any more.
 */
#include "auto.h"
#include "fake_clock.h"
#include "leaving.h"
#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LONG_MS 3600000

struct fixture {
	struct loop *loop;
	struct leaving leaving;
	const uint64_t *marks; /* one a look; the last one for ever */
	uint32_t n_marks;
	uint32_t n_looks;
	struct fake_clock clock;
	uint64_t look_ms; /* so much later is the next look */
};

static uint64_t next_mark(const void *arg)
{
	struct fixture *f = *(struct fixture *const *)arg;
	const uint32_t i = f->n_looks < f->n_marks ? f->n_looks : f->n_marks - 1;

	if (f->n_looks++ > 0)
		fake_clock_advance_ms(&f->clock, f->look_ms);
	return f->marks[i];
}

/* @return how often it has looked before the loop has ended */
static uint32_t looks_until_the_end(const uint64_t *marks, uint32_t n_marks, uint32_t at_most_ms,
                                    uint64_t look_ms)
{
	struct fixture f = { .marks = marks, .n_marks = n_marks, .look_ms = look_ms };
	struct fixture *const self = &f;
	struct err e;

	fake_clock_init(&f.clock);
	assert_int_equal(loop_new(&f.loop, &e), 0);
	leaving_begin(&f.leaving, f.loop, &f.clock.clock, at_most_ms, next_mark, &self);
	assert_true(leaving_has_begun(&f.leaving));
	leaving_begin(&f.leaving, f.loop, &f.clock.clock, 0, NULL, NULL); /* nothing is done */
	loop_run(f.loop);
	leaving_fini(&f.leaving);
	loop_free(&f.loop);
	return f.n_looks;
}

static void it_ends_when_nothing_is_out_at_two_looks_in_turn(void **state)
{
	static const uint64_t marks[] = { 0, 0, 5, 0, 5, 6, 6 };

	(void)state;
	assert_int_equal(looks_until_the_end(marks, ARRAY_LEN(marks), LONG_MS, 2),
	                 ARRAY_LEN(marks));
}

static void what_is_out_for_ever_is_waited_for_no_longer_than_is_said(void **state)
{
	static const uint64_t out = 0;

	(void)state;
	assert_int_equal(looks_until_the_end(&out, 1, 20, 2), 11);
	/* A loop that is busy, or a timer that is late, makes it no longer. */
	assert_int_equal(looks_until_the_end(&out, 1, 20, 10), 3);
}

static void several_pools_are_idle_when_each_is(void **state)
{
	struct loop *loop = NULL;
	struct pool *pools[2] = { NULL };
	struct err e;

	(void)state;
	assert_int_equal(loop_new(&loop, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(pools); i++)
		assert_int_equal(pool_new(loop, 1, "work", &pools[i], &e), 0);
	assert_true(pools_idle_mark(pools, 2) > pools_idle_mark(pools, 1));
	for (size_t i = 0; i < ARRAY_LEN(pools); i++)
		pool_free(&pools[i]);
	loop_free(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_ends_when_nothing_is_out_at_two_looks_in_turn),
		cmocka_unit_test(what_is_out_for_ever_is_waited_for_no_longer_than_is_said),
		cmocka_unit_test(several_pools_are_idle_when_each_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
