/*
 * Texts that may be absent, and numbers in them.
 */
#include "auto.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void absent_is_the_same_as_absent_alone(void **state)
{
	(void)state;
	assert_true(same_text(NULL, NULL));
	assert_true(same_text("", ""));
	assert_false(same_text(NULL, ""));
	assert_false(same_text("a", NULL));
	assert_false(same_text("a", "b"));
}

static void a_number_is_digits_up_to_its_maximum(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		uint64_t n;
	} cases[] = { { "0", 0, 0 },
		      { "600", 600, 600 },
		      { "0017", 17, 17 },
		      { "18446744073709551615", UINT64_MAX, UINT64_MAX } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t n = 1;

		assert_true(text_number(cases[i].text, cases[i].max, &n));
		assert_int_equal(n, cases[i].n);
	}
}

static void what_is_no_such_number_leaves_the_result_alone(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
	} cases[] = { { "", UINT64_MAX },
		      { "-1", UINT64_MAX },
		      { "+1", UINT64_MAX },
		      { " 1", UINT64_MAX },
		      { "1 ", UINT64_MAX },
		      { "0x10", UINT64_MAX },
		      { "1e3", UINT64_MAX },
		      { "601", 600 },
		      { "18446744073709551616", UINT64_MAX },
		      { "99999999999999999999999", UINT64_MAX } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t n = 7;

		assert_false(text_number(cases[i].text, cases[i].max, &n));
		assert_int_equal(n, 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_is_the_same_as_absent_alone),
		cmocka_unit_test(a_number_is_digits_up_to_its_maximum),
		cmocka_unit_test(what_is_no_such_number_leaves_the_result_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
