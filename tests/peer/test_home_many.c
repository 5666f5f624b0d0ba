/*
 * test_home_many: what many that want the same chunks cost a home: as much each as few do, and no
 * more memory than is set apart for them.
 */
#include "cpu_time.h"
#include "fake_clock.h"
#include "home_inside.h"
#include "names.h"
#include <malloc.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
	N_CHUNKS = WIRE_LIST_MAX,
	RUN = 16,
	FEW = 100,
	MANY = 1000,
	MOST = 900,
	COUNTED = 50,
	N_ASKS = 1100
};
_Static_assert(N_CHUNKS <= RUN * HOME_PREFETCHES, "all of it is leased");

/* Of a cost at MANY to the same at FEW. Where each looks at all others it is more than 20. */
#define TIMES_MAX 12

/* The same where each looks at all others, but at none of what these wait for. */
#define TIMES_MAX_ALONE 5

/* What the C library adds to an ask and its waits, at most. */
#define ALLOCATIONS_BYTES 48U

struct crowd {
	struct fake_clock clock;
	struct home *home;
	struct wire_part all;  /* of the first list */
	struct wire_part next; /* of the second one */
	struct home_out out;
};

static struct wire_id node(uint32_t i)
{
	return test_id(2, i);
}

static void drain(struct crowd *c)
{
	while (home_next(c->home, &c->out))
		;
}

/* Node 0 brings the names of a list. @return all of it */
static struct wire_part list_of(struct crowd *c, uint32_t kind)
{
	const struct wire_id one = node(0);
	struct wire_id names[N_CHUNKS];
	struct wire_names msg = { .n_names = N_CHUNKS, .names = names };

	for (uint32_t i = 0; i < N_CHUNKS; i++)
		names[i] = test_id(kind, i);
	msg.segment = names[0];
	msg.list = wire_list_id(names, N_CHUNKS);
	assert_int_equal(home_names(c->home, &one, &msg), HOME_OK);
	return (struct wire_part){ .segment = msg.segment,
		                   .list = msg.list,
		                   .set = set_all(N_CHUNKS) };
}

static void crowd_open(struct crowd *c)
{
	struct home_opts opts = { .clock = &c->clock.clock, .self = test_id(9, 0) };

	fake_clock_init(&c->clock);
	c->home = home_new(&opts);
	c->all = list_of(c, 1);
	c->next = list_of(c, 3);
}

static struct wire_ask ask_of(uint32_t req, const struct wire_part *part, uint32_t run)
{
	struct wire_ask ask = { .req = req,
		                .part = *part,
		                .have = set_none(N_CHUNKS),
		                .units = set_all(N_CHUNKS),
		                .runs = set_none(N_CHUNKS) };

	for (uint32_t pos = 0; pos < N_CHUNKS; pos += run)
		wire_set_add(&ask.runs, pos);
	return ask;
}

static void asks(struct crowd *c, uint32_t i, const struct wire_ask *ask)
{
	const struct wire_id from = node(i);

	assert_int_equal(home_ask(c->home, &from, ask), HOME_OK);
	drain(c);
}

/* By so many nodes. @return what the last of them cost */
static uint64_t asks_cost(struct crowd *c, uint32_t n, const struct wire_ask *ask)
{
	uint64_t begin_ns = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (i == n - COUNTED)
			begin_ns = cpu_ns();
		asks(c, i, ask);
	}
	return cpu_ns() - begin_ns;
}

/* Prefetches of the second list; the last of them are those to whom others were sent for the first.
 */
static uint64_t next_asks_cost(struct crowd *c, uint32_t n)
{
	const struct wire_ask ask = ask_of(2, &c->next, RUN);
	uint64_t begin_ns = 0;

	for (uint32_t i = n; i-- > 0;) {
		if (i == COUNTED - 1)
			begin_ns = cpu_ns();
		asks(c, i, &ask);
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
	struct wire_ask ask;

	crowd_open(&c);
	ask = ask_of(1, &c.all, run);
	costs.asks_ns = asks_cost(&c, n, &ask);
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

static uint64_t next_cost_of(uint32_t n)
{
	static struct crowd c;
	struct wire_ask ask;
	uint64_t cost_ns;

	crowd_open(&c);
	ask = ask_of(1, &c.all, RUN);
	(void)asks_cost(&c, FEW, &ask);
	cost_ns = next_asks_cost(&c, n);
	home_free(&c.home);
	print_message("%u: an ask for the next list %.3f ms\n", n,
	              (double)cost_ns / COUNTED / NS_PER_MS);
	return cost_ns;
}

static void who_is_waited_at_costs_as_much_when_it_asks_for_more(void **state)
{
	(void)state;
	assert_true(next_cost_of(MOST) < TIMES_MAX * next_cost_of(FEW));
}

/* Readers who all wait for what the first ones have leased. @return what the last of them cost */
static uint64_t readers_cost_of(uint32_t n)
{
	static struct crowd c;
	struct wire_ask ask;
	uint64_t cost_ns;

	crowd_open(&c);
	ask = ask_of(1, &c.all, RUN);
	ask.flags = WIRE_ASK_READER;
	cost_ns = asks_cost(&c, n, &ask);
	home_free(&c.home);
	print_message("%u: a reader's ask %.3f ms\n", n, (double)cost_ns / COUNTED / NS_PER_MS);
	return cost_ns;
}

static void a_reader_does_not_look_at_all_that_others_wait_for(void **state)
{
	(void)state;
	assert_true(readers_cost_of(MANY) < TIMES_MAX_ALONE * readers_cost_of(FEW));
}

/* ---- memory ---- */

static size_t in_use(void)
{
	const struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* More than may wait for all chunks, each for the last ones of the list. @return how many were
 * taken
 */
static uint32_t all_ask(struct crowd *c, uint32_t n_chunks)
{
	uint32_t n_taken = 0;

	for (uint32_t i = 0; i < N_ASKS; i++) {
		const struct wire_id from = node(i / HOME_ASKS_PER_PEER);
		struct wire_ask ask = ask_of(i, &c->all, RUN);

		ask.part.set = set_none(N_CHUNKS);
		for (uint32_t pos = N_CHUNKS - n_chunks; pos < N_CHUNKS; pos++)
			wire_set_add(&ask.part.set, pos);
		n_taken += home_ask(c->home, &from, &ask) == HOME_OK;
	}
	drain(c);
	return n_taken;
}

/* Each gets all but the last of what it asks for at once, and waits for that. */
static void memory_is_as_told(uint32_t n_chunks)
{
	const struct wire_id holder = node(N_ASKS);
	static struct crowd c;
	struct home_stats before, now;
	size_t before_bytes;
	uint32_t n_taken;

	crowd_open(&c);
	c.next = c.all;
	wire_set_remove(&c.next.set, N_CHUNKS - 1);
	assert_int_equal(home_have(c.home, &holder, &c.next), HOME_OK);
	home_stats(c.home, &before);
	before_bytes = in_use();
	n_taken = all_ask(&c, n_chunks);
	home_stats(c.home, &now);
	assert_int_equal(n_taken, min_u64(N_ASKS, HOME_WAITS_MAX / n_chunks));
	assert_int_equal(now.asks, n_taken - 1); /* one has the lease */
	assert_true(in_use() < before_bytes + now.memory_bytes - before.memory_bytes +
	                               (size_t)n_taken * ALLOCATIONS_BYTES);
	home_free(&c.home);
}

static void asks_take_as_much_memory_as_is_told(void **state)
{
	(void)state;
	memory_is_as_told(1);
	memory_is_as_told(N_CHUNKS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_that_wait_cost_each_what_a_hundred_do),
		cmocka_unit_test(so_do_a_thousand_that_are_sent_on_from_the_queue),
		cmocka_unit_test(who_is_waited_at_costs_as_much_when_it_asks_for_more),
		cmocka_unit_test(a_reader_does_not_look_at_all_that_others_wait_for),
		cmocka_unit_test(asks_take_as_much_memory_as_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
