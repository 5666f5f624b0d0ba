/*
 * test_source_time: the peers' part of a blocked reader's time: what it waits for gives some of it
 * back, and nothing else does.
 */
#include "clock.h"
#include "home.h"
#include "scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { READ_MS = 1500, EACH_MS = 100 };

/* It said that it has all, and sends one after the other, but for one; each of them in so long.
 * Until all are sent, or nothing is waited for any more. */
static void sends_all_but(struct scene *s, uint32_t missing, uint32_t each_ms)
{
	const struct wire_set all = chunks_of(0, CHUNKS);
	const struct wire_set none = set_none(CHUNKS);

	is_sent_to_other(s, &s->home.asks[s->home.n_asks - 1], &all);
	gives(&s->other, &s->other.gets[0], &none, false);
	for (uint32_t i = 0; i < CHUNKS && s->w->n_ends == 0; i++) {
		const struct wire_set one = chunks_of(i, 1);

		peers_run_ms(s->w->peers, each_ms);
		if (i != missing && s->w->n_ends == 0)
			actor_send_more(&s->other, &one, false);
	}
}

static void is_left_to_the_origin(struct scene *s, uint32_t missing, uint32_t time_ms)
{
	const uint64_t from_ms = now_ms(s);
	const uint32_t each_ms = time_ms / 15;

	(void)wants_within(s, CHUNKS, time_ms);
	sends_all_but(s, missing, each_ms);
	assert_int_equal(s->w->n_ends, 1);
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_in_range(s->w->n_chunks, 2, CHUNKS - 2);
	/* What it sent before the missing one counts. */
	assert_in_range(now_ms(s) - from_ms, time_ms / 2,
	                time_ms * 2 / 3 + each_ms * (missing + 1));
}

/* Whatever else it sends. */
static void who_never_sends_what_is_waited_for_has_no_more_than_its_share(void **state)
{
	struct scene *s = *state;

	is_left_to_the_origin(s, 0, 3600);
	assert_int_equal(scene_info(s, &s->other).n_failed, 1);
}

/* A reader needs several chunks: they come in their order. */
static void the_next_one_that_is_waited_for_is_watched_as_well(void **state)
{
	is_left_to_the_origin(*state, 3, READ_MS);
}

static void prefetches(struct scene *s)
{
	chunks_want(s->w, 0, CHUNKS);
	has_time(s, READ_MS);
	s->w->run.reader = false;
}

static void a_reader_comes(struct scene *s, uint32_t chunk_idx)
{
	s->w->run.reader = true;
	scene_source(s)->ops->hurry(s->w->req, chunk_idx);
}

/* ... for one in the middle of it: what comes before that is of no use to him. */
static void what_a_reader_of_a_prefetch_waits_for_is_watched(void **state)
{
	struct scene *s = *state;
	const uint32_t missing = 20;

	prefetches(s);
	peers_until(s->w->peers, &s->home.n_asks, 1);
	a_reader_comes(s, missing);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	sends_all_but(s, missing, EACH_MS);
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_in_range(s->w->n_chunks, 2, missing * 2 / 3);
}

static void what_a_reader_waited_for_before_it_began_is_watched(void **state)
{
	struct scene *s = *state;
	const uint32_t missing = 20;

	prefetches(s);
	a_reader_comes(s, missing);
	peers_until(s->w->peers, &s->home.n_asks, 1);
	sends_all_but(s, missing, EACH_MS);
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_in_range(s->w->n_chunks, 2, missing * 2 / 3);
}

/* He has what he came for; the next one waits for the one that never comes. */
static void who_comes_later_is_not_behind_what_nobody_waits_for(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, CHUNKS);
	const struct wire_set first = chunks_of(0, 1);
	const uint32_t missing = 20;

	is_sent_to_other(s, wants_within(s, CHUNKS, READ_MS), &all);
	gives(&s->other, &s->other.gets[0], &first, false);
	peers_until(s->w->peers, &s->w->n_chunks, 1);
	a_reader_comes(s, missing);
	for (uint32_t i = 1; i < missing && s->w->n_ends == 0; i++) {
		const struct wire_set one = chunks_of(i, 1);

		actor_send_more(&s->other, &one, false);
		peers_run_ms(s->w->peers, EACH_MS);
	}
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_in_range(s->w->n_chunks, 2, missing * 2 / 3);
}

/* All of it takes longer than the peers' share; it is fast enough for a reader. */
static void what_comes_in_its_order_has_its_time(void **state)
{
	struct scene *s = *state;
	const uint64_t from_ms = now_ms(s);

	(void)wants_within(s, CHUNKS, READ_MS);
	sends_all_but(s, CHUNKS, EACH_MS);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->r, SOURCE_OK);
	assert_int_equal(s->w->n_chunks, CHUNKS);
	assert_in_range(now_ms(s) - from_ms, READ_MS, READ_MS * 4);
	assert_int_equal(scene_info(s, &s->other).n_failed, 0);
}

/* No worker has looked at the blob's layout yet. hurried: a prefetch asked, and its reader came
 * after that. */
static void cannot_begin(bool hurried)
{
	struct chunk_world *w = chunk_world_new_jammed();
	const struct clock *clock = peers_clock(w->peers);
	static struct actor home;
	uint64_t from_ns;

	actor_join(w, &home, true);
	from_ns = clock_now_ns(clock);
	chunks_want(w, 0, 2);
	w->run.reader = !hurried;
	w->run.deadline_ns = from_ns + READ_MS * NS_PER_MS;
	if (hurried) {
		struct source *source = peer_source(w->peers->peers[0]);

		peers_run_ms(w->peers, 5);
		w->run.reader = true;
		source->ops->hurry(w->req, 0);
	}
	peers_until(w->peers, &w->n_ends, 1);
	assert_int_equal(w->r, SOURCE_MISS);
	assert_in_range(clock_now_ns(clock) - from_ns, 0, (READ_MS / 2 + 100) * NS_PER_MS);
	peers_unblock(w->peers);
	actor_leave(&home);
	chunk_world_free(&w);
}

static void a_question_that_cannot_begin_leaves_time_for_the_origin(void **state)
{
	(void)state;
	cannot_begin(false);
	cannot_begin(true);
}

/* Of what peers may bring a second nothing is left: its turn comes late. */
static void a_question_that_is_not_admitted_leaves_time_for_the_origin(void **state)
{
	struct scene *s = *state;
	const struct wire_set all = chunks_of(0, 2);
	uint64_t from_ms;

	peer_set_budgets(s->w->peers->peers[0], 0, 1000);
	is_sent_to_other(s, wants(s, 2), &all); /* the next one is to make up for this one */
	gives(&s->other, &s->other.gets[0], &all, true);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	from_ms = now_ms(s);
	chunks_want(s->w, 2, 1);
	has_time(s, READ_MS);
	peers_until(s->w->peers, &s->w->n_ends, 1);
	assert_int_equal(s->w->r, SOURCE_MISS);
	assert_int_equal(s->home.n_asks, 1);
	assert_in_range(now_ms(s) - from_ms, 0, READ_MS / 2 + 100);
}

/* A reader wants some and has waited for that already. All the while it hears of progress, and has
 * nothing. @return how long */
static uint64_t peers_have_ms(struct scene *s, uint64_t time_ms, uint64_t waited_ms)
{
	const uint64_t from_ms = now_ms(s);
	struct wire_answer_item item = { .kind = WIRE_WAIT, .set = chunks_of(0, 2) };
	struct wire_msg msg = { .type = WIRE_ANSWER, .u.answer = { .n_items = 1, .items = &item } };

	chunks_want(s->w, 0, 2);
	s->w->run.waited_ns = waited_ms * NS_PER_MS;
	has_time(s, time_ms);
	peers_until(s->w->peers, &s->home.n_asks, s->home.n_asks + 1);
	msg.u.answer.req = s->home.asks[s->home.n_asks - 1].req;
	while (s->w->n_ends == 0) {
		item.progress_bytes++;
		conn_send(s->home.stranger.conn, &msg);
		peers_run_ms(s->w->peers, 20);
	}
	assert_int_equal(s->w->r, SOURCE_MISS);
	return now_ms(s) - from_ms;
}

/* For a place, or for who was asked before: it has its time once. */
static void of_a_reader_that_has_waited_peers_have_what_is_left(void **state)
{
	struct scene *s = *state;

	assert_in_range(peers_have_ms(s, READ_MS, 0), READ_MS / 2, READ_MS / 2 + 100);
	assert_in_range(peers_have_ms(s, READ_MS, READ_MS / 2), READ_MS / 4, READ_MS / 4 + 100);
	assert_in_range(peers_have_ms(s, READ_MS, UINT64_C(2) * READ_MS), READ_MS / 6,
	                READ_MS / 6 + 100);
}

/* It is leased what it asked the home for, and the engine hears that something comes. */
static void leases(struct scene *s, uint32_t first, uint32_t n_chunks)
{
	const struct wire_set set = chunks_of(first, n_chunks);
	const uint32_t n = s->w->n_leases;

	actor_answer(&s->home, &s->home.asks[s->home.n_asks - 1], WIRE_LEASE, &set, NULL);
	peers_until(s->w->peers, &s->w->n_leases, n + 1);
	scene_source(s)->ops->lease_progress(scene_source(s), s->w->lease.token, 500);
}

/* Of those who only tell of progress a home knows by that when a reader has waited for too long. */
static void a_home_is_told_how_long_leases_take_here_until_something_comes(void **state)
{
	struct scene *s = *state;

	assert_int_equal(wants(s, 1)->usual_ms, HOME_LEASE_TERM_MS); /* nothing is known yet */
	leases(s, 0, 1);
	peers_run_ms(s->w->peers, 700);
	chunk_put(s->w, 0);
	peers_run_ms(s->w->peers, 5);
	chunks_lease_end(s->w, true);
	chunks_want(s->w, 1, 1);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_in_range(s->home.asks[1].usual_ms, 1400, 1800);
	leases(s, 1, 1); /* this one takes longer, and is not over */
	peers_run_ms(s->w->peers, 1500);
	chunks_want(s->w, 2, 1);
	peers_until(s->w->peers, &s->home.n_asks, 3);
	assert_in_range(s->home.asks[2].usual_ms, 3000, 3800);
	chunks_lease_end(s->w, true);
}

/* What came at once behind it says nothing of the next lease. */
static void many_small_chunks_do_not_hide_how_long_the_first_took(void **state)
{
	struct scene *s = *state;

	(void)wants(s, 4);
	leases(s, 0, 4);
	peers_run_ms(s->w->peers, 700);
	for (uint32_t i = 0; i < 4; i++)
		chunk_put(s->w, i);
	peers_run_ms(s->w->peers, 5);
	chunks_lease_end(s->w, true);
	chunks_want(s->w, 4, 1);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_in_range(s->home.asks[1].usual_ms, 1400, 1500);
}

/* A slow line, on which small chunks come one by one: a large one takes as long as many of them,
 * and brings nothing before all of it is here. */
static void what_a_large_chunk_takes_is_known_by_what_bytes_took(void **state)
{
	enum { N = 20 };
	struct scene *s = *state;
	uint64_t from_ms, took_ms;

	(void)wants(s, N);
	leases(s, 0, N);
	from_ms = now_ms(s);
	for (uint32_t i = 0; i < N; i++) {
		peers_run_ms(s->w->peers, 100);
		scene_source(s)->ops->lease_progress(scene_source(s), s->w->lease.token, 6554);
		chunk_put(s->w, i);
	}
	took_ms = now_ms(s) - from_ms; /* 128 KiB: 2 s */
	chunks_want(s->w, N, 1);
	peers_until(s->w->peers, &s->home.n_asks, 2);
	assert_in_range(s->home.asks[1].usual_ms, took_ms / 4, took_ms); /* twice 19 KiB */
	peers_run_ms(s->w->peers, 5);
	chunks_lease_end(s->w, true);
	chunks_want(s->w, N + 1, 1);
	peers_until(s->w->peers, &s->home.n_asks, 3);
	assert_in_range(s->home.asks[2].usual_ms, took_ms / 4, took_ms);
}

/* ... also where each lease is of one small chunk. */
static void what_bytes_took_is_known_of_many_small_leases(void **state)
{
	enum { N = 20 };
	struct scene *s = *state;

	for (uint32_t i = 0; i < N; i++) {
		chunks_want(s->w, i, 1);
		peers_until(s->w->peers, &s->home.n_asks, i + 1);
		leases(s, i, 1);
		peers_run_ms(s->w->peers, 100);
		scene_source(s)->ops->lease_progress(scene_source(s), s->w->lease.token, 7000);
		chunk_put(s->w, i);
		peers_run_ms(s->w->peers, 5);
		chunks_lease_end(s->w, true);
	}
	chunks_want(s->w, N, 1);
	peers_until(s->w->peers, &s->home.n_asks, N + 1);
	assert_in_range(s->home.asks[N].usual_ms, 400, 2000); /* 19 KiB; a chunk took 100 */
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, scene_setup, scene_teardown)
	const struct CMUnitTest tests[] = {
		T(who_never_sends_what_is_waited_for_has_no_more_than_its_share),
		T(the_next_one_that_is_waited_for_is_watched_as_well),
		T(what_a_reader_of_a_prefetch_waits_for_is_watched),
		T(what_a_reader_waited_for_before_it_began_is_watched),
		T(who_comes_later_is_not_behind_what_nobody_waits_for),
		T(what_comes_in_its_order_has_its_time),
		cmocka_unit_test(a_question_that_cannot_begin_leaves_time_for_the_origin),
		T(a_question_that_is_not_admitted_leaves_time_for_the_origin),
		T(of_a_reader_that_has_waited_peers_have_what_is_left),
		T(a_home_is_told_how_long_leases_take_here_until_something_comes),
		T(many_small_chunks_do_not_hide_how_long_the_first_took),
		T(what_a_large_chunk_takes_is_known_by_what_bytes_took),
		T(what_bytes_took_is_known_of_many_small_leases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
