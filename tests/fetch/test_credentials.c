/*
 * test_credentials: docker configs, token answers and helpers, well-formed and not: pure but for
 * the helper, which is a real process.
 */
#include "credential_helper.h"
#include "credentials.h"
#include "mem.h"
#include "secret.h"
#include "token_answer.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int find(const char *json, const char *host, const char *repository,
                struct docker_config_entry *ret_entry)
{
	struct err e;

	return docker_config_find(json, strlen(json), host, repository, ret_entry, &e);
}

static void assert_user(const char *json, const char *host, const char *repository,
                        const char *username)
{
	struct docker_config_entry entry;

	if (username == NULL) {
		assert_int_equal(find(json, host, repository, &entry), DOCKER_CONFIG_NONE);
		return;
	}
	assert_int_equal(find(json, host, repository, &entry), 0);
	assert_string_equal(entry.credentials.username, username);
	credentials_wipe(&entry.credentials);
}

static void keys_match_with_scheme_suffix_and_path_the_longest_first(void **state)
{
	static const char json[] =
		"{\"auths\":{"
		"\"https://a.example/v1/\":{\"username\":\"a\",\"password\":\"p\"},"
		"\"b.example:5000\":{\"username\":\"b\",\"password\":\"p\"},"
		"\"b.example:5000/team\":{\"username\":\"team\",\"password\":\"p\"},"
		"\"b.example:5000/team/app\":{\"username\":\"app\",\"password\":\"p\"},"
		"\"https://index.docker.io/v1/\":{\"username\":\"hub\",\"password\":\"p\"}}}";

	(void)state;
	assert_user(json, "a.example", "x", "a");
	assert_user(json, "b.example:5000", "x", "b");
	assert_user(json, "b.example:5000", "team/x", "team");
	assert_user(json, "b.example:5000", "teams/x", "b");
	assert_user(json, "b.example:5000", "team/app", "app");
	assert_user(json, "docker.io", "library/x", "hub");
	assert_user(json, "registry-1.docker.io", "library/x", "hub");
	assert_user(json, "b.example", "x", NULL);
	assert_user(json, "a.example.evil", "x", NULL);
}

static void auth_is_base64_of_user_and_password(void **state)
{
	struct docker_config_entry entry;

	(void)state;
	/* user:pa:ss */
	assert_int_equal(
		find("{\"auths\":{\"h\":{\"auth\":\"dXNlcjpwYTpzcw==\"}}}", "h", "r", &entry), 0);
	assert_string_equal(entry.credentials.username, "user");
	assert_string_equal(entry.credentials.password, "pa:ss");
	credentials_wipe(&entry.credentials);
	assert_int_equal(find("{\"auths\":{\"h\":{\"auth\":\"!!!!\"}}}", "h", "r", &entry),
	                 -EINVAL);
	assert_int_equal(find("{\"auths\":{\"h\":{\"auth\":\"====\"}}}", "h", "r", &entry),
	                 -EINVAL);
	assert_int_equal(find("{\"auths\":{\"h\":{\"auth\":\"dXNl\"}}}", "h", "r", &entry),
	                 -EINVAL);
	assert_int_equal(find("{\"auths\":{\"h\":7}}", "h", "r", &entry), -EINVAL);
	assert_int_equal(find("{\"auths\":{\"h\":{}}}", "h", "r", &entry), DOCKER_CONFIG_NONE);
	assert_int_equal(find("[]", "h", "r", &entry), -EINVAL);
	assert_int_equal(find("{", "h", "r", &entry), -EINVAL);
}

static void helpers_are_named_for_a_host_or_for_all(void **state)
{
	static const char json[] = "{\"credsStore\":\"all\",\"credHelpers\":{\"h\":\"one\"},"
				   "\"auths\":{\"h\":{},\"k\":{}}}";
	struct docker_config_entry entry;

	(void)state;
	assert_int_equal(find(json, "h", "r", &entry), 0);
	assert_string_equal(entry.helper, "one");
	assert_int_equal(find(json, "k", "r", &entry), 0);
	assert_string_equal(entry.helper, "all");
	assert_int_equal(find("{\"credsStore\":\"../../sh -c\"}", "h", "r", &entry), -EINVAL);
}

static int answer(const char *json, struct token_answer *ret_answer)
{
	struct err e;

	return token_answer_parse(json, strlen(json), ret_answer, &e);
}

static void tokens_are_read_with_their_life_and_never_break_a_header(void **state)
{
	struct token_answer a;

	(void)state;
	assert_int_equal(answer("{\"token\":\"t\",\"expires_in\":300}", &a), 0);
	assert_string_equal(a.token, "t");
	assert_int_equal(a.life_s, 300);
	free_secret(&a.token);
	assert_int_equal(answer("{\"access_token\":\"t\"}", &a), 0);
	assert_int_equal(a.life_s, 60);
	free_secret(&a.token);
	assert_int_equal(answer("{\"token\":\"t\",\"expires_in\":-1}", &a), 0);
	assert_int_equal(a.life_s, 60);
	free_secret(&a.token);
	assert_int_equal(answer("{\"token\":\"t\\r\\nX: y\"}", &a), -EPROTO);
	assert_int_equal(answer("{\"token\":\"\"}", &a), -EPROTO);
	assert_int_equal(answer("{\"token\":7}", &a), -EPROTO);
	assert_int_equal(answer("{}", &a), -EPROTO);
	assert_int_equal(answer("", &a), -EPROTO);
}

/* ---- helpers that run ---- */

struct dir {
	char path[64];
	char *program;
};

static int setup(void **state)
{
	struct dir *d = xcalloc(1, sizeof(*d));
	AUTO(free_str) char *path = NULL;

	(void)snprintf(d->path, sizeof(d->path), "/tmp/shoal-cred-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	d->program = xasprintf("%s/docker-credential-test", d->path);
	path = xasprintf("%s:%s", d->path, getenv("PATH"));
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread looks at it now */
	assert_int_equal(setenv("PATH", path, 1), 0);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	struct dir *d = *state;

	(void)unlink(d->program);
	(void)rmdir(d->path);
	free_str(&d->program);
	free(d);
	return 0;
}

static int run(struct dir *d, const char *script, struct credentials *ret_credentials)
{
	FILE *f = fopen(d->program, "we");
	struct err e;

	assert_non_null(f);
	assert_true(fputs(script, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(d->program, 0700), 0);
	return credential_helper_get("test", "h:1", 2000, ret_credentials, &e);
}

static void a_helper_hears_the_host_and_answers(void **state)
{
	struct credentials c;

	assert_int_equal(run(*state,
	                     "#!/bin/sh\nhost=$(cat)\n[ $1 = get ] && [ $host = h:1 ] && echo "
	                     "'{\"Username\":\"u\",\"Secret\":\"s\"}'\n",
	                     &c),
	                 0);
	assert_string_equal(c.username, "u");
	assert_string_equal(c.password, "s");
	credentials_wipe(&c);
	assert_int_equal(
		run(*state, "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"s\"}'\n", &c),
		0);
	assert_string_equal(c.identity_token, "s");
	credentials_wipe(&c);
}

static void a_helper_that_fails_is_trouble(void **state)
{
	struct credentials c;
	struct err e;

	assert_int_equal(run(*state, "#!/bin/sh\necho no >&2\nexit 1\n", &c), -EAGAIN);
	assert_int_equal(run(*state, "#!/bin/sh\necho '{}'\n", &c), -EINVAL);
	assert_int_equal(run(*state, "#!/bin/sh\nhead -c 100000 /dev/zero\n", &c), -EAGAIN);
	assert_int_equal(credential_helper_get("nosuch", "h", 1000, &c, &e), -EAGAIN);
	assert_non_null(strstr(e.msg, "docker-credential-nosuch"));
}

static void a_helper_that_hangs_is_ended(void **state)
{
	struct credentials c;

	assert_int_equal(run(*state, "#!/bin/sh\nexec sleep 100\n", &c), -EAGAIN);
	assert_int_equal(run(*state, "#!/bin/sh\nexec >&- <&-\nexec sleep 100\n", &c), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_match_with_scheme_suffix_and_path_the_longest_first),
		cmocka_unit_test(auth_is_base64_of_user_and_password),
		cmocka_unit_test(helpers_are_named_for_a_host_or_for_all),
		cmocka_unit_test(tokens_are_read_with_their_life_and_never_break_a_header),
		cmocka_unit_test_setup_teardown(a_helper_hears_the_host_and_answers, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_helper_that_fails_is_trouble, setup, teardown),
		cmocka_unit_test_setup_teardown(a_helper_that_hangs_is_ended, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
