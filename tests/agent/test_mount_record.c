/*
 * What a caller may ask to be mounted, and what a record on disk may say.
 */
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
	assert_true(mount_record_same_image(&rec, &again));
	assert_string_equal(again.auth_file, "/a");
	assert_string_equal(again.digest, HEX64);
	assert_true(again.prefetch);
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
		cmocka_unit_test(plain_paths_are_told_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
