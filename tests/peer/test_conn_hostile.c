/*
 * test_conn_hostile: what a connection does with a peer that lies. The other side is a bare
 * socket here.
 */
#include "raw_end.h"
#include "wire_samples.h"
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Everything that was sent to the bare socket, to its end; is the last message a BYE with reason?
 */
static void expect_bye(int fd, enum wire_bye_reason reason)
{
	struct wire_decoder *decoder = wire_decoder_new();
	uint8_t bytes[65536];
	size_t n_bytes = 0;
	struct wire_msg msg = { 0 };
	size_t size;
	ssize_t n;

	while ((n = recv(fd, bytes + n_bytes, sizeof(bytes) - n_bytes, 0)) > 0)
		n_bytes += (size_t)n;
	for (size_t at = 0; (size = raw_next(decoder, bytes + at, n_bytes - at, &msg)) > 0;)
		at += size;
	assert_int_equal(msg.type, WIRE_BYE);
	assert_int_equal(msg.u.bye.reason, reason);
	wire_decoder_free(&decoder);
	close(fd);
}

/* ---- bytes ---- */

static void garbage_ends_it(void **state)
{
	struct pair *p = *state;
	int fd;

	pair_half(p, &fd);
	raw_bytes(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	pair_expect_end(p, 1, EPROTO, p->tls[1] != NULL ? "TLS" : "a header of");
	assert_int_equal(p->ends[1].n_open, 0);
	close(fd);
}

static void the_first_message_is_a_hello(void **state)
{
	struct pair *p = *state;
	int fd;

	pair_half(p, &fd);
	raw_sample(fd, WIRE_PING);
	pair_expect_end(p, 1, EPROTO, "a HELLO was due");
	close(fd);
}

static void a_second_hello_ends_it(void **state)
{
	struct pair *p = *state;
	const int fd = raw_open(p);

	raw_sample(fd, WIRE_HELLO);
	pair_expect_end(p, 1, EPROTO, "again");
	expect_bye(fd, WIRE_BYE_PROTOCOL);
}

static void oversized_frames_end_it(void **state)
{
	static const uint8_t header[] = { 0, 1, 0, 1, 0, 0, 0, 0 };
	static const uint8_t payload[] = { 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff };
	struct pair *p = *state;
	int fd = raw_open(p);

	raw_bytes(fd, header, sizeof(header));
	pair_expect_end(p, 1, EPROTO, "a header of 65537 bytes");
	expect_bye(fd, WIRE_BYE_PROTOCOL);
	p->ends[1].n_closed = 0;
	p->ends[1].n_open = 0;
	fd = raw_open(p);
	raw_bytes(fd, payload, sizeof(payload));
	pair_expect_end(p, 1, EPROTO, "a payload of 4294967295 bytes");
	expect_bye(fd, WIRE_BYE_PROTOCOL);
}

static void another_version_is_told_so(void **state)
{
	struct pair *p = *state;
	struct wire_msg hello;
	int fd;

	pair_half(p, &fd);
	wire_sample(WIRE_HELLO, false, &hello);
	hello.u.hello.min_version = 3;
	hello.u.hello.max_version = 9;
	raw_say(fd, &hello);
	pair_expect_end(p, 1, EPROTO, "version");
	expect_bye(fd, WIRE_BYE_VERSION);
}

static void a_later_version_that_still_speaks_ours_is_taken(void **state)
{
	struct pair *p = *state;
	struct wire_msg hello;
	int fd;

	pair_half(p, &fd);
	wire_sample(WIRE_HELLO, false, &hello);
	hello.u.hello.max_version = 9;
	raw_say(fd, &hello);
	pair_until(p, &p->ends[1].n_open, 1);
	close(fd);
}

/* The hello that answers one with versions up to max. */
static struct wire_hello answer_to(struct pair *p, uint16_t max)
{
	struct wire_decoder *decoder = wire_decoder_new();
	uint8_t bytes[4096];
	struct wire_msg hello;
	struct wire_hello answer;
	ssize_t n;
	int fd;

	p->ends[1].n_open = 0;
	pair_half(p, &fd);
	wire_sample(WIRE_HELLO, false, &hello);
	hello.u.hello.max_version = max;
	raw_say(fd, &hello);
	pair_until(p, &p->ends[1].n_open, 1);
	n = recv(fd, bytes, sizeof(bytes), 0);
	assert_true(n > 0 && raw_next(decoder, bytes, (size_t)n, &hello) > 0);
	assert_int_equal(hello.type, WIRE_HELLO_ACK);
	answer = hello.u.hello;
	wire_decoder_free(&decoder);
	close(fd);
	return answer;
}

static void an_older_node_is_spoken_to_as_it_speaks(void **state)
{
	const struct wire_hello answer = answer_to(*state, 1);

	assert_int_equal(answer.min_version, 1);
	assert_int_equal(answer.max_version, 1);
}

static void a_later_node_is_told_the_highest_that_both_know(void **state)
{
	const struct wire_hello answer = answer_to(*state, 9);

	assert_int_equal(answer.min_version, WIRE_VERSION);
	assert_int_equal(answer.max_version, WIRE_VERSION);
}

static void set_room(const struct conn *c, int n_bytes)
{
	assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &n_bytes, sizeof(n_bytes)), 0);
}

/* Half a frame fits into the socket; when there is room again a lie comes with it. */
static void a_bye_comes_behind_the_rest_of_a_frame(void **state)
{
	struct pair *p = *state;
	uint8_t bytes[65536];
	size_t rest_bytes;
	struct conn *c;
	int fd;

	p->ends[1].serves = true;
	p->ends[1].chunk_bytes = 1U << 20;
	fd = raw_open(p);
	c = p->ends[1].conn;
	set_room(c, 4096);
	raw_sample(fd, WIRE_GET);
	pair_until(p, &p->ends[1].n_msgs, 1);
	pair_spin(p);
	rest_bytes = c->out.size_bytes - c->out_sent_bytes;
	assert_true(c->out_sent_bytes > 0);
	assert_in_range(rest_bytes, 1, sizeof(bytes));
	set_room(c, 65536);
	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	raw_sample(fd, WIRE_HELLO);
	pair_expect_end(p, 1, EPROTO, "again");
	assert_int_equal(recv(fd, bytes, rest_bytes, MSG_WAITALL), rest_bytes);
	expect_bye(fd, WIRE_BYE_PROTOCOL);
}

/* ---- lies ---- */

struct lie {
	const char *what;
	struct wire_msg msg;
	struct wire_chunk_item item;
	bool grant_first;
	const char *word;
};

static void tell_lie(struct pair *p, const struct lie *lie)
{
	static struct got got;
	struct wire_msg grant = { .type = WIRE_GRANT };
	struct wire_msg msg = lie->msg;
	const int fd = raw_open(p);

	p->ends[0].chunk_bytes = 1000; /* what end 1 expects */
	assert_int_equal(pair_get(p, 1, &got, 4, false), 0);
	assert_int_equal(got.req, 1);
	grant.u.grant.req = 1;
	if (lie->grant_first)
		raw_say(fd, &grant);
	if (msg.type == WIRE_CHUNK) {
		msg.u.chunk.items = &lie->item;
		msg.u.chunk.n_items = 1;
	}
	raw_say(fd, &msg);
	if (lie->what[0] == '3') /* and then one from further on */
		msg.u.chunk.offset += 400;
	if (lie->what[0] == '2' || lie->what[0] == '3') /* twice */
		raw_say(fd, &msg);
	pair_expect_end(p, 1, EPROTO, lie->word);
	expect_bye(fd, WIRE_BYE_PROTOCOL);
	assert_int_equal(got.n_ends, 1);
	assert_int_equal(got.status, WIRE_LOST);
	assert_true(got.n_chunks <= 1);
	p->ends[1].n_closed = 0;
	p->ends[1].n_open = 0;
}

#define CHUNK_OF(r, offset_, payload)                                                              \
	{                                                                                          \
		.type = WIRE_CHUNK, .payload_size_bytes = (payload), .u.chunk = {                  \
			.req = (r),                                                                \
			.offset = (offset_)                                                        \
		}                                                                                  \
	}

static void lies_in_answers_end_it(void **state)
{
	struct pair *p = *state;
	const struct lie lies[] = {
		{ "unasked end", { .type = WIRE_END, .u.end.req = 9 }, { 0 }, false, "not asked" },
		{ "unasked chunk", CHUNK_OF(9, 0, 1000), { 0, 0, 0, 1000 }, false, "not asked" },
		{ "an answer of another kind",
		  { .type = WIRE_META,
		    .payload_size_bytes = 10,
		    .u.meta = { .req = 1, .total_bytes = 10 } },
		  { 0 },
		  true,
		  "not asked" },
		{ "no grant", CHUNK_OF(1, 0, 1000), { 0, 0, 0, 1000 }, false, "before the GRANT" },
		{ "too large",
		  CHUNK_OF(1, 0, 1001),
		  { 0, 3, 0, 1001 },
		  true,
		  "for a chunk of 1000" },
		{ "16 MiB",
		  CHUNK_OF(1, 0, 1),
		  { 0, 3, 0, 16U << 20 },
		  true,
		  "for a chunk of 1000" },
		{ "too small", CHUNK_OF(1, 0, 999), { 0, 0, 0, 999 }, true, "for a chunk of 1000" },
		{ "not asked for", CHUNK_OF(1, 0, 1000), { 7, 0, 0, 1000 }, true, "position 7" },
		{ "2 times", CHUNK_OF(1, 0, 1000), { 2, 0, 0, 1000 }, true, "position 2" },
		{ "from the middle",
		  CHUNK_OF(1, 500, 500),
		  { 0, 0, 0, 1000 },
		  true,
		  "out of order" },
		{ "3 parts, without the second",
		  CHUNK_OF(1, 0, 300),
		  { 0, 0, 0, 1000 },
		  true,
		  "out of order" },
		{ "2 beginnings", CHUNK_OF(1, 0, 500), { 0, 0, 0, 1000 }, true, "inside one" },
		{ "2 grants", { .type = WIRE_GRANT, .u.grant.req = 1 }, { 0 }, false, "twice" },
		{ "a miss of what was not asked",
		  { .type = WIRE_MISS, .u.miss = { .req = 1, .set = { 9, { 1 << 8 } } } },
		  { 0 },
		  false,
		  "not asked for" },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++)
		tell_lie(p, &lies[i]);
}

/* Metadata that says to be so large, in frames from offset on. */
static void tell_meta(struct pair *p, uint64_t total_bytes, uint64_t offset, const char *word)
{
	const struct request_opts opts = { .meta_max_bytes = 1000 };
	struct wire_msg get = { .type = WIRE_META_GET,
		                .u.meta_get = { .kind = WIRE_META_MANIFEST, .key = "k" } };
	const struct wire_msg meta = {
		.type = WIRE_META,
		.payload_size_bytes = 400,
		.u.meta = { .req = 1, .offset = offset, .total_bytes = total_bytes }
	};
	struct got got = { .end = &p->ends[1] };
	struct request_opts asked = opts;
	const int fd = raw_open(p);

	asked.ops = &pair_request_ops;
	asked.arg = &got;
	assert_int_equal(conn_request(p->ends[1].conn, &get, &asked, &got.req), 0);
	assert_int_equal(got.req, 1);
	raw_say(fd, &meta);
	pair_expect_end(p, 1, EPROTO, word);
	expect_bye(fd, WIRE_BYE_PROTOCOL);
	assert_int_equal(got.meta_bytes, 0);
	assert_int_equal(got.status, WIRE_LOST);
	p->ends[1].n_closed = 0;
	p->ends[1].n_open = 0;
}

static void metadata_that_is_too_large_or_out_of_order_ends_it(void **state)
{
	struct pair *p = *state;

	tell_meta(p, 1001, 0, "too large or out of order");
	tell_meta(p, WIRE_META_MAX_BYTES, 0, "too large or out of order");
	tell_meta(p, 1000, 400, "too large or out of order");
}

/* Not hostile at all: its END crossed the CANCEL. */
static void metadata_that_was_cancelled_may_end_whole(void **state)
{
	struct pair *p = *state;
	struct got got = { .end = &p->ends[1] };
	const struct request_opts opts = { .ops = &pair_request_ops,
		                           .arg = &got,
		                           .meta_max_bytes = 1000 };
	const struct wire_msg get = { .type = WIRE_META_GET,
		                      .u.meta_get = { .kind = WIRE_META_MANIFEST, .key = "k" } };
	struct wire_msg meta = { .type = WIRE_META,
		                 .payload_size_bytes = 400,
		                 .u.meta = { .req = 1, .total_bytes = 1000 } };
	const struct wire_msg end = { .type = WIRE_END,
		                      .u.end = { .req = 1, .status = WIRE_DONE } };
	const struct wire_msg ping = { .type = WIRE_PING };
	const int fd = raw_open(p);

	assert_int_equal(conn_request(p->ends[1].conn, &get, &opts, &got.req), 0);
	raw_say(fd, &meta);
	raw_say(fd, &ping);
	pair_until(p, &p->ends[1].n_msgs, 1);
	assert_int_equal(got.meta_bytes, 400);
	conn_cancel(p->ends[1].conn, got.req);
	meta.u.meta.offset = 400;
	meta.payload_size_bytes = 600;
	raw_say(fd, &meta);
	raw_say(fd, &end);
	raw_say(fd, &ping);
	pair_until(p, &p->ends[1].n_msgs, 2);
	assert_int_equal(p->ends[1].n_closed, 0);
	assert_int_equal(got.n_ends, 0);
	close(fd);
}

static void more_requests_than_allowed_end_it(void **state)
{
	struct pair *p = *state;
	const int fd = raw_open(p);
	struct wire_msg ask;

	wire_sample(WIRE_ASK, false, &ask);
	for (uint32_t i = 0; i <= WIRE_REQUESTS_MAX; i++) {
		ask.u.ask.req = i;
		raw_say(fd, &ask);
	}
	pair_expect_end(p, 1, EPROTO, "requests are open");
	assert_int_equal(p->ends[1].n_msgs, WIRE_REQUESTS_MAX);
	close(fd);
}

static void a_request_id_is_not_used_twice(void **state)
{
	struct pair *p = *state;
	const int fd = raw_open(p);

	raw_sample(fd, WIRE_ASK);
	raw_sample(fd, WIRE_ASK);
	pair_expect_end(p, 1, EPROTO, "open already");
	close(fd);
}

#define SECURE(test) cmocka_unit_test_setup_teardown(test, pair_secure, pair_teardown)
#define PLAIN(test)  cmocka_unit_test_setup_teardown(test, pair_plain, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(garbage_ends_it),
		SECURE(garbage_ends_it),
		PLAIN(the_first_message_is_a_hello),
		PLAIN(a_second_hello_ends_it),
		PLAIN(oversized_frames_end_it),
		PLAIN(another_version_is_told_so),
		PLAIN(a_later_version_that_still_speaks_ours_is_taken),
		PLAIN(an_older_node_is_spoken_to_as_it_speaks),
		PLAIN(a_later_node_is_told_the_highest_that_both_know),
		PLAIN(a_bye_comes_behind_the_rest_of_a_frame),
		PLAIN(lies_in_answers_end_it),
		PLAIN(metadata_that_is_too_large_or_out_of_order_ends_it),
		PLAIN(metadata_that_was_cancelled_may_end_whole),
		PLAIN(more_requests_than_allowed_end_it),
		PLAIN(a_request_id_is_not_used_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
