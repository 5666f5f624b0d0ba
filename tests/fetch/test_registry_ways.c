/*
 * test_registry_ways: mounts of one repository that say different things of how it is reached, at a
 * real server. It is unknown to the configuration by its alias, and a proxy, too.
 */
#include "mem.h"
#include "ways_world.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DEAD_PROXY "http://127.0.0.1:1"
#define N_PARALLEL 8

/* ---- whose way counts ---- */

static void hints_count_for_their_repository_alone_and_while_they_are_held(void **state)
{
	struct net *n = *state;
	const struct registry_scope other = { n->alias, "team/other", "/b" };

	assert_true(ask(n) < 0); /* https to a server without */
	hint(n, "/a", "http", NULL);
	registry_hint(n->registry, &other, &(struct registry_hints){ .scheme = "https" });
	assert_int_equal(ask(n), 0);
	assert_true(ask_within(n, "team/other", false, NET_DEADLINE_MS) < 0);
	registry_hint(n->registry, &other,
	              &(struct registry_hints){ .scheme = "http", .proxy = DEAD_PROXY });
	assert_true(ask_within(n, "team/other", false, NET_DEADLINE_MS) < 0);
	assert_int_equal(ask(n), 0);
	forget(n, "/b"); /* is another repository's */
	assert_int_equal(ask(n), 0);
	forget(n, "/a");
	assert_true(ask(n) < 0);
}

static void owners_of_one_repository_have_their_own_ways_to_it(void **state)
{
	struct net *n = *state;

	hint(n, "/a", "http", NULL);
	hint(n, "/b", "https", NULL);
	hint(n, "/c", "http", DEAD_PROXY);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ask(n), 0);
	forget(n, "/a");
	assert_true(ask(n) < 0);
	hint(n, "/c", NULL, NULL); /* says nothing any more */
	assert_true(ask(n) < 0);
	hint(n, "/b", "http", NULL);
	assert_int_equal(ask(n), 0);
}

static void an_entry_of_the_configuration_counts_before_hints(void **state)
{
	struct net *n = *state;

	n->n_configs = 2;
	net_new_registry(n);
	hint(n, "/a", "https", DEAD_PROXY);
	assert_int_equal(ask(n), 0);
}

static void a_mount_that_says_nothing_goes_as_configured(void **state)
{
	struct net *n = *state;

	n->configs[1] = (struct registry_config){ .host = "*", .scheme = "http" };
	n->n_configs = 2;
	net_new_registry(n);
	hint(n, "/quiet", NULL, NULL);
	hint(n, "/dead", NULL, DEAD_PROXY);
	assert_int_equal(ask(n), 0);
	hint(n, "/wrong", "https", NULL);
	assert_int_equal(ask(n), 0);
}

/* Who cuts off port 443 must not get what was given for TLS. */
static void credentials_of_one_mount_never_go_anothers_way(void **state)
{
	struct net *n = *state;

	hint(n, "/lax", "http", NULL);
	hint(n, "/strict", "https", NULL);
	give(n, "/strict", "secret");
	net_faults(n, "{\"auth\":\"basic\"}");
	assert_true(ask(n) < 0);
	assert_true(net_count(n, "/v2/", "status", "401") > 0); /* the lax way was tried */
	assert_int_equal(net_count(n, "/v2/", "auth", "Basic"), 0);
	net_faults(n, "{\"auth\":\"bearer\"}");
	assert_true(ask(n) < 0);
	assert_true(net_count(n, "/_token", NULL, NULL) > 0);
	assert_int_equal(net_count(n, "/_token", "auth", "Basic"), 0);
	give(n, "/lax", "secret"); /* its own do */
	assert_int_equal(ask(n), 0);
}

static void credentials_that_are_taken_back_are_not_used(void **state)
{
	struct net *n = *state;
	const struct registry_scope scope = scope_of(n, "/a");

	registry_take_credentials(n->registry, &scope); /* nobody's */
	assert_true(ask(n) < 0);                        /* it has no way by that */
	hint(n, "/a", "http", NULL);
	give(n, "/a", "secret");
	net_faults(n, "{\"auth\":\"basic\"}");
	assert_int_equal(ask(n), 0);
	registry_take_credentials(n->registry, &scope);
	assert_true(ask(n) < 0);
	net_faults(n, "{}");
	assert_int_equal(ask(n), 0); /* the way itself is what it was */
}

static void what_is_anonymous_does_not_depend_on_the_way(void **state)
{
	struct net *n = *state;

	hint(n, "/a", "http", NULL);
	assert_int_equal(ask(n), 0);
	assert_true(registry_was_anonymous(n->registry, n->alias, "team/app"));
	net_faults(n, "{\"auth\":\"basic\"}");
	give(n, "/a", "secret");
	assert_int_equal(ask(n), 0);
	assert_false(registry_was_anonymous(n->registry, n->alias, "team/app"));
	forget(n, "/a");
	assert_false(registry_was_anonymous(n->registry, n->alias, "team/app"));
}

/* ---- mirrors ---- */

/* "*" has the server as its mirror, under the name that no mount says anything of. */
static void with_mirror(struct net *n, const char *const *mirrors, const char *scheme)
{
	n->configs[1] = (struct registry_config){
		.host = "*", .scheme = scheme, .mirrors = mirrors, .n_mirrors = 1
	};
	n->n_configs = 2;
}

static void a_mirror_with_an_entry_is_asked_as_that_says(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->host };

	with_mirror(n, mirrors, "https");
	net_new_registry(n);
	hint(n, "/a", "https", DEAD_PROXY);
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_n_requests(n), 1);
}

static void
a_mirror_is_never_told_in_the_clear_what_is_for_tls_because_a_mount_says_http(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->host };
	AUTO(free_str) char *password = net_path(n, "password");

	net_write(n, "password", "secret\n", 7);
	n->configs[0].scheme = "https";
	n->configs[0].username = "user";
	n->configs[0].password_file = password;
	with_mirror(n, mirrors, "https");
	net_new_registry(n);
	hint(n, "/lax", "http", NULL);
	net_faults(n, "{\"auth\":\"basic\"}");
	assert_true(ask(n) < 0);
	assert_true(net_count(n, "/v2/", "status", "401") > 0); /* the registry itself */
	assert_int_equal(net_count(n, "/v2/", "auth", "Basic"), 0);
}

static void a_mirror_without_an_entry_is_asked_as_its_registry_is_configured(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->host };

	with_mirror(n, mirrors, "http");
	n->configs[0] = (struct registry_config){ .host = "another.example" };
	net_new_registry(n);
	hint(n, "/proxied", NULL, DEAD_PROXY);
	assert_int_equal(ask(n), 0);
	hint(n, "/proxied", "https", NULL);
	assert_int_equal(ask(n), 0);
	assert_int_equal(net_n_requests(n), 2);
}

/* Where a mirror sends us is no more the mount's business than the mirror is. */
static void where_a_mirror_redirects_to_is_not_reached_as_a_mount_says(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->host };

	with_mirror(n, mirrors, "https");
	net_new_registry(n);
	hint(n, "/a", "https", DEAD_PROXY);
	net_redirect(n, n->alias);
	assert_int_equal(ask(n), 0);
}

/* ---- trouble ---- */

static void a_short_outage_does_not_leave_the_bad_way_for_good(void **state)
{
	struct net *n = *state;

	hint(n, "/bad", "http", DEAD_PROXY);
	hint(n, "/good", "http", NULL);
	net_faults(n, "{\"status\":500,\"count\":3}");
	assert_int_equal(ask_within(n, "team/app", true, NET_DEADLINE_MS), 0);
	assert_int_equal(net_n_requests(n), 4);
	hint(n, "/worse", "https", NULL);
	net_faults(n, "{\"status\":500,\"count\":3}");
	assert_int_equal(ask_within(n, "team/app", true, NET_DEADLINE_MS), 0);
	assert_int_equal(net_n_requests(n), 4);
}

/* Each way once, then a rest: 0.1 s at first, doubled each time, and up to a half less. A busy
 * machine may have no time to ask any within a short one. */
static void what_all_ways_fail_is_not_asked_at_once_for_ever(void **state)
{
	struct net *n = *state;
	uint64_t timeout_ms = 500;
	json_int_t n_asked = 0;
	char proxy[128];

	(void)snprintf(proxy, sizeof(proxy), "http://%s", n->host);
	hint(n, "/a", "http", proxy);
	hint(n, "/b", "http", NULL);
	net_faults(n, "{\"status\":500}");
	assert_int_equal(ask(n), -EAGAIN);
	assert_int_equal(net_n_requests(n), 2);
	for (; n_asked == 0 && timeout_ms < NET_DEADLINE_MS; timeout_ms *= 2) {
		assert_int_equal(ask_within(n, "team/app", true, timeout_ms), -EAGAIN);
		n_asked = net_n_requests(n);
	}
	assert_in_range(n_asked, 1, 10);
}

/* @return a port that takes connections and says nothing */
static int listen_mutely(char ret_proxy[64])
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
		                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n_bytes = sizeof(addr);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &n_bytes), 0);
	(void)snprintf(ret_proxy, 64, "http://127.0.0.1:%u", ntohs(addr.sin_port));
	return fd;
}

static void a_way_that_is_mute_costs_one_request_its_time(void **state)
{
	struct net *n = *state;
	char proxies[2][64];
	const int fds[] = { listen_mutely(proxies[0]), listen_mutely(proxies[1]) };

	hint(n, "/good", "http", NULL);
	hint(n, "/mute", "http", proxies[0]);
	hint(n, "/mute-too", "http", proxies[1]);
	assert_int_equal(ask_within(n, "team/app", true, 200), -EAGAIN);
	assert_int_equal(ask_within(n, "team/app", true, 200), -EAGAIN);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ask(n), 0);
	assert_int_equal(net_n_requests(n), 3);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static uint32_t n_connections(int listener)
{
	uint32_t n = 0;

	for (;;) {
		const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return n;
		(void)close(fd);
		n++;
	}
}

/* The mute one takes all but little of the time, and what is left is not enough for the other. */
static void a_way_without_time_is_not_blamed(void **state)
{
	struct net *n = *state;
	struct registry_request want = blob_request(n);
	struct net_result res;
	char proxy[64];
	const int fd = listen_mutely(proxy);

	hint(n, "/good", "http", NULL);
	hint(n, "/mute", "http", proxy);
	net_faults(n, "{\"delay_ms\":700}");
	want.deadline_ns = clock_now_ns(clock_real()) + 1500 * NS_PER_MS;
	net_lose_patience(n); /* with the mute one alone: 1 s */
	assert_int_equal(net_start(n, &want, &res), 0);
	net_regain_patience(n);
	net_wait_all(n, &res, 1, -EAGAIN);
	net_faults(n, "{}");
	assert_int_equal(ask(n), 0);
	assert_int_equal(n_connections(fd), 1); /* not asked again: the good one is the first now */
	(void)close(fd);
}

/* ---- refusals ---- */

static void a_proxy_that_refuses_is_no_answer_for_the_others(void **state)
{
	static const int statuses[] = { 401, 403, 404, 407, 410, 429, 502, 503 };
	struct net *n = *state;
	char proxy[128], faults[64];

	(void)snprintf(proxy, sizeof(proxy), "http://%s", n->host);
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		net_new_registry(n);
		hint(n, "/good", "http", NULL);
		hint(n, "/bad", "http", proxy);
		(void)snprintf(faults, sizeof(faults), "{\"proxied\":%d}", statuses[i]);
		net_faults(n, faults);
		assert_int_equal(ask_within(n, "team/app", true, NET_DEADLINE_MS), 0);
		(void)net_n_requests(n);
		assert_int_equal(ask(n), 0);
		assert_int_equal(net_n_requests(n), 1); /* it is known by now */
	}
}

static void what_is_not_there_is_not_trouble_for_a_dead_ways_sake(void **state)
{
	struct net *n = *state;

	hint(n, "/dead", "http", DEAD_PROXY);
	hint(n, "/good", "http", NULL);
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"status\":404}");
	assert_int_equal(ask_within(n, "team/app", true, NET_DEADLINE_MS), -ENOENT);
	assert_int_equal(net_n_requests(n), 1);
}

/* The other way leads to a server that does not know what it is asked: an outage of the registry
 * does not make that the truth. */
static void a_refusal_of_a_way_that_never_worked_is_not_final_in_an_outage(void **state)
{
	struct net *n = *state;
	char proxy[128];

	(void)snprintf(proxy, sizeof(proxy), "http://%s", n->host);
	hint(n, "/bad", "http", proxy);
	hint(n, "/good", "http", NULL);
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"proxied\":404,\"status\":500,\"count\":2}");
	assert_int_equal(ask_within(n, "team/app", true, NET_DEADLINE_MS), 0);
}

/* ---- redirects ---- */

static void start_all(struct net *n, struct net_result res[N_PARALLEL])
{
	struct registry_request want = blob_request(n);

	for (int i = 0; i < N_PARALLEL; i++) {
		want.retry = i % 2 == 0;
		assert_int_equal(net_start(n, &want, &res[i]), 0);
	}
}

/* Where it leads is dead, or mute: that is no fault of a way, and all requests know the target. */
static void a_dead_redirect_target_is_not_held_against_the_ways(void **state)
{
	struct net *n = *state;
	struct net_result res[N_PARALLEL];
	char proxy[64];
	const int fd = listen_mutely(proxy);

	hint(n, "/bad", "http", proxy);
	hint(n, "/good", "http", NULL);
	net_redirect(n, n->host);
	assert_int_equal(ask(n), 0);
	net_faults(n, "{\"match\":\"^/_data/\",\"stall_head\":true}");
	net_lose_patience(n); /* with the target alone: there they begin, and then ask anew */
	start_all(n, res);
	net_regain_patience(n);
	net_wait_all(n, res, N_PARALLEL, 0);
	net_redirect(n, "127.0.0.1:1");
	start_all(n, res);
	while (net_count(n, "/v2/team", "status", "307") <= N_PARALLEL) /* half of them ask on */
		(void)event_base_loop(loop_base(n->loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
	net_faults(n, "{}");
	for (int i = 0; i < N_PARALLEL; i++)
		net_wait_all(n, &res[i], 1, i % 2 == 0 ? 0 : -EAGAIN);
	assert_int_equal(ask(n), 0);
	assert_int_equal(n_connections(fd), 0); /* the good way is still the first */
	(void)close(fd);
}

static void an_answer_is_held_against_the_way_that_was_asked(void **state)
{
	struct net *n = *state;
	AUTO(free_str)
	char *faults = xasprintf(
		"{\"match\":\"^/v2/\",\"redirect\":true,\"redirect_host\":\"%s\",\"delay_ms\":50}",
		n->host);
	struct net_result res[N_PARALLEL];

	hint(n, "/a", "http", NULL);
	net_faults(n, faults);
	start_all(n, res);
	hint(n, "/a", "https", NULL); /* with the questions under way */
	net_wait_all(n, res, N_PARALLEL, 0);
	assert_true(ask(n) < 0);
	hint(n, "/a", "http", NULL);
	start_all(n, res);
	forget(n, "/a"); /* it lives for those that go it */
	net_wait_all(n, res, N_PARALLEL, 0);
}

/* ---- the host ---- */

static void a_host_that_mounts_say_something_of_is_known_as_such(void **state)
{
	struct net *n = *state;

	assert_false(registry_is_hinted(n->registry, n->alias));
	hint(n, "/quiet", NULL, NULL);
	give(n, "/quiet", "secret");
	assert_false(registry_is_hinted(n->registry, n->alias));
	hint(n, "/a", "http", NULL);
	assert_true(registry_is_hinted(n->registry, n->alias));
	assert_false(registry_is_hinted(n->registry, n->host));
	forget(n, "/a");
	assert_false(registry_is_hinted(n->registry, n->alias));
	n->n_configs = 2; /* an entry of its own: what is said does not count */
	net_new_registry(n);
	hint(n, "/a", "http", NULL);
	assert_false(registry_is_hinted(n->registry, n->alias));
}

static bool has_credentials(struct net *n, const char *host)
{
	return registry_has_credentials(n->registry, host, "team/app", false);
}

static void credentials_that_there_are_or_may_be_are_known(void **state)
{
	struct net *n = *state;
	const struct registry_scope scope = scope_of(n, "/b");

	assert_false(has_credentials(n, n->alias));
	assert_true(registry_has_credentials(n->registry, n->alias, "team/app", true));
	hint(n, "/a", "http", NULL);
	assert_false(has_credentials(n, n->alias));
	give(n, "/a", "secret");
	assert_true(has_credentials(n, n->alias));
	assert_false(registry_has_credentials(n->registry, n->alias, "team/other", false));
	forget(n, "/a");
	assert_false(has_credentials(n, n->alias));
	registry_give_credentials(n->registry, &scope, NULL); /* to come */
	assert_true(has_credentials(n, n->alias));
	forget(n, "/b");
	registry_hint(n->registry, &scope, &(struct registry_hints){ .auth_file = "/a/file" });
	assert_true(has_credentials(n, n->alias));
	forget(n, "/b");
	registry_give_credentials(n->registry, &scope, &(struct credentials){ .username = NULL });
	assert_false(has_credentials(n, n->alias));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ways_setup, net_teardown)
	const struct CMUnitTest tests[] = {
		TEST(hints_count_for_their_repository_alone_and_while_they_are_held),
		TEST(owners_of_one_repository_have_their_own_ways_to_it),
		TEST(an_entry_of_the_configuration_counts_before_hints),
		TEST(a_mount_that_says_nothing_goes_as_configured),
		TEST(credentials_of_one_mount_never_go_anothers_way),
		TEST(credentials_that_are_taken_back_are_not_used),
		TEST(what_is_anonymous_does_not_depend_on_the_way),
		TEST(a_mirror_with_an_entry_is_asked_as_that_says),
		TEST(a_mirror_is_never_told_in_the_clear_what_is_for_tls_because_a_mount_says_http),
		TEST(a_mirror_without_an_entry_is_asked_as_its_registry_is_configured),
		TEST(where_a_mirror_redirects_to_is_not_reached_as_a_mount_says),
		TEST(a_short_outage_does_not_leave_the_bad_way_for_good),
		TEST(what_all_ways_fail_is_not_asked_at_once_for_ever),
		TEST(a_way_that_is_mute_costs_one_request_its_time),
		TEST(a_way_without_time_is_not_blamed),
		TEST(a_proxy_that_refuses_is_no_answer_for_the_others),
		TEST(what_is_not_there_is_not_trouble_for_a_dead_ways_sake),
		TEST(a_refusal_of_a_way_that_never_worked_is_not_final_in_an_outage),
		TEST(a_dead_redirect_target_is_not_held_against_the_ways),
		TEST(an_answer_is_held_against_the_way_that_was_asked),
		TEST(a_host_that_mounts_say_something_of_is_known_as_such),
		TEST(credentials_that_there_are_or_may_be_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
