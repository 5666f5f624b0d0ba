/*
 * test_sendq: what a connection holds for who reads slowly, and whose turn it is.
 */
#include "mem.h"
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

	f->q = sendq_new(&sink, f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sendq_free(&f->q);
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
	bool keeps;           /* its piece comes later */
};

static void give(struct a_stream *s)
{
	const struct wire_chunk_item item = { .size_bytes = s->piece_bytes };

	stream_put_chunks(s->stream, &item, 1, xcalloc(1, s->piece_bytes));
}

static void on_pull(void *arg, struct conn_stream *stream)
{
	struct a_stream *s = arg;

	assert_ptr_equal(stream, s->stream);
	s->n_pulls++;
	if (s->piece_bytes == 0)
		stream_pass(stream);
	else if (!s->keeps)
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

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(who_reads_slowly_does_not_make_the_queue_grow),
		T(streams_that_wait_do_not_hold_up_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
