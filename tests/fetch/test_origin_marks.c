/*
 * What is remembered of origins: trouble that grows, ends and is looked into; and of their hosts.
 */
#include "clock.h"
#include "origin_marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define A     "registry:h:5000/team/app"
#define B     "registry:h:5000/other"
#define C     "registry:g/team/app"
#define D     "dir:/srv/blobs"
#define KEY   "blob"
#define START (1000 * NS_PER_S)

static int set_up(void **state)
{
	*state = origin_marks_new();
	return 0;
}

static int tear_down(void **state)
{
	struct origin_marks *m = *state;

	origin_marks_free(&m);
	return 0;
}

static bool down(struct origin_marks *m, const char *origin, uint64_t after_s)
{
	return origin_marks_is_down(m, origin, false, START + after_s * NS_PER_S);
}

static void on_good_days_there_is_nothing_to_look_at(void **state)
{
	struct origin_marks *m = *state;

	assert_false(origin_marks_any(m));
	origin_marks_well(m, A, KEY);
	assert_false(origin_marks_any(m));
	assert_false(down(m, A, 0));
}

static void trouble_is_of_the_whole_host_but_not_of_directories(void **state)
{
	struct origin_marks *m = *state;

	origin_marks_trouble(m, A, true, START);
	assert_true(down(m, A, 1));
	assert_true(down(m, B, 1));
	assert_false(down(m, C, 1));
	origin_marks_trouble(m, D, true, START);
	assert_true(down(m, D, 1));
	assert_false(down(m, "dir:/srv/other", 1));
}

static void trouble_on_the_way_to_one_repository_is_not_its_hosts(void **state)
{
	struct origin_marks *m = *state;

	origin_marks_trouble(m, A, false, START);
	assert_true(down(m, A, 1));
	assert_false(down(m, B, 1));
}

static void it_ends_with_what_the_origin_delivers(void **state)
{
	struct origin_marks *m = *state;

	origin_marks_trouble(m, A, true, START);
	origin_marks_gone(m, A, KEY, START);
	origin_marks_well(m, A, KEY);
	assert_false(down(m, A, 1));
	assert_false(down(m, B, 1));
	assert_false(origin_marks_has_trouble(m, A, START + NS_PER_S));
	assert_false(origin_marks_is_gone(m, A, KEY, START + NS_PER_S));
}

static void a_reader_does_not_find_out_whether_it_has_come_back(void **state)
{
	struct origin_marks *m = *state;

	origin_marks_trouble(m, A, true, START);
	assert_false(origin_marks_has_trouble(m, A, START + 6 * NS_PER_S));
	assert_true(down(m, A, 6));
	assert_true(origin_marks_is_down(m, A, true, START + 4 * NS_PER_S)); /* too early */
	assert_false(origin_marks_is_down(m, A, true, START + 6 * NS_PER_S));
	assert_true(origin_marks_is_down(m, A, true, START + 7 * NS_PER_S)); /* one at a time */
	assert_true(origin_marks_is_down(m, B, true, START + 7 * NS_PER_S));
	assert_false(origin_marks_is_down(m, A, true, START + 17 * NS_PER_S));
	assert_false(down(m, A, 1000)); /* forgotten */
}

static void each_time_it_lasts_longer_up_to_a_limit(void **state)
{
	struct origin_marks *m = *state;
	uint64_t now = START;
	uint64_t last = 0;

	for (int i = 0; i < 8; i++) {
		uint64_t lasts = 0;

		origin_marks_trouble(m, A, true, now);
		origin_marks_trouble(m, A, true, now); /* many runs end at once: one trouble */
		while (origin_marks_has_trouble(m, A, now + lasts))
			lasts += NS_PER_S;
		assert_true(lasts >= last && lasts <= 80 * NS_PER_S);
		if (i < 5)
			assert_int_equal(lasts, (5 * NS_PER_S) << i);
		last = lasts;
		now += lasts;
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(on_good_days_there_is_nothing_to_look_at),
		TEST(trouble_is_of_the_whole_host_but_not_of_directories),
		TEST(trouble_on_the_way_to_one_repository_is_not_its_hosts),
		TEST(it_ends_with_what_the_origin_delivers),
		TEST(a_reader_does_not_find_out_whether_it_has_come_back),
		TEST(each_time_it_lasts_longer_up_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
