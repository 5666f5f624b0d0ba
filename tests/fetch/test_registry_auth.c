/*
 * test_registry_auth: who may ask: the flows against a real token service, and credentials that
 * change.
 */
#include "mem.h"
#include "net_fixture.h"
#include "registry_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOB       "2222222222222222222222222222222222222222222222222222222222222222"
#define N_PARALLEL 8

static int setup(void **state)
{
	const int r = net_setup(state);

	net_write(*state, BLOB, "0123456789", 10);
	return r;
}

static struct registry_request blob_request(void)
{
	return (struct registry_request){ .kind = REGISTRY_BLOB,
		                          .reference = "sha256:" BLOB,
		                          .has_range = true,
		                          .range_last = 9,
		                          .retry = true };
}

static int ask(struct net *n)
{
	struct registry_request want = blob_request();

	return net_ask_digits(n, &want);
}

static void ask_in_vain(struct net *n, const char *says)
{
	struct registry_request want = blob_request();

	net_ask_in_vain(n, &want, 300, says);
}

static void use_password_file(struct net *n, const char *path)
{
	n->configs[0].username = "user";
	n->configs[0].password_file = path;
	net_new_registry(n);
}

static json_int_t n_tokens(struct net *n)
{
	json_t *stats = net_stats(n);
	const json_int_t n_issued = json_integer_value(json_object_get(stats, "tokens"));

	json_decref(stats);
	return n_issued;
}

/* ---- bearer ---- */

static void a_token_without_credentials_serves_many_requests(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true}");
	for (int i = 0; i < 5; i++)
		assert_int_equal(ask(n), 0);
	assert_int_equal(n_tokens(n), 1);
	assert_int_equal(net_n_requests(n), 1 + 1 + 5); /* the challenge, the token, the blobs */
	assert_true(registry_was_anonymous(n->registry, n->host, "team/app"));
}

/* Any registry names any. */
static void a_token_service_takes_no_place_among_the_registries(void **state)
{
	struct net *n = *state;
	AUTO(free_str)
	char *faults = xasprintf("{\"auth\":\"bearer\",\"anonymous\":true,\"realm_host\":\"%s\"}",
	                         n->alias);

	net_faults(n, faults);
	assert_int_equal(ask(n), 0);
	assert_int_equal(n_tokens(n), 1);
	assert_non_null(registry_host_find(&n->registry->hosts, n->host));
	assert_null(registry_host_find(&n->registry->hosts, n->alias));
}

static void a_password_gets_a_token(void **state)
{
	struct net *n = *state;
	AUTO(free_str) char *password = net_path(n, "password");

	net_write(n, "password", "secret\nsecond line\n", 19);
	use_password_file(n, password);
	net_faults(n, "{\"auth\":\"bearer\"}");
	assert_int_equal(ask(n), 0);
	assert_false(registry_was_anonymous(n->registry, n->host, "team/app"));
	net_faults(n, "{\"auth\":\"bearer\",\"token_post_only\":true}");
	net_new_registry(n);
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_count(n, "/_token", "method", "POST"), 1);
}

static void ask_in_parallel(struct net *n)
{
	struct net_result res[N_PARALLEL];
	struct registry_request want = blob_request();

	for (int i = 0; i < N_PARALLEL; i++)
		assert_int_equal(net_start(n, &want, &res[i]), 0);
	net_wait_all(n, res, N_PARALLEL, 0);
}

static void parallel_requests_share_one_token(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"token_delay_ms\":200}");
	ask_in_parallel(n);
	assert_int_equal(n_tokens(n), 1);
}

static void a_token_that_ends_early_is_replaced_unnoticed(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"token_uses\":3}");
	for (int i = 0; i < 10; i++)
		assert_int_equal(ask(n), 0);
	assert_int_equal(n_tokens(n), 4);
}

/* With what a busy machine makes late a token may have ended, renewed or not. */
#define LATE_NS (20 * NS_PER_MS)

static void a_token_is_renewed_before_it_ends(void **state)
{
	struct net *n = *state;
	const uint64_t begin_ns = clock_now_ns(clock_real());
	uint64_t now_ns = begin_ns;
	uint32_t n_late = 0;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"token_ttl_s\":1}");
	while (now_ns < begin_ns + 2500 * NS_PER_MS || n_tokens(n) < 3) {
		const uint64_t asked_ns = now_ns;

		assert_int_equal(ask(n), 0);
		now_ns = clock_now_ns(clock_real());
		assert_true(now_ns < begin_ns + NET_DEADLINE_MS * NS_PER_MS);
		n_late += now_ns - asked_ns > LATE_NS;
	}
	assert_in_range(net_count(n, "/v2/", "status", "401"), 1, 1 + n_late);
}

static void a_fresh_token_that_is_refused_is_the_last_word(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"refuse_tokens\":401}");
	assert_int_equal(ask(n), -EACCES);
	assert_int_equal(net_n_requests(n), 3);
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"refuse_tokens\":403}");
	assert_int_equal(ask(n), -EACCES);
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true}");
	assert_int_equal(ask(n), 0); /* and nothing of it stays */
	net_faults(n, "{\"auth\":\"bearer\"}");
	net_new_registry(n);
	assert_int_equal(ask(n), -EACCES); /* the token service gives none */
}

static void a_forbidden_blob_with_an_older_token_is_tried_once_with_a_new_one(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true}");
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"status\":403}");
	assert_int_equal(ask(n), -EACCES);
	assert_int_equal(n_tokens(n), 1);
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"status\":403,\"count\":1}");
	assert_int_equal(ask(n), 0);
}

static void trouble_of_the_token_service_passes(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"token_status\":503}");
	ask_in_vain(n, "503");
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true}");
	assert_int_equal(ask(n), 0);
}

static void an_identity_token_is_told_to_the_token_service_alone(void **state)
{
	struct net *n = *state;
	AUTO(free_str)
	char *json = xasprintf("{\"auths\":{\"%s\":{\"identitytoken\":\"identity\"}}}", n->host);

	net_write(n, "config.json", json, strlen(json)); /* the user's own: DOCKER_CONFIG */
	net_faults(n, "{\"auth\":\"bearer\"}");
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_count(n, "/_token", "method", "POST"), 1);
	assert_int_equal(net_count(n, "/_token", "auth", ""), 1);
}

/* ---- basic, and credentials that change ---- */

static void a_replaced_password_is_read_again_on_the_next_401(void **state)
{
	struct net *n = *state;
	AUTO(free_str) char *password = net_path(n, "password");

	net_write(n, "password", "old", 3);
	use_password_file(n, password);
	net_faults(n, "{\"auth\":\"basic\",\"password\":\"old\"}");
	assert_int_equal(ask(n), 0);
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_n_requests(n), 3);
	net_write(n, "password", "new", 3);
	net_faults(n, "{\"auth\":\"basic\",\"password\":\"new\"}");
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"auth\":\"basic\",\"password\":\"newer\"}");
	assert_int_equal(ask(n), -EACCES);
	net_write(n, "password", "newer", 5);
	assert_int_equal(ask(n), 0);
}

static void no_credentials_for_a_registry_that_wants_some_is_said(void **state)
{
	struct net *n = *state;
	struct registry_request want = blob_request();
	struct net_result res;

	net_faults(n, "{\"auth\":\"basic\"}");
	assert_int_equal(net_ask(n, &want, &res), -EACCES);
	assert_non_null(strstr(res.why.msg, "none is configured"));
}

static void use_auth_file(struct net *n, const char *repository, const char *owner,
                          const char *path)
{
	const struct registry_scope scope = { n->host, repository, owner };

	registry_hint(n->registry, &scope, &(struct registry_hints){ .auth_file = path });
}

static void forget(struct net *n, const char *owner)
{
	registry_forget(n->registry, &(struct registry_scope){ n->host, "team/app", owner });
}

static void a_mounts_auth_file_counts_for_its_repository_while_it_is_added(void **state)
{
	struct net *n = *state;
	/* base64 of user:secret */
	AUTO(free_str)
	char *json = xasprintf("{\"auths\":{\"https://%s/v1/\":{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}",
	                       n->host);
	AUTO(free_str) char *path = net_path(n, "auth.json");

	net_write(n, "auth.json", json, strlen(json));
	net_faults(n, "{\"auth\":\"basic\"}");
	use_auth_file(n, "team/other", "/o", path);
	assert_int_equal(ask(n), -EACCES);
	use_auth_file(n, "team/app", "/a", path);
	use_auth_file(n, "team/app", "/b", path);
	assert_int_equal(ask(n), 0);
	forget(n, "/b");
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_count(n, "/v2/team", "status", "206"), 2);
	forget(n, "/a"); /* and what was made of it goes, too */
	assert_int_equal(ask(n), -EACCES);
}

static void a_credential_file_that_is_half_written_is_trouble_not_a_refusal(void **state)
{
	struct net *n = *state;
	AUTO(free_str) char *path = net_path(n, "broken.json");

	net_write(n, "broken.json", "{\"auths\":", 9);
	n->configs[0].docker_config = path;
	net_new_registry(n);
	net_faults(n, "{\"auth\":\"basic\"}");
	ask_in_vain(n, "broken.json");
}

static void a_credential_helper_is_asked(void **state)
{
	static const char script[] = "#!/bin/sh\nread host\n"
				     "echo \"{\\\"ServerURL\\\":\\\"$host\\\",\\\"Username\\\":"
				     "\\\"user\\\",\\\"Secret\\\":\\\"secret\\\"}\"\n";
	struct net *n = *state;
	AUTO(free_str) char *json = xasprintf("{\"credHelpers\":{\"%s\":\"fake\"}}", n->host);
	AUTO(free_str) char *program = net_path(n, "docker-credential-fake");
	AUTO(free_str) char *path = xasprintf("%s:%s", n->dir, getenv("PATH"));

	net_write(n, "config.json", json, strlen(json));
	net_faults(n, "{\"auth\":\"basic\"}");
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread looks at it now */
	assert_int_equal(setenv("PATH", path, 1), 0);
	net_write(n, "docker-credential-fake", script, sizeof(script) - 1);
	assert_int_equal(chmod(program, 0700), 0);
	assert_int_equal(ask(n), 0);
}

static void give(struct net *n, const char *owner, const char *username, const char *password)
{
	const struct registry_scope scope = { n->host, "team/app", owner };
	struct credentials c = { .username = xstrdup(username), .password = xstrdup(password) };

	registry_give_credentials(n->registry, &scope, &c);
	credentials_wipe(&c);
}

/* One mount's password was changed, or never let it in: the others' still do. */
static void credentials_of_one_mount_that_are_refused_are_not_in_the_others_way(void **state)
{
	static const char *const faults[] = { "{\"auth\":\"basic\"}", "{\"auth\":\"bearer\"}" };
	struct net *n = *state;

	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		net_new_registry(n);
		net_faults(n, faults[i]);
		give(n, "/good", "user", "secret");
		give(n, "/bad", "user", "wrong");
		give(n, "/worse", "nobody", "x");
		for (int k = 0; k < 3; k++)
			assert_int_equal(ask(n), 0);
		forget(n, "/good");
		net_faults(n, i == 0 ? "{\"auth\":\"basic\",\"password\":\"next\"}"
		                     : "{\"auth\":\"bearer\",\"password\":\"next\"}");
		net_new_registry(n);
		give(n, "/bad", "user", "wrong");
		give(n, "/worse", "nobody", "x");
		assert_int_equal(ask(n), -EACCES);
		give(n, "/bad", "user", "next"); /* renewed */
		assert_int_equal(ask(n), 0);
	}
}

/* Many at once hear 403 to what one mount was given: none of them ends with that. */
static void a_token_that_opens_nothing_is_not_in_the_others_way(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"forbidden\":\"other:x\",\"delay_ms\":50}");
	give(n, "/good", "user", "secret");
	give(n, "/bad", "other", "x");
	ask_in_parallel(n);
	assert_true(net_count(n, "/v2/team", "status", "403") >= 1);
	net_faults(n, "{\"auth\":\"bearer\",\"forbidden\":\"other:x\"}");
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_n_requests(n), 1); /* remembered */
}

/* An old token is refused to many at once: the one that is got in its place counts for all. */
static void a_refusal_of_an_older_header_is_never_the_last_word(void **state)
{
	struct net *n = *state;

	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true}");
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"refuse_older\":403}");
	ask_in_parallel(n);
	assert_int_equal(net_count(n, "/v2/team", "status", "403"), N_PARALLEL);
	assert_int_equal(n_tokens(n), 1);
}

static void credentials_that_are_still_to_come_are_waited_for_behind_bad_ones(void **state)
{
	struct net *n = *state;
	const struct registry_scope good = { n->host, "team/app", "/good" };

	net_faults(n, "{\"auth\":\"basic\"}");
	registry_give_credentials(n->registry, &good, NULL);
	give(n, "/bad", "user", "wrong");
	ask_in_vain(n, "have not been given again");
	give(n, "/good", "user", "secret");
	assert_int_equal(ask(n), 0);
}

static void bad_credentials_are_not_in_the_way_of_another_mounts_file(void **state)
{
	struct net *n = *state;
	AUTO(free_str)
	char *json = xasprintf("{\"auths\":{\"%s\":{\"auth\":\"dXNlcjpzZWNyZXQ=\"}}}", n->host);
	AUTO(free_str) char *path = net_path(n, "auth.json");

	net_write(n, "auth.json", json, strlen(json));
	net_faults(n, "{\"auth\":\"basic\"}");
	use_auth_file(n, "team/app", "/file", path);
	give(n, "/bad", "user", "wrong");
	assert_int_equal(ask(n), 0);
	forget(n, "/file");
	net_write(n, "config.json", json,
	          strlen(json)); /* the user's own: of a mount without any */
	assert_int_equal(ask(n), -EACCES);
	use_auth_file(n, "team/app", "/plain", NULL);
	assert_int_equal(ask(n), 0);
}

static void a_mirror_is_not_told_what_a_mount_was_given(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->alias };

	n->configs[0].mirrors = mirrors;
	n->configs[0].n_mirrors = 1;
	net_new_registry(n);
	give(n, "/m", "user", "secret");
	net_faults(n, "{\"auth\":\"basic\"}");
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_count(n, "/v2/team", "status", "401"),
	                 2); /* the mirror, the registry */
	assert_int_equal(net_count(n, "/v2/team", "auth", "Basic"), 1);
}

static void many_bad_credentials_are_a_refusal_and_hide_no_good_ones(void **state)
{
	struct net *n = *state;
	char owner[16];

	net_faults(n, "{\"auth\":\"basic\"}");
	for (int i = 0; i < 6; i++) {
		(void)snprintf(owner, sizeof(owner), "/bad%d", i);
		give(n, owner, owner, "x");
	}
	assert_int_equal(ask(n), -EACCES);
	give(n, "/good", "user", "secret");
	for (int i = 0; i < 10; i++) { /* more than are tried in a row, and all are tried before */
		(void)snprintf(owner, sizeof(owner), "/worse%d", i);
		give(n, owner, owner, "x");
	}
	assert_int_equal(ask(n), -EACCES);
	assert_int_equal(ask(n), 0);
	(void)net_n_requests(n);
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_n_requests(n), 1);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, net_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_token_without_credentials_serves_many_requests),
		TEST(a_token_service_takes_no_place_among_the_registries),
		TEST(a_password_gets_a_token),
		TEST(parallel_requests_share_one_token),
		TEST(a_token_that_ends_early_is_replaced_unnoticed),
		TEST(a_token_is_renewed_before_it_ends),
		TEST(a_fresh_token_that_is_refused_is_the_last_word),
		TEST(a_forbidden_blob_with_an_older_token_is_tried_once_with_a_new_one),
		TEST(trouble_of_the_token_service_passes),
		TEST(an_identity_token_is_told_to_the_token_service_alone),
		TEST(a_replaced_password_is_read_again_on_the_next_401),
		TEST(no_credentials_for_a_registry_that_wants_some_is_said),
		TEST(a_mounts_auth_file_counts_for_its_repository_while_it_is_added),
		TEST(a_credential_file_that_is_half_written_is_trouble_not_a_refusal),
		TEST(a_credential_helper_is_asked),
		TEST(credentials_of_one_mount_that_are_refused_are_not_in_the_others_way),
		TEST(a_token_that_opens_nothing_is_not_in_the_others_way),
		TEST(a_refusal_of_an_older_header_is_never_the_last_word),
		TEST(credentials_that_are_still_to_come_are_waited_for_behind_bad_ones),
		TEST(bad_credentials_are_not_in_the_way_of_another_mounts_file),
		TEST(a_mirror_is_not_told_what_a_mount_was_given),
		TEST(many_bad_credentials_are_a_refusal_and_hide_no_good_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
