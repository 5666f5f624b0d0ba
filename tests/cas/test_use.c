/*
 * The slow clock by which chunks are evicted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_clock.h"
#include "use.h"

#define HOUR_MS (UINT64_C(3600) * MS_PER_S)

static struct fake_clock fake;

static int setup(void **state)
{
	static struct use_clock u;

	u = (struct use_clock){ .clock = NULL };
	fake_clock_init(&fake);
	use_clock_init(&u, &fake.clock);
	*state = &u;
	return 0;
}

static int teardown(void **state)
{
	use_clock_fini(*state);
	return 0;
}

static void later(struct use_clock *u)
{
	use_clock_wrote(u, 2, 64);
}

static void halving_the_clock_keeps_the_order(void **state)
{
	struct use_clock *u = *state;
	_Atomic uint8_t used[3] = { 0 };

	use_touch(u, used, 0, 1);
	for (int i = 0; i < 100; i++)
		later(u);
	use_touch(u, used, 1, 1);
	assert_false(use_halve(u));
	for (int i = 0; i < 300; i++)
		later(u);
	use_touch(u, used, 2, 1);
	assert_int_equal(used[2], USE_TICKS - 1);
	assert_true(use_halve(u));
	assert_true(use_halved(used[0]) < use_halved(used[1]));
	assert_true(use_halved(used[1]) < use_halved(used[2]));
	assert_int_equal(use_halved(used[2]), atomic_load(&u->now));
	assert_int_equal(use_tick_of(u, 0), 0);
	assert_int_equal(use_tick_of(u, UINT64_MAX), atomic_load(&u->now));
}

static void minutes_pass_also_when_the_clock_is_set_back(void **state)
{
	struct use_clock *u = *state;
	uint8_t before;

	fake_clock_advance_ms(&fake, HOUR_MS);
	use_clock_time(u);
	before = atomic_load(&u->now);
	atomic_fetch_sub(&fake.wall_ms, HOUR_MS);
	use_clock_time(u);
	assert_int_equal(atomic_load(&u->now), before);
	fake_clock_advance_ms(&fake, USE_TICK_S * MS_PER_S);
	use_clock_time(u);
	assert_int_equal(atomic_load(&u->now), before + 1);
	assert_int_equal(use_tick_of(u, use_second_of(u, before)), before);
}

static void it_starts_behind_what_was_used_last(void **state)
{
	struct use_clock *u = *state;
	const uint64_t wall_s = clock_wall_seconds(&fake.clock);

	assert_int_equal(use_second_of(u, 1), wall_s);
	use_clock_start_after(u, wall_s - 1);
	assert_int_equal(use_second_of(u, 1), wall_s);
	use_clock_start_after(u, wall_s + 3600);
	assert_int_equal(use_second_of(u, 1), wall_s + 3601);
	assert_int_equal(use_tick_of(u, wall_s + 3600), 0);
	fake_clock_advance_ms(&fake, USE_TICK_S * MS_PER_S);
	use_clock_time(u);
	assert_int_equal(use_second_of(u, 2), wall_s + 3601 + USE_TICK_S);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(halving_the_clock_keeps_the_order),
		T(minutes_pass_also_when_the_clock_is_set_back),
		T(it_starts_behind_what_was_used_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
