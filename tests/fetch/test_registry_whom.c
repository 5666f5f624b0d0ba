/*
 * test_registry_whom: who is asked right now, as people are told it.
 */
#include "mem.h"
#include "net_fixture.h"
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOB "1111111111111111111111111111111111111111111111111111111111111111"

struct asked {
	struct net_result res;
	struct registry_req *req;
	char whom[256]; /* while the bytes came */
};

static int setup(void **state)
{
	const int r = net_setup(state);

	net_write(*state, BLOB, "some bytes", 10);
	return r;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct net_result *res = arg;
	struct asked *a = container_of(res, struct asked, res);

	registry_whom(a->req, a->whom, sizeof(a->whom));
	return net_on_body(res, bytes, size_bytes);
}

static void start(struct net *n, struct asked *a)
{
	const struct registry_request want = {
		.host = n->host,
		.repository = "team/app",
		.kind = REGISTRY_BLOB,
		.reference = "sha256:" BLOB,
		.has_range = true,
		.range_last = 9,
		.deadline_ns = net_deadline(),
		.head_done = net_on_head,
		.body = on_body,
		.end = net_on_end,
		.arg = &a->res,
	};
	struct err e = { 0 };

	*a = (struct asked){ .res = { .net = n } };
	assert_int_equal(registry_start(n->registry, &want, &a->req, &e), 0);
}

static void whom_it_came_from(struct net *n, const char *want)
{
	struct asked a;

	start(n, &a);
	net_wait(n, &a.res);
	assert_int_equal(a.res.r, 0);
	assert_string_equal(a.whom, want);
	net_result_wipe(&a.res);
}

static void the_registry_is_named(void **state)
{
	struct net *n = *state;

	whom_it_came_from(n, n->host);
}

static void where_a_redirect_leads_is_named(void **state)
{
	struct net *n = *state;
	AUTO(free_str)
	char *want = xasprintf("%s, where the bytes are, by %s", n->alias, n->host);

	net_redirect(n, n->alias);
	whom_it_came_from(n, want);
}

static void a_mirror_is_named(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->alias };
	AUTO(free_str) char *want = xasprintf("%s, a mirror of %s", n->alias, n->host);

	n->configs[0].mirrors = mirrors;
	n->configs[0].n_mirrors = 1;
	net_new_registry(n);
	whom_it_came_from(n, want);
}

static void a_proxy_is_named_without_who_may_use_it(void **state)
{
	struct net *n = *state;
	AUTO(free_str) char *want = xasprintf("%s, through the proxy 127.0.0.1:1", n->host);
	struct asked a;

	n->configs[0].proxy = "http://user:secret@127.0.0.1:1/";
	net_new_registry(n);
	start(n, &a);
	registry_whom(a.req, a.whom, sizeof(a.whom));
	assert_memory_equal(a.whom, want, strlen(want));
	assert_null(strstr(a.whom, "secret"));
	registry_cancel(a.req);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, net_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_registry_is_named),
		TEST(where_a_redirect_leads_is_named),
		TEST(a_mirror_is_named),
		TEST(a_proxy_is_named_without_who_may_use_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
