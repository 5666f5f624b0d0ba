/*
 * test_registry_busy: a server that a registry redirects to says when it may be asked again.
 */
#include "mem.h"
#include "net_fixture.h"
#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOB      "4444444444444444444444444444444444444444444444444444444444444444"
#define LONG_S    600 /* longer than any deadline here */
#define FOR_EVER  (-1)
#define N_ASKS    10
#define STORE     "store.%s" /* the server, under a name that nobody has said anything of */
#define TO_STORE  "\"redirect\":true,\"redirect_host\":\"" STORE "\""
#define IS_BUSY   "\"redirect_uses\":%d,\"redirect_stale\":503,\"retry_after_s\":%d"
#define N_AT(n)   net_count(n, "/_data/", NULL, NULL)
#define N_LEAD(n) net_count(n, "/v2/", "status", "307")

static int setup(void **state)
{
	const int r = net_setup(state);

	net_write(*state, BLOB, "0123456789", 10);
	return r;
}

/* Where the registry leads is good for so many requests each time, and then busy. */
static void store_is_busy(struct net *n, int after, int for_s)
{
	AUTO(free_str)
	char *faults = xasprintf("{" TO_STORE "," IS_BUSY "}", n->alias, after, for_s);

	net_faults(n, faults);
}

static int ask_at(struct net *n, const char *host)
{
	struct registry_request want = { .host = host,
		                         .kind = REGISTRY_BLOB,
		                         .reference = "sha256:" BLOB,
		                         .has_range = true,
		                         .range_last = 9 };

	return net_ask_digits(n, &want);
}

static int ask(struct net *n)
{
	return ask_at(n, n->host);
}

static void it_is_not_asked_before_its_time(void **state)
{
	struct net *n = *state;
	const uint64_t begin_ns = clock_now_ns(clock_real());

	store_is_busy(n, 0, 1);
	assert_int_equal(ask(n), -EAGAIN);
	store_is_busy(n, FOR_EVER, 1);
	assert_int_equal(ask(n), 0); /* another request: it waits */
	assert_true(clock_now_ns(clock_real()) - begin_ns >= NS_PER_S);
}

static void within_the_deadline_nobody_asks_it_in_vain(void **state)
{
	struct net *n = *state;

	store_is_busy(n, 0, LONG_S);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ask(n), -EAGAIN);
	assert_int_equal(N_AT(n), 1);
	assert_int_equal(N_LEAD(n), 4); /* each time it might have led elsewhere */
}

static void the_registry_may_lead_elsewhere_by_then(void **state)
{
	struct net *n = *state;

	store_is_busy(n, 1, LONG_S);
	assert_int_equal(ask(n), 0);
	assert_int_equal(ask(n), -EAGAIN);
	assert_int_equal(N_AT(n), 2);
	net_faults(n, "{}"); /* it has it itself, and the log begins anew */
	assert_int_equal(ask(n), 0);
	assert_int_equal(N_AT(n), 0);
}

static void nobody_waits_for_where_a_mirror_leads(void **state)
{
	struct net *n = *state;
	const char *const mirrors[] = { n->alias };
	AUTO(free_str) char *faults = xasprintf("{" TO_STORE ",\"count\":1}", n->alias);

	n->configs[0].mirrors = mirrors;
	n->configs[0].n_mirrors = 1;
	net_new_registry(n);
	store_is_busy(n, 0, LONG_S);
	assert_int_equal(ask_at(n, n->alias), -EAGAIN);
	net_faults(n, faults); /* the mirror alone leads there */
	assert_int_equal(ask(n), 0);
	assert_int_equal(N_LEAD(n), 1);
	assert_int_equal(N_AT(n), 0);
}

/* "*" is every registry; where they keep their blobs no number of requests is limited. Before such
 * a server said something it is not even known. */
static void what_all_registries_may_be_asked_is_not_meant_for_it(void **state)
{
	struct net *n = *state;
	uint64_t begin_ns;

	n->configs[0].host = "*";
	n->configs[0].requests_per_s = 1;
	n->n_configs = 1;
	net_new_registry(n);
	store_is_busy(n, 0, 0);
	assert_int_equal(ask(n), -EAGAIN);
	store_is_busy(n, FOR_EVER, 0);
	begin_ns = clock_now_ns(clock_real());
	for (int i = 0; i < N_ASKS; i++)
		assert_int_equal(ask(n), 0);
	assert_int_equal(N_AT(n), N_ASKS);
	assert_true(clock_now_ns(clock_real()) - begin_ns < (N_ASKS - 2) * NS_PER_S);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, net_teardown)
	const struct CMUnitTest tests[] = {
		TEST(it_is_not_asked_before_its_time),
		TEST(within_the_deadline_nobody_asks_it_in_vain),
		TEST(the_registry_may_lead_elsewhere_by_then),
		TEST(nobody_waits_for_where_a_mirror_leads),
		TEST(what_all_registries_may_be_asked_is_not_meant_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
