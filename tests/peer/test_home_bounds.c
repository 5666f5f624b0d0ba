/*
 * test_home_bounds: what liars, floods, deadlines, deaths and other views do to the tracker.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "home_inside.h"
#include "home_world.h"

static void a_liar_is_dropped_by_two_reports_and_one_alone_drops_nobody(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	a.avoid[0] = home_node_id(1);
	a.avoid_why[0] = WIRE_AVOID_MISSED;
	a.missed = test_range(N, 0, 5);
	a.n_avoid = 1;
	a.flags = WIRE_ASK_NO_LEASE;
	for (a.req = 1; a.req < 5; a.req++) {
		(void)home_asks(f, 2, &a); /* the same says it again and again */
		assert_non_null(home_told(f, 2, a.req, WIRE_NOBODY));
	}
	struct wire_ask clean = home_ask_of(f, 9, 0, 5);

	(void)home_asks(f, 4, &clean);
	home_names_node(home_told(f, 4, 9, WIRE_HOLDERS), 1);
	(void)home_asks(f, 3, &a);
	(void)home_asks(f, 5, &clean);
	assert_null(home_told(f, 5, 9, WIRE_HOLDERS));
}

static void who_is_slow_or_silent_for_some_stays_a_holder_for_all(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask clean = home_ask_of(f, 9, 0, 5);
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	a.avoid[0] = home_node_id(1);
	a.n_avoid = 1;
	for (uint32_t from = 2; from < 5; from++) {
		a.avoid_why[0] = WIRE_AVOID_SLOW;
		a.req = 1;
		assert_int_equal(home_asks(f, from, &a), HOME_OK);
		assert_null(home_told(f, from, 1, WIRE_LEASE)); /* while a holder lives */
		assert_int_equal(home_must(f, from, 1, WIRE_WAIT)->n_nodes, 0);
		a.avoid_why[0] = WIRE_AVOID_FAILED;
		a.flags = WIRE_ASK_NO_LEASE;
		a.req = 2;
		assert_int_equal(home_asks(f, from, &a), HOME_OK);
		a.flags = 0;
	}
	assert_int_equal(home_asks(f, 6, &clean), HOME_OK);
	home_names_node(home_told(f, 6, 9, WIRE_HOLDERS), 1);
	home_has(f, 7, 0, 5); /* another one: who waited beside the slow one hears of it */
	home_names_node(home_told(f, 2, 1, WIRE_HOLDERS), 7);
}

/* It was sent to who has the lease, failed there, and may not lease itself. */
static void who_waits_for_no_node_hears_that_the_lease_is_gone(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	a.flags = WIRE_ASK_NO_LEASE;
	a.avoid[0] = one;
	a.avoid_why[0] = WIRE_AVOID_FAILED;
	a.n_avoid = 1;
	(void)home_asks(f, 2, &a);
	assert_int_equal(home_must(f, 2, 1, WIRE_WAIT)->n_nodes, 0);
	home_node_lost(f->home, &one);
	home_drain(f);
	assert_non_null(home_told(f, 2, 1, WIRE_NOBODY));
}

/* More come than a chunk has places: who has been sent most is not forgotten if it has the lease.
 */
static void who_has_the_lease_keeps_its_place_among_many(void **state)
{
	struct fixture *f = *state;
	const uint32_t n = HOME_HOLDERS_MAX + 1;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	for (uint32_t i = 1; i <= n; i++)
		assert_int_equal(home_asks(f, i, &a), HOME_OK);
	for (uint32_t i = 2; i <= n; i++) {
		const struct wire_id id = home_node_id(i);

		home_node_lost(f->home, &id);
	}
	assert_int_equal(home_asks(f, n + 1, &a), HOME_OK);
	home_names_node(home_must(f, n + 1, 1, WIRE_WAIT), 1);
}

static void who_missed_some_is_asked_for_the_rest(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	a.avoid[0] = home_node_id(1);
	a.avoid_why[0] = WIRE_AVOID_MISSED;
	a.missed = test_range(N, 2, 1);
	a.n_avoid = 1;
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_LEASE)->set), 1);
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_HOLDERS)->set), 4);
}

static void what_is_gone_is_told_no_more(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id one = home_node_id(1);
	const struct wire_part p = home_part(f, 0, 5);

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	home_gone(f->home, &one, &p);
	(void)home_asks(f, 2, &a);
	assert_null(home_told(f, 2, 1, WIRE_HOLDERS));
	assert_non_null(home_told(f, 2, 1, WIRE_LEASE));
}

static void an_ask_ends_by_its_deadline_and_a_cancelled_one_lets_go(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id two = home_node_id(2);
	struct home_stats stats;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	a.deadline_ms = 300;
	(void)home_asks(f, 2, &a);
	a.req = 2;
	(void)home_asks(f, 2, &a);
	home_cancel(f->home, &two, 0, 2);
	(void)home_after_ms(f, 300);
	assert_true(home_ended(f, 2, 1));
	assert_false(home_ended(f, 2, 2));
	home_stats(f->home, &stats);
	assert_int_equal(stats.asks, 0);
	assert_int_equal(stats.waits, 0);
}

/* Each of names that nobody else has. */
static void tell_lists(struct fixture *f, const struct wire_id *from, uint32_t n)
{
	struct wire_id names[N];

	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < N; k++)
			names[k] = test_id(6, (uint64_t)i * N + k);
		home_tell_list(f, from, names);
	}
}

/* It evicted what the flood brought, and knows what was there before. */
static void holds_out(struct fixture *f, const struct wire_ask *a)
{
	struct home_stats stats;

	home_stats(f->home, &stats);
	assert_true(stats.n_evicted_lists >= 500);
	(void)home_asks(f, 2, a);
	home_names_node(home_told(f, 2, 1, WIRE_HOLDERS), 1);
}

static void a_flood_of_lists_washes_away_itself(void **state)
{
	struct fixture *f = *state;
	const struct wire_id liar = home_node_id(7);
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	struct home_stats stats;

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	tell_lists(f, &liar, HOME_CHUNKS_MAX / N + 500);
	home_stats(f->home, &stats);
	assert_true(stats.memory_bytes < 16U << 20);
	holds_out(f, &a);
}

/* Many short ones: the honest have fewer lists, and more chunks. */
static void nor_does_a_flood_of_short_lists_wash_away_long_ones(void **state)
{
	struct fixture *f = *state;
	const struct wire_id honest = home_node_id(1);
	const struct wire_id liar = home_node_id(7);
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	tell_lists(f, &honest, 2 * HOME_LISTS_MAX / N);
	for (uint32_t i = 0; i < HOME_LISTS_MAX + 500; i++) {
		const struct wire_id name = test_id(8, i);
		const struct wire_names one = { name, wire_list_id(&name, 1), 1, &name };

		assert_int_equal(home_names(f->home, &liar, &one), HOME_OK);
	}
	holds_out(f, &a);
}

static void a_chunk_may_stand_in_each_place_of_many_lists(void **state)
{
	struct fixture *f = *state;
	const struct wire_id liar = home_node_id(7);
	struct wire_id names[WIRE_LIST_MAX];
	struct home_stats stats;

	enum { LISTS = 65536 / (WIRE_LIST_MAX - 1) + 10 };

	for (uint32_t i = 0; i < WIRE_LIST_MAX; i++)
		names[i] = test_id(6, 0);
	for (uint32_t i = 1; i <= LISTS; i++) {
		struct wire_names msg = { names[0], { { 0 } }, WIRE_LIST_MAX, names };

		names[WIRE_LIST_MAX - 1] = test_id(6, i);
		msg.list = wire_list_id(names, WIRE_LIST_MAX);
		assert_int_equal(home_names(f->home, &liar, &msg), HOME_OK);
	}
	home_stats(f->home, &stats);
	assert_int_equal(stats.chunks, LISTS + 1);
	/* Others wash all of them away, one by one. */
	for (uint32_t i = 0; i < HOME_CHUNKS_MAX / N + 10; i++) {
		struct wire_id fresh[N];

		for (uint32_t k = 0; k < N; k++)
			fresh[k] = test_id(6, 1000 + (uint64_t)i * N + k);
		home_tell_list(f, &liar, fresh);
	}
	home_stats(f->home, &stats);
	assert_int_equal(stats.chunks, stats.lists * N);
}

static uint32_t longest_chain(const struct home *h)
{
	uint32_t longest = 0;

	for (uint32_t i = 0; i < HOME_BUCKETS; i++) {
		uint32_t n = 0;

		for (uint32_t at = h->buckets[i]; at != 0; at = h->chunks[at - 1].next)
			n++;
		longest = n > longest ? n : longest;
	}
	return longest;
}

static void names_that_somebody_chose_do_not_meet_in_one_bucket(void **state)
{
	struct fixture *f = *state;
	const struct wire_id liar = home_node_id(7);
	struct wire_id names[N];

	for (uint64_t i = 0; i < 500; i++) {
		for (uint64_t k = 0; k < N; k++) {
			const uint64_t n = i * N + k;

			/* The same beginning, the same end, and halves that differ in the same way.
			 */
			names[k] = (struct wire_id){ { 0 } };
			memcpy(&names[k].b[2], &n, 5);
			memcpy(&names[k].b[10], &n, 5);
		}
		home_tell_list(f, &liar, names);
	}
	assert_in_range(longest_chain(f->home), 1, 16); /* 20,000 in 65,536 buckets */
}

/* Each brings a list, and goes: as many as there are numbers for nodes. */
static void nodes_that_went_leave_their_places_to_others(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_has(f, 1, 0, 5);
	for (uint32_t i = 0; i < HOME_NODES_MAX; i++) {
		const struct wire_id node = home_node_id(10 + i);
		const struct wire_id name = test_id(8, i);
		const struct wire_names one = { name, wire_list_id(&name, 1), 1, &name };

		assert_int_equal(home_names(f->home, &node, &one), HOME_OK);
		home_node_lost(f->home, &node);
	}
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	home_names_node(home_told(f, 2, 1, WIRE_HOLDERS), 1);
}

/* They were sent there by what it asked before, and the chain is too long to be followed. */
static void who_asks_anew_is_not_sent_behind_a_long_chain_that_waits_at_it(void **state)
{
	struct fixture *f = *state;
	const struct wire_id two = home_node_id(2);
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	a.flags = WIRE_ASK_READER;
	(void)home_asks(f, 1, &a);
	a.flags |= WIRE_ASK_NO_LEASE;
	for (uint32_t i = 2; i <= 20; i++) {
		(void)home_asks(f, i, &a);
		home_names_node(home_told(f, i, 1, WIRE_WAIT), i - 1);
	}
	home_cancel(f->home, &two, 0, 1);
	a.req = 2;
	a.avoid[0] = home_node_id(1);
	a.avoid_why[0] = WIRE_AVOID_FAILED;
	a.n_avoid = 1;
	(void)home_asks(f, 2, &a);
	assert_int_equal(home_must(f, 2, 2, WIRE_WAIT)->n_nodes, 0);
}

static void too_many_asks_of_one_peer_are_its_own_problem(void **state)
{
	struct fixture *f = *state;
	struct wire_ask a = home_ask_of(f, 0, 0, 5);
	const struct wire_id liar = home_node_id(7);
	uint32_t n_ok = 0;

	home_tell_names(f, 1);
	(void)home_asks(f, 1, &a);
	for (a.req = 0; a.req < 1000; a.req++)
		n_ok += home_ask(f->home, &liar, &a) == HOME_OK;
	assert_int_equal(n_ok, HOME_ASKS_PER_PEER);
	a.req = 0;
	while (home_next(f->home, f->out)) {
	}
	assert_int_equal(home_asks(f, 2, &a), HOME_OK);
	home_disconnected(f->home, &liar, 0);
	struct home_stats stats;

	home_stats(f->home, &stats);
	assert_int_equal(stats.asks, 1);
}

static void another_home_is_named_once_and_settled_where_asked_again(void **state)
{
	struct fixture *f = *state;
	AUTO(placement_free) struct placement *p = placement_new();
	struct place_node nodes[8];
	struct wire_ask a = home_ask_of(f, 1, 0, 5);
	struct wire_id home_id;
	struct err e;

	for (uint32_t i = 0; i < 8; i++)
		nodes[i] = (struct place_node){ home_node_id(i), "" };
	assert_int_equal(placement_set(p, nodes, 8, &e), 0);
	home_free(&f->home);
	assert_true(placement_home(p, PLACE_ZONE, &nodes[1].id, &f->segment, &home_id));
	for (uint32_t i = 0; i < 8; i++) {
		const bool is_home = id_equal(&nodes[i].id, &home_id);

		f->home = home_new(&(struct home_opts){
			.clock = &f->clock.clock, .placement = p, .self = nodes[i].id });
		home_tell_names(f, 1);
		a.flags = 0;
		assert_int_equal(home_asks(f, 1, &a), HOME_OK);
		assert_int_equal(home_told(f, 1, 1, WIRE_ELSEWHERE) == NULL, is_home);
		if (!is_home)
			assert_true(
				id_equal(&home_must(f, 1, 1, WIRE_ELSEWHERE)->nodes[0], &home_id));
		assert_true(home_ended(f, 1, 1));
		a.req = 2;
		a.flags = WIRE_ASK_SETTLE;
		assert_int_equal(home_asks(f, 2, &a), HOME_OK);
		assert_non_null(home_told(f, 2, 2, is_home ? WIRE_WAIT : WIRE_LEASE));
		a.req = 1;
		if (i < 7)
			home_free(&f->home);
	}
}

static void a_new_home_gives_holders_time_before_it_leases(void **state)
{
	struct fixture *f = *state;
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);
	const struct wire_id three = home_node_id(3);
	const struct wire_part p = home_part(f, 3, 2);

	home_moved(f->home); /* another home died */
	home_tell_names(f, 1);
	(void)home_asks(f, 2, &a);
	assert_null(home_told(f, 2, 1, WIRE_LEASE));
	home_has(f, 1, 0, 3);
	assert_int_equal(set_count(&home_must(f, 2, 1, WIRE_HOLDERS)->set), 3);
	assert_int_equal(home_coming(f->home, &three, &p), HOME_OK);
	home_drain(f);
	home_names_node(home_told(f, 2, 1, WIRE_WAIT), 3);
	(void)home_after_ms(f, HOME_GRACE_MS);
	assert_null(home_told(f, 2, 1, WIRE_LEASE)); /* nothing is left to lease */
	const struct wire_ask b = home_ask_of(f, 2, 10, 5);

	(void)home_asks(f, 2, &b);
	assert_non_null(home_told(f, 2, 2, WIRE_LEASE));
}

/* Somebody says that it brings chunks by a lease of a home that is gone. @return is it believed? */
static bool is_adopted(struct fixture *f, uint32_t node, uint32_t first)
{
	const struct wire_id id = home_node_id(node);
	const struct wire_part p = home_part(f, first, 2);
	struct home_stats before;
	struct home_stats after;

	home_stats(f->home, &before);
	assert_int_not_equal(home_coming(f->home, &id, &p), HOME_WANT_NAMES);
	home_drain(f);
	home_stats(f->home, &after);
	return after.leases > before.leases;
}

static void leases_of_a_home_that_is_gone_are_leases_like_others(void **state)
{
	struct fixture *f = *state;
	const struct wire_id four = home_node_id(4);
	const struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	assert_false(is_adopted(f, 3, 0)); /* no home went */
	(void)home_asks(f, 2, &a);
	assert_non_null(home_told(f, 2, 1, WIRE_LEASE));
	(void)home_after_ms(f, HOME_LEASE_TERM_MS); /* 2 lets it lapse, and is silent: a strike */
	(void)home_after_ms(f, HOME_PROBE_MIN_MS);
	home_moved(f->home);
	assert_false(is_adopted(f, 2, 0));
	assert_true(is_adopted(f, 3, 0));
	assert_false(is_adopted(f, 3, 10)); /* one a list */
	home_node_drains(f->home, &four);
	assert_false(is_adopted(f, 4, 20));
	assert_true(is_adopted(f, 5, 20));
	(void)home_after_ms(f, HOME_LEASE_LIFE_MS);
	assert_false(is_adopted(f, 6, 30)); /* none of that home is left */
}

/* Else it would be ahead of all leases: what it asks the origin for nobody gets from it. */
static void a_prefetch_of_who_drains_waits_a_moment_for_who_can_lease(void **state)
{
	struct fixture *f = *state;
	const struct wire_id two = home_node_id(2);
	const struct wire_ask of_two = home_ask_of(f, 1, 0, 5);
	const struct wire_ask of_three = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_node_drains(f->home, &two);
	(void)home_asks(f, 2, &of_two);
	assert_int_equal(home_must(f, 2, 1, WIRE_WAIT)->n_nodes, 0);
	(void)home_after_ms(f, HOME_PUT_OFF_MS / 2);
	assert_null(home_told(f, 2, 1, WIRE_NOBODY));
	(void)home_asks(f, 3, &of_three);
	assert_non_null(home_told(f, 3, 1, WIRE_LEASE));
	home_names_node(home_told(f, 2, 1, WIRE_WAIT), 3);
	(void)home_after_ms(f, HOME_PUT_OFF_MS);
	assert_null(home_told(f, 2, 1, WIRE_NOBODY)); /* it is on its way */
}

static void nobody_came_and_it_is_not_let_wait_again_for_a_while(void **state)
{
	struct fixture *f = *state;
	const struct wire_id two = home_node_id(2);
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	home_node_drains(f->home, &two);
	a.flags = WIRE_ASK_READER; /* is in haste */
	(void)home_asks(f, 2, &a);
	assert_non_null(home_told(f, 2, 1, WIRE_NOBODY));
	(void)home_after_ms(f, HOME_PUT_OFF_MS);
	for (uint32_t req = 2; req < 5; req++) {
		a.req = req;
		a.flags = 0;
		(void)home_asks(f, 2, &a);
		assert_int_equal(home_told(f, 2, req, WIRE_WAIT) != NULL, req != 3);
		(void)home_after_ms(f, req == 3 ? HOME_VAIN_MS : HOME_PUT_OFF_MS);
		assert_int_equal(home_told(f, 2, req, WIRE_NOBODY) != NULL, req != 3);
	}
}

static void who_was_not_let_wait_did_not_wait_in_vain(void **state)
{
	struct fixture *f = *state;
	const struct wire_id two = home_node_id(2);
	const struct wire_id three = home_node_id(3);
	struct wire_lease lease = { .part = home_part(f, 0, 5) };
	struct wire_ask a = home_ask_of(f, 1, 0, 5);

	home_tell_names(f, 1);
	(void)home_asks(f, 3, &a);
	lease.token = home_must(f, 3, 1, WIRE_LEASE)->token;
	(void)home_asks(f, 2, &a); /* like everybody: it does not drain yet */
	home_names_node(home_told(f, 2, 1, WIRE_WAIT), 3);
	home_node_drains(f->home, &two);
	for (uint32_t i = 0; i < 5; i++) {
		(void)home_after_ms(f, HOME_PUT_OFF_MS / 4);
		lease.progress_bytes += 1000;
		home_lease_progress(f->home, &three, &lease);
	}
	a = home_ask_of(f, 2, 10, 5);
	(void)home_asks(f, 2, &a);
	assert_int_equal(home_must(f, 2, 2, WIRE_WAIT)->n_nodes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, home_setup, home_teardown)
		T(a_liar_is_dropped_by_two_reports_and_one_alone_drops_nobody),
		T(who_is_slow_or_silent_for_some_stays_a_holder_for_all),
		T(who_waits_for_no_node_hears_that_the_lease_is_gone),
		T(who_has_the_lease_keeps_its_place_among_many),
		T(who_missed_some_is_asked_for_the_rest),
		T(what_is_gone_is_told_no_more),
		T(an_ask_ends_by_its_deadline_and_a_cancelled_one_lets_go),
		T(a_flood_of_lists_washes_away_itself),
		T(nor_does_a_flood_of_short_lists_wash_away_long_ones),
		T(a_chunk_may_stand_in_each_place_of_many_lists),
		T(names_that_somebody_chose_do_not_meet_in_one_bucket),
		T(nodes_that_went_leave_their_places_to_others),
		T(who_asks_anew_is_not_sent_behind_a_long_chain_that_waits_at_it),
		T(too_many_asks_of_one_peer_are_its_own_problem),
		T(another_home_is_named_once_and_settled_where_asked_again),
		T(a_prefetch_of_who_drains_waits_a_moment_for_who_can_lease),
		T(nobody_came_and_it_is_not_let_wait_again_for_a_while),
		T(who_was_not_let_wait_did_not_wait_in_vain),
		T(leases_of_a_home_that_is_gone_are_leases_like_others),
		T(a_new_home_gives_holders_time_before_it_leases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
