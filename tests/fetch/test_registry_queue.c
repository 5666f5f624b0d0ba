/*
 * test_registry_queue: requests that wait for one of the connections that a host may have.
 */
#include "net_fixture.h"
#include <errno.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define BLOB       "1111111111111111111111111111111111111111111111111111111111111111"
#define BLOB_BYTES 4000

static int setup(void **state)
{
	static const uint8_t blob[BLOB_BYTES];
	const int r = net_setup(state);

	net_write(*state, BLOB, blob, BLOB_BYTES);
	return r;
}

#define N_CONNECTIONS 8 /* a host: see http_new() */

struct pause {
	struct timer timer;
	struct loop *loop;
	bool over;
};

static void on_pause_over(struct timer *t)
{
	struct pause *p = container_of(t, struct pause, timer);

	p->over = true;
	loop_stop(p->loop);
}

static void run_for(struct net *n, uint64_t ms)
{
	struct pause p = { .loop = n->loop };

	timer_init(&p.timer, n->loop, on_pause_over);
	timer_start(&p.timer, ms);
	while (!p.over)
		loop_run(n->loop);
	timer_fini(&p.timer);
}

/* One more than there are connections, the last with that deadline. */
static void fill_connections(struct net *n, uint64_t last_ms, struct net_result *res)
{
	static const bool no = false;
	struct registry_request want = { .kind = REGISTRY_BLOB, .reference = "sha256:" BLOB };

	want.urgent = &no;
	for (uint32_t i = 0; i <= N_CONNECTIONS; i++) {
		const uint64_t ms = i < N_CONNECTIONS ? NET_DEADLINE_MS : last_ms;

		want.deadline_ns = clock_now_ns(clock_real()) + ms * NS_PER_MS;
		assert_int_equal(net_start(n, &want, &res[i]), 0);
	}
}

/* All connections of the host bring something, at that pace; the last request has none of them
 * before its deadline is past, when the host turns to something else. All succeed. */
static void gets_it_late(struct net *n, const char *pace, uint64_t last_ms, uint64_t turn_ms,
                         const char *then)
{
	struct net_result res[N_CONNECTIONS + 1];

	net_faults(n, pace);
	fill_connections(n, last_ms, res);
	run_for(n, turn_ms);
	net_faults(n, then);
	net_wait_all(n, res, N_CONNECTIONS + 1, 0);
}

static void who_waits_for_a_connection_to_a_host_that_sends_is_not_late(void **state)
{
	gets_it_late(*state, "{\"bytes_per_s\":6000}", 1800, 2000, "{}"); /* 5 s, but for that */
}

/* The answer that it gets past its deadline asks for a token, and then leads elsewhere. */
static void who_waited_for_a_connection_has_time_for_a_token_and_a_redirect(void **state)
{
	gets_it_late(*state, "{\"bytes_per_s\":4000}", 3000, 3300, /* 8 s, but for that */
	             "{\"auth\":\"bearer\",\"anonymous\":true,\"redirect\":true}");
	assert_int_equal(net_count(*state, "/_data/", "status", "200"), 1);
}

static void who_waits_for_a_connection_to_a_host_that_is_silent_is_late(void **state)
{
	struct net_result res[N_CONNECTIONS + 1];
	struct net *n = *state;
	bool all;

	net_faults(n, "{\"stall_head\":true}");
	fill_connections(n, 300, res);
	net_wait(n, &res[N_CONNECTIONS]);
	all = res[0].done;
	net_faults(n, "{}"); /* who was silent is reset */
	net_wait_all(n, res, N_CONNECTIONS + 1, -EAGAIN);
	assert_false(all);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, net_teardown)
	const struct CMUnitTest tests[] = {
		TEST(who_waits_for_a_connection_to_a_host_that_sends_is_not_late),
		TEST(who_waited_for_a_connection_has_time_for_a_token_and_a_redirect),
		TEST(who_waits_for_a_connection_to_a_host_that_is_silent_is_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
