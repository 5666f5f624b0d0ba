/*
 * TOML as JSON: what nydusd's configurations may have, and what is refused, with its line.
 */
#include "mem.h"
#include "toml_json.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int parse(const char *toml, json_t **ret_object, struct err *e)
{
	/* Whoever reads on behind it reads a number that goes on. */
	const size_t size_bytes = strlen(toml);
	uint8_t *copy = malloc(size_bytes + 1);
	int r;

	assert(copy != NULL);
	for (size_t i = 0; i < size_bytes; i++)
		copy[i] = (uint8_t)toml[i];
	copy[size_bytes] = '1'; /* no end of a text */
	r = toml_parse_object((const char *)copy, size_bytes, ret_object, e);
	free(copy);
	return r;
}

static void must_be(const char *toml, const char *json)
{
	AUTO(json_drop) json_t *got = NULL;
	AUTO(free_str) char *text = NULL;
	struct err e = { 0 };

	if (parse(toml, &got, &e) < 0)
		fail_msg("%s: %s", toml, e.msg);
	text = json_dumps(got, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text, json);
}

static void must_fail(const char *toml, const char *words)
{
	AUTO(json_drop) json_t *got = NULL;
	struct err e = { 0 };

	if (parse(toml, &got, &e) != -EINVAL)
		fail_msg("it is understood: %s", toml);
	if (strstr(e.msg, words) == NULL)
		fail_msg("%s: \"%s\" does not say \"%s\"", toml, e.msg, words);
}

static void tables_and_values_are_what_they_are_in_json(void **state)
{
	(void)state;
	must_be("", "{}");
	must_be("# nothing\n\n  # at all", "{}");
	must_be("a = 1\r\nb = -2\nc = true\nd = false # so\n",
	        "{\"a\":1,\"b\":-2,\"c\":true,\"d\":false}");
	must_be("a = 1_000_000\nb = 0xFF\nc = 0o17\nd = 0b101\ne = +9",
	        "{\"a\":1000000,\"b\":255,\"c\":15,\"d\":5,\"e\":9}");
	must_be("a = 0.5\nb = 1e3", "{\"a\":0.5,\"b\":1000.0}");
	must_be("[a]\nb = 1\n[a.c]\nd = 2\n[e]\n", "{\"a\":{\"b\":1,\"c\":{\"d\":2}},\"e\":{}}");
	must_be("[ a . \"b c\" ]\nd.e.'f g' = 1\nd.h = 2",
	        "{\"a\":{\"b c\":{\"d\":{\"e\":{\"f g\":1},\"h\":2}}}}");
	must_be("[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3",
	        "{\"a\":[{\"b\":1},{\"b\":2,\"c\":{\"d\":3}}]}");
	must_be("a = [ 1, 'x', [true], # here\n\n 2,\n]\nb = []",
	        "{\"a\":[1,\"x\",[true],2],\"b\":[]}");
	must_be("a = { b = 1, c.d = \"e\", f = {} }",
	        "{\"a\":{\"b\":1,\"c\":{\"d\":\"e\"},\"f\":{}}}");
}

static void texts_are_what_they_mean(void **state)
{
	(void)state;
	must_be("a = \"x \\\" \\\\ \\t \\u00e4 \\U0001F600 #\"",
	        "{\"a\":\"x \\\" \\\\ \\t \xc3\xa4 \xf0\x9f\x98\x80 #\"}");
	must_be("a = 'C:\\x \"y\" #'", "{\"a\":\"C:\\\\x \\\"y\\\" #\"}");
	must_be("a = \"\"\nb = ''", "{\"a\":\"\",\"b\":\"\"}");
}

static void what_is_not_understood_is_refused_with_its_line(void **state)
{
	(void)state;
	must_fail("a", "line 1: = is expected");
	must_fail("a = 1\nb = \n", "line 2");
	must_fail("a = 1 2", "behind the value");
	must_fail("a = 1\na = 2", "line 2: this key is there already");
	must_fail("a = 1\na.b = 2", "there already");
	must_fail("a = 1\n[a]", "something else's");
	must_fail("[a]\n[[a]]", "something else's");
	must_fail("[a", "] is expected");
	must_fail("[[a]", "] is expected");
	must_fail("= 1", "a key is expected");
	must_fail("a = \"x", "does not end");
	must_fail("a = 'x\n'", "does not end");
	must_fail("a = \"\"\"x\"\"\"", "several lines");
	must_fail("a = \"\\q\"", "backslash");
	must_fail("a = \"\\u0000\"", "backslash");
	must_fail("a = \"\\ud800\"", "backslash");
	must_fail("a = \"\\", "backslash");
	must_fail("a = \"\xff\"", "no UTF-8");
	must_fail("\"\xff\" = 1", "no UTF-8");
	must_fail("a = 2026-11-26", "not understood");
	must_fail("a = inf", "not understood");
	must_fail("a = 0x", "not understood");
	must_fail("a = 99999999999999999999999999999999999999999999999999999999999999999999999999",
	          "behind the value");
	must_fail("a = [1", "does not end");
	must_fail("a = [1 2]", "does not end");
	must_fail("a = { b = 1 c = 2 }", "does not end");
	must_fail("a = [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "too deep");
	must_fail("a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1", "too many parts");
	must_fail("<xml/>", "a key is expected");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_and_values_are_what_they_are_in_json),
		cmocka_unit_test(texts_are_what_they_mean),
		cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
