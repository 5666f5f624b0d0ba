/*
 * The reference pages in docs/ are what the tables say.
 */
#include "mem.h"
#include "print_docs.h"
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PAGE_MAX_BYTES (1U << 20)

static void must_equal(const char *path, void (*print)(FILE *out), const char *remedy)
{
	AUTO(free_str) char *want = NULL;
	AUTO(free_str) char *got = xcalloc(1, PAGE_MAX_BYTES);
	size_t want_bytes = 0;
	FILE *out = open_memstream(&want, &want_bytes);
	FILE *page = fopen(path, "r");

	assert_non_null(out);
	assert_non_null(page);
	print(out);
	(void)fclose(out);
	assert_true(fread(got, 1, PAGE_MAX_BYTES - 1, page) > 0);
	(void)fclose(page);
	if (strcmp(want, got) != 0)
		fail_msg("%s is not what the table says: run %s", path, remedy);
}

static void the_settings_page_is_the_table(void **state)
{
	(void)state;
	must_equal(TESTS_DATA "/../../docs/config.md", print_config_doc,
	           "shoald --print-docs config > docs/config.md");
}

static void the_metrics_page_is_the_table(void **state)
{
	(void)state;
	must_equal(TESTS_DATA "/../../docs/metrics.md", print_metrics_doc,
	           "shoald --print-docs metrics > docs/metrics.md");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_settings_page_is_the_table),
		cmocka_unit_test(the_metrics_page_is_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
