/*
 * test_swarm: whole storms over the state machines: what the origin is asked, what control costs,
 * what deaths cost, and that nobody starves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "swarm.h"
#include <stdio.h>

static void tell(const struct swarm *s, const char *what)
{
	const uint64_t image = (uint64_t)s->opts.n_chunks * 14000;

	printf("%s: %u nodes, %llu ms (origin's link alone: %llu), origin %.3f x, %u refetched, %u "
	       "lost, "
	       "control %.2f %% of %llu KB\n",
	       what, s->opts.n_nodes, (unsigned long long)swarm_ms(s),
	       (unsigned long long)(image * 1000 / s->opts.origin_bytes_per_s),
	       (double)swarm_fetched_bytes(s) / (double)image, swarm_refetched(s), s->n_lost,
	       100.0 * (double)s->control_bytes / (double)s->payload_bytes,
	       (unsigned long long)s->payload_bytes / 1000);
}

static const struct swarm_opts storm = {
	.n_nodes = 8,
	.n_chunks = 2000,
	.link_bytes_per_s = 12500000,
	.origin_bytes_per_s = 12500000,
	.seed = 1,
};

static struct swarm *run(const struct swarm_opts *o, const char *what)
{
	struct swarm *s = swarm_new(o);

	assert_true(swarm_run(s, 120000));
	tell(s, what);
	return s;
}

/* What a chunk of the image costs at least, from the origin. */
static uint64_t link_ms(const struct swarm_opts *o)
{
	return (uint64_t)o->n_chunks * 14000 * 1000 / o->origin_bytes_per_s;
}

static void a_storm_asks_the_origin_for_each_chunk_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct swarm_opts o = storm;
		struct swarm *s;

		o.seed = seed;
		s = run(&o, "storm");
		assert_int_equal(swarm_refetched(s), 0);
		assert_int_equal(swarm_fetched_bytes(s), (uint64_t)o.n_chunks * 14000);
		assert_true(s->control_bytes * 100 <= s->payload_bytes);
		assert_true(swarm_ms(s) * 100 <= link_ms(&o) * 125);
		swarm_free(&s);
	}
}

static void run_in_steps_it_is_the_same_storm(void **state)
{
	struct swarm_opts o = storm;
	struct swarm *whole, *steps;
	uint32_t n_steps = 1;

	(void)state;
	o.n_chunks = 500;
	whole = run(&o, "whole");
	steps = swarm_new(&o);
	for (; !swarm_run(steps, 10); n_steps++)
		assert_in_range(n_steps, 1, 12000);
	tell(steps, "in steps");
	assert_true(n_steps > 50);
	assert_int_equal(swarm_now_ns(steps), swarm_now_ns(whole));
	assert_int_equal(steps->n_messages, whole->n_messages);
	assert_int_equal(steps->control_bytes, whole->control_bytes);
	assert_int_equal(steps->payload_bytes, whole->payload_bytes);
	swarm_free(&whole);
	swarm_free(&steps);
}

static void so_it_does_with_units_of_many_chunks(void **state)
{
	struct swarm_opts o = storm;
	struct swarm *s;

	(void)state;
	o.batch = 5;
	s = run(&o, "batches");
	assert_int_equal(swarm_refetched(s), 0);
	swarm_free(&s);
}

static void so_it_does_when_all_read_the_same_in_the_same_order(void **state)
{
	struct swarm_opts o = storm;
	struct swarm *s;

	(void)state;
	o.readers = true;
	s = run(&o, "readers");
	assert_int_equal(swarm_refetched(s), 0);
	assert_true(s->control_bytes * 100 <= s->payload_bytes * 3);
	assert_true(swarm_ms(s) * 100 <= link_ms(&o) * 150);
	swarm_free(&s);
}

static void so_it_does_with_many_nodes(void **state)
{
	struct swarm_opts o = storm;
	struct swarm *s;

	(void)state;
	o.n_nodes = 64;
	o.n_chunks = 1000;
	s = run(&o, "many");
	assert_int_equal(swarm_refetched(s), 0);
	assert_true(s->control_bytes * 100 <= s->payload_bytes);
	swarm_free(&s);
}

/* Each node is home of an eighth of the segments, and holds what nobody else has: its loss costs
 * what only it had, and the leases in flight. */
static void a_death_in_the_middle_costs_little(void **state)
{
	(void)state;
	for (uint32_t victim = 0; victim < 4; victim++) {
		struct swarm_opts o = storm;
		struct swarm *s = swarm_new(&o);

		swarm_kill(s, victim, 900 + 100 * victim);
		assert_true(swarm_run(s, 120000));
		tell(s, "death");
		assert_true((swarm_refetched(s) - s->n_lost) * 50 <= o.n_chunks); /* 2 % */
		swarm_free(&s);
	}
}

static void half_of_the_nodes_may_die(void **state)
{
	struct swarm *s = swarm_new(&storm);

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		swarm_kill(s, i, 800 + 40 * i);
	assert_true(swarm_run(s, 120000));
	tell(s, "half dies");
	assert_true(swarm_refetched(s) <= s->n_lost + storm.n_chunks / 20);
	swarm_free(&s);
}

static void a_reader_waits_for_one_delay_a_death(void **state)
{
	struct swarm_opts o = storm;
	struct swarm *s;

	(void)state;
	o.readers = true;
	s = swarm_new(&o);
	swarm_kill(s, 2, 700);
	swarm_kill(s, 5, 1400);
	assert_true(swarm_run(s, 120000));
	tell(s, "readers, deaths");
	for (uint32_t i = 0; i < o.n_nodes; i++)
		assert_true(s->nodes[i].slowest_ns < 3 * NS_PER_S);
	swarm_free(&s);
}

/* As when connections break. A home that does not answer and lives is asked again, not the next
 * one, which would lease what the first one leased: 1.3 x of the image came from the origin then.
 */
static void lost_messages_starve_nobody_and_cost_the_origin_little(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct swarm_opts o = storm;
		struct swarm *s;

		o.loss_percent = 5;
		o.seed = seed;
		s = run(&o, "5 % lost");
		assert_true(swarm_refetched(s) * 50 <= o.n_chunks); /* 2 % */
		swarm_free(&s);
	}
}

/* 100 nodes that hold 1000 chunks each, 60 s after they told so: pings (which the connections
 * make, two messages each way every 5 s) and what adverts may take. */
static void nodes_at_rest_are_quiet(void **state)
{
	struct swarm_opts o = storm;
	const struct wire_msg ping = { .type = WIRE_PING };
	const struct wire_msg pong = { .type = WIRE_PONG };
	struct swarm *s;
	uint64_t bytes;

	(void)state;
	o.n_nodes = 100;
	o.n_chunks = 1000;
	s = swarm_new(&o);
	bytes = UINT64_C(99) * 2 * (swarm_bytes_of(s, &ping) + swarm_bytes_of(s, &pong)) / 5;
	printf("at rest, 100 nodes: %llu bytes/s of pings, at most %u of adverts\n",
	       (unsigned long long)bytes, ADVERTS_BYTES_PER_S);
	assert_true(bytes + ADVERTS_BYTES_PER_S <= 10000);
	swarm_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_storm_asks_the_origin_for_each_chunk_once),
		cmocka_unit_test(run_in_steps_it_is_the_same_storm),
		cmocka_unit_test(so_it_does_with_units_of_many_chunks),
		cmocka_unit_test(so_it_does_when_all_read_the_same_in_the_same_order),
		cmocka_unit_test(so_it_does_with_many_nodes),
		cmocka_unit_test(a_death_in_the_middle_costs_little),
		cmocka_unit_test(half_of_the_nodes_may_die),
		cmocka_unit_test(a_reader_waits_for_one_delay_a_death),
		cmocka_unit_test(lost_messages_starve_nobody_and_cost_the_origin_little),
		cmocka_unit_test(nodes_at_rest_are_quiet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
