/*
 * How fast something goes on, for the line that tells so.
 */
#include "clock.h"
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static void what_was_done_before_does_not_count(void **state)
{
	struct progress p = { 0 };

	(void)state;
	assert_true(progress_rate(&p, 900 * MIB, NS_PER_S) == 0);
	assert_true(progress_rate(&p, 910 * MIB, 11 * NS_PER_S) == (double)MIB);
	assert_true(progress_rate(&p, 940 * MIB, 21 * NS_PER_S) == (double)(2 * MIB));
}

static void what_goes_backwards_has_no_rate(void **state)
{
	struct progress p = { 0 };

	(void)state;
	(void)progress_rate(&p, 900 * MIB, NS_PER_S);
	assert_true(progress_rate(&p, 800 * MIB, 11 * NS_PER_S) == 0); /* some was evicted */
	assert_true(progress_rate(&p, 800 * MIB, NS_PER_S) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_done_before_does_not_count),
		cmocka_unit_test(what_goes_backwards_has_no_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
