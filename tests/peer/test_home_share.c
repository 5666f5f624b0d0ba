/*
 * test_home_share: how a home shares out what prefetches want: few leases at a time, in turn, and
 * the work of giving it to the others over all lines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "home_world.h"
#include "placement.h"
#include "set.h"

enum { N_LISTS = 20, N_NODES = 8, MANY_NODES = 40 };

struct many { /* lists */
	struct wire_id list[N_LISTS], segment[N_LISTS];
};

/* A home among so many, which give it N_LISTS lists; all of them are taken for its own. */
static void begin(struct fixture *f, struct placement *p, uint32_t n_nodes, struct many *m)
{
	struct place_node nodes[MANY_NODES];
	const struct wire_id one = home_node_id(1);
	struct wire_id names[N];
	struct err e;

	for (uint32_t i = 0; i < n_nodes; i++)
		nodes[i] = (struct place_node){ home_node_id(i), "" };
	assert_int_equal(placement_set(p, nodes, n_nodes, &e), 0);
	home_free(&f->home);
	f->home = home_new(&(struct home_opts){
		.clock = &f->clock.clock, .placement = p, .self = home_node_id(0) });
	for (uint32_t i = 0; i < N_LISTS; i++) {
		home_names_of(1000 * (i + 1), names);
		m->list[i] = wire_list_id(names, N);
		m->segment[i] = names[0];
		home_tell_list(f, &one, names);
	}
}

static void ask(struct fixture *f, const struct many *m, uint32_t node, uint32_t list_no,
                uint32_t flags)
{
	struct wire_ask a = home_ask_of(f, list_no, 0, N);

	a.part.list = m->list[list_no];
	a.part.segment = m->segment[list_no];
	a.flags = WIRE_ASK_SETTLE | flags;
	assert_int_equal(home_asks(f, node, &a), HOME_OK);
}

/* ... and is given a lease. */
static struct wire_answer_item leases(struct fixture *f, const struct many *m, uint32_t node,
                                      uint32_t list_no)
{
	ask(f, m, node, list_no, 0);
	return *home_must(f, node, list_no, WIRE_LEASE);
}

/* Nodes 1 to n ask for each list from that one on, in turn. */
static void ask_for_all(struct fixture *f, const struct many *m, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < N_LISTS; i++) {
		for (uint32_t node = 1; node <= n; node++)
			ask(f, m, node, i, 0);
	}
}

static uint32_t n_leases(const struct fixture *f)
{
	struct home_stats s;

	home_stats(f->home, &s);
	return s.leases;
}

/* The lease that was told to node in the last drain, over; what it covered is at node. */
static void bring(struct fixture *f, const struct many *m, uint32_t node, uint32_t list_no,
                  const struct wire_answer_item *item)
{
	const struct wire_id id = home_node_id(node);
	const struct wire_lease msg = {
		.token = item->token, .part = { m->segment[list_no], m->list[list_no], item->set }
	};

	home_lease_end(f->home, &id, &msg);
	home_drain(f);
}

static const struct wire_answer_item *lease_told(const struct fixture *f, uint32_t node)
{
	for (uint32_t i = 0; i < N_LISTS; i++) {
		if (home_told(f, node, i, WIRE_LEASE) != NULL)
			return home_told(f, node, i, WIRE_LEASE);
	}
	return NULL;
}

static void a_node_that_comes_first_is_not_given_all_of_it(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	struct wire_answer_item first;
	struct many m;

	begin(f, p, N_NODES, &m);
	first = leases(f, &m, 1, 0);
	ask_for_all(f, &m, 1, 1);
	assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES);
	assert_int_equal(set_count(&first.set), RUN); /* others may be about to ask */
	for (uint32_t i = 0; i < N_LISTS; i++)
		ask(f, &m, 2, i, 0);
	assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES);
	bring(f, &m, 1, 0, &first);
	assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES);
	assert_null(lease_told(f, 1)); /* the others' turn */
	assert_int_equal(set_count(&lease_told(f, 2)->set), RUN);
}

/* Its own node waits at this home and at n - 1 others. */
static void share(struct fixture *f, uint32_t n)
{
	home_share_with(f->home, n);
	(void)home_after_ms(f, 1);
}

static void homes_that_have_any_left_give_the_leases(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	const uint32_t even = HOME_PREFETCHES / N_NODES;
	struct wire_answer_item first;
	struct many m;

	begin(f, p, N_NODES, &m);
	first = leases(f, &m, 1, 0);
	ask(f, &m, 2, 0, 0);
	ask_for_all(f, &m, 1, 2);
	share(f, N_NODES);
	assert_int_equal(n_leases(f), even);
	share(f, 3);
	assert_int_equal(n_leases(f), HOME_PREFETCHES_FEW / 3);
	share(f, 1);
	assert_int_equal(n_leases(f), HOME_PREFETCHES_FEW);
	share(f, 0); /* what was given stays, and no more is */
	assert_int_equal(n_leases(f), HOME_PREFETCHES_FEW);
	bring(f, &m, 1, 0, &first);
	assert_int_equal(n_leases(f), HOME_PREFETCHES_FEW - 1);
}

static void readers_do_not_wait_for_prefetches(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	struct many m;

	begin(f, p, N_NODES, &m);
	ask_for_all(f, &m, 0, 1);
	for (uint32_t i = 5; i < 9; i++) {
		ask(f, &m, 2, i, WIRE_ASK_READER);
		assert_non_null(home_told(f, 2, i, WIRE_LEASE));
	}
}

static void a_prefetch_that_hangs_does_not_hold_up_others(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	const struct wire_id one = home_node_id(1);
	struct wire_answer_item first;
	struct many m;

	begin(f, p, N_NODES, &m);
	first = leases(f, &m, 1, 0);
	ask_for_all(f, &m, 1, 2);
	assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES);
	(void)home_after_ms(f, HOME_QUIET_MS - 1);
	home_lease_progress(f->home, &one,
	                    &(struct wire_lease){ .token = first.token, .progress_bytes = 1 });
	(void)home_after_ms(f, 1);
	/* All but the one that progresses are silent. */
	assert_int_equal(n_leases(f), 2 * (HOME_PREFETCHES / N_NODES) - 1);
}

static void progress(struct fixture *f, uint32_t node, const struct wire_answer_item *item,
                     uint64_t bytes)
{
	const struct wire_id id = home_node_id(node);

	home_lease_progress(f->home, &id,
	                    &(struct wire_lease){ .token = item->token, .progress_bytes = bytes });
}

/* Node 1 is slow, and node 2 fast: as many leases for who wants most, but one at a time for 1. */
static void a_slow_node_does_not_get_all_leases_in_the_end(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	const struct wire_answer_item *next;
	struct wire_answer_item slow;
	struct wire_answer_item fast;
	struct many m;

	begin(f, p, N_NODES, &m);
	slow = leases(f, &m, 1, 0);
	fast = leases(f, &m, 2, 1);
	ask_for_all(f, &m, 2, 2);
	for (uint32_t i = 1; i < 8; i++) {
		for (uint32_t k = 0; k < 10; k++) {
			(void)home_after_ms(f, 110); /* what was given a second ago counts half */
			progress(f, 1, &slow, 10 * i + k + 1);
			progress(f, 2, &fast, 10 * i + k + 1);
		}
		bring(f, &m, 2, i, &fast);
		assert_null(lease_told(f, 1));
		next = lease_told(f, 2);
		if (next == NULL)
			fail_msg("nobody was given the next one");
		else
			fast = *next;
	}
}

static void a_prefetch_that_is_slow_does_not_hold_up_others(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	struct wire_answer_item item[2];
	const uint64_t late_ms = (uint64_t)HOME_LATE_TIMES * HOME_LATE_MS;
	struct many m;

	begin(f, p, N_NODES, &m);
	for (uint32_t i = 0; i < 2; i++)
		item[i] = leases(f, &m, i + 1, i);
	for (uint32_t i = 2; i < 5; i++)
		ask(f, &m, 3, i, 0);
	for (uint64_t ms = 100; ms <= late_ms; ms += 100) {
		assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES);
		for (uint32_t i = 0; i < 2; i++)
			progress(f, i + 1, &item[i], ms);
		(void)home_after_ms(f, 100);
	}
	assert_non_null(lease_told(f, 3));
}

/* Who has the zone's lease waits for one of the cluster, perhaps of the same home. */
static void what_crosses_zones_does_not_wait_for_itself(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	const struct wire_id seven = home_node_id(7);
	struct place_node nodes[N_NODES];
	struct wire_id names[N];
	struct many m;
	struct err e;

	begin(f, p, N_NODES, &m);
	for (uint32_t i = 0; i < N_NODES; i++)
		nodes[i] = (struct place_node){ home_node_id(i), i < 7 ? "a" : "b" };
	assert_int_equal(placement_set(p, nodes, N_NODES, &e), 0);
	for (uint32_t i = 0; i < 3; i++)
		ask(f, &m, 1, i, 0);
	assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES);
	home_names_of(1000, names);
	home_tell_list(f, &seven, names);
	ask(f, &m, 2, 0, WIRE_ASK_CLUSTER);
	assert_int_equal(n_leases(f), HOME_PREFETCHES / N_NODES + 1);
}

/* Chunks that were told to be had at each node, in the last drain. */
static void count_given(const struct fixture *f, uint32_t n_given[N_NODES + 1])
{
	for (uint32_t i = 0; i < f->n_out; i++) {
		for (uint32_t k = 0; k < f->out[i].n_items; k++) {
			const struct wire_answer_item *item = &f->out[i].items[k];

			assert_true(item->n_nodes > 0);
			for (uint32_t giver = 1; giver <= N_NODES; giver++) {
				const struct wire_id id = home_node_id(giver);

				if (id_equal(&item->nodes[0], &id))
					n_given[giver] += set_count(&item->set);
			}
		}
	}
}

/* Who has all of it gives some, and who has it from there gives the rest. */
static void what_prefetches_want_goes_over_all_lines(void **state)
{
	struct fixture *f = *state;
	uint32_t n_given[N_NODES + 1] = { 0 };
	uint32_t n_all = 0;

	home_tell_names(f, 1);
	home_has(f, 1, 0, N);
	for (uint32_t first = 0; first < N; first += RUN) {
		for (uint32_t node = 2; node <= N_NODES; node++) {
			const struct wire_ask a = home_ask_of(f, first, first, RUN);

			assert_int_equal(home_asks(f, node, &a), HOME_OK);
			count_given(f, n_given);
			n_all += RUN;
		}
	}
	for (uint32_t giver = 1; giver <= N_NODES; giver++)
		assert_true(n_given[giver] <= n_all / 3);
}

/* Nodes 2 .. n_nodes want what node 1 leases; who of them is sent to wait there. */
static uint32_t n_behind_the_lease(struct fixture *f, struct placement *p, uint32_t n_nodes)
{
	const struct wire_id one = home_node_id(1);
	struct wire_answer_item lease;
	uint32_t n_there = 0;
	struct many m;

	begin(f, p, n_nodes, &m);
	lease = leases(f, &m, 1, 0);
	for (uint32_t i = 2; i <= n_nodes; i++) {
		struct wire_ask a = home_ask_of(f, 0, 0, RUN);

		a.part.list = m.list[0];
		a.part.segment = m.segment[0];
		a.part.set = lease.set;
		a.flags = WIRE_ASK_SETTLE;
		assert_int_equal(home_asks(f, i, &a), HOME_OK);
		for (uint32_t k = 0; k < f->out[0].n_items; k++) {
			const struct wire_answer_item *item = &f->out[0].items[k];

			assert_int_equal(item->kind, WIRE_WAIT);
			assert_int_equal(item->n_nodes, 1);
			if (id_equal(&item->nodes[0], &one))
				n_there += set_count(&item->set);
		}
	}
	return n_there;
}

/* It is one hop then, and all lines carry the same where leases are shared out evenly. A line that
 * has much more to send than others is spared, though. */
static void prefetches_stand_behind_who_has_the_lease(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	const uint32_t n = n_behind_the_lease(f, p, N_NODES);

	assert_in_range(n, 4 * RUN, 5 * RUN); /* of 7 */
}

/* Who sends to many is late with the last one. */
static void in_large_clusters_they_stand_in_chains(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	const uint32_t n = n_behind_the_lease(f, p, MANY_NODES);

	assert_in_range(n, 1, 2 * RUN);
}

/* ---- how many one node has ---- */

/* Node 1 asks for all of a list that nobody asked for before. */
static void asks_for_one_more(struct fixture *f, uint32_t list_no, uint32_t flags)
{
	const struct wire_id one = home_node_id(1);
	struct wire_ask a = home_ask_of(f, list_no, 0, N);
	struct wire_id names[N];

	home_names_of(1000 * (list_no + 1), names);
	home_tell_list(f, &one, names);
	a.part.list = wire_list_id(names, N);
	a.part.segment = names[0];
	a.flags = flags;
	assert_int_equal(home_asks(f, 1, &a), HOME_OK);
}

/* @return the token of its lease */
static uint64_t leases_one_more(struct fixture *f, uint32_t list_no, uint32_t flags)
{
	asks_for_one_more(f, list_no, flags);
	return home_must(f, 1, list_no, WIRE_LEASE)->token;
}

static void whose_reader_has_all_that_one_node_may_have_is_given_the_next_that_ends(void **state)
{
	struct fixture *f = *state;
	const struct wire_answer_item *queued;
	uint64_t first = 0;

	for (uint32_t i = 0; i < HOME_LEASES_PER_PEER; i++) {
		const uint64_t token = leases_one_more(f, i, WIRE_ASK_READER);

		first = i == 0 ? token : first;
	}
	asks_for_one_more(f, HOME_LEASES_PER_PEER, WIRE_ASK_READER);
	queued = home_must(f, 1, HOME_LEASES_PER_PEER, WIRE_WAIT);
	assert_int_equal(queued->n_nodes, 0);
	home_end_lease(f, 1, first, 0, 0, false);
	assert_non_null(home_told(f, 1, HOME_LEASES_PER_PEER, WIRE_LEASE));
}

/* All of them make progress. */
static void progress_ms(struct fixture *f, const uint64_t *tokens, uint32_t n, uint32_t ms)
{
	const struct wire_id one = home_node_id(1);

	for (uint32_t i = 0; i < n; i++)
		home_lease_progress(f->home, &one,
		                    &(struct wire_lease){ .token = tokens[i],
		                                          .progress_bytes = f->clock.now_ns });
	(void)home_after_ms(f, ms);
}

/* In the last answers, from that list on. */
static uint32_t n_leased(const struct fixture *f, uint32_t from)
{
	uint32_t n = 0;

	for (uint32_t i = from; i < 2 * HOME_LEASES_PER_PEER; i++)
		n += home_told(f, 1, i, WIRE_LEASE) != NULL;
	return n;
}

/* They are late, and count no more among those that fill the line; yet its reader has room. */
static void prefetches_of_a_node_leave_its_readers_some(void **state)
{
	struct fixture *f = *state;
	const uint32_t all = HOME_LEASES_PER_PEER + 1;
	uint64_t tokens[HOME_LEASES_AHEAD];

	for (uint32_t i = 0; i < HOME_LEASES_AHEAD; i++)
		tokens[i] = leases_one_more(f, i, 0);
	for (uint32_t i = HOME_LEASES_AHEAD; i < all; i++)
		asks_for_one_more(f, i, 0);
	progress_ms(f, tokens, HOME_LEASES_AHEAD, HOME_LATE_MS);
	progress_ms(f, tokens, HOME_LEASES_AHEAD, HOME_LATE_MS);
	(void)leases_one_more(f, all, WIRE_ASK_READER);
	home_end_lease(f, 1, tokens[0], 0, 0, false);
	assert_int_equal(n_leased(f, HOME_LEASES_AHEAD), 0); /* it has one too many still */
	home_end_lease(f, 1, tokens[1], 0, 0, false);
	assert_int_equal(n_leased(f, HOME_LEASES_AHEAD), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, home_setup, home_teardown)
		T(a_node_that_comes_first_is_not_given_all_of_it),
		T(homes_that_have_any_left_give_the_leases),
		T(readers_do_not_wait_for_prefetches),
		T(a_prefetch_that_hangs_does_not_hold_up_others),
		T(a_slow_node_does_not_get_all_leases_in_the_end),
		T(a_prefetch_that_is_slow_does_not_hold_up_others),
		T(what_crosses_zones_does_not_wait_for_itself),
		T(what_prefetches_want_goes_over_all_lines),
		T(prefetches_stand_behind_who_has_the_lease),
		T(in_large_clusters_they_stand_in_chains),
		T(whose_reader_has_all_that_one_node_may_have_is_given_the_next_that_ends),
		T(prefetches_of_a_node_leave_its_readers_some),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
