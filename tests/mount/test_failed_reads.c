/*
 * test_failed_reads: the kernel's second try is told from everybody else's first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failed_reads.h"

static const struct failed_read failed = {
	.thread = 7, .node = 3, .offset = 8192, .end = 8192 + 65536, .at_ns = 100
};

static bool taken(struct failed_read asked)
{
	struct failed_reads list = { .next = 0 };

	failed_reads_add(&list, &failed);
	return failed_reads_take(&list, &asked);
}

static void the_same_thread_that_asks_for_a_page_of_it_at_once_is_the_second_try(void **state)
{
	struct failed_read asked = {
		.thread = 7, .node = 3, .offset = 12288, .end = 16384, .at_ns = 101
	};

	(void)state;
	assert_true(taken(asked));
	asked.at_ns = 100 + FAILED_READ_NS - 1;
	assert_true(taken(asked));
	asked.at_ns = 99; /* it was asked on another thread before the failure was told */
	assert_true(taken(asked));
}

static void others_later_or_elsewhere_are_not(void **state)
{
	const struct failed_read right = {
		.thread = 7, .node = 3, .offset = 12288, .end = 16384, .at_ns = 101
	};
	struct failed_read asked = right;

	(void)state;
	asked.thread = 8;
	assert_false(taken(asked));
	asked = right;
	asked.node = 4;
	assert_false(taken(asked));
	asked = right;
	asked.offset = 4096;
	assert_false(taken(asked));
	asked.offset = failed.end;
	assert_false(taken(asked));
	asked = right;
	asked.at_ns = 100 + FAILED_READ_NS;
	assert_false(taken(asked));
}

static void it_is_taken_once(void **state)
{
	struct failed_reads list = { .next = 0 };

	(void)state;
	failed_reads_add(&list, &failed);
	assert_true(failed_reads_take(&list, &failed));
	assert_false(failed_reads_take(&list, &failed));
}

static void a_thread_that_the_kernel_cannot_name_gets_its_full_time(void **state)
{
	struct failed_reads list = { .next = 0 };
	struct failed_read nameless = failed;

	(void)state;
	nameless.thread = 0;
	failed_reads_add(&list, &nameless);
	assert_false(failed_reads_take(&list, &nameless));
}

static void the_oldest_goes_first(void **state)
{
	struct failed_reads list = { .next = 0 };
	struct failed_read one = failed;

	(void)state;
	for (uint32_t i = 0; i <= FAILED_READS_MAX; i++) {
		one.node = i;
		failed_reads_add(&list, &one);
	}
	one.node = 0;
	assert_false(failed_reads_take(&list, &one));
	for (uint32_t i = 1; i <= FAILED_READS_MAX; i++) {
		one.node = i;
		assert_true(failed_reads_take(&list, &one));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_same_thread_that_asks_for_a_page_of_it_at_once_is_the_second_try),
		cmocka_unit_test(others_later_or_elsewhere_are_not),
		cmocka_unit_test(it_is_taken_once),
		cmocka_unit_test(a_thread_that_the_kernel_cannot_name_gets_its_full_time),
		cmocka_unit_test(the_oldest_goes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
