/*
 * test_home_many: what many that want the same chunks cost a home: as much each as few do.
 */
#include "fake_clock.h"
#include "home.h"
#include "names.h"
#include "set.h"
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_CHUNKS = WIRE_LIST_MAX, RUN = 16, FEW = 100, MANY = 1000, COUNTED = 50 };
_Static_assert(N_CHUNKS <= RUN * HOME_PREFETCHES, "all of it is leased");

/* Of a cost at MANY to the same at FEW. Where each looks at all others it is more than 20. */
#define TIMES_MAX 12

struct crowd {
	struct fake_clock clock;
	struct home *home;
	struct wire_id names[N_CHUNKS];
	struct wire_part all;
	struct home_out out;
};

static uint64_t cpu_ns(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static struct wire_id node(uint32_t i)
{
	return test_id(2, i);
}

static void drain(struct crowd *c)
{
	while (home_next(c->home, &c->out))
		;
}

static void crowd_open(struct crowd *c)
{
	const struct wire_id one = node(0);
	struct wire_names msg = { .n_names = N_CHUNKS, .names = c->names };
	struct home_opts opts = { .clock = &c->clock.clock, .self = test_id(9, 0) };

	fake_clock_init(&c->clock);
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		c->names[i] = test_id(1, i);
	msg.segment = c->names[0];
	msg.list = wire_list_id(c->names, N_CHUNKS);
	c->all = (struct wire_part){ .segment = msg.segment,
		                     .list = msg.list,
		                     .set = set_all(N_CHUNKS) };
	c->home = home_new(&opts);
	assert_int_equal(home_names(c->home, &one, &msg), HOME_OK);
}

/* Prefetches of all chunks, by so many nodes. @return what the last of them cost */
static uint64_t asks_cost(struct crowd *c, uint32_t n, uint32_t run)
{
	struct wire_ask ask = { .req = 1,
		                .part = c->all,
		                .have = set_none(N_CHUNKS),
		                .units = set_all(N_CHUNKS),
		                .runs = set_none(N_CHUNKS) };
	uint64_t begin_ns = 0;

	for (uint32_t i = 0; i < N_CHUNKS; i += run)
		wire_set_add(&ask.runs, i);

	for (uint32_t i = 0; i < n; i++) {
		const struct wire_id from = node(i);

		if (i == n - COUNTED)
			begin_ns = cpu_ns();
		assert_int_equal(home_ask(c->home, &from, &ask), HOME_OK);
		drain(c);
	}
	return cpu_ns() - begin_ns;
}

/* So many of those who wait have all of it. */
static uint64_t haves_cost(struct crowd *c, uint32_t first)
{
	const uint64_t begin_ns = cpu_ns();

	for (uint32_t i = first; i < first + COUNTED; i++) {
		const struct wire_id from = node(i);

		assert_int_equal(home_have(c->home, &from, &c->all), HOME_OK);
		drain(c);
	}
	return cpu_ns() - begin_ns;
}

struct costs {
	uint64_t asks_ns, haves_ns;
};

/* run: chunks that are leased at once. last: it is the last who have it, to whom nobody was sent */
static struct costs costs_of(uint32_t n, uint32_t run, bool last)
{
	static struct crowd c;
	struct home_stats stats;
	struct costs costs;

	crowd_open(&c);
	costs.asks_ns = asks_cost(&c, n, run);
	costs.haves_ns = haves_cost(&c, last ? n - COUNTED : 0);
	home_stats(c.home, &stats);
	assert_int_equal(stats.asks, n - COUNTED);
	home_free(&c.home);
	print_message("%u: an ask %.3f ms, news of all %.3f ms\n", n,
	              (double)costs.asks_ns / COUNTED / NS_PER_MS,
	              (double)costs.haves_ns / COUNTED / NS_PER_MS);
	return costs;
}

static void a_thousand_that_wait_cost_each_what_a_hundred_do(void **state)
{
	const struct costs few = costs_of(FEW, RUN, true);
	const struct costs many = costs_of(MANY, RUN, true);

	(void)state;
	assert_true(many.asks_ns < TIMES_MAX * few.asks_ns);
	assert_true(many.haves_ns < TIMES_MAX * few.haves_ns);
}

/* Ten times as many hear of it. */
static void so_do_a_thousand_that_are_sent_on_from_the_queue(void **state)
{
	const struct costs few = costs_of(FEW, 1, false);
	const struct costs many = costs_of(MANY, 1, false);

	(void)state;
	assert_true(many.haves_ns < TIMES_MAX * MANY / FEW * few.haves_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_that_wait_cost_each_what_a_hundred_do),
		cmocka_unit_test(so_do_a_thousand_that_are_sent_on_from_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
