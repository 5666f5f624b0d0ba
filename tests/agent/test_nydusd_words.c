/*
 * nydusd's words: command lines and configurations as nydus-snapshotter 0.16.1 and people write
 * them.
 */
#include "auto.h"
#include "mem.h"
#include "nydusd_args.h"
#include "nydusd_config.h"
#include "text.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define ARGS(...) ((const char *const[]){ "nydusd", __VA_ARGS__ })

static int parse_args(const char *const *argv, int argc, struct nydusd_args *ret_args)
{
	struct err e = { 0 };
	const int r = nydusd_args_parse(argc, argv, ret_args, &e);

	assert_true(r == 0 || e.msg[0] != '\0');
	return r;
}

#define PARSE(ret_args, ...)                                                                       \
	parse_args(ARGS(__VA_ARGS__), (int)ARRAY_LEN(ARGS(__VA_ARGS__)), ret_args)

static void the_snapshotters_command_lines_are_understood(void **state)
{
	struct nydusd_args a;

	(void)state;
	assert_int_equal(PARSE(&a, "fuse", "--upgrade", "--thread-num", "4", "--id", "d1",
	                       "--config", "/c.json", "--bootstrap", "/boot", "--mountpoint", "/m",
	                       "--apisock", "/a.sock", "--log-level", "info", "--log-rotation-size",
	                       "100", "--supervisor", "/s.sock", "--log-file", "/l",
	                       "--prefetch-files", "/list", "--backend-source", "http://x",
	                       "--failover-policy", "resend"),
	                 0);
	assert_int_equal(a.mode, NYDUSD_FUSE);
	assert_true(a.upgrade);
	assert_string_equal(a.id, "d1");
	assert_string_equal(a.config, "/c.json");
	assert_string_equal(a.bootstrap, "/boot");
	assert_string_equal(a.mountpoint, "/m");
	assert_string_equal(a.apisock, "/a.sock");
	assert_string_equal(a.supervisor, "/s.sock");
	assert_string_equal(a.log_file, "/l");
	assert_string_equal(a.prefetch_files, "/list");
	assert_null(a.first_unknown);
}

static void options_stand_anywhere_and_in_every_form(void **state)
{
	struct nydusd_args a;

	(void)state;
	assert_int_equal(PARSE(&a, "--log-level", "warn", "-A/a.sock", "--mountpoint=/m", "-D",
	                       "/b", "-B", "/boot"),
	                 0);
	assert_string_equal(a.apisock, "/a.sock");
	assert_string_equal(a.mountpoint, "/m");
	assert_string_equal(a.localfs_dir, "/b");
	assert_int_equal(PARSE(&a, "singleton", "--apisock", "/a"), 0);
	assert_int_equal(a.mode, NYDUSD_SINGLETON);
}

static void what_a_newer_snapshotter_says_is_passed_over(void **state)
{
	struct nydusd_args a;

	(void)state;
	assert_int_equal(PARSE(&a, "fuse", "--shiny", "value", "--flag", "--mountpoint", "/m"), 0);
	assert_string_equal(a.mountpoint, "/m");
	assert_string_equal(a.first_unknown, "--shiny");
}

static void command_lines_that_make_no_sense_are_refused(void **state)
{
	struct nydusd_args a;

	(void)state;
	assert_int_equal(PARSE(&a, "fuse"), -EINVAL);
	assert_int_equal(PARSE(&a, "virtiofs", "--sock", "/x"), -EINVAL);
	assert_int_equal(PARSE(&a, "--mountpoint"), -EINVAL);
	assert_int_equal(PARSE(&a, "--mountpoint", "/m", "--id", "x"), -EINVAL);
	assert_int_equal(PARSE(&a, "--mountpoint", "/m", "--bootstrap", "/b"), -EINVAL);
	assert_int_equal(PARSE(&a, "--mountpoint", "/m", "--config", "/c", "-D", "/d"), -EINVAL);
	assert_int_equal(PARSE(&a, "--mountpoint", "/m", "--shared-dir", "/d"), -EINVAL);
	assert_int_equal(PARSE(&a, "singleton", "--fscache", "/d"), -EINVAL);
}

/* ---- configurations ---- */

static int parse(const char *text, struct nydusd_config *ret_config)
{
	struct err e = { 0 };
	const int r = nydusd_config_parse(text, strlen(text), ret_config, &e);

	assert_true(r == 0 || e.msg[0] != '\0');
	return r;
}

static void a_registry_with_credentials(void **state)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	char *shown;

	(void)state;
	assert_int_equal(
		parse("{\"device\": {\"id\": \"/7\", \"backend\": {\"type\": \"registry\", "
	              "\"config\": "
	              "{\"host\": \"r:5000\", \"repo\": \"a/b\", \"auth\": \"bWU6c2VzYW1lOjE=\", "
	              "\"scheme\": \"http\", \"skip_verify\": true, \"ca_cert_files\": [\"/ca\", "
	              "\"/other "
	              "ca\"], "
	              "\"proxy\": {\"url\": \"http://p\", \"fallback\": false}}}, "
	              "\"cache\": {\"type\": \"blobcache\", \"config\": {\"work_dir\": "
	              "\"/cache\"}}}, "
	              "\"fs_prefetch\": {\"enable\": true, \"prefetch_all\": true}, \"new\": 1}",
	              &c),
		0);
	assert_string_equal(c.blobs, "registry:r:5000/a/b");
	assert_string_equal(c.username, "me");
	assert_string_equal(c.password, "sesame:1");
	assert_string_equal(c.scheme, "http");
	assert_int_equal(json_array_size(c.ca_files), 2);
	assert_string_equal(json_string_value(json_array_get(c.ca_files, 0)), "/ca");
	assert_string_equal(json_string_value(json_array_get(c.ca_files, 1)), "/other ca");
	assert_false(c.id_mapping);
	assert_string_equal(c.proxy, "http://p");
	assert_string_equal(c.work_dir, "/cache");
	assert_string_equal(c.id, "/7");
	assert_true(c.skip_verify && c.prefetch);
	shown = json_dumps(c.shown, 0);
	assert_null(strstr(shown, "bWU6"));
	assert_non_null(strstr(shown, "a/b"));
	free(shown);
}

static void a_proxys_name_and_password_are_apart_and_not_shown(void **state)
{
	static const struct {
		const char *said, *url, *username, *password;
	} cases[] = {
		{ "http://p:1", "http://p:1", NULL, NULL },
		{ "http://me:sesame@p:1/", "http://p:1/", "me", "sesame" },
		{ "me:sesame@p", "p", "me", "sesame" },
		{ "http://me@p", "http://p", "me", "" },
		{ "http://:@p", "http://p", "", "" },
		{ "http://m%40e:a%3a%2Fb:c@p", "http://p", "m@e", "a:/b:c" },
		{ "http://me:a@b%@p", "http://p", "me", "a@b%" },
		{ "http://me:%zz%2@p", "http://p", "me", "%zz%2" },
		{ "http://p/x@y", "http://p/x@y", NULL, NULL },
		{ "http://me:%00@p", NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
		AUTO(free_str)
		char *text = xasprintf("{\"device\": {\"backend\": {\"type\": \"registry\", "
		                       "\"config\": {\"host\": \"h\", \"repo\": \"r\", "
		                       "\"proxy\": {\"url\": \"%s\"}}}}, \"id_mapping\": "
		                       "{\"uid\": \"0:1:2\"}}",
		                       cases[i].said);
		AUTO(free_str) char *shown = NULL;

		assert_int_equal(parse(text, &c), cases[i].url != NULL ? 0 : -EINVAL);
		if (cases[i].url == NULL)
			continue;
		assert_true(c.id_mapping);
		assert_string_equal(c.proxy, cases[i].url);
		assert_true(same_text(c.proxy_username, cases[i].username));
		assert_true(same_text(c.proxy_password, cases[i].password));
		shown = json_dumps(c.shown, JSON_ENCODE_ANY);
		assert_non_null(shown);
		assert_int_equal(strstr(shown, cases[i].said) != NULL, cases[i].username == NULL);
	}
}

/* Whoever may ask what is mounted, and the next nydusd's supervisor, have what is shown. */
static void what_is_shown_holds_no_secret(void **state)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	AUTO(free_str) char *shown = NULL;

	(void)state;
	assert_int_equal(
		parse("{\"device\": {\"backend\": {\"type\": \"registry\", \"config\": "
	              "{\"host\": \"h\", \"repo\": \"r\", \"auth\": \"dTpzZXNhbWU=\", "
	              "\"proxy\": {\"url\": \"p\", \"ping_url\": \"http://me:sesame@p/ping\"}, "
	              "\"blob_redirected_host\": \"me:sesame@b\", \"mirrors\": [{\"host\": "
	              "\"http://me:sesame@m\", \"headers\": {\"X-Token\": \"sesame\"}}]}}}}",
	              &c),
		0);
	shown = json_dumps(c.shown, JSON_ENCODE_ANY);
	assert_non_null(shown);
	assert_null(strstr(shown, "sesame"));
	assert_null(strstr(shown, "dTpzZXNhbWU="));
	assert_non_null(strstr(shown, "\"http://m\""));
	assert_non_null(strstr(shown, "\"http://p/ping\""));
}

/* Also where it is beside what counts: of another backend, or one of a list of texts. */
static void what_is_shown_holds_no_secret_of_what_does_not_count(void **state)
{
	static const char *const texts[] = {
		"{\"version\": 2, \"backend\": {\"type\": \"localfs\", \"localfs\": {\"dir\": "
		"\"/b@c\"}, "
		"\"registry\": {\"auth\": \"sesame\", \"host\": \"me:sesame@h\"}, "
		"\"http-proxy\": {\"addr\": \"http://me:sesame@p\"}}}",
		"{\"version\": 2, \"backend\": {\"type\": \"localfs\", \"localfs\": {\"dir\": "
		"\"/b@c\", "
		"\"mirrors\": [\"http://me:sesame@m\", [\"me:sesame@n\"]]}}}",
		"{\"device\": {\"backend\": {\"type\": \"localfs\", \"config\": {\"dir\": "
		"\"/b@c\"}}}, "
		"\"backend\": {\"oss\": {\"access_key_secret\": \"sesame\"}}}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
		AUTO(free_str) char *shown = NULL;

		assert_int_equal(parse(texts[i], &c), 0);
		assert_string_equal(c.blobs, "dir:/b@c");
		shown = json_dumps(c.shown, JSON_ENCODE_ANY);
		assert_non_null(shown);
		assert_null(strstr(shown, "sesame"));
		assert_non_null(strstr(shown, "\"/b@c\""));
	}
}

static void other_backends_and_version_2(void **state)
{
	AUTO(nydusd_config_clear) struct nydusd_config dir = { 0 };
	AUTO(nydusd_config_clear) struct nydusd_config web = { 0 };
	AUTO(nydusd_config_clear) struct nydusd_config second = { 0 };

	(void)state;
	assert_int_equal(parse("{\"device\": {\"backend\": {\"type\": \"localfs\", \"config\": "
	                       "{\"dir\": \"/blobs\"}}}}",
	                       &dir),
	                 0);
	assert_string_equal(dir.blobs, "dir:/blobs");
	assert_int_equal(parse("{\"device\": {\"backend\": {\"type\": \"http-proxy\", \"config\": "
	                       "{\"addr\": \"http://h:1\", \"path\": \"x\"}}}}",
	                       &web),
	                 0);
	assert_string_equal(web.blobs, "http://h:1/x/");
	assert_int_equal(
		parse("{\"version\": 2, \"backend\": {\"type\": \"registry\", \"registry\": "
	              "{\"host\": \"h\", \"repo\": \"r\", \"registry_token\": \"t\"}}, "
	              "\"cache\": {\"filecache\": {\"work_dir\": \"/c\"}}}",
	              &second),
		0);
	assert_string_equal(second.blobs, "registry:h/r");
	assert_string_equal(second.token, "t");
	assert_string_equal(second.scheme, "any");
	assert_string_equal(second.work_dir, "/c");
}

static void toml_is_version_2(void **state)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	AUTO(nydusd_config_clear) struct nydusd_config none = { 0 };

	(void)state;
	assert_int_equal(parse("\n# by hand\nversion = 2\n[backend]\ntype = 'registry'\n"
	                       "[backend.registry]\nhost = 'h'\nrepo = 'r'\nauth = 'dTpw'\n"
	                       "[cache.filecache]\nwork_dir = '/c'\n"
	                       "[rafs.prefetch]\nenable = true\nprefetch_all = true\n",
	                       &c),
	                 0);
	assert_string_equal(c.blobs, "registry:h/r");
	assert_string_equal(c.password, "p");
	assert_string_equal(c.work_dir, "/c");
	assert_true(c.prefetch);
	assert_int_equal(parse("[device.backend]\ntype = 'localfs'\n", &none), -EINVAL);
	assert_int_equal(parse("version = 2\nversion = 2\n", &none), -EINVAL);
	assert_int_equal(parse("<config/>", &none), -EINVAL);
}

static void what_is_not_said_of_a_registry_is_open(void **state)
{
	static const struct {
		const char *said, *scheme;
		bool proxy_fallback;
	} cases[] = { { "", "any", true },
		      { ", \"scheme\": \"\"", "any", true },
		      { ", \"scheme\": \"https\"", "https", true },
		      { ", \"proxy\": {\"fallback\": true}", "any", true },
		      { ", \"proxy\": {\"fallback\": false}", "any", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
		AUTO(free_str)
		char *text = xasprintf("{\"device\": {\"backend\": {\"type\": \"registry\", "
		                       "\"config\": {\"host\": \"h\", \"repo\": \"r\"%s}}}}",
		                       cases[i].said);

		assert_int_equal(parse(text, &c), 0);
		assert_string_equal(c.scheme, cases[i].scheme);
		assert_int_equal(c.proxy_fallback, cases[i].proxy_fallback);
	}
}

static void configurations_that_make_no_sense_are_refused(void **state)
{
	static const struct {
		int r;
		const char *text;
	} cases[] = {
		{ -EINVAL, "" },
		{ -EINVAL, "[]" },
		{ -EINVAL, "{}" },
		{ -EINVAL, "{\"device\": {\"backend\": {\"type\": \"registry\"}}}" },
		{ -EINVAL, "{\"device\": {\"backend\": {\"type\": \"registry\", \"config\": "
		           "{\"host\": \"h\", \"repo\": \"r\", \"auth\": \"%%\"}}}}" },
		{ -EINVAL, "{\"device\": {\"backend\": {\"type\": \"localfs\", \"config\": {}}}}" },
		{ -EINVAL,
		  "{\"device\": {\"backend\": {\"type\": \"registry\", \"config\": "
		  "{\"host\": \"h\", \"repo\": \"r\", \"ca_cert_files\": [\"/a\", 1]}}}}" },
		{ -ENOTSUP, "{\"device\": {\"backend\": {\"type\": \"oss\", \"config\": {}}}}" },
		{ -ENOTSUP, "{\"device\": {\"backend\": {\"type\": \"http-proxy\", \"config\": "
		            "{\"addr\": \"/run/sock\"}}}}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct nydusd_config c = { 0 };

		assert_int_equal(parse(cases[i].text, &c), cases[i].r);
	}
}

static void user_and_password_in_base64(void **state)
{
	static const struct {
		const char *base64, *username, *password;
	} cases[] = { { "dTpw", "u", "p" },
		      { "dXM6cHc=", "us", "pw" },
		      { "dXNlcjpwYXNzd29yZA==", "user", "password" },
		      { "dXNlcjo=", "user", "" },
		      { "OnBhc3M=", "", "pass" },
		      { "dXNlcg==", NULL, NULL }, /* no colon */
		      { "dTpw=", NULL, NULL },
		      { "dTp*", NULL, NULL },
		      { "dT=w", NULL, NULL },
		      { "====", NULL, NULL },
		      { "", NULL, NULL },
		      { "dToAcA==", NULL, NULL } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *username = NULL;
		char *password = NULL;
		struct err e = { 0 };
		const int r = nydusd_auth_parse(cases[i].base64, &username, &password, &e);

		assert_int_equal(r, cases[i].username != NULL ? 0 : -EINVAL);
		if (r == 0) {
			assert_string_equal(username, cases[i].username);
			assert_string_equal(password, cases[i].password);
		}
		free(username);
		free(password);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_snapshotters_command_lines_are_understood),
		cmocka_unit_test(options_stand_anywhere_and_in_every_form),
		cmocka_unit_test(what_a_newer_snapshotter_says_is_passed_over),
		cmocka_unit_test(command_lines_that_make_no_sense_are_refused),
		cmocka_unit_test(a_registry_with_credentials),
		cmocka_unit_test(a_proxys_name_and_password_are_apart_and_not_shown),
		cmocka_unit_test(what_is_shown_holds_no_secret),
		cmocka_unit_test(what_is_shown_holds_no_secret_of_what_does_not_count),
		cmocka_unit_test(other_backends_and_version_2),
		cmocka_unit_test(toml_is_version_2),
		cmocka_unit_test(what_is_not_said_of_a_registry_is_open),
		cmocka_unit_test(configurations_that_make_no_sense_are_refused),
		cmocka_unit_test(user_and_password_in_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
