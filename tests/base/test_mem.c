/*
 * test_mem: allocations that never fail, destructors that leave nothing behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "mem.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void nothing_is_still_a_pointer_of_its_own(void **state)
{
	void *p = xcalloc(0, 8);

	(void)state;
	assert_non_null(p);
	p = xrealloc(p, 0, 0);
	assert_non_null(p);
	free(p);
}

static void memory_is_zeroed_and_grows_with_its_content(void **state)
{
	AUTO(free_bytes) unsigned char *p = xcalloc(4, 1);

	(void)state;
	assert_int_equal(le32(p), 0);
	p[3] = 9;
	p = xrealloc(p, 1000, 10);
	assert_int_equal(p[3], 9);
}

static void text_is_copied_and_formatted(void **state)
{
	AUTO(free_str) char *a = xstrdup("one");
	AUTO(free_str) char *b = xasprintf("%s-%d", a, 2);

	(void)state;
	assert_string_equal(b, "one-2");
}

static void destructors_leave_nothing_and_can_run_twice(void **state)
{
	char *s = xstrdup("x");
	unsigned char *p = xcalloc(1, 1);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const int was = fd;

	(void)state;
	for (int i = 0; i < 2; i++) {
		free_str(&s);
		assert_null(s);
		free_bytes(&p);
		assert_null(p);
		close_fd(&fd);
		assert_int_equal(fd, -1);
	}
	assert_int_equal(fcntl(was, F_GETFD), -1);
}

static void little_endian_numbers_are_read_from_any_address(void **state)
{
	const uint8_t bytes[] = { 0xff, 1, 2, 3, 4, 5, 6, 7, 0x88 };

	(void)state;
	assert_int_equal(le16(bytes + 1), 0x0201);
	assert_int_equal(le32(bytes + 1), 0x04030201);
	assert_true(le64(bytes + 1) == UINT64_C(0x8807060504030201));
}

static void a_range_that_would_wrap_does_not_fit(void **state)
{
	(void)state;
	assert_true(range_fits(0, 0, 0));
	assert_true(range_fits(3, 2, 5));
	assert_false(range_fits(3, 3, 5));
	assert_false(range_fits(6, 0, 5));
	assert_false(range_fits(UINT64_MAX, 2, UINT64_MAX));
	assert_false(range_fits(2, UINT64_MAX, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_still_a_pointer_of_its_own),
		cmocka_unit_test(memory_is_zeroed_and_grows_with_its_content),
		cmocka_unit_test(text_is_copied_and_formatted),
		cmocka_unit_test(destructors_leave_nothing_and_can_run_twice),
		cmocka_unit_test(little_endian_numbers_are_read_from_any_address),
		cmocka_unit_test(a_range_that_would_wrap_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
