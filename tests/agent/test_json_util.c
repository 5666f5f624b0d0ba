/*
 * JSON from outside: what is taken and what is refused.
 */
#include "json_util.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int parse(const char *text)
{
	AUTO(json_drop) json_t *json = NULL;
	struct err e = { 0 };

	return json_parse_object(text, strlen(text), &json, &e);
}

static void only_one_whole_object_is_taken(void **state)
{
	(void)state;
	assert_int_equal(parse("{}"), 0);
	assert_int_equal(parse(" {\"a\": 1} "), 0);
	assert_int_equal(parse(""), -EINVAL);
	assert_int_equal(parse("[]"), -EINVAL);
	assert_int_equal(parse("1"), -EINVAL);
	assert_int_equal(parse("{} {}"), -EINVAL);
	assert_int_equal(parse("{\"a\": 1, \"a\": 2}"), -EINVAL);
	assert_int_equal(parse("{\"a\": 1"), -EINVAL);
	assert_int_equal(parse("{\"a\": \"\xff\"}"), -EINVAL);
}

/* The place is told, and nothing of what stands there. */
static void a_refusal_quotes_nothing(void **state)
{
	static const struct {
		const char *text;
		const char *says;
	} refused[] = {
		{ "{\"auth\" \"sesame\"}", "line 1, column 16: this" },
		{ "{\n\"auth\": \"sesame", "line 2, column 15: it ends too early" },
		{ "{\"auth\": sesame}", "column" },
		{ "{\"auth\": \"\\usesame\"}", "column" },
		{ "{\"auth\": \"\\sesame\"}", "column" },
		{ "{\"auth\": \"sesame\nx\"}", "column" },
		{ "{\"sesame\": 1, \"sesame\": 2}", "a key is there twice" },
		{ "{} sesame", "something follows it" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		json_t *json = NULL;
		struct err e = { 0 };

		assert_int_equal(
			json_parse_object(refused[i].text, strlen(refused[i].text), &json, &e),
			-EINVAL);
		assert_null(strstr(e.msg, "ses"));
		assert_non_null(strstr(e.msg, "not JSON: line "));
		assert_non_null(strstr(e.msg, refused[i].says));
	}
}

static void deep_nesting_is_refused_not_followed(void **state)
{
	char text[20001];

	(void)state;
	memset(text, '[', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(parse(text), -EINVAL);
}

static void bytes_that_are_not_utf8_become_a_mark(void **state)
{
	AUTO(json_drop)
	json_t *bad = json_words("a\xff"
	                         "b\xc3\xa4\xe2\x82");
	AUTO(json_drop) json_t *good = json_words("\xe2\x82\xac");
	AUTO(json_drop) json_t *none = json_words(NULL);

	(void)state;
	assert_string_equal(json_string_value(bad), "a\xef\xbf\xbd"
	                                            "b\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd");
	assert_string_equal(json_string_value(good), "\xe2\x82\xac");
	assert_true(json_is_null(none));
}

static int get_text(json_t *value, const char **ret_text)
{
	AUTO(json_drop) json_t *object = json_object();
	struct err e = { 0 };

	(void)json_object_set(object, "k", value);
	return json_get_text(object, "k", ret_text, &e);
}

static void a_text_member_is_checked(void **state)
{
	AUTO(json_drop) json_t *good = json_string("/a b");
	AUTO(json_drop) json_t *empty = json_string("");
	AUTO(json_drop) json_t *line = json_string("a\nb");
	AUTO(json_drop) json_t *nul = json_stringn("a\0b", 3);
	AUTO(json_drop) json_t *number = json_integer(1);
	const char *text = "unset";

	(void)state;
	assert_int_equal(get_text(good, &text), 0);
	assert_string_equal(text, "/a b");
	assert_int_equal(get_text(empty, &text), -EINVAL);
	assert_int_equal(get_text(line, &text), -EINVAL);
	assert_int_equal(get_text(nul, &text), -EINVAL);
	assert_int_equal(get_text(number, &text), -EINVAL);
	assert_int_equal(get_text(NULL, &text), 0);
	assert_null(text);
}

/* docs/api.md: "UTF-8 without control characters". */
static void no_control_character_is_in_a_text(void **state)
{
	static const char *const bad[] = { "a\x01", "a\tb",      "\x1b[2J",
		                           "a\x7f", "a\xc2\x85", "\xc2\x9b" };
	static const char *const good[] = { "a b", "\xc2\xa0", "\xc3\xa4", "\xe2\x82\xac" };
	const char *text = "unset";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		AUTO(json_drop) json_t *value = json_string(bad[i]);

		assert_int_equal(get_text(value, &text), -EINVAL);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		AUTO(json_drop) json_t *value = json_string(good[i]);

		assert_int_equal(get_text(value, &text), 0);
	}
}

static void a_secret_may_be_longer_than_a_text(void **state)
{
	AUTO(free_str) char *longest = xcalloc(1, JSON_SECRET_MAX_BYTES + 1);
	AUTO(json_drop) json_t *object = json_object();
	const char *text = NULL;
	struct err e = { 0 };

	(void)state;
	memset(longest, 'x', JSON_SECRET_MAX_BYTES);
	(void)json_object_set_new(object, "k", json_string(longest));
	assert_int_equal(json_get_secret(object, "k", false, &text, &e), 0);
	assert_string_equal(text, longest);
	assert_int_equal(json_get_text(object, "k", &text, &e), -EINVAL);
	(void)json_object_set_new(object, "k", json_sprintf("%s+", longest));
	assert_int_equal(json_get_secret(object, "k", false, &text, &e), -EINVAL);
}

static void a_secret_may_be_empty_where_that_is_said(void **state)
{
	AUTO(json_drop) json_t *object = json_pack("{s:s, s:s#}", "k", "", "nul", "", 1);
	const char *text = NULL;
	struct err e = { 0 };

	(void)state;
	assert_non_null(object);
	assert_int_equal(json_get_secret(object, "k", true, &text, &e), 0);
	assert_string_equal(text, "");
	assert_int_equal(json_get_secret(object, "k", false, &text, &e), -EINVAL);
	assert_int_equal(json_get_secret(object, "nul", true, &text, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_one_whole_object_is_taken),
		cmocka_unit_test(a_refusal_quotes_nothing),
		cmocka_unit_test(deep_nesting_is_refused_not_followed),
		cmocka_unit_test(bytes_that_are_not_utf8_become_a_mark),
		cmocka_unit_test(a_text_member_is_checked),
		cmocka_unit_test(no_control_character_is_in_a_text),
		cmocka_unit_test(a_secret_may_be_longer_than_a_text),
		cmocka_unit_test(a_secret_may_be_empty_where_that_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
