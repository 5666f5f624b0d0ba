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
_Static_assert(N_CHUNKS <= RUN * HOME_PREFETCHES, "nothing is left in the queue");

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
static uint64_t asks_cost(struct crowd *c, uint32_t n)
{
	struct wire_ask ask = { .req = 1,
		                .part = c->all,
		                .have = set_none(N_CHUNKS),
		                .units = set_all(N_CHUNKS),
		                .runs = set_none(N_CHUNKS) };
	uint64_t begin_ns = 0;

	for (uint32_t i = 0; i < N_CHUNKS; i += RUN) /* all of it is leased */
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

/* The last of those who wait have all of it: nobody was sent to them. */
static uint64_t haves_cost(struct crowd *c, uint32_t n)
{
	const uint64_t begin_ns = cpu_ns();

	for (uint32_t i = n - COUNTED; i < n; i++) {
		const struct wire_id from = node(i);

		assert_int_equal(home_have(c->home, &from, &c->all), HOME_OK);
		drain(c);
	}
	return cpu_ns() - begin_ns;
}

static void costs(uint32_t n, uint64_t *ret_asks_ns, uint64_t *ret_haves_ns)
{
	static struct crowd c;
	struct home_stats stats;

	crowd_open(&c);
	*ret_asks_ns = asks_cost(&c, n);
	*ret_haves_ns = haves_cost(&c, n);
	home_stats(c.home, &stats);
	assert_int_equal(stats.asks, n - COUNTED);
	home_free(&c.home);
}

static void a_thousand_that_wait_cost_each_what_a_hundred_do(void **state)
{
	uint64_t few_ask_ns, few_have_ns, many_ask_ns, many_have_ns;

	(void)state;
	costs(FEW, &few_ask_ns, &few_have_ns);
	costs(MANY, &many_ask_ns, &many_have_ns);
	print_message("an ask %.2f -> %.2f ms, news of all %.3f -> %.3f ms\n",
	              (double)few_ask_ns / COUNTED / NS_PER_MS,
	              (double)many_ask_ns / COUNTED / NS_PER_MS,
	              (double)few_have_ns / COUNTED / NS_PER_MS,
	              (double)many_have_ns / COUNTED / NS_PER_MS);
	assert_true(many_ask_ns < TIMES_MAX * few_ask_ns);
	assert_true(many_have_ns < TIMES_MAX * few_have_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_that_wait_cost_each_what_a_hundred_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
