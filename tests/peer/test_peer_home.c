/*
 * test_peer_home: the agent as a home: whom it takes for alive.
 */
#include "chunk_world.h"
#include "home.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t now_ms(const struct chunk_world *w)
{
	return clock_now_ns(peers_clock(w->peers)) / NS_PER_MS;
}

/* ---- an actor with a lease ---- */

struct asker {
	uint32_t n_leases, n_ends;
};

static void on_answer(void *arg, const struct wire_msg *msg)
{
	struct asker *asker = arg;

	for (uint32_t i = 0; i < msg->u.answer.n_items; i++)
		asker->n_leases += msg->u.answer.items[i].kind == WIRE_LEASE;
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct asker *asker = arg;

	(void)status;
	(void)retry_ms;
	asker->n_ends++;
}

/* The agent knows the list of the segment once it asked for something of it itself. */
static void agent_fetches_one(struct chunk_world *w)
{
	chunks_want(w, 0, 1);
	peers_until(w->peers, &w->n_ends, 1);
	assert_int_equal(w->n_leases, 1);
	chunk_put(w, 0);
	chunks_lease_end(w, true);
}

static void is_given_a_lease(struct actor *a, const struct wire_set *set)
{
	static const struct request_ops ops = { .answer = on_answer, .end = on_end };
	struct asker asker = { .n_leases = 0 };
	const struct request_opts opts = { .ops = &ops, .arg = &asker };

	actor_ask(a, set, &opts);
	peers_until(a->world->peers, &asker.n_ends, 1);
	assert_int_equal(asker.n_leases, 1);
}

/* ---- */

/* Its pongs may be late on a line that is full of what it sends: that tells as much. A reader that
 * was given a lease of the same meanwhile asked the origin for it once more. */
static void who_sends_chunks_lives_whatever_it_answers(void **state)
{
	struct chunk_world *w = *state;
	const struct wire_set one = chunks_of(1, 1);
	struct actor holder;
	uint64_t leased_ms;

	actor_join(w, &holder, false);
	agent_fetches_one(w);
	leased_ms = now_ms(w);
	is_given_a_lease(&holder, &one);
	chunks_want(w, 1, 1); /* a reader, who is sent to wait there */
	peers_until(w->peers, &holder.n_gets, 1);
	actor_grant(&holder, &holder.gets[0], true);
	peers_run_ms(w->peers, 5);
	actor_hang(&holder, true);
	for (uint32_t i = 0; i < 12; i++) {
		actor_trickle(&holder, &holder.gets[0], i * 100, 100);
		peers_run_ms(w->peers, 50);
	}
	assert_int_equal(w->n_leases, 1);
	/* Once nothing comes of it any more it is not waited for until its term is over. */
	peers_until(w->peers, &w->n_leases, 2);
	assert_true(now_ms(w) < leased_ms + HOME_LEASE_TERM_MS);
	actor_leave(&holder);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, chunk_world_setup, chunk_world_teardown)
	const struct CMUnitTest tests[] = {
		T(who_sends_chunks_lives_whatever_it_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
