/*
 * test_hex: text and bytes, there and back, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hex.h"
#include <string.h>

static void bytes_survive_the_way_to_text_and_back(void **state)
{
	uint8_t bytes[256];
	uint8_t back[256];
	char text[513];

	(void)state;
	for (unsigned i = 0; i < 256; i++)
		bytes[i] = (uint8_t)i;
	hex_encode(bytes, 256, text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text, "000102", 6);
	assert_memory_equal(text + 506, "fdfeff", 7);
	assert_true(hex_decode(text, 256, back));
	assert_memory_equal(bytes, back, 256);
}

static void upper_case_digits_are_read(void **state)
{
	uint8_t bytes[2];

	(void)state;
	assert_true(hex_decode("aBCd", 2, bytes));
	assert_int_equal(bytes[0], 0xab);
	assert_int_equal(bytes[1], 0xcd);
}

static void what_is_no_hex_of_that_length_is_refused_and_writes_nothing(void **state)
{
	static const char *const bad[] = { "", "a", "ab", "abc", "abcde", "abcg", "ab c", "0x12" };
	uint8_t bytes[2] = { 7, 7 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(hex_decode(bad[i], 2, bytes));
	assert_int_equal(bytes[0], 7);
	assert_int_equal(bytes[1], 7);
}

static void only_64_lower_case_digits_are_a_sha256(void **state)
{
	char text[66];

	(void)state;
	memset(text, 'a', 65);
	text[65] = '\0';
	assert_false(hex_is_sha256(text));
	text[64] = '\0';
	assert_true(hex_is_sha256(text));
	text[5] = 'A';
	assert_false(hex_is_sha256(text));
	text[5] = '/';
	assert_false(hex_is_sha256(text));
	assert_false(hex_is_sha256(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_survive_the_way_to_text_and_back),
		cmocka_unit_test(upper_case_digits_are_read),
		cmocka_unit_test(what_is_no_hex_of_that_length_is_refused_and_writes_nothing),
		cmocka_unit_test(only_64_lower_case_digits_are_a_sha256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
