/*
 * test_home: who is told what by the tracker, and what becomes of leases.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "home_world.h"

static void an_unknown_list_is_asked_for_by_names_once(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);

	assert_int_equal(home_asks(f, 1, &a), HOME_WANT_NAMES);
	home_tell_names(f, 1);
	assert_int_equal(home_asks(f, 1, &a), HOME_OK);
	assert_non_null(home_told(f, 1, 1, WIRE_LEASE));
	assert_true(home_ended(f, 1, 1));
}

static void names_that_do_not_hash_to_their_list_are_refused(void **state)
{
	struct fixture *f = *state;
	const struct wire_id id = home_node_id(1);
	struct wire_id names[N];

	home_names_of(1, names);
	assert_int_equal(
		home_names(f->home, &id, &(struct wire_names){ f->segment, f->list, N, names }),
		HOME_REFUSED);
	home_names_of(0, names);
	assert_int_equal(
		home_names(f->home, &id, &(struct wire_names){ test_id(9, 9), f->list, N, names }),
		HOME_REFUSED);
}

static void who_asks_alone_gets_a_long_lease_and_others_a_run_each(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, N);
	const struct wire_answer_item *item;

	home_tell_names(f, 1);
	a.part.set = test_range(N, 0, RUN);
	assert_int_equal(home_asks(f, 1, &a), HOME_OK);
	item = home_must(f, 1, 1, WIRE_LEASE);
	home_end_lease(f, 1, item->token, 0, 0, false);
	a.req = 2;
	a.part.set = test_range(N, 0, 35);
	assert_int_equal(home_asks(f, 1, &a), HOME_OK);
	item = home_must(f, 1, 2, WIRE_LEASE);
	assert_int_equal(set_count(&item->set), 35);
	assert_true(home_ended(f, 1, 2));
	home_end_lease(f, 1, item->token, 0, 0, false); /* gives it back */

	a = home_ask_of(f, 7, 0, N);
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	item = home_must(f, 2, 7, WIRE_LEASE);
	assert_int_equal(set_count(&item->set), RUN); /* 1 asked a moment ago */
	assert_int_equal(home_asks(f, 3, &a), HOME_OK);
	item = home_must(f, 3, 7, WIRE_LEASE);
	assert_int_equal(set_count(&item->set), RUN); /* the request is split among them */
	assert_int_equal(set_next(&item->set, 0), RUN);
	home_names_node(home_told(f, 3, 7, WIRE_WAIT), 2);
	assert_false(home_ended(f, 3, 7));
}

static void readers_stand_in_a_chain_behind_who_is_receiving(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	a.flags = WIRE_ASK_READER;
	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	for (uint32_t i = 2; i < 6; i++) {
		assert_int_equal(home_asks(f, i, &a), HOME_OK);
		home_names_node(home_told(f, i, 1, WIRE_WAIT), i - 1);
	}
}

static void who_asks_anew_is_not_sent_to_who_waits_at_it(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id two = home_node_id(2);

	a.flags = WIRE_ASK_READER;
	home_tell_names(f, 1);
	for (uint32_t i = 1; i < 4; i++)
		(void)home_asks(f, i, &a);
	home_names_node(home_told(f, 3, 1, WIRE_WAIT), 2);
	home_cancel(f->home, &two, 0, 1);
	a.req = 2;
	(void)home_asks(f, 2, &a);
	home_names_node(home_told(f, 2, 2, WIRE_WAIT), 1);
}

static void asks_of_two_connections_are_two(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id two = home_node_id(2);

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	a.via = 7;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	a.via = 8;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	assert_int_equal(home_asks(f, 2, &a), HOME_REFUSED);
	home_disconnected(f->home, &two, 7);
	home_has(f, 1, 0, 5);
	assert_null(home_told(f, 2, 1, WIRE_HOLDERS)); /* it was sent there, and waits there */
	const struct wire_id one = home_node_id(1);

	home_node_lost(f->home, &one);
	home_drain(f);
	assert_int_equal(f->n_out, 1);
	assert_int_equal(f->out[0].via, 8);
	assert_non_null(home_told(f, 2, 1, WIRE_LEASE));
}

static void holders_serve_some_and_redirect_the_rest_as_a_tree(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	uint32_t n_children[16] = { 0 };

	a.flags = WIRE_ASK_READER;
	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	for (uint32_t i = 2; i < 16; i++) {
		const struct wire_answer_item *item;

		assert_int_equal(home_asks(f, i, &a), HOME_OK);
		item = home_told(f, i, 1, WIRE_HOLDERS);
		if (item == NULL)
			item = home_must(f, i, 1, WIRE_WAIT);
		for (uint32_t k = 1; k < i; k++) {
			const struct wire_id id = home_node_id(k);

			n_children[k] += id_equal(&item->nodes[0], &id);
		}
	}
	/* Until its line has so much more to carry than that of one who only receives. */
	assert_in_range(n_children[1], HOME_TREE_HELD, 2 * HOME_TREE_HELD);
	for (uint32_t k = 2; k < 16; k++)
		assert_true(n_children[k] <= 1);
}

static void holders_are_told_of_chunks_under_another_list(void **state)
{
	struct fixture *f = *state;
	struct wire_id names[N];
	struct wire_names other = { .n_names = N, .names = names };
	const struct wire_id id = home_node_id(2);
	struct wire_ask a = home_ask_of(f, 1, 0, N);

	home_tell_names(f, 1);
	home_has(f, 1, 10, 20);   /* version 1: names 10 .. 29 */
	home_names_of(20, names); /* version 2: names 20 .. 59 */
	other.list = wire_list_id(names, N);
	other.segment = names[0];
	assert_int_equal(home_names(f->home, &id, &other), HOME_OK);
	a.part.list = other.list;
	a.part.segment = other.segment;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	home_names_node(home_told(f, 2, 1, WIRE_HOLDERS), 1);
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_HOLDERS)->set), 10);
	assert_int_equal(set_next(&home_must(f, 2, 1, WIRE_LEASE)->set, 0), 10);
}

static void a_lease_ends_with_its_term_and_passes_on(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);
	uint64_t token;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	token = home_must(f, 1, 1, WIRE_LEASE)->token;
	(void)home_asks(f, 2, &a);
	(void)home_after_ms(f, 1999);
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	home_lease_progress(f->home, &one,
	                    &(struct wire_lease){ .token = token, .progress_bytes = 10 });
	(void)home_after_ms(f, 1999); /* progress renewed it */
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	home_lease_progress(f->home, &one,
	                    &(struct wire_lease){ .token = token, .progress_bytes = 10 });
	(void)home_after_ms(f, 1); /* the same progress again did not */
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	(void)home_after_ms(f, HOME_PROBE_MIN_MS); /* and no sign of life came */
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_LEASE)->set), 5);
	const struct wire_ask again = home_ask_of(f, 2, 20, 5);

	assert_int_equal(home_asks(f, 1, &again), HOME_OK);
	assert_null(home_told(f, 1, 2, WIRE_LEASE)); /* it let one expire: not for a while */
}

static void a_failed_lease_passes_on_and_is_not_given_to_the_same_again(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	const uint64_t token = home_must(f, 1, 1, WIRE_LEASE)->token;

	(void)home_asks(f, 2, &a);
	home_end_lease(f, 1, token, 0, 2, true); /* two of five came */
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_LEASE)->set), 3);
	a.req = 2;
	(void)home_asks(f, 1, &a);
	assert_null(home_told(f, 1, 2, WIRE_LEASE));
}

/* Its answer crossed the cancel of its question. */
static void a_lease_that_came_back_unread_goes_to_the_next_question_of_the_same(void **state)
{
	struct fixture *f = *state;
	struct wire_ask first = home_ask_of(f, 1, 0, RUN);
	struct wire_ask second = home_ask_of(f, 2, 0, RUN + 1);
	const struct wire_id id = home_node_id(1);
	struct home_stats stats;
	uint64_t token;

	home_tell_names(f, 1);
	assert_int_equal(home_asks(f, 1, &first), HOME_OK);
	token = home_must(f, 1, 1, WIRE_LEASE)->token;
	home_cancel(f->home, &id, 0, 1);
	assert_int_equal(home_asks(f, 1, &second), HOME_OK);
	assert_null(home_told(f, 1, 2, WIRE_LEASE)); /* one at a time */
	home_end_lease(f, 1, token, 0, 0, false);
	assert_true(wire_set_has(&home_must(f, 1, 2, WIRE_LEASE)->set, 0));
	home_stats(f->home, &stats);
	assert_int_equal(stats.n_expired + stats.n_failed, 0);
}

static void chunks_that_are_leased_again_are_counted_apart(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	struct home_stats stats;
	uint64_t token;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	token = home_must(f, 1, 1, WIRE_LEASE)->token;
	(void)home_asks(f, 2, &a);
	home_end_lease(f, 1, token, 0, 2, true); /* two of five came */
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_LEASE)->set), 3);
	home_stats(f->home, &stats);
	assert_int_equal(stats.n_leased_first, 5);
	assert_int_equal(stats.n_leased_again, 3);
}

static void the_death_of_the_holder_passes_its_lease_on_at_once(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);

	home_tell_names(f, 2);
	(void)home_asks(f, 1, &a);
	(void)home_asks(f, 2, &a);
	(void)home_asks(f, 3, &a);
	home_has(f, 1, 0, 1);
	home_node_lost(f->home, &one);
	home_drain(f);
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_LEASE)->set),
	                 5); /* nobody has the first */
}

/* The same segment under another list, so that a node can have two leases. */
static struct wire_id other_list(struct fixture *f)
{
	struct wire_id names[N];
	const struct wire_id one = home_node_id(1);

	home_names_of(0, names);
	names[N - 1] = test_id(7, 7);
	const struct wire_names msg = { f->segment, wire_list_id(names, N), N, names };

	assert_int_equal(home_names(f->home, &one, &msg), HOME_OK);
	return msg.list;
}

static void who_lives_is_waited_for_and_who_hung_once_is_not_waited_for_again(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);
	struct wire_id probed;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	a.flags = WIRE_ASK_READER;
	(void)home_asks(f, 2, &a);
	(void)home_after_ms(f, HOME_PATIENCE_MIN_MS);
	assert_true(home_next_probe(f->home, &probed));
	assert_false(home_next_probe(f->home, &probed));
	home_heard(f->home, &one);
	for (uint32_t ms = HOME_PATIENCE_MIN_MS; ms < HOME_LEASE_TERM_MS; ms += 50) {
		assert_null(home_told(f, 2, 1, WIRE_LEASE));
		(void)home_after_ms(f, 50);
	}
	assert_non_null(home_told(f, 2, 1, WIRE_LEASE)); /* it lives and does nothing */
	const uint64_t token = home_must(f, 2, 1, WIRE_LEASE)->token;

	a = home_ask_of(f, 2, 10, 5);
	a.flags = WIRE_ASK_READER;
	home_end_lease(f, 2, token, 0, 5, false);
	home_has(f, 1, 0, 5); /* late, but it brings something: forgiven */
	(void)home_asks(f, 1, &a);
	assert_non_null(home_told(f, 1, 2, WIRE_LEASE));
	(void)home_asks(f, 2, &a);
	(void)home_after_ms(f, HOME_PATIENCE_MIN_MS);
	assert_int_equal(f->n_out, 0);
	assert_true(home_next_probe(f->home, &probed));
	(void)home_after_ms(f, HOME_PROBE_MIN_MS); /* it is dead: and from now on known as that */
	assert_non_null(home_told(f, 2, 2, WIRE_LEASE));
	home_cancel(f->home, &one, 0, 2);
	a = home_ask_of(f, 3, 20, 5);
	a.flags = WIRE_ASK_READER;
	a.part.list = other_list(f);
	(void)home_asks(f, 1, &a);
	assert_non_null(home_told(f, 1, 3, WIRE_LEASE));
	(void)home_asks(f, 2, &a);
	(void)home_after_ms(f, HOME_PATIENCE_MIN_MS);
	assert_non_null(home_told(f, 2, 3, WIRE_LEASE));
}

static void a_reader_without_progress_gets_a_second_lease(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);
	struct wire_id probed;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	(void)home_asks(f, 2, &a); /* prefetch */
	a.flags = WIRE_ASK_READER;
	a.patience_ms = 120;
	(void)home_asks(f, 3, &a);
	assert_true(home_after_ms(f, 119) <= clock_now_ns(&f->clock.clock) + 1000000);
	assert_int_equal(f->n_out, 0);
	(void)home_after_ms(f, 1);
	assert_true(home_next_probe(f->home, &probed));
	assert_true(id_equal(&probed, &one));
	(void)home_after_ms(f, HOME_PROBE_MIN_MS - 1);
	assert_int_equal(f->n_out, 0);
	(void)home_after_ms(f, 1);
	assert_int_equal(set_count(&home_must(f, 3, 1, WIRE_LEASE)->set), 5);
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	(void)home_asks(f, 4, &a);
	(void)home_after_ms(f, 500);
	assert_null(home_told(f, 4, 1, WIRE_LEASE)); /* not a third */
}

static void progress_that_is_only_told_does_not_starve_a_reader(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);
	struct wire_lease lie = { 0 };
	uint32_t ms = 0;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	lie.token = home_must(f, 1, 1, WIRE_LEASE)->token;
	a.flags = WIRE_ASK_READER;
	(void)home_asks(f, 2, &a);
	for (; home_told(f, 2, 1, WIRE_LEASE) == NULL && ms < 60000; ms += 20) {
		lie.progress_bytes++;
		home_lease_progress(f->home, &one, &lie);
		(void)home_after_ms(f, 20);
	}
	assert_in_range(ms, HOME_LEASE_OVERRIDE_MS - 20, HOME_LEASE_OVERRIDE_MS + 100);
}

/* Node 1 has the lease and does nothing, 2 waits there, 3 waits at one of them; 4 has all from
 * elsewhere. */
static void stand_behind(struct fixture *f, uint32_t flags, uint32_t patience_ms, uint32_t at)
{
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	(void)home_asks(f, 2, &a);
	a.flags = flags;
	a.patience_ms = patience_ms;
	(void)home_asks(f, 3, &a);
	home_names_node(home_told(f, 3, 1, WIRE_WAIT), at);
	home_has(f, 4, 0, 5);
	assert_null(home_told(f, 3, 1, WIRE_HOLDERS)); /* it comes from there, any moment */
}

static void a_reader_behind_who_hangs_is_told_who_has_it_by_now(void **state)
{
	struct fixture *f = *state;

	stand_behind(f, WIRE_ASK_READER, 30000, 2);
	assert_true(home_after_ms(f, HOME_BESIDE_MS - 10) <=
	            clock_now_ns(&f->clock.clock) + 10 * NS_PER_MS);
	assert_null(home_told(f, 3, 1, WIRE_HOLDERS));
	(void)home_after_ms(f, 10);
	home_names_node(home_told(f, 3, 1, WIRE_HOLDERS), 4);
	assert_int_equal(set_count(&home_must(f, 3, 1, WIRE_HOLDERS)->set), 5);
	for (uint32_t i = 0; i < 10; i++) {
		(void)home_after_ms(f, HOME_BESIDE_MS);
		assert_null(home_told(f, 3, 1, WIRE_HOLDERS)); /* once: that one has it */
	}
}

/* It asked long before it was sent where it waits now: it waits no longer there than others. */
static void a_reader_that_was_sent_on_late_is_looked_after_from_then_on(void **state)
{
	struct fixture *f = *state;
	const struct wire_id two = home_node_id(2);
	const struct wire_id four = home_node_id(4);
	const struct wire_part part = home_part(f, 0, 5);

	stand_behind(f, WIRE_ASK_READER, 30000, 2);
	home_gone(f->home, &four, &part);
	(void)home_after_ms(f, 200);
	home_node_lost(f->home, &two);
	home_drain(f);
	home_names_node(home_told(f, 3, 1, WIRE_WAIT), 1);
	home_has(f, 4, 0, 5);
	(void)home_after_ms(f, HOME_BESIDE_MS - 200);
	assert_null(home_told(f, 3, 1, WIRE_HOLDERS));
	assert_true(home_after_ms(f, 190) <= clock_now_ns(&f->clock.clock) + 10 * NS_PER_MS);
	(void)home_after_ms(f, 10);
	home_names_node(home_told(f, 3, 1, WIRE_HOLDERS), 4);
}

static void a_prefetch_stays_behind_who_hangs(void **state)
{
	struct fixture *f = *state;

	stand_behind(f, 0, HOME_PATIENCE_MIN_MS, 1);
	(void)home_after_ms(f, UINT64_C(2) * HOME_BESIDE_MS);
	assert_null(home_told(f, 3, 1, WIRE_HOLDERS));
}

static void whole_units_are_leased(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 6, 1);

	home_tell_names(f, 1);
	a.units = a.runs = set_none(N);
	for (uint32_t i = 1; i < N; i += 4) /* units 1-4, 5-8 ...: 0 is of an earlier segment's */
		wire_set_add(&a.units, i);
	wire_set_add(&a.runs, 1);
	assert_int_equal(home_asks(f, 1, &a), HOME_OK);
	assert_int_equal(set_next(&home_must(f, 1, 1, WIRE_LEASE)->set, 0), 5);
	assert_int_equal(set_count(&home_must(f, 1, 1, WIRE_LEASE)->set), 4);
	a.part.set = test_range(N, 8, 1); /* another member of the same unit */
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	home_names_node(home_told(f, 2, 1, WIRE_WAIT), 1);
	a.req = 2;
	a.part.set = test_range(N, 0, 1); /* its unit is leased elsewhere */
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	assert_non_null(home_told(f, 2, 2, WIRE_NOBODY));
}

static void who_cannot_lease_hears_of_nobody_or_waits_for_who_can(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);

	home_tell_names(f, 1);
	a.flags = WIRE_ASK_NO_LEASE;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	assert_non_null(home_told(f, 2, 1, WIRE_NOBODY));
	assert_true(home_ended(f, 2, 1));
	a.flags = 0;
	(void)home_asks(f, 1, &a);
	a.flags = WIRE_ASK_NO_LEASE;
	(void)home_asks(f, 2, &a);
	home_names_node(home_told(f, 2, 1, WIRE_WAIT), 1);
	home_node_lost(f->home, &one);
	home_drain(f);
	assert_non_null(home_told(f, 2, 1, WIRE_NOBODY)); /* nobody is left who could */
}

/* The holder lives and brings nothing. @return was its lease passed on after so long? */
static bool passes_on_after(struct fixture *f, uint32_t flags, uint64_t ms)
{
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	struct wire_ask b = home_ask_of(f, 1, 0, 5);
	const struct wire_id two = home_node_id(2);
	struct home_stats stats;

	home_tell_names(f, 1);
	(void)home_asks(f, 2, &a);
	assert_non_null(home_told(f, 2, 1, WIRE_LEASE));
	b.flags = flags;
	(void)home_asks(f, 3, &b);
	for (uint64_t i = 0; i < ms / 100; i++) {
		home_heard(f->home, &two);
		(void)home_after_ms(f, 100);
	}
	home_stats(f->home, &stats);
	return stats.n_expired > 0;
}

static void who_lives_and_is_slow_is_waited_for_longer_where_no_reader_waits(void **state)
{
	assert_false(passes_on_after(*state, 0, HOME_LEASE_CALM_MS - 1000));
}

static void but_not_for_ever(void **state)
{
	assert_true(passes_on_after(*state, 0, HOME_LEASE_CALM_MS + 1000));
}

static void and_not_so_long_where_one_does(void **state)
{
	assert_true(passes_on_after(*state, WIRE_ASK_READER, HOME_LEASE_STUCK_MS + 1000));
}

static void a_home_that_leaves_sends_others_elsewhere(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id two = home_node_id(2);

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	(void)home_asks(f, 2, &a); /* waits for 1 */
	assert_false(home_ended(f, 2, 1));
	home_leave(f->home);
	home_drain(f);
	assert_true(home_ended(f, 2, 1));
	assert_int_equal(f->out[f->n_out - 1].status, WIRE_DRAINING);
	assert_int_equal(home_ask(f->home, &two, &a), HOME_LEAVES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, home_setup, home_teardown)
		T(an_unknown_list_is_asked_for_by_names_once),
		T(names_that_do_not_hash_to_their_list_are_refused),
		T(who_asks_alone_gets_a_long_lease_and_others_a_run_each),
		T(readers_stand_in_a_chain_behind_who_is_receiving),
		T(who_asks_anew_is_not_sent_to_who_waits_at_it),
		T(asks_of_two_connections_are_two),
		T(holders_serve_some_and_redirect_the_rest_as_a_tree),
		T(holders_are_told_of_chunks_under_another_list),
		T(a_lease_ends_with_its_term_and_passes_on),
		T(a_failed_lease_passes_on_and_is_not_given_to_the_same_again),
		T(a_lease_that_came_back_unread_goes_to_the_next_question_of_the_same),
		T(chunks_that_are_leased_again_are_counted_apart),
		T(the_death_of_the_holder_passes_its_lease_on_at_once),
		T(a_reader_without_progress_gets_a_second_lease),
		T(who_lives_is_waited_for_and_who_hung_once_is_not_waited_for_again),
		T(progress_that_is_only_told_does_not_starve_a_reader),
		T(a_reader_behind_who_hangs_is_told_who_has_it_by_now),
		T(a_reader_that_was_sent_on_late_is_looked_after_from_then_on),
		T(a_prefetch_stays_behind_who_hangs),
		T(whole_units_are_leased),
		T(who_cannot_lease_hears_of_nobody_or_waits_for_who_can),
		T(who_lives_and_is_slow_is_waited_for_longer_where_no_reader_waits),
		T(but_not_for_ever),
		T(and_not_so_long_where_one_does),
		T(a_home_that_leaves_sends_others_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
