/*
 * What a caller may ask to be mounted, and what a record on disk may say.
 */
#include "mem.h"
#include "mount_record.h"
#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int parse(const char *text, bool stored, struct mount_record *ret_rec)
{
	AUTO(json_drop) json_t *json = NULL;
	struct err e = { 0 };

	assert_int_equal(json_parse_object(text, strlen(text), &json, &e), 0);
	return mount_record_parse(json, stored, ret_rec, &e);
}

static void must_refuse(const char *text, bool stored)
{
	struct mount_record rec = { 0 };

	if (parse(text, stored, &rec) != -EINVAL)
		fail_msg("taken: %s", text);
	assert_null(rec.dir);
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_reference_and_a_directory_are_enough(void **state)
{
	AUTO(mount_record_clear) struct mount_record rec = { 0 };

	(void)state;
	assert_int_equal(parse("{\"image\": \"h:5000/r:t\", \"dir\": \"/m\"}", false, &rec), 0);
	assert_string_equal(rec.reference, "h:5000/r:t");
	assert_string_equal(mount_record_image(&rec), "h:5000/r:t");
	assert_false(rec.prefetch);
	assert_null(rec.how);
}

static void how_it_is_mounted_is_one_of_three_words(void **state)
{
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	AUTO(mount_record_clear) struct mount_record copy = { 0 };

	(void)state;
	assert_int_equal(
		parse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"how\": \"erofs\"}", true, &rec),
		0);
	mount_record_copy(&copy, &rec);
	assert_string_equal(copy.how, "erofs");
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"how\": \"frob\"}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"how\": 1}", false);
}

static void a_bootstrap_needs_its_blobs(void **state)
{
	AUTO(mount_record_clear) struct mount_record rec = { 0 };

	(void)state;
	assert_int_equal(parse("{\"bootstrap\": \"/b\", \"blobs\": \"dir:/d\", \"dir\": \"/m\"}",
	                       false, &rec),
	                 0);
	assert_string_equal(mount_record_image(&rec), "/b");
	must_refuse("{\"bootstrap\": \"/b\", \"dir\": \"/m\"}", false);
	must_refuse("{\"blobs\": \"dir:/d\", \"dir\": \"/m\"}", false);
	must_refuse("{\"bootstrap\": \"/b\", \"blobs\": \"frob:/d\", \"dir\": \"/m\"}", false);
	must_refuse("{\"bootstrap\": \"/b\", \"blobs\": \"dir:/d\", \"image\": \"h:1/r:t\", "
	            "\"dir\": \"/m\"}",
	            false);
}

static void what_is_wrong_or_unknown_is_refused(void **state)
{
	(void)state;
	must_refuse("{}", false);
	must_refuse("{\"image\": \"h:1/r:t\"}", false);
	must_refuse("{\"dir\": \"/m\"}", false);
	must_refuse("{\"image\": \"not a reference\", \"dir\": \"/m\"}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"m\"}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m/../x\"}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/\"}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"frob\": 1}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"prefetch\": 1}", false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"auth_file\": \"x\"}", false);
}

static void only_the_disk_may_name_a_digest(void **state)
{
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	const char *text = "{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"digest\": \"" HEX64 "\"}";

	(void)state;
	must_refuse(text, false);
	assert_int_equal(parse(text, true, &rec), 0);
	assert_string_equal(rec.digest, HEX64);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"digest\": \"abc\"}", true);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"digest\": \"" HEX64 "00\"}", true);
}

static void what_is_written_reads_the_same(void **state)
{
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	AUTO(mount_record_clear) struct mount_record again = { 0 };
	AUTO(json_drop) json_t *json = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(parse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"auth_file\": \"/a\", "
	                       "\"prefetch\": true, \"digest\": \"" HEX64 "\"}",
	                       true, &rec),
	                 0);
	json = mount_record_json(&rec);
	assert_int_equal(mount_record_parse(json, true, &again, &e), 0);
	assert_string_equal(again.reference, "h:1/r:t");
	assert_null(again.bootstrap);
	assert_null(again.blobs);
	assert_string_equal(again.auth_file, "/a");
	assert_string_equal(again.digest, HEX64);
	assert_true(again.prefetch);
}

#define WITH_CA_FILE "{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"ca_file\": %s}"

static void several_ca_files_are_an_array(void **state)
{
	static const char *const wrong[] = {
		"[]",          "[\"/a\"]",       "[\"/a\", \"b\"]",
		"[\"/a\", 1]", "[\"/a\", null]", "[\"/a\", \"/b\\n/c\"]",
		"\"/b\\n/c\"", "\"a\"",          "{}"
	};
	AUTO(mount_record_clear) struct mount_record rec = { 0 };
	AUTO(mount_record_clear) struct mount_record again = { 0 };
	AUTO(mount_record_clear) struct mount_record one = { 0 };
	AUTO(free_str) char *text = xasprintf(WITH_CA_FILE, "[\"/a\", \"/b c\"]");
	AUTO(free_str) char *text_of_one = xasprintf(WITH_CA_FILE, "\"/a\"");
	AUTO(json_drop) json_t *json = NULL;
	AUTO(json_drop) json_t *json_of_one = NULL;
	AUTO(json_drop) json_t *many = NULL;
	struct err e = { 0 };

	(void)state;
	assert_int_equal(parse(text, false, &rec), 0);
	assert_string_equal(rec.ca_file, "/a\n/b c");
	json = mount_record_json(&rec);
	assert_int_equal(mount_record_parse(json, true, &again, &e), 0);
	assert_string_equal(again.ca_file, "/a\n/b c");
	assert_int_equal(parse(text_of_one, false, &one), 0);
	json_of_one = mount_record_json(&one);
	assert_string_equal(json_str(json_of_one, "ca_file"), "/a");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		AUTO(free_str) char *bad = xasprintf(WITH_CA_FILE, wrong[i]);

		must_refuse(bad, false);
	}
	many = json_deep_copy(json);
	for (int i = 0; i < 4000; i++)
		(void)json_array_append_new(json_object_get(many, "ca_file"), json_string("/abc"));
	assert_int_equal(mount_record_parse(many, true, &again, &e), -EINVAL);
}

/* It would be on disk. */
static void a_proxys_password_is_refused(void **state)
{
	(void)state;
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"proxy\": \"http://u:p@h\"}",
	            false);
	must_refuse("{\"image\": \"h:1/r:t\", \"dir\": \"/m\", \"proxy\": \"u@h\"}", false);
}

static void plain_paths_are_told_from_others(void **state)
{
	(void)state;
	assert_true(path_is_plain("/a"));
	assert_true(path_is_plain("/a/b c/...d/.e"));
	assert_false(path_is_plain(""));
	assert_false(path_is_plain("/"));
	assert_false(path_is_plain("a"));
	assert_false(path_is_plain("/a/"));
	assert_false(path_is_plain("//a"));
	assert_false(path_is_plain("/a/./b"));
	assert_false(path_is_plain("/a/.."));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reference_and_a_directory_are_enough),
		cmocka_unit_test(how_it_is_mounted_is_one_of_three_words),
		cmocka_unit_test(a_bootstrap_needs_its_blobs),
		cmocka_unit_test(what_is_wrong_or_unknown_is_refused),
		cmocka_unit_test(only_the_disk_may_name_a_digest),
		cmocka_unit_test(what_is_written_reads_the_same),
		cmocka_unit_test(several_ca_files_are_an_array),
		cmocka_unit_test(a_proxys_password_is_refused),
		cmocka_unit_test(plain_paths_are_told_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
