/*
 * test_registry: requests to a real server that misbehaves in every way.
 */
#include "mem.h"
#include "net_fixture.h"
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOB       "1111111111111111111111111111111111111111111111111111111111111111"
#define BLOB_BYTES 100000

static uint8_t blob_byte(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

static int setup(void **state)
{
	AUTO(free_bytes) uint8_t *blob = xcalloc(1, BLOB_BYTES);
	const int r = net_setup(state);

	for (size_t i = 0; i < BLOB_BYTES; i++)
		blob[i] = blob_byte(i);
	net_write(*state, BLOB, blob, BLOB_BYTES);
	net_write(*state, "manifests/v1", "{\"m\":1}", 7);
	return r;
}

static struct registry_request ranged(uint64_t first, uint64_t last)
{
	return (struct registry_request){
		.kind = REGISTRY_BLOB,
		.reference = "sha256:" BLOB,
		.has_range = true,
		.range_first = first,
		.range_last = last,
	};
}

static void assert_range(struct net_result *res, size_t first, size_t last)
{
	if (res->r != 0)
		print_message("why: %s\n", res->why.msg);
	assert_int_equal(res->r, 0);
	assert_int_equal(res->n_bytes, last - first + 1);
	for (size_t i = 0; i < res->n_bytes; i++)
		assert_int_equal(res->bytes[i], blob_byte(first + i));
	net_result_wipe(res);
}

static void ask_range(struct net *n, bool retry, uint64_t first, uint64_t last)
{
	struct registry_request want = ranged(first, last);
	struct net_result res;

	want.retry = retry;
	(void)net_ask(n, &want, &res);
	assert_range(&res, first, last);
}

static int fail_range(struct net *n, bool retry, uint64_t timeout_ms, struct net_result *res)
{
	struct registry_request want = ranged(100, 60099);
	int r;

	want.retry = retry;
	want.deadline_ns = clock_now_ns(clock_real()) + timeout_ms * NS_PER_MS;
	r = net_ask(n, &want, res);
	net_result_wipe(res);
	return r;
}

/* Where the node has a budget. urgent: a prefetch's, for it is the one that rests. */
static int ask_with_budget(struct net *n, uint64_t bytes_per_s, uint64_t timeout_ms)
{
	static const bool no = false;
	struct registry_request want = ranged(100, 30099);
	struct net_result res;
	int r;

	http_set_budget(n->http, bytes_per_s);
	want.urgent = &no;
	want.deadline_ns = clock_now_ns(clock_real()) + timeout_ms * NS_PER_MS;
	r = net_ask(n, &want, &res);
	net_result_wipe(&res);
	return r;
}

/* ---- plain ---- */

static void a_range_brings_its_bytes_and_counts_one_request(void **state)
{
	struct net *n = *state;

	ask_range(n, false, 1000, 70000);
	assert_int_equal(net_n_requests(n), 1);
	assert_int_equal(metrics_sum(n->metrics, METRIC_ORIGIN_REQUESTS), 1);
	assert_true(registry_was_anonymous(n->registry, n->host, "team/app"));
}

static void a_manifest_comes_whole_and_its_head_is_told(void **state)
{
	struct registry_request want = { .kind = REGISTRY_MANIFEST, .reference = "v1" };
	struct net_result res;

	assert_int_equal(net_ask(*state, &want, &res), 0);
	assert_int_equal(res.n_bytes, 7);
	assert_int_equal(res.status, 200);
	net_result_wipe(&res);
	want.head = true;
	assert_int_equal(net_ask(*state, &want, &res), 0);
	assert_int_equal(res.n_bytes, 0);
	assert_int_equal(res.content_length, 7);
}

static void a_body_beyond_its_limit_is_refused(void **state)
{
	struct registry_request want = { .kind = REGISTRY_MANIFEST,
		                         .reference = "v1",
		                         .max_body_bytes = 6 };
	struct net_result res;

	assert_int_equal(net_ask(*state, &want, &res), -EMSGSIZE);
	assert_int_equal(res.n_bytes, 0);
	net_faults(*state, "{\"no_length\":true,\"match\":\"manifests\"}");
	assert_int_equal(net_ask(*state, &want, &res), -EMSGSIZE);
	assert_int_equal(res.n_bytes, 0);
}

static void what_is_not_there_is_said_at_once(void **state)
{
	struct registry_request want = { .kind = REGISTRY_MANIFEST,
		                         .reference = "v2",
		                         .retry = true };
	struct net_result res;

	assert_int_equal(net_ask(*state, &want, &res), -ENOENT);
	assert_non_null(strstr(res.why.msg, "v2"));
	net_faults(*state, "{\"status\":410}");
	assert_int_equal(fail_range(*state, true, NET_DEADLINE_MS, &res), -ENOENT);
	assert_int_equal(net_n_requests(*state), 1);
}

static void a_server_without_tls_is_named_at_once(void **state)
{
	struct net *n = *state;
	struct registry_request want = ranged(0, 9);
	struct net_result res = { .net = n };

	n->configs[0].scheme = "https";
	net_new_registry(n);
	want.retry = true;
	want.deadline_ns = net_deadline();
	assert_int_equal(net_ask(n, &want, &res), -EPROTO);
	assert_non_null(strstr(res.why.msg, "scheme: http"));
	assert_non_null(strstr(res.why.msg, n->host));
	net_result_wipe(&res);
}

static void nonsense_is_not_sent(void **state)
{
	struct registry_request want = { .kind = REGISTRY_MANIFEST, .reference = "../x" };
	struct net_result res;

	assert_int_equal(net_ask(*state, &want, &res), -EINVAL);
	want.reference = "v1";
	want.repository = "a b";
	assert_int_equal(net_ask(*state, &want, &res), -EINVAL);
	want.repository = "a";
	want.host = "user@host";
	assert_int_equal(net_ask(*state, &want, &res), -EINVAL);
	assert_int_equal(net_n_requests(*state), 0);
}

/* ---- bodies that do not fit ---- */

static void a_server_that_ignores_range_is_read_past_the_front_and_cut(void **state)
{
	net_faults(*state, "{\"ignore_range\":true}");
	ask_range(*state, false, 5000, 5999);
	net_faults(*state, "{\"ignore_range\":true,\"no_length\":true}");
	ask_range(*state, false, 5000, 5999);
	ask_range(*state, false, 0, BLOB_BYTES - 1);
	/* What follows the range is not waited for: all of it would take 50 s. */
	net_faults(*state, "{\"ignore_range\":true,\"bytes_per_s\":2000}");
	ask_range(*state, false, 0, 99);
}

static void a_deadline_holds_under_a_budget_and_rest_does_not_count(void **state)
{
	/* Never silent for long, and 6 s in all. */
	net_faults(*state, "{\"bytes_per_s\":5000}");
	assert_int_equal(ask_with_budget(*state, 0, 300), -EAGAIN);
	assert_int_equal(ask_with_budget(*state, UINT64_C(1) << 30, 300), -EAGAIN);
	/* The first piece is 16 KiB: it rests for 2.7 s behind it. */
	net_faults(*state, "{}");
	assert_int_equal(ask_with_budget(*state, 6000, 1800), 0);
}

static void what_comes_slowly_is_not_late(void **state)
{
	net_faults(*state, "{\"bytes_per_s\":7500}"); /* 4 s */
	assert_int_equal(ask_with_budget(*state, 0, 2000), 0);
	/* Half of it at once, and no more: once more its time, less than until silence is noticed.
	 */
	net_faults(*state, "{\"stall_after_bytes\":15000}");
	assert_int_equal(ask_with_budget(*state, 0, 300), -EAGAIN);
}

static void a_wrong_content_range_is_no_answer(void **state)
{
	struct net_result res;

	net_faults(*state, "{\"wrong_range\":1}");
	assert_int_equal(fail_range(*state, false, NET_DEADLINE_MS, &res), -EPROTO);
	assert_int_equal(res.n_bytes, 0);
	net_faults(*state, "{\"wrong_range\":1,\"count\":1}");
	ask_range(*state, true, 100, 60099);
}

static void a_short_body_is_trouble_and_goes_on_where_it_stopped(void **state)
{
	struct net_result res;

	net_faults(*state, "{\"short\":1}");
	assert_int_equal(fail_range(*state, false, NET_DEADLINE_MS, &res), -EAGAIN);
	net_faults(*state, "{\"short\":1,\"count\":1}");
	ask_range(*state, true, 100, 60099);
	assert_int_equal(net_count(*state, BLOB, "range", "bytes=30100-60099"), 1);
	net_faults(*state, "{\"short_clean\":1,\"count\":2}");
	ask_range(*state, true, 100, 60099);
	net_faults(*state, "{\"reset_after_bytes\":10000,\"count\":1}");
	ask_range(*state, true, 100, 60099);
	net_faults(*state, "{\"reset_after_bytes\":10000,\"count\":1,\"ignore_range\":true}");
	ask_range(*state, true, 100, 60099);
}

static void a_range_beyond_the_object_is_no_answer(void **state)
{
	struct registry_request want = ranged(BLOB_BYTES - 10, BLOB_BYTES + 10);
	struct net_result res;

	assert_int_equal(net_ask(*state, &want, &res), -EPROTO);
	assert_int_equal(res.n_bytes, 0);
	net_faults(*state, "{\"ignore_range\":true}");
	assert_int_equal(net_ask(*state, &want, &res), -EPROTO);
	assert_int_equal(res.n_bytes, 0);
}

/* ---- trouble ---- */

static void errors_of_the_server_are_asked_again_until_they_pass(void **state)
{
	struct registry_request want = ranged(100, 60099);
	struct net_result res;

	net_faults(*state, "{\"status\":500,\"count\":2}");
	ask_range(*state, true, 0, 9);
	assert_int_equal(net_n_requests(*state), 3);
	net_faults(*state, "{\"status\":502}");
	assert_int_equal(fail_range(*state, false, NET_DEADLINE_MS, &res), -EAGAIN);
	assert_int_equal(net_n_requests(*state), 1);
	want.retry = true;
	net_ask_in_vain(*state, &want, 400, "502");
}

static void a_reset_connection_is_asked_again(void **state)
{
	net_faults(*state, "{\"reset_every\":2}");
	for (int i = 0; i < 6; i++)
		ask_range(*state, true, 0, 99);
}

static void retry_after_holds_for_all_requests_to_the_host(void **state)
{
	struct net_result res;
	uint64_t begin_ns;

	net_faults(*state, "{\"status\":429,\"retry_after_s\":1,\"count\":1}");
	begin_ns = clock_now_ns(clock_real());
	assert_int_equal(fail_range(*state, false, NET_DEADLINE_MS, &res), -EAGAIN);
	ask_range(*state, false, 0, 9); /* another request: it waits its turn */
	assert_true(clock_now_ns(clock_real()) - begin_ns >= NS_PER_S);
	assert_int_equal(net_n_requests(*state), 2);
	net_faults(*state, "{\"status\":503,\"retry_after_s\":600}");
	assert_int_equal(fail_range(*state, false, NET_DEADLINE_MS, &res), -EAGAIN);
	/* Longer than the deadline: said at once, without another request. */
	assert_int_equal(fail_range(*state, true, NET_DEADLINE_MS, &res), -EAGAIN);
	assert_int_equal(net_n_requests(*state), 1);
}

static void a_stall_ends_by_itself_and_is_trouble(void **state)
{
	struct net_result res;

	net_lose_patience(*state);
	net_faults(*state, "{\"stall_after_bytes\":500}");
	assert_int_equal(fail_range(*state, false, NET_DEADLINE_MS, &res), -EAGAIN);
	net_faults(*state, "{\"stall_head\":true,\"count\":1}");
	ask_range(*state, true, 0, 9);
	net_faults(*state, "{\"stall_head\":true}");
	assert_int_equal(fail_range(*state, true, 300, &res), -EAGAIN);
}

static void a_rate_limit_spreads_requests(void **state)
{
	struct net *n = *state;
	const uint64_t begin_ns = clock_now_ns(clock_real());

	n->configs[0].requests_per_s = 10;
	net_new_registry(n);
	for (int i = 0; i < 15; i++) /* a burst of ten, then ten a second */
		ask_range(n, false, 0, 9);
	assert_true(clock_now_ns(clock_real()) - begin_ns > 250 * NS_PER_MS);
	assert_int_equal(net_n_requests(n), 15);
}

/* ---- redirects ---- */

static void a_redirect_is_followed_remembered_and_told_no_secret(void **state)
{
	struct net *n = *state;
	AUTO(free_str)
	char *faults = xasprintf("{\"redirect\":true,\"redirect_host\":\"%s\",\"auth\":\"basic\"}",
	                         n->alias);
	AUTO(free_str) char *password = net_path(n, "password");

	net_write(n, "password", "secret\n", 7);
	n->configs[0].username = "user";
	n->configs[0].password_file = password;
	net_new_registry(n);
	net_faults(n, faults);
	ask_range(n, false, 0, 9);
	ask_range(n, false, 10, 19);
	assert_int_equal(net_count(n, "/v2/team", "status", "307"), 1);
	assert_int_equal(net_count(n, "/_data/", "status", "206"), 2);
	assert_int_equal(net_count(n, "/_data/", "auth", ""), 2);
	assert_false(registry_was_anonymous(n->registry, n->host, "team/app"));
}

static void a_stale_redirect_is_dropped_and_the_registry_asked_again(void **state)
{
	static const char *const stale[] = { "400", "401", "403", "404", "410", "500", "503" };

	for (size_t i = 0; i < ARRAY_LEN(stale); i++) {
		AUTO(free_str)
		char *faults = xasprintf(
			"{\"redirect\":true,\"redirect_uses\":1,\"redirect_stale\":%s}", stale[i]);

		net_faults(*state, faults);
		net_new_registry(*state);
		ask_range(*state, false, 0, 9);
		ask_range(*state, false, 10, 19);
		assert_int_equal(net_count(*state, "/_data/", "status", stale[i]), 1);
		assert_int_equal(net_count(*state, "/v2/team", "status", "307"), 2);
	}
}

static void a_target_that_was_stale_is_not_asked_again(void **state)
{
	net_faults(*state, "{\"redirect\":true,\"redirect_uses\":1}");
	ask_range(*state, false, 0, 9);
	net_faults(*state, "{}"); /* no redirects any more, and the signature is used up */
	ask_range(*state, false, 0, 9);
	ask_range(*state, false, 0, 9);
	assert_int_equal(net_count(*state, "/_data/", NULL, NULL), 1);
}

static void a_redirect_target_that_never_works_is_final(void **state)
{
	struct net_result res;

	net_faults(*state, "{\"redirect\":true,\"redirect_uses\":0}");
	assert_int_equal(fail_range(*state, true, NET_DEADLINE_MS, &res), -EACCES);
	net_faults(*state, "{\"redirect\":true,\"redirect_uses\":0,\"redirect_stale\":404}");
	assert_int_equal(fail_range(*state, true, NET_DEADLINE_MS, &res), -ENOENT);
	assert_null(strstr(res.why.msg, "sig"));
}

/* ---- mirrors ---- */

static void a_mirror_is_asked_first_and_its_failures_do_not_matter(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { "127.0.0.1:1", n->alias };

	n->configs[0].mirrors = mirrors;
	n->configs[0].n_mirrors = 2;
	net_new_registry(n);
	ask_range(n, false, 0, 9);
	assert_int_equal(net_n_requests(n), 1);
	net_faults(n, "{\"status\":404,\"count\":1}");
	ask_range(n, false, 0, 9);
	assert_int_equal(net_n_requests(n), 2);
	net_faults(n, "{\"status\":403,\"count\":1}");
	ask_range(n, false, 0, 9);
	net_faults(n, "{\"status\":500,\"count\":1}");
	ask_range(n, false, 0, 9);
	assert_int_equal(net_n_requests(n), 2);
}

/* ---- cancelling ---- */

static int cancel_in_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct registry_req **req = arg;

	(void)bytes;
	(void)size_bytes;
	registry_cancel(*req);
	*req = NULL;
	return 0;
}

static void never(void *arg, int r, const struct err *why)
{
	(void)arg;
	(void)why;
	fail_msg("end() after a cancel: %d", r);
}

static void a_cancelled_request_is_not_heard_of_again(void **state)
{
	struct net *n = *state;
	struct registry_request want = ranged(0, BLOB_BYTES - 1);
	const uint64_t end_ns = net_deadline();
	struct registry_req *req;
	json_int_t n_seen;
	int64_t n_counted;
	struct err e;

	want.host = n->host;
	want.repository = "team/app";
	want.body = cancel_in_body;
	want.end = never;
	want.arg = &req;
	assert_int_equal(registry_start(n->registry, &want, &req, &e), 0);
	registry_cancel(req); /* before anything */
	assert_int_equal(registry_start(n->registry, &want, &req, &e), 0);
	ask_range(n, false, 0, 9);
	while (req != NULL) /* it cancels itself in its first bytes */
		ask_range(n, false, 0, 9);
	n_seen = net_n_requests(n);
	net_faults(n, "{\"auth\":\"bearer\",\"anonymous\":true,\"stall_head\":true}");
	assert_int_equal(registry_start(n->registry, &want, &req, &e), 0);
	while (net_count(n, "/v2/team", NULL, NULL) <
	       2) { /* in the middle of its token flow, too */
		struct registry_request head = { .kind = REGISTRY_MANIFEST, .reference = "v1" };
		struct net_result res;

		assert_int_equal(net_ask(n, &head, &res), 0);
		net_result_wipe(&res);
	}
	registry_cancel(req);
	/* Those too that were cancelled once they were sent, which the server may read later; and
	 * of the first one nothing. */
	do {
		n_seen += net_n_requests(n);
		n_counted = metrics_sum(n->metrics, METRIC_ORIGIN_REQUESTS);
	} while (n_seen < n_counted && clock_now_ns(clock_real()) < end_ns);
	assert_int_equal(n_counted, n_seen);
}

static void what_is_cancelled_before_its_answer_counts_as_none(void **state)
{
	struct net *n = *state;
	struct registry_request want = ranged(0, 9);
	const char *const labels[] = { n->host, "0" };
	struct registry_req *req;
	struct err e;

	net_faults(n, "{\"stall_head\":true}");
	want.host = n->host;
	want.repository = "team/app";
	want.end = never;
	assert_int_equal(registry_start(n->registry, &want, &req, &e), 0);
	while (net_count(n, "/v2/team", NULL, NULL) == 0)
		(void)event_base_loop(loop_base(n->loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
	registry_cancel(req);
	assert_int_equal(series_get(metrics_series(n->metrics, METRIC_ORIGIN_REQUESTS, labels)), 1);
}

/* A label of 70 bytes: no server of names has to be asked. */
#define NO_SUCH_NAME                                                                               \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid"

static int never_a_head(void *arg, const struct http_head *head)
{
	(void)arg;
	(void)head;
	fail();
	return 0;
}

static void a_name_that_is_not_found_is_no_harm_to_what_is_asked_next(void **state)
{
	const struct http_request request = { .method = "GET",
		                              .url = "http://" NO_SUCH_NAME "/",
		                              .head = never_a_head,
		                              .body = net_on_body,
		                              .end = net_on_end };
	struct net *n = *state;

	for (int i = 0; i < 2; i++) {
		struct net_result res = { .net = n };
		struct http_request again = request;
		struct http_req *req = NULL;

		again.arg = &res;
		assert_int_equal(http_start(n->http, &again, &req, &res.why), 0);
		net_wait(n, &res);
		assert_int_equal(res.r, -EAGAIN);
		assert_non_null(strstr(res.why.msg, "resolve"));
		net_result_wipe(&res);
	}
	ask_range(n, false, 0, 9);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, net_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_range_brings_its_bytes_and_counts_one_request),
		TEST(a_manifest_comes_whole_and_its_head_is_told),
		TEST(a_body_beyond_its_limit_is_refused),
		TEST(what_is_not_there_is_said_at_once),
		TEST(a_server_without_tls_is_named_at_once),
		TEST(nonsense_is_not_sent),
		TEST(a_server_that_ignores_range_is_read_past_the_front_and_cut),
		TEST(a_deadline_holds_under_a_budget_and_rest_does_not_count),
		TEST(what_comes_slowly_is_not_late),
		TEST(a_wrong_content_range_is_no_answer),
		TEST(a_short_body_is_trouble_and_goes_on_where_it_stopped),
		TEST(a_range_beyond_the_object_is_no_answer),
		TEST(errors_of_the_server_are_asked_again_until_they_pass),
		TEST(a_reset_connection_is_asked_again),
		TEST(retry_after_holds_for_all_requests_to_the_host),
		TEST(a_stall_ends_by_itself_and_is_trouble),
		TEST(a_rate_limit_spreads_requests),
		TEST(a_redirect_is_followed_remembered_and_told_no_secret),
		TEST(a_stale_redirect_is_dropped_and_the_registry_asked_again),
		TEST(a_target_that_was_stale_is_not_asked_again),
		TEST(a_redirect_target_that_never_works_is_final),
		TEST(a_mirror_is_asked_first_and_its_failures_do_not_matter),
		TEST(a_cancelled_request_is_not_heard_of_again),
		TEST(what_is_cancelled_before_its_answer_counts_as_none),
		TEST(a_name_that_is_not_found_is_no_harm_to_what_is_asked_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
