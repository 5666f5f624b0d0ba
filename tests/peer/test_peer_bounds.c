/*
 * test_peer_bounds: what one member can take of another, however it asks.
 */
#include "mem.h"
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

static int setup_two(void **state)
{
	*state = peers_new(2, false);
	return 0;
}

static uint32_t get(struct stranger *s, struct asked_end *end)
{
	static const uint32_t plain_sizes[1] = { 100 };
	static const struct wire_id name = { .b = { 7 } };
	const struct request_opts opts = { .ops = &asked_end_ops,
		                           .arg = end,
		                           .plain_sizes = plain_sizes };
	struct wire_msg msg = { .type = WIRE_GET };
	uint32_t req;

	*end = (struct asked_end){ .n = 0 };
	msg.u.get.by_names = true;
	msg.u.get.names = &name;
	msg.u.get.part.set = set_all(1);
	assert_int_equal(conn_request(s->conn, &msg, &opts, &req), 0);
	return req;
}

static void get_and_cancel(struct peers *world, struct stranger *s, uint32_t n)
{
	static struct asked_end ends[BATCH];

	for (uint32_t i = 0; i < n; i += BATCH) {
		for (uint32_t k = 0; k < BATCH; k++)
			conn_cancel(s->conn, get(s, &ends[k]));
		while (!conn_is_idle(s->conn))
			peers_run_ms(world, 1);
	}
}

/* A worker has few GETs by names at a time, and what else was cancelled is forgotten. */
static void what_is_cancelled_takes_no_place_and_no_workers_time(void **state)
{
	struct peers *world = *state;
	struct stranger greedy, other;
	struct asked_end end;

	stranger_call(world, &greedy, 1);
	stranger_call(world, &other, 2);
	peers_jam(world);
	get_and_cancel(world, &greedy, 4 * WIRE_REQUESTS_MAX);
	(void)get(&greedy, &end);
	peers_run_ms(world, 20);
	assert_int_equal(end.n, 0); /* it waits for its turn, and is not refused */
	peers_unblock(world);
	peers_until(world, &end.n, 1);
	assert_int_equal(end.status, WIRE_NOT_HERE);
	(void)get(&other, &end);
	peers_until(world, &end.n, 1);
	assert_int_equal(end.status, WIRE_NOT_HERE);
	stranger_leave(&greedy);
	stranger_leave(&other);
}

/* ---- metadata ---- */

static void meta_get(struct stranger *s, struct asked_end *end)
{
	const struct request_opts opts = { .ops = &asked_end_ops,
		                           .arg = end,
		                           .meta_max_bytes = 1000 };
	struct wire_msg msg = { .type = WIRE_META_GET, .u.meta_get.kind = WIRE_META_MANIFEST };
	uint32_t req;

	*end = (struct asked_end){ .n = 0 };
	memcpy(msg.u.meta_get.key, "key", sizeof("key"));
	assert_int_equal(conn_request(s->conn, &msg, &opts, &req), 0);
}

static void one_that_asks_for_much_metadata_shuts_nobody_out(void **state)
{
	static struct asked_end ends[32];
	struct peers *world = *state;
	struct stranger greedy, other;
	struct asked_end end;

	stranger_call(world, &greedy, 1);
	stranger_call(world, &other, 2);
	world->shelves[0].blocks = true;
	for (uint32_t i = 0; i < 32; i++)
		meta_get(&greedy, &ends[i]);
	peers_until(world, &ends[31].n, 1);
	assert_int_equal(ends[31].status, WIRE_IS_BUSY);
	meta_get(&other, &end);
	peers_run_ms(world, 20);
	assert_int_equal(end.n, 0); /* under way */
	peers_unblock(world);
	peers_until(world, &end.n, 1);
	assert_int_equal(end.status, WIRE_NOT_HERE);
	stranger_leave(&greedy);
	stranger_leave(&other);
}

#define WHOLE_BYTES 200000U

/* Gives a byte of WHOLE_BYTES now and then. */
struct trickler {
	struct stranger s;
	struct timer timer;
	struct conn_stream *stream;
	bool pulled;
	uint64_t offset;
	uint32_t n_asked;
};

static void trickle(struct timer *timer)
{
	struct trickler *t = container_of(timer, struct trickler, timer);
	const struct wire_meta meta = { .offset = t->offset,
		                        .total_bytes = WHOLE_BYTES,
		                        .is_public = true };

	if (t->stream == NULL)
		return;
	if (t->pulled) {
		t->pulled = false;
		t->offset++;
		stream_put_meta(t->stream, &meta, xcalloc(1, 1), 1);
	}
	timer_start(&t->timer, 50);
}

static void on_pull(void *arg, struct conn_stream *stream)
{
	struct trickler *t = arg;

	(void)stream;
	t->pulled = true;
}

static void on_stream_closed(void *arg)
{
	struct trickler *t = arg;

	t->stream = NULL;
}

static void on_asked(struct stranger *s, const struct wire_msg *msg)
{
	static const struct stream_ops stream_ops = { .pull = on_pull, .closed = on_stream_closed };
	struct trickler *t = container_of(s, struct trickler, s);

	if (msg->type != WIRE_META_GET)
		return;
	assert_int_equal(
		conn_serve(s->conn, msg->u.meta_get.req, CONN_READER, &stream_ops, t, &t->stream),
		0);
	t->offset = 0;
	t->n_asked++;
	timer_start(&t->timer, 1);
}

static void one_that_trickles_does_not_have_all_the_time(void **state)
{
	struct peers *world = *state;
	struct trickler t = { .n_asked = 0 };
	struct answer a;

	timer_init(&t.timer, world->loop, trickle);
	stranger_call(world, &t.s, 1);
	t.s.message = on_asked;
	world->shelves[1].blocks = true; /* the other one is first */
	(void)peers_ask(world, WHOLE_BYTES, 25000, &a);
	peers_until(world, &t.n_asked, 1);
	while (t.offset < 3)
		peers_run_ms(world, 1);
	world->shelves[1].r = META_FOUND;
	world->shelves[1].data = (const uint8_t *)"yes";
	world->shelves[1].size_bytes = 3;
	peers_unblock(world);
	peers_until(world, &a.n_done, 1);
	assert_int_equal(a.r, META_FOUND);
	assert_int_equal(a.got.size_bytes, 3);
	answer_clear(&a);
	stranger_leave(&t.s);
	timer_fini(&t.timer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, peers_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_cancelled_takes_no_place_and_no_workers_time),
		TEST(one_that_asks_for_much_metadata_shuts_nobody_out),
		cmocka_unit_test_setup_teardown(one_that_trickles_does_not_have_all_the_time,
		                                setup_two, peers_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
