/*
 * Documents as people see them.
 */
#include "mem.h"
#include "render.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static json_t *json_of(const char *text)
{
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(json);
	return json;
}

static void must_render(const char *text, enum cell_kind kind, const char *of, const char *want)
{
	const struct column column = { "", "k", kind, of };
	AUTO(json_drop) json_t *object = json_of(text);
	AUTO(free_str) char *got = render_cell(object, &column);

	assert_string_equal(got, want);
}

static void a_table_is_as_wide_as_its_widest(void **state)
{
	static const struct column columns[] = { { "NAME", "name", CELL_TEXT, NULL },
		                                 { "SIZE", "size", CELL_BYTES, NULL },
		                                 { "NOTE", "note", CELL_TEXT, NULL } };
	AUTO(json_drop)
	json_t *rows = json_of("[{\"name\": \"a\", \"size\": 1536, \"note\": \"x\"},"
	                       "{\"name\": \"l\xc3\xa4nger\", \"size\": 5}]");
	AUTO(free_str) char *text = NULL;
	size_t size_bytes = 0;
	FILE *out = open_memstream(&text, &size_bytes);

	(void)state;
	render_table(out, rows, columns, ARRAY_LEN(columns));
	(void)fclose(out);
	assert_string_equal(text, "NAME       SIZE  NOTE\n"
	                          "a       1.5 KiB  x\n"
	                          "l\xc3\xa4nger      5 B  \n");
}

static void an_empty_table_says_so(void **state)
{
	static const struct column columns[] = { { "NAME", "name", CELL_TEXT, NULL } };
	AUTO(json_drop) json_t *rows = json_array();
	AUTO(free_str) char *text = NULL;
	size_t size_bytes = 0;
	FILE *out = open_memstream(&text, &size_bytes);

	(void)state;
	render_table(out, rows, columns, ARRAY_LEN(columns));
	(void)fclose(out);
	assert_string_equal(text, "none\n");
}

static void nearly_all_is_never_100_percent(void **state)
{
	(void)state;
	must_render("{\"k\": 99999, \"n\": 100000}", CELL_SHARE, "n", "99.9%");
	must_render("{\"k\": 100000, \"n\": 100000}", CELL_SHARE, "n", "100%");
	must_render("{\"k\": 0, \"n\": 3}", CELL_SHARE, "n", "0.0%");
	must_render("{\"k\": 0, \"n\": 0}", CELL_SHARE, "n", "100%");
}

static void a_moment_has_its_ms_and_a_day_its_minute(void **state)
{
	(void)state;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
	assert_int_equal(setenv("TZ", "UTC", 1), 0);
	tzset();
	must_render("{\"k\": 0}", CELL_WHEN, NULL, "-");
	must_render("{\"k\": 1767323045}", CELL_WHEN, NULL, "2026-01-02 03:04");
	must_render("{\"k\": 1767323045007}", CELL_MOMENT, NULL, "2026-01-02 03:04:05.007");
}

static void numbers_read_as_people_say_them(void **state)
{
	(void)state;
	must_render("{\"k\": 0}", CELL_BYTES, NULL, "0 B");
	must_render("{\"k\": 1023}", CELL_BYTES, NULL, "1023 B");
	must_render("{\"k\": 1048576}", CELL_BYTES, NULL, "1.0 MiB");
	must_render("{\"k\": 90061}", CELL_SECONDS, NULL, "1d 1h");
	must_render("{\"k\": 59}", CELL_SECONDS, NULL, "59s");
	must_render("{\"k\": 999}", CELL_MICROS, NULL, "999 us");
	must_render("{\"k\": 1500}", CELL_MICROS, NULL, "1.5 ms");
	must_render("{\"k\": true}", CELL_YES, NULL, "yes");
	must_render("{\"k\": [\"a\", \"b\"]}", CELL_LIST, NULL, "a b");
	must_render("{}", CELL_COUNT, NULL, "");
}

static void a_name_cannot_move_the_cursor(void **state)
{
	AUTO(free_str) char *text = NULL;
	size_t size_bytes = 0;
	FILE *out = open_memstream(&text, &size_bytes);

	(void)state;
	render_clean(out, "a\x1b[2J\r\nb\x7f\xc3\xa4\xc2\x9b"
	                  "1A\xc2\xa0\xc2");
	(void)fclose(out);
	assert_string_equal(text, "a?[2J??b?\xc3\xa4?1A\xc2\xa0\xc2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_is_as_wide_as_its_widest),
		cmocka_unit_test(an_empty_table_says_so),
		cmocka_unit_test(nearly_all_is_never_100_percent),
		cmocka_unit_test(a_moment_has_its_ms_and_a_day_its_minute),
		cmocka_unit_test(numbers_read_as_people_say_them),
		cmocka_unit_test(a_name_cannot_move_the_cursor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
