/*
 * test_source_chunks: what an agent asks for when its engine wants chunks, with real bytes, and
 * what it makes of what homes and holders say.
 */
#include "clock.h"
#include "mem.h"
#include "peer_impl.h"
#include "scene.h"
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ---- holders ---- */

static void who_holds_it_sends_it(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 4);
	const struct wire_ask *ask = wants(s, 4);

	assert_int_equal(ask->flags & WIRE_ASK_READER, WIRE_ASK_READER);
	is_sent_to_other(s, ask, &all);
	assert_int_equal(set_count(&s->other.gets[0].part.set), 4);
	gives(&s->other, &s->other.gets[0], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->r, SOURCE_OK);
	assert_int_equal(s->w->n_chunks, 4);
	assert_int_equal(s->home.n_asks, 1);
}

/* Who has most of it would have all, and its line is what all others wait for, too. */
static void who_the_home_names_first_is_asked(void **state)
{
	struct scene *s = *state;
	const struct wire_set last = chunks_of(3, 1);
	const struct wire_set all = chunks_of(0, 4);
	const struct wire_ask *ask = wants(s, 4);

	actor_answer(&s->home, ask, WIRE_HOLDERS, &last, &s->other);
	actor_answer(&s->home, ask, WIRE_HOLDERS, &all, &s->home); /* at once: one read */
	peers_until(s->w->peers, &s->home.n_gets, 1);
	assert_int_equal(set_count(&s->home.gets[0].part.set), 3);
	peers_until(s->w->peers, &s->other.n_gets, 1);
}

/* But those that look for another one beside a slow holder: on a busy machine any may be slow. */
static uint32_t asks_in_need(const struct actor *home)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < home->n_asks; i++)
		n += home->asks[i].n_avoid == 0 || home->asks[i].avoid_why[0] != WIRE_AVOID_SLOW;
	return n;
}

/* In steady state a read asks no home: what went from the cache is had from whom it came before. */
static void a_holder_that_was_learnt_is_asked_without_the_home(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 4);

	is_sent_to_other(s, wants(s, 4), &all);
	gives(&s->other, &s->other.gets[0], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	for (uint32_t round = 2; round < 16; round++) {
		memset(s->w->came, 0, sizeof(s->w->came));
		chunks_want(s->w, 0, 4);
		peers_until(s->w->peers, &s->other.n_gets, round);
		assert_int_equal(set_count(&s->other.gets[round - 1].part.set), 4);
		gives(&s->other, &s->other.gets[round - 1], &all, true);
		peers_until(s->w->peers, &s->w->n_ends, 1);
		assert_int_equal(s->w->r, SOURCE_OK);
		assert_int_equal(s->w->n_chunks, 4 * round);
		assert_int_equal(asks_in_need(&s->home), 1);
	}
}

static void who_has_it_not_is_told_to_the_home_and_the_lease_is_taken(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 3);
	const struct wire_set rest = chunks_of(1, 2);
	const struct wire_ask *ask = wants(s, 3);
	const struct wire_ask *again = &s->home.asks[1];

	is_sent_to_other(s, ask, &all);
	actor_end(&s->other, s->other.gets[0].req, WIRE_NOT_HERE, 0);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(again->n_avoid, 1);
	assert_int_equal(again->avoid_why[0], WIRE_AVOID_MISSED);
	assert_true(id_equal(&again->avoid[0], &s->other.stranger.self.self.id));
	assert_int_equal(set_count(&again->missed), 3);
	actor_answer(&s->home, again, WIRE_LEASE, &all, NULL);
	actor_end(&s->home, again->req, WIRE_DONE, 0);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->r, SOURCE_OK);
	assert_int_equal(s->w->n_leases, 1);
	assert_int_equal(s->w->lease.n_units, 3);
	assert_int_equal(scene_info(s, &s->other).n_missed, 1);
	/* What came of it is told: one chunk is here, the rest failed. */
	chunk_put(s->w, 0);
	chunks_lease_end(s->w, false);
	peers_until(s->w->peers, &s->home.n_lease_ends, 1);
	assert_true(s->home.last_end.failed);
	assert_int_equal(s->home.last_end.token, ACTOR_TOKEN);
	assert_true(wire_set_has(&s->home.last_end.part.set, 0));
	for (uint32_t i = 1; i < rest.n; i++)
		assert_false(wire_set_has(&s->home.last_end.part.set, i));
}

/* The other, who was asked for it, says that node has it. */
static void other_sends_to(struct scene *s, const struct wire_set *set, const struct wire_id *node)
{
	struct wire_msg redirect = { .type = WIRE_REDIRECT };

	actor_grant(&s->other, &s->other.gets[0], true);
	redirect.u.redirect = (struct wire_redirect){
		.req = s->other.gets[0].req, .set = *set, .n_nodes = 1, .nodes = { *node }
	};
	conn_send(s->other.stranger.conn, &redirect);
}

static void a_redirect_is_followed_without_the_home(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	is_sent_to_other(s, ask, &all);
	other_sends_to(s, &all, &s->home.stranger.self.self.id);
	actor_end(&s->other, s->other.gets[0].req, WIRE_DONE, 0);
	peers_until(s->w->peers, &s->home.n_gets, 1);
	gives(&s->home, &s->home.gets[0], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 2);
	assert_int_equal(s->home.n_asks, 1);
	assert_int_equal(scene_info(s, &s->other).n_missed, 0);
}

static void who_is_busy_is_asked_again_and_nobody_leases_meanwhile(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	is_sent_to_other(s, ask, &all);
	actor_end(&s->other, s->other.gets[0].req, WIRE_IS_BUSY, 30);
	peers_until(s->w->peers, &s->other.n_gets, 2);
	assert_int_equal(s->home.n_asks, 1);
	gives(&s->other, &s->other.gets[1], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 2);
}

static void who_cannot_show_the_digests_is_a_liar(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	is_sent_to_other(s, ask, &all);
	actor_grant(&s->other, &s->other.gets[0], false);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(s->home.asks[1].avoid_why[0], WIRE_AVOID_FAILED);
	assert_int_equal(s->w->n_chunks, 0);
	assert_int_equal(scene_info(s, &s->other).n_lied, 1);
}

static void who_gave_wrong_bytes_is_not_asked_again(void **state)
{
	struct scene *s = *state;
	const struct wire_set one = chunks_of(0, 1);
	const struct wire_ask *ask = wants(s, 1);

	is_sent_to_other(s, ask, &one);
	gives(&s->other, &s->other.gets[0], &one, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	/* The engine held it against the digest, let us say, and it was wrong. */
	assert_true(scene_source(s)->ops->distrust(scene_source(s), &s->w->run, 0, s->w->giver));
	assert_int_equal(scene_info(s, &s->other).n_wrong_bytes, 1);
	s->w->came[0] = false;
	chunks_want(s->w, 0, 1);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	actor_answer(&s->home, &s->home.asks[1], WIRE_HOLDERS, &one, &s->other);
	actor_end(&s->home, s->home.asks[1].req, WIRE_DONE, 0);
	peers_until(s->w->peers, &s->home.n_asks, 3);
	assert_int_equal(s->home.asks[2].avoid_why[0], WIRE_AVOID_FAILED);
	assert_int_equal(s->other.n_gets, 1);
}

/* It gave one wrong chunk, and is asked for no more of them; by whom it is named, and whatever it
 * was asked already. */
static void gave_wrong_bytes(struct scene *s, struct actor *a)
{
	const struct wire_set one = chunks_of(0, 1);
	const struct wire_set both = chunks_of(0, 2);

	is_sent_to(s, wants(s, 2), &both, a);
	gives(a, &a->gets[0], &one, false);
	peers_until(s->w->peers, &s->w->n_chunks, 1);
	assert_true(scene_source(s)->ops->distrust(scene_source(s), &s->w->run, 0, s->w->giver));
	peers_until(s->w->peers, &a->supply.n_closed, 1); /* not for what else it was to send */
}

static void who_gave_wrong_bytes_is_not_waited_for_either(void **state)
{
	struct scene *s = *state;
	const struct wire_set second = chunks_of(1, 1);

	gave_wrong_bytes(s, &s->other);
	for (uint32_t n = 2; n < 5; n++) {
		peers_until(s->w->peers, &s->home.n_asks, n);
		assert_int_equal(s->home.asks[n - 1].avoid_why[0], WIRE_AVOID_FAILED);
		actor_answer(&s->home, &s->home.asks[n - 1], WIRE_WAIT, &second, &s->other);
	}
	actor_answer(&s->home, &s->home.asks[s->home.n_asks - 1], WIRE_LEASE, &second, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	assert_int_equal(s->other.n_gets, 1);
	chunks_lease_end(s->w, true);
}

static void who_gave_wrong_bytes_is_nobodys_home(void **state)
{
	struct scene *s = *state;

	gave_wrong_bytes(s, &s->home);
	peers_until(s->w->peers, &s->w->n_leases, 1); /* of the next in rank: the agent itself */
	assert_int_equal(s->home.n_asks, 1);
	chunks_lease_end(s->w, true);
}

static void what_is_cancelled_in_flight_is_heard_of_no_more(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 3);
	const struct wire_set first = chunks_of(0, 1);
	const struct wire_ask *ask = wants(s, 3);
	uint32_t n_events;

	actor_answer(&s->home, ask, WIRE_HOLDERS, &all, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 1);
	gives(&s->other, &s->other.gets[0], &first, false);
	peers_until(s->w->peers, &s->w->n_chunks, 1);
	scene_source(s)->ops->cancel(s->w->req);
	s->w->req = NULL;
	n_events = s->w->n_events;
	peers_until(s->w->peers, &s->other.supply.n_closed, 1);
	peers_until(s->w->peers, &s->home.stranger.n_cancelled, 1);
	assert_int_equal(s->w->n_events, n_events);
}

/* ---- waiting ---- */

/* The home says that the other is about to have it, and the agent asks there. */
static void waits_at_other(struct scene *s, const struct wire_ask *ask, const struct wire_set *set)
{
	actor_answer(&s->home, ask, WIRE_WAIT, set, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 1);
}

static void what_is_waited_for_comes_when_it_is_there(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_set first = chunks_of(0, 1);
	const struct wire_set second = chunks_of(1, 1);
	const struct wire_ask *ask = wants(s, 2);

	waits_at_other(s, ask, &all);
	assert_int_equal(s->other.gets[0].flags & WIRE_GET_WAIT, WIRE_GET_WAIT);
	gives(&s->other, &s->other.gets[0], &first, false);
	peers_until(s->w->peers, &s->w->n_chunks, 1);
	actor_send_more(&s->other, &second, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->r, SOURCE_OK);
	assert_int_equal(s->w->n_chunks, 2);
	assert_int_equal(s->w->n_leases, 0);
}

static void a_lease_that_passes_on_is_taken_by_who_waited(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	waits_at_other(s, ask, &all);
	actor_answer(&s->home, ask, WIRE_LEASE, &all, NULL); /* the holder died, or failed */
	actor_end(&s->home, ask->req, WIRE_DONE, 0);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_leases, 1);
	peers_until(s->w->peers, &s->other.stranger.n_cancelled, 1); /* it is not waited for */
	scene_source(s)->ops->lease_progress(scene_source(s), s->w->lease.token, 500);
	peers_until(s->w->peers, &s->home.n_progress, 1);
	assert_int_equal(s->home.last_progress.progress_bytes, 500);
	chunks_lease_end(s->w, true);
	peers_until(s->w->peers, &s->home.n_lease_ends, 1);
	assert_false(s->home.last_end.failed);
}

/* It lives, and may have let go of the lease: nobody but the home knows. */
static void is_watched_by_the_home(struct scene *s, uint32_t n_gets)
{
	const struct wire_set all = chunks_of(0, 2);

	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(set_count(&s->home.asks[1].part.set), 2);
	assert_int_equal(s->home.asks[1].flags & WIRE_ASK_READER, WIRE_ASK_READER);
	assert_int_equal(s->home.asks[1].flags & WIRE_ASK_NO_LEASE, 0);
	/* It is waited for all the same. */
	peers_until(s->w->peers, &s->other.n_gets, n_gets);
	gives(&s->other, &s->other.gets[n_gets - 1], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 2);
	assert_int_equal(s->home.n_asks, 2);
	assert_int_equal(s->other.n_gets, n_gets);
}

static void a_reader_does_not_wait_without_a_home_that_watches(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	waits_at_other(s, ask, &all);
	actor_end(&s->home, ask->req, WIRE_NOT_HERE, 0);
	is_watched_by_the_home(s, 1);
}

static void who_comes_to_read_what_is_waited_for_has_the_home_watch(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask;

	chunks_want(s->w, 0, 2);
	s->w->run.reader = false;
	peers_until(s->w->peers, &s->home.n_asks, 1);
	ask = &s->home.asks[0];
	waits_at_other(s, ask, &all);
	actor_end(&s->home, ask->req, WIRE_NOT_HERE, 0);
	peers_run_ms(s->w->peers, 2);
	s->w->run.reader = true;
	scene_source(s)->ops->hurry(s->w->req, 0);
	scene_source(s)->ops->hurry(s->w->req, 1);
	is_watched_by_the_home(s, 2);
}

static void who_is_waited_for_and_cannot_show_the_digests_is_told_to_the_home(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	waits_at_other(s, ask, &all);
	actor_grant(&s->other, &s->other.gets[0], false);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(set_count(&s->home.asks[1].part.set), 2);
	assert_int_equal(s->home.asks[1].avoid_why[0], WIRE_AVOID_FAILED);
	assert_int_equal(scene_info(s, &s->other).n_lied, 1);
}

/* Its home believes that it comes there, as was said before. */
static void who_is_waited_for_and_sends_to_who_is_not_there_is_told_to_the_home(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	waits_at_other(s, ask, &all);
	other_sends_to(s, &all, &(struct wire_id){ .b = { 1 } });
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(set_count(&s->home.asks[1].part.set), 2);
}

/* At so many homes, if at this one. */
static uint32_t queues_at(struct scene *s, const struct wire_id *home)
{
	return source_queues(s->w->peers->peers[0], home);
}

static void a_prefetch_is_in_a_queue_until_somebody_brings_it(void **state)
{
	struct scene *s = *state;
	const struct wire_id *home = &s->home.stranger.self.self.id;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_set first = chunks_of(0, 1);

	chunks_want(s->w, 0, 2);
	s->w->run.reader = false;
	peers_until(s->w->peers, &s->home.n_asks, 1);
	assert_int_equal(queues_at(s, home), 1);
	assert_int_equal(queues_at(s, &s->other.stranger.self.self.id), 0);
	s->w->run.reader = true;
	assert_int_equal(queues_at(s, home), 0);
	s->w->run.reader = false;
	actor_answer(&s->home, &s->home.asks[0], WIRE_WAIT, &first, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 1);
	assert_int_equal(queues_at(s, home), 1);
	actor_answer(&s->home, &s->home.asks[0], WIRE_WAIT, &all, &s->other);
	peers_until(s->w->peers, &s->other.n_gets, 2);
	assert_int_equal(queues_at(s, home), 0);
}

/* For the first two chunks. */
static void they_wait_for_each_other(struct scene *s, const struct wire_ask *ask,
                                     struct asked_end *ended)
{
	static const uint32_t plain_sizes[CHUNKS] = { CHUNK_BYTES, CHUNK_BYTES };
	const struct request_opts opts = { .ops = &asked_end_ops,
		                           .arg = ended,
		                           .plain_sizes = plain_sizes };
	const struct wire_set all = chunks_of(0, 2);

	waits_at_other(s, ask, &all);
	(void)actor_get(&s->other, &all, WIRE_GET_WAIT, true, &opts);
}

/* Two homes, of which one knows nothing of the other's words, can send two nodes to each other. */
static void who_is_waited_for_is_not_told_to_wait_for_who_waits_there(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);
	struct asked_end ended = { .n = 0 };

	they_wait_for_each_other(s, ask, &ended);
	peers_until(s->w->peers, &ended.n, 1);
	assert_int_equal(ended.status, WIRE_NOT_HERE);
	/* Others may wait there, and what comes goes its way. */
	gives(&s->other, &s->other.gets[0], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 2);
}

/* The home says so to both, and the other hears it first. */
static void who_is_to_bring_it_now_may_have_waited_at_who_asks(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);
	struct asked_end ended = { .n = 0 };

	they_wait_for_each_other(s, ask, &ended);
	peers_run_ms(s->w->peers, 50);
	actor_answer(&s->home, ask, WIRE_LEASE, &all, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	peers_run_ms(s->w->peers, 500);
	assert_int_equal(ended.n, 0);
	chunks_lease_end(s->w, false);
	peers_until(s->w->peers, &ended.n, 1);
	assert_int_equal(ended.status, WIRE_NOT_HERE);
}

/* ---- homes ---- */

static void a_home_that_drains_is_left_for_the_next(void **state)
{
	struct scene *s = *state;
	const struct wire_msg drain = { .type = WIRE_DRAIN };
	const struct wire_ask *ask = wants(s, 2);

	conn_send(s->home.stranger.conn, &drain);
	actor_end(&s->home, ask->req, WIRE_DRAINING, 0);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_leases, 1); /* of the next in rank: the agent itself */
	assert_int_equal(s->home.n_asks, 1);
	assert_int_equal(s->other.n_asks, 0);
	chunks_lease_end(s->w, true);
}

static void who_dies_with_a_lease_is_not_waited_for_as_a_home_as_well(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_ask *ask = wants(s, 2);

	actor_answer(&s->home, ask, WIRE_WAIT, &all, &s->home);
	peers_until(s->w->peers, &s->home.n_gets, 1);
	actor_hang(&s->home, true);
	peers_until(s->w->peers, &s->w->n_leases, 1); /* of the next in rank: the agent itself */
	actor_hang(&s->home, false);
	peers_until(s->w->peers, &s->home.stranger.n_cancelled, 2); /* ASK and GET */
	assert_int_equal(s->home.n_asks, 1);
	assert_int_equal(scene_info(s, &s->home).n_failed, 1);
	chunks_lease_end(s->w, true);
}

static int setup_homes(void **state)
{
	return scene_setup_with(state, "a", true);
}

static void a_home_that_is_dead_is_not_waited_for_as_a_holder_as_well(void **state)
{
	struct scene *s = *state;
	struct actor *next = &s->other;
	struct actor *first = &s->home;

	actor_hang(first, true);
	chunks_want(s->w, 0, 2);
	peers_until(s->w->peers, &next->n_asks, 1);
	if ((next->asks[0].flags & WIRE_ASK_SETTLE) == 0) { /* it is the first in rank */
		actor_hang(first, false);
		actor_hang(next, true);
		first = next;
		next = &s->home;
		peers_until(s->w->peers, &next->n_asks, 1);
	}
	assert_int_equal(next->asks[0].flags & WIRE_ASK_SETTLE, WIRE_ASK_SETTLE);
	assert_int_equal(next->asks[0].n_avoid, 1);
	assert_int_equal(next->asks[0].avoid_why[0], WIRE_AVOID_FAILED);
	assert_true(id_equal(&next->asks[0].avoid[0], &first->stranger.self.self.id));
}

/* ---- zones ---- */

static int setup_zones(void **state)
{
	return scene_setup_with(state, "b", false);
}

static void a_zone_lease_is_renewed_by_what_comes_and_not_by_time(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	const struct wire_set first = chunks_of(0, 1);
	const struct wire_set second = chunks_of(1, 1);
	const struct wire_ask *ask = wants(s, 2);
	const struct wire_ask *beyond = &s->home.asks[1];

	actor_answer(&s->home, ask, WIRE_LEASE, &all, NULL);
	actor_end(&s->home, ask->req, WIRE_DONE, 0);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(beyond->flags & WIRE_ASK_CLUSTER, WIRE_ASK_CLUSTER);
	actor_answer(&s->home, beyond, WIRE_WAIT, &all, NULL); /* in the queue */
	peers_until(s->w->peers, &s->home.n_progress, 1);
	peers_run_ms(s->w->peers, 150); /* nothing happens: nothing is told */
	assert_int_equal(s->home.n_progress, 1);
	actor_answer(&s->home, beyond, WIRE_WAIT, &all, &s->other);
	peers_until(s->w->peers, &s->home.n_progress, 2);
	peers_until(s->w->peers, &s->other.n_gets, 1);
	gives(&s->other, &s->other.gets[0], &first, false);
	peers_until(s->w->peers, &s->home.n_progress, 3);
	assert_true(s->home.last_progress.progress_bytes >= CHUNK_BYTES);
	assert_int_equal(s->home.last_progress.token, ACTOR_TOKEN);
	actor_send_more(&s->other, &second, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->n_chunks, 2);
	chunk_put(s->w, 0);
	chunk_put(s->w, 1);
	peers_until(s->w->peers, &s->home.n_lease_ends, 1);
	assert_false(s->home.last_end.failed);
	assert_int_equal(set_count(&s->home.last_end.part.set), 2);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		T(who_holds_it_sends_it),
		T(who_the_home_names_first_is_asked),
		T(a_holder_that_was_learnt_is_asked_without_the_home),
		T(who_has_it_not_is_told_to_the_home_and_the_lease_is_taken),
		T(a_redirect_is_followed_without_the_home),
		T(who_is_busy_is_asked_again_and_nobody_leases_meanwhile),
		T(who_cannot_show_the_digests_is_a_liar),
		T(who_gave_wrong_bytes_is_not_asked_again),
		T(who_gave_wrong_bytes_is_not_waited_for_either),
		T(who_gave_wrong_bytes_is_nobodys_home),
		T(what_is_cancelled_in_flight_is_heard_of_no_more),
		T(what_is_waited_for_comes_when_it_is_there),
		T(a_lease_that_passes_on_is_taken_by_who_waited),
		T(a_reader_does_not_wait_without_a_home_that_watches),
		T(a_prefetch_is_in_a_queue_until_somebody_brings_it),
		T(who_comes_to_read_what_is_waited_for_has_the_home_watch),
		T(who_is_waited_for_is_not_told_to_wait_for_who_waits_there),
		T(who_is_to_bring_it_now_may_have_waited_at_who_asks),
		T(who_is_waited_for_and_cannot_show_the_digests_is_told_to_the_home),
		T(who_is_waited_for_and_sends_to_who_is_not_there_is_told_to_the_home),
		T(a_home_that_drains_is_left_for_the_next),
		T(who_dies_with_a_lease_is_not_waited_for_as_a_home_as_well),
		cmocka_unit_test_setup_teardown(
			a_home_that_is_dead_is_not_waited_for_as_a_holder_as_well, setup_homes,
			scene_teardown),
		cmocka_unit_test_setup_teardown(
			a_zone_lease_is_renewed_by_what_comes_and_not_by_time, setup_zones,
			scene_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
