/*
 * test_peer_bounds: what one member can take of another, however it asks.
 */
#include "peers_world.h"
#include "set.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BATCH 64

static int setup(void **state)
{
	*state = peers_new(1, true);
	return 0;
}

static int teardown(void **state)
{
	struct peers *world = *state;

	peers_free(&world);
	return 0;
}

struct end {
	uint32_t n;
	enum wire_status status;
};

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct end *end = arg;

	(void)retry_ms;
	end->n++;
	end->status = status;
}

static void on_answer(void *arg, const struct wire_msg *msg)
{
	(void)arg;
	(void)msg;
}

static const struct request_ops ops = { .answer = on_answer, .end = on_end };

static uint32_t get(struct stranger *s, struct end *end)
{
	static const uint32_t plain_sizes[1] = { 100 };
	static const struct wire_id name = { .b = { 7 } };
	const struct request_opts opts = { .ops = &ops, .arg = end, .plain_sizes = plain_sizes };
	struct wire_msg msg = { .type = WIRE_GET };
	uint32_t req;

	*end = (struct end){ .n = 0 };
	msg.u.get.by_names = true;
	msg.u.get.names = &name;
	msg.u.get.part.set = set_all(1);
	assert_int_equal(conn_request(s->conn, &msg, &opts, &req), 0);
	return req;
}

static void get_and_cancel(struct peers *world, struct stranger *s, uint32_t n)
{
	static struct end ends[BATCH];

	for (uint32_t i = 0; i < n; i += BATCH) {
		for (uint32_t k = 0; k < BATCH; k++)
			conn_cancel(s->conn, get(s, &ends[k]));
		while (!conn_is_idle(s->conn))
			peers_run_ms(world, 1);
	}
}

static void what_is_cancelled_counts_until_the_worker_has_it_no_more(void **state)
{
	struct peers *world = *state;
	struct stranger greedy, other;
	struct end end;

	stranger_call(world, &greedy, 1);
	stranger_call(world, &other, 2);
	peers_jam(world);
	get_and_cancel(world, &greedy, WIRE_REQUESTS_MAX);
	(void)get(&greedy, &end);
	peers_until(world, &end.n, 1);
	assert_int_equal(end.status, WIRE_IS_BUSY);
	(void)get(&other, &end); /* it has a place of its own */
	peers_run_ms(world, 20);
	assert_int_equal(end.n, 0);
	peers_unblock(world);
	peers_until(world, &end.n, 1);
	assert_int_equal(end.status, WIRE_NOT_HERE);
	(void)get(&greedy, &end);
	peers_until(world, &end.n, 1);
	assert_int_equal(end.status, WIRE_NOT_HERE);
	stranger_leave(&greedy);
	stranger_leave(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_cancelled_counts_until_the_worker_has_it_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
