/*
 * test_clock: the machine's clocks, and the one that tests turn themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "fake_clock.h"

static void the_real_clock_never_goes_back(void **state)
{
	const struct clock *c = clock_real();
	uint64_t last_ns = clock_now_ns(c);

	(void)state;
	assert_true(last_ns > 0);
	assert_true(clock_wall_ms(c) > UINT64_C(1600000000000));
	for (int i = 0; i < 1000; i++) {
		const uint64_t now_ns = clock_now_ns(c);

		assert_true(now_ns >= last_ns);
		last_ns = now_ns;
	}
}

static void the_fake_clock_moves_only_when_told(void **state)
{
	struct fake_clock f;
	const struct clock *c = &f.clock;
	uint64_t wall_ms = 0;

	(void)state;
	fake_clock_init(&f);
	assert_true(clock_now_ns(c) == 1000 * NS_PER_S);
	wall_ms = clock_wall_ms(c);
	for (int i = 0; i < 5; i++)
		fake_clock_advance_ms(&f, 500);
	assert_true(clock_now_ns(c) == 1002 * NS_PER_S + 500 * NS_PER_MS);
	assert_true(clock_wall_ms(c) == wall_ms + 2500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_real_clock_never_goes_back),
		cmocka_unit_test(the_fake_clock_moves_only_when_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
