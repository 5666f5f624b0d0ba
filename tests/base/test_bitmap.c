/*
 * test_bitmap: every size around the word's edge, every bit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"

static const uint32_t sizes[] = { 0, 1, 63, 64, 65, 127, 128, 1000 };

static void a_new_bitmap_is_all_clear(void **state)
{
	(void)state;
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
		AUTO(bitmap_free) struct bitmap *b = bitmap_new(sizes[s]);

		assert_int_equal(b->n_bits, sizes[s]);
		assert_int_equal(bitmap_count(b), 0);
		assert_int_equal(bitmap_next_set(b, 0), sizes[s]);
		assert_int_equal(bitmap_next_clear(b, 0), 0);
	}
}

static void setting_and_clearing_tell_what_was_before(void **state)
{
	AUTO(bitmap_free) struct bitmap *b = bitmap_new(65);

	(void)state;
	assert_true(bitmap_set(b, 64));
	assert_false(bitmap_set(b, 64));
	assert_true(bitmap_get(b, 64));
	assert_false(bitmap_get(b, 0));
	assert_true(bitmap_clear(b, 64));
	assert_false(bitmap_clear(b, 64));
}

static void a_lone_bit_is_found_from_everywhere(void **state)
{
	AUTO(bitmap_free) struct bitmap *b = bitmap_new(200);

	(void)state;
	for (uint32_t bit = 0; bit < 200; bit++) {
		(void)bitmap_set(b, bit);
		assert_int_equal(bitmap_count(b), 1);
		for (uint32_t i = 0; i <= 200; i++)
			assert_int_equal(bitmap_next_set(b, i), i <= bit ? bit : 200);
		(void)bitmap_clear(b, bit);
	}
}

static void a_lone_gap_is_found_from_everywhere(void **state)
{
	AUTO(bitmap_free) struct bitmap *b = bitmap_new(130);

	(void)state;
	for (uint32_t i = 0; i < 130; i++)
		(void)bitmap_set(b, i);
	for (uint32_t bit = 0; bit < 130; bit++) {
		(void)bitmap_clear(b, bit);
		for (uint32_t i = 0; i <= 130; i++)
			assert_int_equal(bitmap_next_clear(b, i), i <= bit ? bit : 130);
		(void)bitmap_set(b, bit);
	}
	assert_int_equal(bitmap_count(b), 130);
	assert_int_equal(bitmap_next_clear(b, 0), 130);
}

static void there_is_nothing_behind_the_last_bit(void **state)
{
	AUTO(bitmap_free) struct bitmap *b = bitmap_new(130);

	(void)state;
	assert_int_equal(bitmap_next_clear(b, 131), 130);
	assert_int_equal(bitmap_next_clear(b, 190), 130);
	assert_int_equal(bitmap_next_clear(b, UINT32_MAX), 130);
	assert_int_equal(bitmap_next_set(b, UINT32_MAX), 130);
}

static void bits_that_another_lacks_are_seen(void **state)
{
	struct bitmap *a = bitmap_new(130);
	struct bitmap *b = bitmap_new(130);

	(void)state;
	assert_false(bitmap_any_but(a, b));
	(void)bitmap_set(b, 3);
	assert_false(bitmap_any_but(a, b));
	(void)bitmap_set(a, 129);
	assert_true(bitmap_any_but(a, b));
	(void)bitmap_set(b, 129);
	assert_false(bitmap_any_but(a, b));
	bitmap_free(&a);
	bitmap_free(&b);
}

static void all_bits_are_cleared_at_once(void **state)
{
	AUTO(bitmap_free) struct bitmap *b = bitmap_new(130);

	(void)state;
	for (uint32_t i = 0; i < 130; i++)
		(void)bitmap_set(b, i);
	bitmap_clear_all(b);
	assert_int_equal(bitmap_count(b), 0);
	assert_int_equal(bitmap_next_clear(b, 0), 0);
	assert_int_equal(bitmap_next_clear(b, 129), 129);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_bitmap_is_all_clear),
		cmocka_unit_test(setting_and_clearing_tell_what_was_before),
		cmocka_unit_test(a_lone_bit_is_found_from_everywhere),
		cmocka_unit_test(a_lone_gap_is_found_from_everywhere),
		cmocka_unit_test(bits_that_another_lacks_are_seen),
		cmocka_unit_test(there_is_nothing_behind_the_last_bit),
		cmocka_unit_test(all_bits_are_cleared_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
