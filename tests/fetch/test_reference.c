/*
 * test_reference: which texts name an image, and what they are taken apart into.
 */
#include "reference.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEX "808ed15868caa920b1417070504dc08298ab670f814e601c2dacb33242215204"

static struct reference parsed(const char *text)
{
	struct reference ref;
	struct err e = { .code = 0 };

	if (reference_parse(text, &ref, &e) != 0)
		fail_msg("%s", e.msg);
	return ref;
}

static void refused(const char *text, const char *why)
{
	struct reference ref;
	struct err e = { .code = 0 };

	assert_int_equal(reference_parse(text, &ref, &e), -EINVAL);
	assert_int_equal(e.code, EINVAL);
	if (strstr(e.msg, why) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.msg, why);
}

static void a_tag_is_taken_apart(void **state)
{
	const struct reference ref = parsed("127.0.0.1:5000/team/app-x__y.z:1-v6");

	(void)state;
	assert_string_equal(ref.host, "127.0.0.1:5000");
	assert_string_equal(ref.repository, "team/app-x__y.z");
	assert_string_equal(ref.tag, "1-v6");
	assert_string_equal(ref.digest, "");
}

static void a_digest_is_taken_apart_and_outranks_a_tag(void **state)
{
	const struct reference ref = parsed("registry.example/app:1@sha256:" HEX);
	char *text = reference_text(&ref);

	(void)state;
	assert_string_equal(ref.tag, "1");
	assert_string_equal(ref.digest, HEX);
	assert_string_equal(text, "registry.example/app@sha256:" HEX);
	free(text);
}

static void a_reference_written_out_is_read_back(void **state)
{
	static const char by_digest[] = "r.example:443/a@sha256:" HEX;
	static const char *const texts[] = { "localhost/a:b", "[::1]:5000/a/b:c", by_digest };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		const struct reference ref = parsed(texts[i]);
		char *text = reference_text(&ref);

		assert_string_equal(text, texts[i]);
		free(text);
	}
}

static void the_origin_of_its_blobs_is_its_repository(void **state)
{
	const struct reference ref = parsed("r.example:443/a/b:1");
	char *text = reference_origin(&ref);

	(void)state;
	assert_string_equal(text, "registry:r.example:443/a/b");
	free(text);
}

static void an_origin_names_what_is_there_by_digest(void **state)
{
	const char *digest = "08f5e4d3c5ac90abc30120bd4b31e0f1104a6e7cf3bbd5380ee6dac201af2257";
	struct reference ref;

	(void)state;
	assert_true(reference_of_origin("registry:r.example:443/a/b", digest, &ref));
	assert_string_equal(ref.host, "r.example:443");
	assert_string_equal(ref.repository, "a/b");
	assert_string_equal(ref.digest, digest);
	assert_false(reference_of_origin("dir:/blobs", digest, &ref));
	assert_false(reference_of_origin("r.example:443/a/b", digest, &ref));
	assert_false(reference_of_origin("registry:no host", digest, &ref));
}

static void what_is_no_reference_is_refused_and_told_why(void **state)
{
	(void)state;
	refused("", "no /");
	refused("app:1", "no /");
	refused("app/web:1", "which registry");
	refused("r.example/app", "neither tag nor digest");
	refused("r.example/app:", "tag");
	refused("r.example/app:-x", "tag");
	refused("r.example/app:a b", "tag");
	refused("r.example/App:1", "repository");
	refused("r.example/a//b:1", "repository");
	refused("r.example/a/../b:1", "repository");
	refused("r.example/a___b:1", "repository");
	refused("r.example/:1", "repository");
	refused("r.example:/a:1", "host");
	refused("r.example:65536/a:1", "host");
	refused("r.example:1x/a:1", "host");
	refused("user@r.example/a:1", "host");
	refused("-r.example/a:1", "host");
	refused("[::1/a:1", "host");
	refused("/a:1", "host");
	refused("r.example/a@sha256:abc", "64 lower-case");
	refused("r.example/a@sha512:" HEX HEX, "sha256");
	refused("https://r.example/a:1", "host");
	refused("r.example/a:1?x", "tag");
}

/* Messages are logged. */
static void a_password_in_front_of_the_host_is_in_no_message(void **state)
{
	static const char by_digest[] = "user:secret@r.example/A@sha256:" HEX;
	static const char *const texts[] = {
		"user:secret@r.example",
		"user:secret@r.example/a",
		"user:secret@r.example/a:1",
		by_digest,
		"https://user:secret@r.example/a:1",
		"user:secret@r.example/a@sha256:1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct reference ref;
		struct err e = { .code = 0 };

		assert_int_equal(reference_parse(texts[i], &ref, &e), -EINVAL);
		if (strstr(e.msg, "secret") != NULL || strstr(e.msg, "not shown") == NULL)
			fail_msg("%s", e.msg);
	}
	refused("r.example/a@sha512:" HEX, "r.example/a@sha512:" HEX);
}

static void a_name_of_any_length_fits_or_is_refused(void **state)
{
	char text[2048];

	(void)state;
	for (size_t n = 1; n < 600; n++) {
		struct reference ref;
		struct err e = { .code = 0 };

		memcpy(text, "r.example/", 10);
		memset(text + 10, 'a', n);
		memcpy(text + 10 + n, ":1", 3);
		assert_int_equal(reference_parse(text, &ref, &e), n < 256 ? 0 : -EINVAL);
		memcpy(text, "r.example/a:", 12);
		memset(text + 12, 'a', n);
		text[12 + n] = '\0';
		assert_int_equal(reference_parse(text, &ref, &e), n <= 128 ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tag_is_taken_apart),
		cmocka_unit_test(a_digest_is_taken_apart_and_outranks_a_tag),
		cmocka_unit_test(a_reference_written_out_is_read_back),
		cmocka_unit_test(the_origin_of_its_blobs_is_its_repository),
		cmocka_unit_test(an_origin_names_what_is_there_by_digest),
		cmocka_unit_test(what_is_no_reference_is_refused_and_told_why),
		cmocka_unit_test(a_password_in_front_of_the_host_is_in_no_message),
		cmocka_unit_test(a_name_of_any_length_fits_or_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
