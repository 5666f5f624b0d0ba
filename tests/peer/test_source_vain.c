/*
 * test_source_vain: homes and holders that live and bring a reader nothing: they are passed by, and
 * some of its time is always left for the origin.
 */
#include "clock.h"
#include "holders.h"
#include "home.h"
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { TIME_MS = 3000, CHUNKS_ASKED = 2 };

/* A reader wants some, and has so long. */
static const struct wire_ask *reads_for(struct scene *s, uint64_t time_ms)
{
	return wants_within(s, CHUNKS_ASKED, time_ms);
}

static const struct wire_ask *reads(struct scene *s)
{
	return reads_for(s, TIME_MS);
}

/* The next in rank, the agent itself, leases it, and there is time for the origin. */
static void passes_the_home_by(struct scene *s, uint64_t from_ms)
{
	peers_until(s->w->peers, &s->w->n_leases, 1);
	assert_in_range(now_ms(s) - from_ms, 0, TIME_MS / 2);
	chunks_lease_end(s->w, true);
}

static void a_home_with_an_endless_queue_is_passed_by(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	const struct wire_ask *ask = reads(s);
	const uint64_t from_ms = now_ms(s);

	actor_answer(&s->home, ask, WIRE_WAIT, &all, NULL);
	passes_the_home_by(s, from_ms);
	/* The next question does not go there. */
	chunks_want(s->w, CHUNKS_ASKED, 1);
	peers_until(s->w->peers, &s->w->n_leases, 2);
	assert_int_equal(s->home.n_asks, 1);
	chunks_lease_end(s->w, true);
}

static void a_home_whose_answers_say_nothing_is_passed_by(void **state)
{
	struct scene *s = *state;
	const struct wire_set other = chunks_of(CHUNKS_ASKED, 1); /* not what was asked for */
	const struct wire_ask *ask = wants(s, CHUNKS_ASKED); /* it counts as no answer at all */
	const uint64_t from_ms = now_ms(s);

	actor_answer(&s->home, ask, WIRE_WAIT, &other, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	assert_in_range(now_ms(s) - from_ms, 0, 4000);
	chunks_lease_end(s->w, true);
}

/* Until something comes of it, all that the home is asked ends with that. @return how often */
static uint32_t ends_all(struct scene *s, const uint32_t *n_come, enum wire_status status,
                         uint32_t retry_ms)
{
	uint32_t n = 0;

	while (*n_come == 0) {
		if (n < s->home.n_asks)
			actor_end(&s->home, s->home.asks[n++].req, status, retry_ms);
		peers_run_ms(s->w->peers, 1);
	}
	return n;
}

static void a_home_that_is_busy_for_long_is_passed_by(void **state)
{
	struct scene *s = *state;
	const uint64_t from_ms = now_ms(s);
	uint32_t n;

	(void)reads(s);
	n = ends_all(s, &s->w->n_leases, WIRE_IS_BUSY, WIRE_TERM_MAX_MS);
	assert_in_range(n, 2, HEARD_MAX); /* it was asked again, whatever it said */
	passes_the_home_by(s, from_ms);
}

/* Until *n_seen is n, or something comes of it: whoever is asked for bytes is busy, for so long. */
static void is_busy_until(struct scene *s, struct actor *a, uint32_t busy_ms,
                          const uint32_t *n_seen, uint32_t n)
{
	uint32_t n_told = 0;

	while (*n_seen < n && s->w->n_ends == 0) {
		if (n_told < a->n_gets)
			actor_end(a, a->gets[n_told++].req, WIRE_IS_BUSY, busy_ms);
		peers_run_ms(s->w->peers, 5);
	}
}

static void a_holder_that_is_busy_for_long_is_passed_by(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	const struct wire_ask *ask = reads(s);
	const uint64_t from_ms = now_ms(s);

	is_sent_to_other(s, ask, &all);
	is_busy_until(s, &s->other, WIRE_TERM_MAX_MS, &s->home.n_asks, 2);
	assert_true(s->home.n_asks >= 2);
	assert_in_range(now_ms(s) - from_ms, 0, TIME_MS / 2);
	assert_int_equal(s->home.asks[1].avoid_why[0], WIRE_AVOID_FAILED);
}

/* It tells of progress, and nothing comes: all that it can have is the peers' share. */
static void some_time_is_left_for_the_origin(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	const struct wire_ask *ask = reads(s);
	const uint64_t from_ms = now_ms(s);
	struct wire_answer_item item = { .kind = WIRE_WAIT, .set = all };
	const struct wire_msg msg = {
		.type = WIRE_ANSWER,
		.u.answer = { .req = ask->req, .n_items = 1, .items = &item },
	};

	while (s->w->n_ends == 0) {
		item.progress_bytes++;
		conn_send(s->home.stranger.conn, &msg);
		peers_run_ms(s->w->peers, 50);
	}
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_int_equal(s->w->n_leases, 0);
	assert_in_range(now_ms(s) - from_ms, TIME_MS / 3, TIME_MS * 2 / 3);
}

/* Once it has said something, silence has to be told from nothing to say. */
static void a_home_that_stops_after_its_first_word_costs_one_delay(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	const struct wire_ask *ask =
		wants(s, CHUNKS_ASKED); /* there is time: its life is watched */
	const uint64_t from_ms = now_ms(s);

	actor_answer(&s->home, ask, WIRE_WAIT, &all, NULL);
	peers_run_ms(s->w->peers, 5);
	actor_hang(&s->home, true);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	assert_in_range(now_ms(s) - from_ms, 0, 3000);
	actor_hang(&s->home, false);
	chunks_lease_end(s->w, true);
}

/* Who really brings it knows its digest, and can show that at once. */
static void who_is_waited_for_and_shows_no_digests_is_told_to_the_home(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	const struct wire_ask *ask = wants(s, CHUNKS_ASKED);
	const uint64_t from_ms = now_ms(s);
	const struct wire_ask *last = NULL;

	actor_answer(&s->home, ask, WIRE_WAIT, &all, &s->other);
	for (uint32_t n = 2; last == NULL; n++) { /* first it is asked to look after it */
		peers_until(s->w->peers, &s->home.n_asks, n);
		actor_answer(&s->home, &s->home.asks[n - 1], WIRE_WAIT, &all, NULL);
		if ((s->home.asks[n - 1].flags & WIRE_ASK_STALLED) != 0)
			last = &s->home.asks[n - 1];
	}
	assert_in_range(now_ms(s) - from_ms, 1500, 4000);
	assert_int_equal(last->avoid_why[0], WIRE_AVOID_FAILED);
	assert_true(id_equal(&last->avoid[0], &s->other.stranger.self.self.id));
}

static void a_home_that_answers_in_vain_is_left_alone_for_a_while(void **state)
{
	struct scene *s = *state;
	uint32_t n;

	(void)reads(s);
	n = ends_all(s, &s->w->n_ends, WIRE_DONE, 0);
	assert_int_equal(s->w->r, SOURCE_MISS); /* the origin is asked */
	chunks_want(s->w, 0, CHUNKS_ASKED);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	assert_int_equal(s->home.n_asks, n);
}

/* Much of their time goes by in little of ours; the agent looks so often that it is not late. */
static void hurry(struct scene *s)
{
	enum { HURRY_MS = 20 };

	fake_clock_advance_ms(&s->w->peers->clock, HURRY_MS);
	peer_set_budgets(s->w->peers->peers[0], 0, 0);
	peers_run_ms(s->w->peers, 2);
}

/* What was answered. */
struct slow {
	uint32_t n_asks, n_home_gets, n_other_gets;
};

static void grant_next(struct actor *a, uint32_t *n)
{
	if (*n < a->n_gets)
		actor_grant(a, &a->gets[(*n)++], true);
}

/* Until then, or until something comes of it, the home says that it is on the way to a node, which
 * knows the digests, and brings nothing: its registry is slow. */
static void is_on_the_way(struct scene *s, struct slow *slow, const struct actor *to,
                          uint64_t until_ms)
{
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);

	while (now_ms(s) < until_ms && s->w->n_leases == 0 && s->w->n_ends == 0) {
		if (slow->n_asks < s->home.n_asks)
			actor_answer(&s->home, &s->home.asks[slow->n_asks++], WIRE_WAIT, &all, to);
		grant_next(&s->home, &slow->n_home_gets);
		grant_next(&s->other, &slow->n_other_gets);
		hurry(s);
	}
}

/* An honest home lets it be silent for 10 s, and then leases again. */
static void who_names_one_that_is_slow_is_not_left_before_it_would_lease_again(void **state)
{
	struct scene *s = *state;
	struct slow slow = { .n_asks = 0 };
	const uint64_t from_ms = now_ms(s);

	(void)reads_for(s, 30000);
	is_on_the_way(s, &slow, &s->other, from_ms + 30000);
	assert_int_equal(s->w->n_leases, 1); /* longer than that is in vain, and to blame */
	assert_in_range(now_ms(s) - from_ms, HOME_LEASE_PROVEN_MS + 1000, 14000);
	assert_int_equal(scene_info(s, &s->home).n_failed, 1);
	chunks_lease_end(s->w, true);
}

/* The origin's half begins before an honest home would lease again. */
static void whose_reader_has_no_time_to_wait_is_not_to_blame(void **state)
{
	struct scene *s = *state;
	struct slow slow = { .n_asks = 0 };
	const uint64_t from_ms = now_ms(s);

	(void)reads_for(s, 15000);
	is_on_the_way(s, &slow, &s->other, from_ms + 15000);
	assert_int_equal(s->w->n_leases, 0);
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_in_range(now_ms(s) - from_ms, 7000, 8500);
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
}

/* It did what an honest home does, and the next one has a while of its own. */
static void who_passes_a_lease_on_is_not_left_for_that(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	struct slow slow = { .n_asks = 0 };
	const uint64_t from_ms = now_ms(s);

	(void)reads_for(s, 30000);
	is_on_the_way(s, &slow, &s->home, from_ms + 9000);
	assert_int_equal(s->w->n_leases, 0);
	actor_answer(&s->home, &s->home.asks[slow.n_asks - 1], WIRE_WAIT, &all, &s->other);
	is_on_the_way(s, &slow, &s->other, from_ms + 30000);
	assert_int_equal(s->w->n_leases, 0);
	assert_in_range(now_ms(s) - from_ms, 14000, 16000); /* the peers' half */
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
}

static void who_is_busy_once_is_not_left_for_who_was_busy_before(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);

	is_sent_to_other(s, reads(s), &all);
	is_busy_until(s, &s->other, 150, &s->home.n_asks, 2);
	actor_answer(&s->home, &s->home.asks[1], WIRE_HOLDERS, &all, &s->home);
	is_busy_until(s, &s->home, 150, &s->home.n_gets, 2); /* it is asked again */
	assert_int_equal(s->w->n_ends, 0);
	gives(&s->home, &s->home.gets[1], &all, true);
	peers_until(s->w->peers, &s->w->n_chunks, CHUNKS_ASKED);
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
	assert_int_equal(scene_info(s, &s->other).n_failed, 1);
}

/* A reader, who comes in that round of the loop. */
struct comer {
	struct loop_call call;
	struct scene *s;
	uint32_t rounds;
	bool came;
};

static void on_round(struct loop_call *call)
{
	struct comer *c = container_of(call, struct comer, call);

	if (c->rounds-- > 0) {
		loop_post(c->s->w->peers->loop, &c->call);
		return;
	}
	c->came = true;
	c->s->w->run.reader = true;
	scene_source(c->s)->ops->hurry(c->s->w->req, 0);
}

/* Before the agent has looked at what is new, it hears that the holder which it asked is busy. */
static void who_is_busy_as_a_reader_comes_is_asked_again(void **state)
{
	enum { ROUNDS = 4 }; /* that it takes to hear that */

	(void)state;
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
		struct comer comer = { .call.fn = on_round, .rounds = i };
		struct scene *s;

		(void)scene_setup((void **)&s);
		comer.s = s;
		chunks_want(s->w, 0, CHUNKS_ASKED);
		has_time(s, 30000);
		s->w->run.reader = false;
		peers_until(s->w->peers, &s->home.n_asks, 1);
		is_sent_to_other(s, &s->home.asks[0], &all);
		actor_end(&s->other, s->other.gets[0].req, WIRE_IS_BUSY, 1);
		loop_post(s->w->peers->loop, &comer.call);
		peers_until(s->w->peers, &s->other.n_gets, 2);
		assert_true(comer.came);
		assert_int_equal(scene_info(s, &s->other).n_failed, 0);
		(void)scene_teardown((void **)&s);
	}
}

/* What it is to receive it keeps, and is busy with all else. */
static void is_busy_but_waited_for(struct actor *a, uint32_t *n_told)
{
	const struct wire_get *get = &a->gets[*n_told];

	if (*n_told == a->n_gets)
		return;
	++*n_told;
	if ((get->flags & WIRE_GET_WAIT) != 0)
		actor_grant(a, get, true);
	else
		actor_end(a, get->req, WIRE_IS_BUSY, WIRE_TERM_MAX_MS);
}

/* It said all that it had to say, and is not asked: that a holder is busy is not its fault. */
static void a_home_that_is_not_asked_is_not_left_for_a_busy_holder(void **state)
{
	enum { LONG_MS = 12000 };
	struct scene *s = *state;
	const struct wire_set one = chunks_of(0, 1);
	const struct wire_set rest = chunks_of(1, 1);
	const uint64_t from_ms = now_ms(s);
	struct slow told = { .n_asks = 0 };

	(void)reads_for(s, LONG_MS);
	while (now_ms(s) < from_ms + LONG_MS / 3 + 500) {
		if (told.n_asks < s->home.n_asks) {
			const struct wire_ask *ask = &s->home.asks[told.n_asks++];

			actor_answer(&s->home, ask, WIRE_WAIT, &one, &s->home);
			actor_answer(&s->home, ask, WIRE_HOLDERS, &rest,
			             now_ms(s) < from_ms + LONG_MS / 4 - 400 ? &s->other
			                                                     : &s->home);
			actor_end(&s->home, ask->req, WIRE_DONE, 0);
		}
		is_busy_but_waited_for(&s->home, &told.n_home_gets);
		is_busy_but_waited_for(&s->other, &told.n_other_gets);
		hurry(s);
	}
	assert_in_range(told.n_home_gets, 2, HEARD_MAX); /* as a holder, too */
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
}

/* A node has one lease of a segment at a time, and the registry may be slow. */
static void a_home_is_not_left_while_its_lease_is_open(void **state)
{
	struct scene *s = *state;
	const struct wire_set first = chunks_of(0, 1);
	const struct wire_set second = chunks_of(1, 1);
	const struct wire_ask *ask = reads_for(s, 30000);
	const uint64_t from_ms = now_ms(s);

	actor_answer(&s->home, ask, WIRE_LEASE, &first, NULL);
	actor_answer(&s->home, ask, WIRE_WAIT, &second, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	while (now_ms(s) < from_ms + 8000)
		hurry(s);
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
	chunks_lease_end(s->w, true);
	while (s->w->n_leases == 1 && s->w->n_ends == 0)
		hurry(s);
	assert_int_equal(s->w->n_leases, 2); /* from then on it has no reason to let it wait */
	assert_in_range(now_ms(s) - from_ms, 12500, 14500);
	assert_int_equal(scene_info(s, &s->home).n_failed, 1);
	chunks_lease_end(s->w, true);
}

/* It leases again after as long as a node that it names has. */
static void who_waits_for_itself_is_not_left_before_it_would_lease_again(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	struct slow slow = { .n_asks = 0 };
	const uint64_t from_ms = now_ms(s);

	(void)reads_for(s, 30000);
	is_on_the_way(s, &slow, &s->home, from_ms + HOME_LEASE_PROVEN_MS + 1000);
	assert_int_equal(s->w->n_leases, 0);
	actor_answer(&s->home, &s->home.asks[slow.n_asks - 1], WIRE_LEASE, &all, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	assert_int_equal(scene_info(s, &s->home).n_failed, 0);
	chunks_lease_end(s->w, true);
}

/* It lets a reader stand in a queue, and is left alone for so long, as long as it is not asked. */
static void is_left_alone(struct scene *s, uint32_t chunk_idx, uint64_t ms)
{
	const struct wire_set one = chunks_of(chunk_idx, 1);
	const uint32_t n_leases = s->w->n_leases;
	const uint32_t n_asks = s->home.n_asks;
	uint64_t from_ms;

	chunks_want(s->w, chunk_idx, 1);
	has_time(s, TIME_MS);
	peers_until(s->w->peers, &s->home.n_asks, n_asks + 1);
	actor_answer(&s->home, &s->home.asks[n_asks], WIRE_WAIT, &one, NULL);
	while (s->w->n_leases == n_leases && s->w->n_ends == 0)
		hurry(s);
	assert_int_equal(s->w->n_leases, n_leases + 1); /* of the next in rank: the agent itself */
	chunks_lease_end(s->w, true);
	from_ms = now_ms(s);
	while (now_ms(s) < from_ms + ms)
		hurry(s);
}

static void a_home_that_was_of_use_since_is_not_left_for_longer(void **state)
{
	struct scene *s = *state;
	const struct wire_set one = chunks_of(1, 1);

	is_left_alone(s, 0, HOLDERS_VAIN_MS);
	chunks_want(s->w, 1, 1);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	is_sent_to_other(s, &s->home.asks[1], &one);
	gives(&s->other, &s->other.gets[0], &one, true);
	peers_until(s->w->peers, &s->w->n_chunks, 1);
	is_left_alone(s, 2, HOLDERS_VAIN_MS);
	chunks_want(s->w, 3, 1);
	peers_until(s->w->peers, &s->home.n_asks, 4);
}

/* Of one that does show that it knows them nothing is said. */
static void of_who_stalls_the_home_is_told_until_it_answers(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	const struct wire_ask *last = wants(s, CHUNKS_ASKED);

	for (uint32_t n = 1; (last->flags & WIRE_ASK_STALLED) == 0; n++) {
		actor_answer(&s->home, last, WIRE_WAIT, &all, n == 1 ? &s->other : NULL);
		peers_until(s->w->peers, &s->home.n_asks, n + 1);
		last = &s->home.asks[n];
	}
	actor_answer(&s->home, last, WIRE_WAIT, &all, &s->home);
	peers_until(s->w->peers, &s->home.n_gets, 1);
	actor_grant(&s->home, &s->home.gets[0], true);
	actor_end(&s->home, last->req, WIRE_NOT_HERE, 0);
	peers_until(s->w->peers, &s->home.n_asks, (uint32_t)(last - s->home.asks) + 2);
	assert_int_equal(last[1].flags & WIRE_ASK_STALLED, 0);
}

/* No worker has looked at the blob's layout yet. */
static void a_question_that_cannot_begin_has_its_deadline(void **state)
{
	struct chunk_world *w = chunk_world_new_jammed();
	const struct clock *clock = peers_clock(w->peers);
	static struct actor home;
	uint64_t from_ns;

	(void)state;
	actor_join(w, &home, true);
	from_ns = clock_now_ns(clock);
	chunks_want(w, 0, CHUNKS_ASKED);
	w->run.deadline_ns = from_ns + TIME_MS * NS_PER_MS;
	peers_until(w->peers, &w->n_ends, 1);
	assert_int_equal(w->r, SOURCE_MISS);
	assert_in_range(clock_now_ns(clock) - from_ns, 0, (TIME_MS + 100) * NS_PER_MS);
	assert_int_equal(home.n_asks, 0);
	peers_unblock(w->peers);
	actor_leave(&home);
	chunk_world_free(&w);
}

/* ---- views of homes that differ ---- */

static void is_sent_elsewhere(struct actor *from, uint32_t ask_idx, const struct actor *to)
{
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);

	actor_answer(from, &from->asks[ask_idx], WIRE_ELSEWHERE, &all, to);
	actor_end(from, from->asks[ask_idx].req, WIRE_DONE, 0);
}

static void who_is_named_as_the_home_decides(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);

	(void)wants(s, CHUNKS_ASKED);
	assert_int_equal(s->home.asks[0].flags & WIRE_ASK_SETTLE, 0);
	is_sent_elsewhere(&s->home, 0, &s->other);
	peers_until(s->w->peers, &s->other.n_asks, 1);
	assert_int_equal(s->other.asks[0].flags & WIRE_ASK_SETTLE, WIRE_ASK_SETTLE);
	actor_answer(&s->other, &s->other.asks[0], WIRE_LEASE, &all, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	chunks_lease_end(s->w, true);
	peers_until(s->w->peers, &s->other.n_lease_ends, 1);
	assert_int_equal(s->home.n_asks, 1);
	assert_int_equal(s->home.n_lease_ends, 0);
}

static void where_nobody_knows_the_named_one_the_home_decides(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS_ASKED);
	struct actor stranger = s->other;

	stranger.stranger.self.self.id.b[0] ^= 0xff;
	(void)wants(s, CHUNKS_ASKED);
	is_sent_elsewhere(&s->home, 0, &stranger);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(s->home.asks[1].flags & WIRE_ASK_SETTLE, WIRE_ASK_SETTLE);
	actor_answer(&s->home, &s->home.asks[1], WIRE_LEASE, &all, NULL);
	peers_until(s->w->peers, &s->w->n_leases, 1);
	chunks_lease_end(s->w, true);
	assert_int_equal(s->other.n_asks, 0);
}

static void who_is_to_decide_and_sends_on_is_passed_by(void **state)
{
	struct scene *s = *state;

	(void)wants(s, CHUNKS_ASKED);
	is_sent_elsewhere(&s->home, 0, &s->other);
	peers_until(s->w->peers, &s->other.n_asks, 1);
	is_sent_elsewhere(&s->other, 0, &s->home);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_int_equal(s->home.asks[1].flags & WIRE_ASK_SETTLE, WIRE_ASK_SETTLE);
	is_sent_elsewhere(&s->home, 1, &s->other);
	peers_until(s->w->peers, &s->w->n_leases, 1); /* the agent's own */
	chunks_lease_end(s->w, true);
	assert_int_equal(s->other.n_asks, 1);
	assert_int_equal(s->home.n_asks, 2);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		T(a_home_with_an_endless_queue_is_passed_by),
		T(a_home_whose_answers_say_nothing_is_passed_by),
		T(a_home_that_is_busy_for_long_is_passed_by),
		T(a_holder_that_is_busy_for_long_is_passed_by),
		T(some_time_is_left_for_the_origin),
		T(a_home_that_stops_after_its_first_word_costs_one_delay),
		T(who_is_waited_for_and_shows_no_digests_is_told_to_the_home),
		T(a_home_that_answers_in_vain_is_left_alone_for_a_while),
		T(who_names_one_that_is_slow_is_not_left_before_it_would_lease_again),
		T(whose_reader_has_no_time_to_wait_is_not_to_blame),
		T(who_passes_a_lease_on_is_not_left_for_that),
		T(who_is_busy_once_is_not_left_for_who_was_busy_before),
		cmocka_unit_test(who_is_busy_as_a_reader_comes_is_asked_again),
		cmocka_unit_test(a_question_that_cannot_begin_has_its_deadline),
		T(a_home_that_is_not_asked_is_not_left_for_a_busy_holder),
		T(a_home_is_not_left_while_its_lease_is_open),
		T(who_waits_for_itself_is_not_left_before_it_would_lease_again),
		T(a_home_that_was_of_use_since_is_not_left_for_longer),
		T(of_who_stalls_the_home_is_told_until_it_answers),
		T(who_is_named_as_the_home_decides),
		T(where_nobody_knows_the_named_one_the_home_decides),
		T(who_is_to_decide_and_sends_on_is_passed_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
