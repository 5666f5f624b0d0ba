/*
 * test_conn_time: what a connection does with a peer that stalls, floods, or keeps what is not its
 * own. The other side is a bare socket here.
 */
#include "fake_clock.h"
#include "raw_end.h"
#include "set.h"
#include "wire_samples.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SHORT_MS 60
#define SLOW_MS  400 /* where being late on a busy machine would change what is seen */

static void silence_before_the_hello_has_a_deadline(void **state)
{
	struct pair *p = *state;
	int fd;

	p->ends[1].opts.handshake_timeout_ms = SHORT_MS;
	pair_half(p, &fd);
	pair_expect_end(p, 1, ETIMEDOUT, "no hello in time");
	close(fd);
}

static void silence_after_the_hello_has_a_deadline(void **state)
{
	struct pair *p = *state;
	int fd;

	p->ends[1].opts.ping_interval_ms = SHORT_MS;
	fd = raw_open(p);
	pair_expect_end(p, 1, ETIMEDOUT, "does not answer pings");
	close(fd);
}

/* So many bytes in so many ms, turn by turn, of a header that has 65,000 of them: never silent, and
 * never done. Time goes on with the bytes, however late the machine is. */
static void trickle(struct pair *p, size_t n_bytes, uint64_t ms, int n_turns)
{
	static const uint8_t prefix[] = { 0, 0, 0xfd, 0xe8, 0, 0, 0, 0 };
	struct fake_clock clock;
	int fd;

	fake_clock_init(&clock);
	p->ends[1].opts.clock = &clock.clock;
	p->ends[1].opts.stall_timeout_ms = SHORT_MS;
	fd = raw_open(p);
	raw_bytes(fd, prefix, sizeof(prefix));
	for (int i = 0; i < n_turns && p->ends[1].n_closed == 0; i++) {
		(void)send(fd, "xxxxxxxx", n_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
		fake_clock_advance_ms(&clock, ms);
	}
	conn_abort(&p->ends[1].conn); /* it goes before its clock */
	close(fd);
}

static void a_message_that_does_not_end_has_a_deadline(void **state)
{
	struct pair *p = *state;

	trickle(p, 1, 4, 64000);
	pair_expect_end(p, 1, ETIMEDOUT, "does not end");
}

static void a_message_that_comes_slowly_is_waited_for(void **state)
{
	struct pair *p = *state;

	trickle(p, 4, 2, 16000);
	assert_int_equal(p->ends[1].n_closed, 0);
}

static void who_does_not_read_is_cut_off(void **state)
{
	struct pair *p = *state;
	struct wire_msg get;
	int fd;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = 8U << 20;
	p->ends[1].opts.stall_timeout_ms = SHORT_MS;
	fd = raw_open(p);
	wire_sample(WIRE_GET, false, &get);
	raw_say(fd, &get);
	pair_expect_end(p, 1, ETIMEDOUT, "does not read");
	assert_true(p->ends[1].serve[0].n_pulls <= 2);
	assert_int_equal(p->ends[1].serve[0].n_closed, 1);
	close(fd);
}

/* As much of it as goes out, again and again; what comes is read. */
static void flood(struct pair *p, int fd, const struct wire_buf *buf, size_t *sent)
{
	const ssize_t n = send(fd, buf->data + *sent, buf->size_bytes - *sent, MSG_NOSIGNAL);
	uint8_t pongs[4096];

	*sent = (*sent + (size_t)(n > 0 ? n : 0)) % buf->size_bytes;
	(void)event_base_loop(loop_base(p->loop), EVLOOP_NONBLOCK);
	while (recv(fd, pongs, sizeof(pongs), 0) > 0)
		continue;
	assert_int_equal(p->ends[1].n_closed, 0);
}

static void a_flood_is_slowed_down(void **state)
{
	struct pair *p = *state;
	const int fd = raw_open(p);
	struct wire_buf buf = { 0 };
	struct wire_msg ping;
	size_t sent = 0;
	uint64_t n_before;

	wire_sample(WIRE_PING, false, &ping);
	while (buf.size_bytes < 4096)
		wire_encode(&ping, &buf);
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 100000 && !p->ends[1].conn->paused; i++)
		flood(p, fd, &buf, &sent);
	assert_true(p->ends[1].conn->paused);
	/* It stays open, and goes on when it may again. */
	n_before = conn_counts(p->ends[1].conn)->n_messages_in;
	while (conn_counts(p->ends[1].conn)->n_messages_in == n_before)
		flood(p, fd, &buf, &sent);
	assert_int_equal(p->ends[1].n_closed, 0);
	wire_buf_free(&buf);
	close(fd);
}

/* Of such messages no more than most are taken at once. */
static void is_slowed_down_after(struct pair *p, const struct wire_msg *msg, uint32_t most)
{
	const int fd = raw_open(p);
	struct wire_buf buf = { 0 };
	size_t sent = 0;

	wire_encode(msg, &buf);
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	p->ends[1].conn->message_tokens = 20000; /* it was quiet for a second */
	for (int i = 0; i < 100000 && !p->ends[1].conn->paused; i++)
		flood(p, fd, &buf, &sent);
	assert_true(p->ends[1].conn->paused);
	assert_in_range(conn_counts(p->ends[1].conn)->n_messages_in, 1, most);
	wire_buf_free(&buf);
	close(fd);
}

/* What it names costs, not how often it speaks. */
static void who_names_many_chunks_is_slowed_down_sooner(void **state)
{
	struct wire_part parts[WIRE_ADVERTS_MAX];
	const struct wire_msg have = { .type = WIRE_HAVE,
		                       .u.adverts = { WIRE_ADVERTS_MAX, parts } };

	for (uint32_t i = 0; i < WIRE_ADVERTS_MAX; i++)
		parts[i] = (struct wire_part){ .set = set_all(WIRE_LIST_MAX) };
	is_slowed_down_after(*state, &have, 200);
}

/* All addresses are looked at for each of its lists, however short. */
static void so_is_who_tells_its_members_again_and_again(void **state)
{
	const struct wire_member one = { .id.b = { 1 }, .generation = 1, .address = "10.0.0.1:1" };
	const struct wire_msg msg = { .type = WIRE_MEMBERS, .u.members = { &one, 1 } };

	is_slowed_down_after(*state, &msg, 15000); /* 2,222, and what it earns meanwhile */
}

/* ---- what was cancelled ---- */

/* End 1 asked, and cancelled it. Nothing ends that. */
static uint32_t cancel_one(struct pair *p, struct got *got)
{
	assert_int_equal(pair_get(p, 1, got, 1, false), 0);
	conn_cancel(p->ends[1].conn, got->req);
	return got->req;
}

/* What came is read. @return the pings in it, each of them answered or not */
static uint32_t pings(int fd, bool answer)
{
	static uint8_t bytes[65536];
	struct wire_decoder *decoder = wire_decoder_new();
	const ssize_t n_got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	const size_t n_bytes = n_got > 0 ? (size_t)n_got : 0;
	struct wire_msg msg;
	uint32_t n = 0;
	size_t size;

	for (size_t at = 0; (size = raw_next(decoder, bytes + at, n_bytes - at, &msg)) > 0;) {
		at += size;
		if (msg.type != WIRE_PING)
			continue;
		n++;
		msg.type = WIRE_PONG;
		if (answer)
			raw_say(fd, &msg);
	}
	wire_decoder_free(&decoder);
	return n;
}

static void who_lives_and_does_not_end_what_was_cancelled_is_left(void **state)
{
	struct pair *p = *state;
	static struct got got;
	uint32_t n_pings = 0;
	int fd;

	p->ends[1].opts.ping_interval_ms = SHORT_MS;
	fd = raw_open(p);
	(void)cancel_one(p, &got);
	while (p->ends[1].n_closed == 0 && n_pings < 100) {
		n_pings += pings(fd, true);
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	}
	pair_expect_end(p, 1, ETIMEDOUT, "does not end what was cancelled");
	assert_in_range(n_pings, 1, 6);
	assert_int_equal(got.n_ends, 0); /* it was cancelled: nobody waits for it */
	close(fd);
}

/* Nor is it enough to answer no pings, and to say something else. */
static void who_says_other_things_must_end_what_was_cancelled(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct pair *p = *state;
	static struct got got;
	int fd;

	p->ends[1].opts.ping_interval_ms = SHORT_MS;
	fd = raw_open(p);
	(void)cancel_one(p, &got);
	for (uint32_t n = 0; p->ends[1].n_closed == 0 && n < 100000; n++) {
		pair_until(p, &p->ends[1].n_msgs, n);
		raw_say(fd, &ping);
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	}
	pair_expect_end(p, 1, ETIMEDOUT, "does not end what was cancelled");
	close(fd);
}

/* On a slow line the END is late, and so are the pongs. */
static void a_late_end_on_a_slow_line_is_waited_for(void **state)
{
	const struct wire_msg ping = { .type = WIRE_PING };
	struct wire_msg end = { .type = WIRE_END, .u.end.status = WIRE_CANCELLED };
	struct pair *p = *state;
	static struct got got;
	uint32_t n;
	int fd;

	p->ends[1].opts.ping_interval_ms = SLOW_MS;
	fd = raw_open(p);
	end.u.end.req = cancel_one(p, &got);
	/* Something comes all the time; three pings wait for their answers. */
	for (n = 0; p->ends[1].n_closed == 0 && n < 3; n += pings(fd, false)) {
		raw_say(fd, &ping);
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	}
	raw_say(fd, &end);
	for (n = 0; p->ends[1].n_closed == 0 && n < 2; n += pings(fd, true))
		(void)event_base_loop(loop_base(p->loop), EVLOOP_ONCE);
	assert_int_equal(p->ends[1].n_closed, 0);
	close(fd);
}

#define SECURE(test) cmocka_unit_test_setup_teardown(test, pair_secure, pair_teardown)
#define PLAIN(test)  cmocka_unit_test_setup_teardown(test, pair_plain, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(silence_before_the_hello_has_a_deadline),
		SECURE(silence_before_the_hello_has_a_deadline),
		PLAIN(silence_after_the_hello_has_a_deadline),
		PLAIN(a_message_that_does_not_end_has_a_deadline),
		PLAIN(a_message_that_comes_slowly_is_waited_for),
		PLAIN(who_does_not_read_is_cut_off),
		PLAIN(a_flood_is_slowed_down),
		PLAIN(who_names_many_chunks_is_slowed_down_sooner),
		PLAIN(so_is_who_tells_its_members_again_and_again),
		PLAIN(who_lives_and_does_not_end_what_was_cancelled_is_left),
		PLAIN(who_says_other_things_must_end_what_was_cancelled),
		PLAIN(a_late_end_on_a_slow_line_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
