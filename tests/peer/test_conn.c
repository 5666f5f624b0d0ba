/*
 * test_conn: two agents talk: hellos, many requests at once, priorities, cancel, the ends.
 */
#include "clock.h"
#include "fake_clock.h"
#include "set.h"
#include "wire_pair.h"
#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void both_ends_learn_who_the_other_is(void **state)
{
	struct pair *p = *state;

	pair_open(p);
	for (int i = 0; i < 2; i++) {
		const struct end_point *ep = &p->ends[i];
		const struct end_point *other = &p->ends[1 - i];

		assert_memory_equal(&ep->peer.self.id, &other->self.self.id, WIRE_ID_BYTES);
		assert_string_equal(ep->peer.self.zone, other->self.self.zone);
		assert_string_equal(ep->peer.self.address, other->self.self.address);
		assert_int_equal(ep->peer.self.generation, 7);
	}
	assert_memory_equal(conn_binding(p->ends[0].conn)->nonce,
	                    conn_binding(p->ends[1].conn)->nonce, WIRE_NONCE_BYTES);
	assert_true(conn_binding(p->ends[0].conn)->connected);
	assert_false(conn_binding(p->ends[1].conn)->connected);
}

static uint16_t three_members(void *arg, struct wire_member *ret_members)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		memset(ret_members[i].id.b, 0x40 + i, WIRE_ID_BYTES);
		memcpy(ret_members[i].address, "10.1.1.1:1", sizeof("10.1.1.1:1"));
	}
	return 3;
}

static void the_answer_to_a_hello_carries_the_members(void **state)
{
	struct pair *p = *state;

	p->ends[1].opts.members = three_members;
	pair_open(p);
	assert_int_equal(p->ends[0].peer.n_members, 3);
	assert_int_equal(p->ends[1].peer.n_members, 0);
}

static void many_requests_are_in_flight_at_once(void **state)
{
	struct pair *p = *state;
	static struct got got[200];

	p->ends[1].serves = true;
	p->ends[0].serves = true;
	pair_open(p);
	for (int i = 0; i < 100; i++) { /* both ways */
		assert_int_equal(pair_get(p, 0, &got[i], 5, i % 2), 0);
		assert_int_equal(pair_get(p, 1, &got[100 + i], 5, i % 2), 0);
	}
	for (int i = 0; i < 200; i++) {
		pair_until(p, &got[i].n_ends, 1);
		assert_int_equal(got[i].status, WIRE_DONE);
		assert_int_equal(got[i].n_right, 5);
		assert_int_equal(got[i].n_grants, 1);
	}
}

static void answers_come_in_any_order(void **state)
{
	struct pair *p = *state;
	static struct got got[3];

	p->ends[1].serves = true;
	p->ends[1].holds = true;
	pair_open(p);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pair_get(p, 0, &got[i], 1, false), 0);
	for (uint32_t i = 0; i < 3; i++)
		pair_until(p, &p->ends[1].serve[i].n_pulls, 1);
	for (int i = 2; i >= 0; i--) {
		pair_give(p, 1, (uint32_t)i); /* the chunk */
		pair_until(p, &p->ends[1].serve[i].n_pulls, 2);
		pair_give(p, 1, (uint32_t)i); /* its end */
		pair_until(p, &got[i].n_ends, 1);
	}
	assert_true(got[2].finished < got[1].finished && got[1].finished < got[0].finished);
}

static void large_chunks_come_whole(void **state)
{
	struct pair *p = *state;
	static struct got got;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = (3U << 20) + 17;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 3, true), 0);
	pair_until(p, &got.n_ends, 1);
	assert_int_equal(got.n_right, 3);
	assert_int_equal(got.n_progress, 3 * p->ends[1].chunk_bytes);
	assert_int_equal(conn_counts(p->ends[0].conn)->payload_in_bytes,
	                 3 * p->ends[1].chunk_bytes);
	assert_int_equal(conn_counts(p->ends[1].conn)->payload_out_bytes,
	                 3 * p->ends[1].chunk_bytes);
	/* all else is little, and both ends count the same */
	assert_int_equal(conn_counts(p->ends[0].conn)->control_in_bytes,
	                 conn_counts(p->ends[1].conn)->control_out_bytes);
	assert_true(conn_counts(p->ends[0].conn)->control_in_bytes <
	            3 * p->ends[1].chunk_bytes / 100);
}

/* What is given to the kernel cannot be overtaken. */
static void a_frame_has_what_the_line_takes_in_a_moment(void **state)
{
	static const struct {
		uint64_t bytes_per_ms;
		uint32_t frame_bytes;
	} lines[] = { { 0, 16U << 10 },
		      { 350, 16U << 10 },
		      { 1200, 32U << 10 },
		      { 12500, 64U << 10 },
		      { UINT64_MAX, 64U << 10 } };
	struct pair *p = *state;
	static struct got got;
	struct conn *c;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = 1U << 20;
	pair_open(p);
	c = p->ends[1].conn;
	assert_int_equal(conn_frame_bytes(c), 16U << 10); /* nothing is known of it yet */
	assert_int_equal(pair_get(p, 0, &got, 1, true), 0);
	pair_until(p, &got.n_ends, 1);
	assert_int_equal(got.n_right, 1);
	assert_in_range(conn_counts(c)->n_payloads_out, 64, 70);
	for (uint32_t i = 0; i < ARRAY_LEN(lines); i++) {
		conn_pace(c, lines[i].bytes_per_ms);
		assert_int_equal(conn_frame_bytes(c), lines[i].frame_bytes);
	}
	assert_int_equal(pair_get(p, 0, &got, 1, true), 0);
	pair_until(p, &got.n_ends, 1);
	assert_in_range(conn_counts(c)->n_payloads_out, 80, 90);
}

/* On a line of which nothing is known yet. */
static void only_payload_waits_for_the_next_turn(void **state)
{
	struct pair *p = *state;
	const struct wire_msg ping = { .type = WIRE_PING, .u.ping.stamp = 1 };
	static struct got got;
	struct conn *c;

	p->ends[1].serves = true;
	p->ends[1].holds = true;
	p->ends[1].chunk_bytes = 1U << 20;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 1, true), 0);
	pair_until(p, &p->ends[1].serve[0].n_pulls, 1);
	pair_spin(p);
	c = p->ends[1].conn;
	for (int i = 0; i < 10; i++)
		conn_send(c, &ping);
	conn_run(c);
	assert_int_equal(sendq_control_bytes(c->sendq), 0);
	assert_false(event_pending(c->ev_write, EV_WRITE, NULL)); /* that was all */
	pair_give(p, 1, 0);
	conn_run(c);
	assert_int_equal(conn_counts(c)->n_payloads_out, 1);
	assert_true(event_pending(c->ev_write, EV_WRITE, NULL));
}

static void a_reader_overtakes_prefetch(void **state)
{
	struct pair *p = *state;
	static struct got slow, fast;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = 16U << 20;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &slow, 2, false), 0);
	pair_until(p, &slow.n_progress, 1); /* it is under way */
	p->ends[1].chunk_bytes = 64U << 10;
	assert_int_equal(pair_get(p, 0, &fast, 1, true), 0);
	pair_until(p, &fast.n_ends, 1);
	assert_int_equal(fast.n_right, 1);
	assert_int_equal(slow.n_chunks, 0); /* not even the chunk that had begun */
	pair_until(p, &slow.n_ends, 1);
	assert_int_equal(slow.n_right, 2);
}

static void a_stream_is_asked_for_no_more_than_the_socket_takes(void **state)
{
	struct pair *p = *state;
	static struct got got;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = 8U << 20;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 6, false), 0);
	pair_until(p, &p->ends[1].serve[0].n_pulls, 1);
	/* The reader takes nothing more: only end 1 runs. */
	p->ends[0].conn->paused = true;
	p->ends[0].conn->message_tokens = -1000000;
	pair_spin(p);
	assert_true(p->ends[1].serve[0].n_pulls <= 2);
	p->ends[0].conn->message_tokens = 1000;
	pair_until(p, &got.n_ends, 1);
	assert_int_equal(got.n_right, 6);
}

static void a_cancelled_request_says_nothing_more(void **state)
{
	struct pair *p = *state;
	static struct got got, after;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = 4U << 20;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 20, false), 0);
	pair_until(p, &got.n_progress, 1);
	conn_cancel(p->ends[0].conn, got.req);
	conn_cancel(p->ends[0].conn, got.req); /* twice is once */
	pair_until(p, &p->ends[1].serve[0].n_closed, 1);
	assert_int_equal(pair_get(p, 0, &after, 1, false), 0);
	pair_until(p, &after.n_ends, 1);
	assert_int_equal(after.n_right, 1);
	assert_int_equal(got.n_ends, 0);
	assert_int_equal(got.n_chunks, 0);
	assert_int_equal(p->ends[0].n_closed, 0);
}

static void a_request_may_be_cancelled_from_its_own_chunk(void **state)
{
	struct pair *p = *state;
	static struct got got, after;

	p->ends[1].serves = true;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 200, false), 0);
	got.cancel_at_chunk = true;
	pair_until(p, &got.n_chunks, 1);
	assert_int_equal(pair_get(p, 0, &after, 1, false), 0);
	pair_until(p, &after.n_ends, 1);
	assert_int_equal(got.n_chunks, 1);
	assert_int_equal(got.n_ends, 0);
}

static void a_cancel_before_any_stream_is_told(void **state)
{
	struct pair *p = *state;
	static struct got got, after;
	const struct wire_msg miss = { .type = WIRE_MISS, .u.miss = { .req = 1, .set.n = 1 } };

	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 1, false), 0);
	pair_until(p, &p->ends[1].n_msgs, 1);
	conn_cancel(p->ends[0].conn, got.req);
	pair_until(p, &p->ends[1].n_cancelled, 1);
	conn_send(p->ends[1].conn, &miss); /* too late: dropped, not sent */
	p->ends[1].serves = true;
	assert_int_equal(pair_get(p, 0, &after, 1, false), 0);
	pair_until(p, &after.n_ends, 1);
	assert_int_equal(p->ends[0].n_closed, 0);
}

static void an_answer_that_crosses_a_cancel_is_told_apart(void **state)
{
	struct pair *p = *state;
	static struct got got;
	const struct request_opts opts = { .ops = &pair_request_ops, .arg = &got };
	const struct wire_id list = { .b = { 9 } };
	struct wire_msg ask = { .type = WIRE_ASK };
	struct wire_answer_item item = { .kind = WIRE_LEASE, .set = set_all(5), .token = 1 };
	struct wire_msg answer = { .type = WIRE_ANSWER,
		                   .u.answer = { .n_items = 1, .items = &item } };

	ask.u.ask.part = (struct wire_part){ .list = list, .set = set_all(5) };
	ask.u.ask.have = ask.u.ask.units = ask.u.ask.runs = set_none(5);
	ask.u.ask.missed = set_none(5);
	pair_open(p);
	got.end = &p->ends[0];
	assert_int_equal(conn_request(p->ends[0].conn, &ask, &opts, &got.req), 0);
	pair_until(p, &p->ends[1].n_msgs, 1);
	answer.u.answer.req = got.req;
	conn_send(p->ends[1].conn, &answer);
	conn_cancel(p->ends[0].conn, got.req);
	pair_until(p, &p->ends[0].n_late, 1);
	pair_until(p, &p->ends[1].n_cancelled, 1);
	assert_memory_equal(&p->ends[0].late_asked.list, &list, sizeof(list));
	assert_int_equal(p->ends[0].late_asked.set.n, 5);
	assert_int_equal(got.n_answers + got.n_ends, 0);
}

static void patience_has_an_end_however_late_answers_come(void **state)
{
	struct pair *p = *state;

	pair_open(p);
	for (uint32_t i = 1; i < 20; i++)
		conn_answered(p->ends[0].conn, i * NS_PER_S);
	assert_true(conn_patience_ns(p->ends[0].conn) <= NS_PER_S);
	assert_true(conn_patience_ns(p->ends[0].conn) > 0);
}

/* An answer that was lost on the way comes when TCP has sent it again: once. */
static void patience_is_enough_for_a_packet_that_is_lost(void **state)
{
	struct pair *p = *state;
	struct conn *c;

	pair_open(p);
	c = p->ends[0].conn;
	assert_int_equal(conn_patience_ns(c), 0);
	conn_measured(c, 288000, 0, 75000);
	assert_int_equal(conn_patience_ns(c), 363 * NS_PER_MS);
	conn_measured(c, 880000, 2, 20000); /* doubled twice since then */
	assert_int_equal(conn_patience_ns(c), 240 * NS_PER_MS);
	conn_answered(c, 300 * NS_PER_MS);
	assert_true(conn_patience_ns(c) > 300 * NS_PER_MS);
	conn_measured(c, UINT32_MAX, 0, UINT32_MAX);
	assert_int_equal(conn_patience_ns(c), CONN_PATIENCE_MAX_NS);
}

/* A packet was lost: what is behind it comes, and cannot be read. */
static void what_tcp_has_and_cannot_give_yet_is_a_sign_of_life(void **state)
{
	struct pair *p = *state;
	static struct fake_clock clock; /* it outlives the connection */
	struct conn *c;

	fake_clock_init(&clock);
	p->ends[0].opts.clock = &clock.clock;
	pair_open(p);
	c = p->ends[0].conn;
	conn_segments(c, 7);
	fake_clock_advance_ms(&clock, 100);
	conn_segments(c, 7);
	assert_false(conn_lives_since(c, clock_now_ns(&clock.clock) - 50 * NS_PER_MS));
	conn_segments(c, 8);
	assert_true(conn_lives_since(c, clock_now_ns(&clock.clock) - 50 * NS_PER_MS));
	assert_false(conn_lives_since(c, clock_now_ns(&clock.clock))); /* that was before */
}

static void an_answer_to_another_kind_of_request_stays_here(void **state)
{
	struct pair *p = *state;
	static struct got got;
	struct wire_answer_item item = { .kind = WIRE_NOBODY, .set.n = 1 };
	const struct wire_msg answer = { .type = WIRE_ANSWER,
		                         .u.answer = { .req = 1, .n_items = 1, .items = &item } };
	struct wire_msg end = { .type = WIRE_END, .u.end.status = WIRE_NOT_HERE };

	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 1, false), 0);
	assert_int_equal(got.req, 1);
	pair_until(p, &p->ends[1].n_msgs, 1);
	conn_send(p->ends[1].conn, &answer);
	end.u.end.req = 1;
	conn_send(p->ends[1].conn, &end);
	pair_until(p, &got.n_ends, 1);
	assert_int_equal(got.status, WIRE_NOT_HERE);
	assert_int_equal(p->ends[0].n_closed, 0);
}

static void too_many_requests_are_held_back_here(void **state)
{
	struct pair *p = *state;
	static struct got got[WIRE_REQUESTS_MAX + 1];

	p->ends[1].serves = true;
	p->ends[1].holds = true;
	pair_open(p);
	for (int i = 0; i < WIRE_REQUESTS_MAX; i++)
		assert_int_equal(pair_get(p, 0, &got[i], 1, false), 0);
	assert_int_equal(pair_get(p, 0, &got[WIRE_REQUESTS_MAX], 1, false), -EBUSY);
	pair_until(p, &p->ends[1].n_serves, WIRE_REQUESTS_MAX);
	pair_spin(p);
	/* Only so many are asked for a piece at once. */
	assert_int_equal(p->ends[1].serve[SENDQ_PIECES_MAX - 1].n_pulls, 1);
	assert_int_equal(p->ends[1].serve[SENDQ_PIECES_MAX].n_pulls, 0);
}

static void a_close_ends_everything_once(void **state)
{
	struct pair *p = *state;
	static struct got got;

	p->ends[1].serves = true;
	p->ends[1].holds = true;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 1, false), 0);
	pair_until(p, &p->ends[1].serve[0].n_pulls, 1);
	conn_close(p->ends[1].conn, WIRE_BYE_LEAVING, "going down");
	conn_close(p->ends[1].conn, WIRE_BYE_LEAVING, "going down");
	assert_int_equal(p->ends[1].n_closed, 0); /* not from inside */
	pair_until(p, &p->ends[0].n_closed, 1);
	pair_until(p, &p->ends[1].n_closed, 1);
	assert_int_equal(got.n_ends, 1);
	assert_int_equal(got.status, WIRE_LOST);
	assert_int_equal(p->ends[1].serve[0].n_closed, 1);
	assert_int_equal(p->ends[0].why.code, 0);
	assert_int_equal(p->ends[1].why.code, 0);
	assert_non_null(strstr(p->ends[0].why.msg, "going down"));
}

static void a_close_from_inside_a_message_is_fine(void **state)
{
	struct pair *p = *state;
	static struct got got;

	p->ends[1].close_at_message = true;
	pair_open(p);
	assert_int_equal(pair_get(p, 0, &got, 1, false), 0);
	pair_until(p, &p->ends[0].n_closed, 1);
	pair_until(p, &p->ends[1].n_closed, 1);
	assert_int_equal(got.status, WIRE_LOST);
}

/* Each look at it takes a microsecond: however late the machine is, nobody is silent for long, and
 * an answer is not there at once. */
struct slow_clock {
	struct clock clock;
	uint64_t *now_ns;
};

static uint64_t slow_now_ns(const struct clock *clock)
{
	const struct slow_clock *c = (const struct slow_clock *)(const void *)clock;

	*c->now_ns += 1000;
	return *c->now_ns;
}

static void pings_are_answered_and_timed(void **state)
{
	struct pair *p = *state;
	uint64_t now_ns = NS_PER_S;
	const struct slow_clock clock = { .clock.now_ns = slow_now_ns, .now_ns = &now_ns };
	const struct conn_counts *counts;

	p->ends[0].opts.clock = &clock.clock;
	p->ends[0].opts.ping_interval_ms = 40;
	pair_open(p);
	counts = conn_counts(p->ends[0].conn);
	assert_int_equal(counts->rtt_ns, 0);
	now_ns += 40 * NS_PER_MS;
	pair_until(p, &p->ends[1].n_msgs, 1);
	assert_int_equal(p->ends[1].msgs[0], WIRE_PING);
	for (int i = 0; i < 1000 && counts->rtt_ns == 0; i++)
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	assert_in_range(counts->rtt_ns, 1000, NS_PER_MS);
	conn_abort(&p->ends[0].conn); /* it goes before its clock */
}

static void nobody_asks_who_drains(void **state)
{
	struct pair *p = *state;
	const struct wire_msg drain = { .type = WIRE_DRAIN };
	static struct got got;

	pair_open(p);
	conn_send(p->ends[1].conn, &drain);
	pair_until(p, &p->ends[0].n_msgs, 1);
	assert_int_equal(pair_get(p, 0, &got, 1, false), -ENOTCONN);
}

#define BOTH(test)                                                                                 \
	cmocka_unit_test_setup_teardown(test, pair_secure, pair_teardown),                         \
	{                                                                                          \
#test "_insecure", test, pair_plain, pair_teardown, NULL                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(both_ends_learn_who_the_other_is),
		BOTH(the_answer_to_a_hello_carries_the_members),
		BOTH(many_requests_are_in_flight_at_once),
		BOTH(answers_come_in_any_order),
		BOTH(large_chunks_come_whole),
		BOTH(a_frame_has_what_the_line_takes_in_a_moment),
		BOTH(only_payload_waits_for_the_next_turn),
		BOTH(a_reader_overtakes_prefetch),
		BOTH(a_stream_is_asked_for_no_more_than_the_socket_takes),
		BOTH(a_cancelled_request_says_nothing_more),
		BOTH(a_request_may_be_cancelled_from_its_own_chunk),
		BOTH(a_cancel_before_any_stream_is_told),
		BOTH(an_answer_that_crosses_a_cancel_is_told_apart),
		BOTH(patience_has_an_end_however_late_answers_come),
		BOTH(patience_is_enough_for_a_packet_that_is_lost),
		BOTH(what_tcp_has_and_cannot_give_yet_is_a_sign_of_life),
		BOTH(an_answer_to_another_kind_of_request_stays_here),
		BOTH(too_many_requests_are_held_back_here),
		BOTH(a_close_ends_everything_once),
		BOTH(a_close_from_inside_a_message_is_fine),
		BOTH(pings_are_answered_and_timed),
		BOTH(nobody_asks_who_drains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
