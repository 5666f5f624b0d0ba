/*
 * test_sendq: what a connection holds for who reads slowly, and whose turn it is.
 */
#include "clock.h"
#include "mem.h"
#include "send_rate.h"
#include "sendq.h"
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct sendq *q;
	struct wire_buf out;
	struct conn_counts counts;
	uint32_t n_ready;
	uint64_t held_bytes;
};

static void on_ready(void *arg)
{
	struct fixture *f = arg;

	f->n_ready++;
}

static bool on_ending(void *arg, uint32_t req)
{
	(void)arg;
	(void)req;
	return true;
}

static int setup(void **state)
{
	static const struct sendq_sink sink = { .ready = on_ready, .ending = on_ending };
	struct fixture *f = xcalloc(1, sizeof(*f));

	f->q = sendq_new(&sink, f, &f->held_bytes);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sendq_free(&f->q);
	assert_int_equal(f->held_bytes, 0);
	wire_buf_free(&f->out);
	free(f);
	return 0;
}

static void fill(struct fixture *f, size_t want_bytes)
{
	f->out.size_bytes = 0;
	sendq_fill(f->q, &f->out, want_bytes, &f->counts);
}

static size_t in_use(void)
{
	const struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void who_reads_slowly_does_not_make_the_queue_grow(void **state)
{
	struct fixture *f = *state;
	const struct wire_msg drain = { .type = WIRE_DRAIN };
	const size_t before = in_use();

	for (int i = 0; i < 1000; i++)
		assert_true(sendq_control(f->q, &drain, &f->counts));
	/* As much comes as goes: it is never empty. */
	for (int i = 0; i < 1000000; i++) {
		assert_true(sendq_control(f->q, &drain, &f->counts));
		fill(f, sendq_control_bytes(f->q) / 1001);
	}
	assert_in_range(sendq_control_bytes(f->q), 1, 20000);
	assert_true(in_use() < before + (1U << 20));
}

/* ---- streams ---- */

struct a_stream {
	struct conn_stream *stream;
	uint32_t n_pulls, n_closed;
	uint32_t piece_bytes; /* 0: nothing is ready */
	bool reserves;
	uint32_t n_refused, n_put;
};

static void give(struct a_stream *s)
{
	if (s->reserves && !stream_reserve(s->stream, s->piece_bytes)) {
		s->n_refused++;
		return;
	}
	s->n_put++;
	stream_put_chunks(s->stream, &(struct wire_chunk_item){ .size_bytes = s->piece_bytes }, 1,
	                  xcalloc(1, s->piece_bytes));
}

static void on_pull(void *arg, struct conn_stream *stream)
{
	struct a_stream *s = arg;

	assert_ptr_equal(stream, s->stream);
	s->n_pulls++;
	if (s->piece_bytes == 0)
		stream_pass(stream);
	else
		give(s);
}

static void on_closed(void *arg)
{
	struct a_stream *s = arg;

	s->n_closed++;
	s->stream = NULL;
}

static const struct stream_ops stream_ops = { .pull = on_pull, .closed = on_closed };

static void begin(struct fixture *f, struct a_stream *s, uint32_t req)
{
	s->stream = sendq_stream(f->q, req, CONN_READER, &stream_ops, s);
}

static void streams_that_wait_do_not_hold_up_others(void **state)
{
	struct fixture *f = *state;
	struct a_stream waiting[2 * SENDQ_PIECES_MAX] = { { .n_pulls = 0 } };
	struct a_stream ready = { .piece_bytes = 1000 };

	for (uint32_t i = 0; i < 2 * SENDQ_PIECES_MAX; i++)
		begin(f, &waiting[i], i + 1);
	begin(f, &ready, 1000);
	fill(f, 64 << 10);
	assert_true(ready.n_pulls > 0);
	assert_true(f->out.size_bytes > 1000);
	for (uint32_t i = 0; i < 2 * SENDQ_PIECES_MAX; i++)
		assert_int_equal(waiting[i].n_pulls, 1); /* once, not in every turn */
	fill(f, 64 << 10);
	assert_int_equal(waiting[0].n_pulls, 1);
	waiting[0].piece_bytes = 10;
	f->n_ready = 0;
	stream_wake(waiting[0].stream);
	assert_int_equal(f->n_ready, 1);
	stream_wake(waiting[0].stream);
	assert_int_equal(f->n_ready, 1);
	fill(f, 64 << 10);
	assert_true(waiting[0].n_pulls > 1);
	stream_end(&waiting[1].stream, WIRE_DONE, 0); /* while it waits */
	fill(f, 64 << 10);
}

static void what_is_held_is_bounded_in_bytes(void **state)
{
	struct fixture *f = *state;
	struct a_stream s[SENDQ_PIECES_MAX] = { { .n_pulls = 0 } };
	uint64_t most = 0;
	uint32_t n_put = 0;

	for (uint32_t i = 0; i < SENDQ_PIECES_MAX; i++) {
		s[i].piece_bytes = 3U << 20;
		s[i].reserves = true;
		begin(f, &s[i], i + 1);
	}
	s[5].piece_bytes =
		CHUNK_PLAIN_MAX_BYTES; /* alone it may always be held, and it has its turn */
	for (uint32_t turn = 0; turn < 3000; turn++) {
		fill(f, 64 << 10);
		most = f->held_bytes > most ? f->held_bytes : most;
	}
	assert_true(most <= CHUNK_PLAIN_MAX_BYTES);
	assert_true(s[5].n_put > 0 && s[5].n_refused > 0);
	for (uint32_t i = 0; i < SENDQ_PIECES_MAX; i++)
		n_put += s[i].n_put;
	assert_true(n_put > 2 * SENDQ_PIECES_MAX);
	/* Others hold what there may be in all: one piece is still had. */
	for (uint32_t i = 0; i < SENDQ_PIECES_MAX; i++)
		stream_break(&s[i].stream, WIRE_CANCELLED);
	assert_int_equal(f->held_bytes, 0);
	f->held_bytes = SENDQ_ALL_MAX_BYTES;
	s[0] = s[1] = (struct a_stream){ .piece_bytes = 1000, .reserves = true };
	begin(f, &s[0], 100);
	begin(f, &s[1], 101);
	fill(f, 1);
	assert_int_equal(s[0].n_put, 1);
	assert_int_equal(s[0].n_refused + s[1].n_refused + s[1].n_put, 0);
	fill(f, 64 << 10);
	assert_true(s[1].n_put > 0);
	stream_break(&s[0].stream, WIRE_CANCELLED);
	stream_break(&s[1].stream, WIRE_CANCELLED);
	assert_int_equal(f->held_bytes, SENDQ_ALL_MAX_BYTES);
	f->held_bytes = 0;
}

/* On a slow line a frame takes long, and what a home answers, or a reader waits for, is behind it.
 */
static void a_frame_is_no_longer_than_what_is_wanted(void **state)
{
	const struct wire_msg drain = { .type = WIRE_DRAIN };
	const size_t want_bytes = 16U << 10;
	struct fixture *f = *state;
	struct a_stream s = { .piece_bytes = 1U << 20 };

	begin(f, &s, 1);
	for (uint32_t i = 1; i <= 3; i++) {
		fill(f, want_bytes);
		assert_in_range(f->out.size_bytes, want_bytes - 64, want_bytes);
		assert_int_equal(f->counts.n_payloads_out, i);
	}
	assert_true(sendq_control(f->q, &drain, &f->counts));
	fill(f, want_bytes);
	assert_int_equal(f->counts.n_messages_out, 1);
	assert_int_equal(sendq_control_bytes(f->q), 0);
	assert_in_range(f->out.size_bytes, want_bytes - 64, want_bytes);
}

static void what_is_broken_off_ends_without_the_rest(void **state)
{
	struct fixture *f = *state;
	struct a_stream s = { .piece_bytes = 1U << 20 };

	begin(f, &s, 1);
	fill(f, 64 << 10);
	assert_true(f->held_bytes > 0);
	stream_break(&s.stream, WIRE_CANCELLED);
	assert_int_equal(f->held_bytes, 0);
	fill(f, 64 << 10);
	assert_in_range(f->out.size_bytes, 1, 100); /* the END */
	assert_int_equal(s.n_closed, 0);
}

static void a_rate_is_what_was_taken_while_something_was_under_way(void **state)
{
	struct send_rate slow = { .bytes = 0 };
	struct send_rate fast = { .bytes = 0 };

	(void)state;
	send_rate_look(&slow, SEND_RATE_FROM_BYTES - 1, 1000000);
	assert_false(send_rate_is_known(&slow)); /* buffers on the way took it, perhaps */
	assert_false(send_rate_is_below(&slow, 150));
	for (uint64_t n = 1; n <= 100; n++) {
		send_rate_look(&slow, n << 20, n * 80000); /* 13 MB/s */
		send_rate_look(&fast, n << 20, n * 1000);  /* 1 GB/s */
	}
	assert_true(send_rate_is_below(&slow, 150));
	assert_in_range(send_rate_bytes_per_ms(&slow), 13000, 13200);
	assert_true(send_rate_is_known(&fast));
	assert_false(send_rate_is_below(&fast, 150));
	for (uint64_t n = 1; n <= 16; n++) /* the past is forgotten */
		send_rate_look(&fast, (100 + n) << 20, 100000 + n * 80000);
	assert_true(send_rate_is_below(&fast, 150));
}

static void what_was_skipped_is_not_in_the_rate(void **state)
{
	struct send_rate r = { .bytes = 0 };

	(void)state;
	send_rate_skip(&r, 44000, 36000);
	send_rate_look(&r, 44000 + (1 << 20), 36000 + 1000);
	assert_int_equal(r.bytes, 1 << 20);
	assert_false(send_rate_is_below(&r, 150));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(who_reads_slowly_does_not_make_the_queue_grow),
		T(streams_that_wait_do_not_hold_up_others),
		T(what_is_held_is_bounded_in_bytes),
		cmocka_unit_test(a_rate_is_what_was_taken_while_something_was_under_way),
		cmocka_unit_test(what_was_skipped_is_not_in_the_rate),
		T(a_frame_is_no_longer_than_what_is_wanted),
		T(what_is_broken_off_ends_without_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
