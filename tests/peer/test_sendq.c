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

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(who_reads_slowly_does_not_make_the_queue_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
