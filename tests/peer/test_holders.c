/*
 * test_holders: who is asked, who is not asked for a while, and when another is asked as well; what
 * homes are told, and how much that may cost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adverts.h"
#include "fake_clock.h"
#include "holders.h"
#include "mem.h"
#include "names.h"
#include <stdlib.h>

enum { N = 100 };

struct fixture {
	struct fake_clock clock;
	struct holders *h;
	struct placement *placement;
	struct adverts *a;
	struct adverts_out *out;
};

static struct wire_id node(uint32_t i)
{
	return test_id(1, i);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	const struct wire_id self = node(0);
	struct place_node nodes[8];
	struct err e;

	fake_clock_init(&f->clock);
	f->h = holders_new(&f->clock.clock, &self);
	f->placement = placement_new();
	for (uint32_t i = 0; i < 8; i++)
		nodes[i] = (struct place_node){ node(i), "" };
	assert_int_equal(placement_set(f->placement, nodes, 8, &e), 0);
	f->a = adverts_new(&(struct adverts_opts){ &f->clock.clock, f->placement, self });
	f->out = xcalloc(1, sizeof(*f->out));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	holders_free(&f->h);
	adverts_free(&f->a);
	placement_free(&f->placement);
	free(f->out);
	free(f);
	return 0;
}

static struct wire_part part(uint32_t list, uint32_t first, uint32_t count)
{
	return (struct wire_part){ test_id(2, list), test_id(3, list),
		                   test_range(N, first, count) };
}

static void learn(struct fixture *f, uint32_t i, uint32_t first, uint32_t count)
{
	const struct wire_part p = part(0, first, count);
	const struct wire_id id = node(i);

	holders_learn(f->h, &p, &id, 1);
}

/* Whom it picks for 0 .. 49; UINT32_MAX: nobody. */
static uint32_t pick(struct fixture *f, uint32_t *ret_count)
{
	const struct wire_part p = part(0, 0, 50);
	struct holders_pick picked;

	if (!holders_pick(f->h, &p, NULL, 0, &picked))
		return UINT32_MAX;
	*ret_count = set_count(&picked.set);
	for (uint32_t i = 0; i < 64; i++) {
		const struct wire_id id = node(i);

		if (id_equal(&id, &picked.node))
			return i;
	}
	return UINT32_MAX;
}

static void who_has_most_is_asked_and_what_it_missed_is_forgotten(void **state)
{
	struct fixture *f = *state;
	const struct wire_part missed = part(0, 10, 40);
	const struct wire_id two = node(2);
	uint32_t n = 0;

	assert_int_equal(pick(f, &n), UINT32_MAX);
	learn(f, 0, 0, 50); /* this node itself */
	assert_int_equal(pick(f, &n), UINT32_MAX);
	learn(f, 1, 0, 20);
	learn(f, 2, 0, 90);
	assert_int_equal(pick(f, &n), 2);
	assert_int_equal(n, 50);
	holders_forget(f->h, &two, &missed);
	assert_int_equal(pick(f, &n), 1);
	assert_int_equal(n, 20);
	holders_forget_node(f->h, &two);
	const struct wire_id one = node(1);

	holders_forget_node(f->h, &one);
	assert_int_equal(pick(f, &n), UINT32_MAX);
}

static void two_failures_open_the_breaker_and_one_try_closes_it(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = node(1);
	uint32_t n;

	learn(f, 1, 0, 50);
	holders_fault(f->h, &one, 0, HOLDERS_FAILED);
	assert_int_equal(pick(f, &n), 1);
	holders_fault(f->h, &one, 0, HOLDERS_FAILED);
	assert_int_equal(pick(f, &n), UINT32_MAX);
	fake_clock_advance_ms(&f->clock, HOLDERS_BREAK_MS);
	assert_int_equal(pick(f, &n), 1);
	holders_began(f->h, &one, 1000);
	assert_int_equal(pick(f, &n), UINT32_MAX); /* one tries; the others wait for it */
	holders_fault(f->h, &one, 1000, HOLDERS_FAILED);
	fake_clock_advance_ms(&f->clock, 2 * HOLDERS_BREAK_MS - 1);
	assert_int_equal(pick(f, &n), UINT32_MAX); /* the pause grew */
	fake_clock_advance_ms(&f->clock, 1);
	holders_began(f->h, &one, 1000);
	holders_ended(f->h, &one, 1000, 1000000, 2000000);
	assert_int_equal(pick(f, &n), 1);
	holders_fault(f->h, &one, 0, HOLDERS_FAILED);
	assert_int_equal(pick(f, &n), 1);
}

/* It brings nothing, and is not asked for exactly so long. */
static void is_left_for(struct fixture *f, const struct wire_id *home, uint64_t ms)
{
	holders_home_vain(f->h, home);
	fake_clock_advance_ms(&f->clock, ms - 1);
	assert_false(holders_home_usable(f->h, home));
	fake_clock_advance_ms(&f->clock, 1);
	assert_true(holders_home_usable(f->h, home));
}

static void a_home_that_brings_nothing_is_left_for_a_growing_while_until_it_is_of_use(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = node(1);

	holders_home_useful(f->h, &one); /* nothing is held against it */
	is_left_for(f, &one, HOLDERS_VAIN_MS);
	is_left_for(f, &one, UINT64_C(2) * HOLDERS_VAIN_MS);
	is_left_for(f, &one, UINT64_C(4) * HOLDERS_VAIN_MS);
	holders_home_useful(f->h, &one);
	is_left_for(f, &one, HOLDERS_VAIN_MS);
}

static void wrong_bytes_are_distrusted_for_a_growing_while(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = node(1);
	struct holders_peer peer;
	uint32_t n;

	learn(f, 1, 0, 50);
	for (uint32_t i = 0; i < 4; i++) {
		holders_fault(f->h, &one, 0, HOLDERS_WRONG_BYTES);
		fake_clock_advance_ms(&f->clock, ((uint64_t)HOLDERS_DISTRUST_MS << i) - 1);
		assert_int_equal(pick(f, &n), UINT32_MAX);
		fake_clock_advance_ms(&f->clock, 1);
		assert_int_equal(pick(f, &n), 1);
	}
	holders_peer(f->h, &one, &peer);
	assert_int_equal(peer.n_faults[HOLDERS_WRONG_BYTES], 4);
	holders_fault(f->h, &one, 0, HOLDERS_MISSED); /* no fault */
	assert_int_equal(pick(f, &n), 1);
}

static void hedges_follow_the_peers_own_pace(void **state)
{
	struct fixture *f = *state;
	const struct wire_id one = node(1);
	const uint64_t now_ns = clock_now_ns(&f->clock.clock);
	uint64_t fast_ns;

	for (uint32_t i = 0; i < 100; i++) {
		holders_began(f->h, &one, 1 << 20);
		/* 10 MiB/s behind a first byte of 1 ms, one in ten of 8 ms */
		const uint64_t first_ns = (i % 10 == 0 ? 8 : 1) * NS_PER_MS;

		holders_ended(f->h, &one, 1 << 20, first_ns, first_ns + 100 * NS_PER_MS);
	}
	fast_ns = holders_hedge_ns(f->h, &one, 0) - now_ns;
	assert_int_equal(fast_ns, 16 * NS_PER_MS);
	assert_in_range(holders_hedge_ns(f->h, &one, 1 << 20) - now_ns - fast_ns, 98 * NS_PER_MS,
	                102 * NS_PER_MS);
	holders_began(f->h, &one, 10 << 20); /* what was asked before takes its time, too */
	assert_in_range(holders_hedge_ns(f->h, &one, 0) - now_ns - fast_ns, 980 * NS_PER_MS,
	                1020 * NS_PER_MS);
	holders_cancelled(f->h, &one, 10 << 20);
	for (uint32_t i = 0; i < 100; i++)
		holders_ended(f->h, &one, 1 << 20, 1000, 1000 + 100 * NS_PER_MS);
	assert_int_equal(holders_hedge_ns(f->h, &one, 0) - now_ns, HOLDERS_HEDGE_MIN_NS);
}

/* ---- adverts ---- */

static uint32_t drain(struct fixture *f, uint32_t *ret_chunks)
{
	uint32_t n = 0;

	*ret_chunks = 0;
	for (; adverts_next(f->a, f->out); n++) {
		for (uint32_t i = 0; i < f->out->n_parts; i++)
			*ret_chunks += set_count(&f->out->parts[i].set);
	}
	return n;
}

static void news_wait_for_company_and_go_out_as_one_bitmap(void **state)
{
	struct fixture *f = *state;
	uint32_t n_chunks;
	struct wire_set mine;
	const struct wire_id list = test_id(3, 0);

	for (uint32_t i = 0; i < 30; i++) {
		const struct wire_part p = part(0, i, 1);

		adverts_ready(f->a, &p, false);
		adverts_ready(f->a, &p, false); /* never twice */
	}
	assert_int_equal(drain(f, &n_chunks), 0);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	assert_true(adverts_due_ns(f->a) <= clock_now_ns(&f->clock.clock));
	assert_int_equal(drain(f, &n_chunks), 1);
	assert_int_equal(n_chunks, 30);
	assert_int_equal(f->out->type, WIRE_HAVE);
	adverts_mine(f->a, &list, &mine);
	assert_int_equal(set_count(&mine), 30);
}

static void what_is_gone_before_it_was_told_is_never_told(void **state)
{
	struct fixture *f = *state;
	const struct wire_part p = part(0, 0, 10);
	const struct wire_part some = part(0, 0, 4);
	uint32_t n_chunks;

	adverts_ready(f->a, &p, false);
	adverts_gone(f->a, &some);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	assert_int_equal(drain(f, &n_chunks), 1);
	assert_int_equal(n_chunks, 6);
	adverts_gone(f->a, &p);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	assert_int_equal(drain(f, &n_chunks), 1);
	assert_int_equal(n_chunks, 6);
	assert_int_equal(f->out->type, WIRE_GONE);
	assert_int_equal(drain(f, &n_chunks), 0);
}

/* It may have heard that it was here. */
static void what_is_gone_is_still_told_where_all_else_is_told_again(void **state)
{
	struct fixture *f = *state;
	const struct wire_part p = part(0, 0, 10);
	const struct wire_part some = part(0, 0, 4);
	uint32_t n_chunks;
	struct wire_id home;

	adverts_ready(f->a, &p, false);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	(void)drain(f, &n_chunks);
	home = f->out->to;
	adverts_gone(f->a, &some);
	adverts_again(f->a, &home);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	(void)drain(f, &n_chunks);
	assert_int_equal(n_chunks, 4 + 6);
}

static void a_home_that_changed_is_told_again_and_the_others_are_not(void **state)
{
	struct fixture *f = *state;
	struct place_node nodes[7];
	uint32_t n_chunks;
	uint32_t n_of_lost = 0;
	const struct wire_id lost = node(7);
	struct err e;

	for (uint32_t i = 0; i < 100; i++) {
		const struct wire_part p = part(i, 0, 1);
		struct wire_id home;

		adverts_ready(f->a, &p, false);
		assert_true(placement_home(f->placement, PLACE_ZONE, &lost, &p.segment, &home));
		n_of_lost += id_equal(&home, &lost);
	}
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	(void)drain(f, &n_chunks);
	assert_int_equal(n_chunks, 100);
	for (uint32_t i = 0; i < 7; i++)
		nodes[i] = (struct place_node){ node(i), "" };
	assert_int_equal(placement_set(f->placement, nodes, 7, &e), 0);
	adverts_moved(f->a);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	(void)drain(f, &n_chunks);
	assert_true(n_of_lost > 0);
	assert_int_equal(n_chunks, n_of_lost);
}

static void a_home_that_came_back_is_told_at_once(void **state)
{
	enum { N_SEGMENTS = 3000 };
	struct fixture *f = *state;
	const struct wire_id back = node(7);
	struct place_node nodes[8];
	uint32_t n_told = 0;
	uint32_t n_chunks;
	struct err e;

	for (uint32_t i = 0; i < 8; i++)
		nodes[i] = (struct place_node){ node(i), "" };
	assert_int_equal(placement_set(f->placement, nodes, 7, &e), 0);
	for (uint32_t i = 0; i < N_SEGMENTS; i++) {
		const struct wire_part p = part(i, 0, 1);

		adverts_ready(f->a, &p, false);
	}
	while (n_told < N_SEGMENTS) {
		fake_clock_advance_ms(&f->clock, 100);
		(void)drain(f, &n_chunks);
		n_told += n_chunks;
	}
	assert_int_equal(placement_set(f->placement, nodes, 8, &e), 0);
	adverts_moved(f->a);
	fake_clock_advance_ms(&f->clock, ADVERTS_BATCH_MS);
	n_told = 0;
	while (adverts_next(f->a, f->out)) {
		assert_true(id_equal(&f->out->to, &back));
		n_told += f->out->n_parts;
	}
	assert_in_range(n_told, N_SEGMENTS / 16, N_SEGMENTS / 4);
	assert_true(adverts_due_ns(f->a) > clock_now_ns(&f->clock.clock) + NS_PER_S);
}

/* Chunks come one by one, each in another segment: the dearest way. Ten minutes of it. */
static void adverts_stay_within_their_budget(void **state)
{
	struct fixture *f = *state;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < 60000; i++) {
		const struct wire_part p = part(i % 5000, i / 5000, 1);

		adverts_ready(f->a, &p, false);
		fake_clock_advance_ms(&f->clock, 10);
		while (adverts_next(f->a, f->out)) {
			const struct wire_msg msg = {
				.type = f->out->type,
				.u.adverts = { f->out->n_parts, f->out->parts },
			};
			struct wire_buf buf = { 0 };

			wire_encode(&msg, &buf);
			bytes += buf.size_bytes;
			wire_buf_free(&buf);
		}
	}
	assert_true(bytes > 1000000);
	assert_true(bytes / 600 <= ADVERTS_BYTES_PER_S * 5 / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(who_has_most_is_asked_and_what_it_missed_is_forgotten),
		T(two_failures_open_the_breaker_and_one_try_closes_it),
		T(a_home_that_brings_nothing_is_left_for_a_growing_while_until_it_is_of_use),
		T(wrong_bytes_are_distrusted_for_a_growing_while),
		T(hedges_follow_the_peers_own_pace),
		T(news_wait_for_company_and_go_out_as_one_bitmap),
		T(what_is_gone_before_it_was_told_is_never_told),
		T(what_is_gone_is_still_told_where_all_else_is_told_again),
		T(a_home_that_changed_is_told_again_and_the_others_are_not),
		T(a_home_that_came_back_is_told_at_once),
		T(adverts_stay_within_their_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
