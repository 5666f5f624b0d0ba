/*
 * The fetch engine among fakes: who goes first, how much is in flight, and whole blobs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "engine_world.h"
#include "mem.h"
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG_BYTES (UINT64_C(64) << 10)

static int set_up(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES,
		                         .in_flight_max_bytes = 4 * BIG_BYTES };

	return world_set_up(state, &wish);
}

static int set_up_roomy(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES };

	return world_set_up(state, &wish);
}

struct watch {
	uint32_t n_done;
	int result;
	uint64_t done_bytes, total_bytes;
	uint32_t n_progress;
	char why[ERR_MSG_BYTES];
};

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct watch *watch = arg;

	assert_true(done_bytes >= watch->done_bytes && done_bytes <= total_bytes);
	watch->done_bytes = done_bytes;
	watch->total_bytes = total_bytes;
	watch->n_progress++;
}

static void on_prefetch_done(void *arg, int result, const struct err *why)
{
	struct watch *watch = arg;

	watch->n_done++;
	watch->result = result;
	(void)snprintf(watch->why, sizeof(watch->why), "%s", why->msg);
}

static struct fetch_prefetch *prefetch_start(struct engine_world *w, struct fetch_blob *blob,
                                             struct watch *watch)
{
	const struct fetch_prefetch_opts opts = { .blobs = &blob,
		                                  .n_blobs = 1,
		                                  .progress = on_progress,
		                                  .done = on_prefetch_done,
		                                  .arg = watch };

	return fetch_prefetch_start(w->fetch, &opts);
}

/* It has asked for something when this returns. */
static struct fetch_prefetch *prefetch(struct engine_world *w, struct watch *watch)
{
	struct fetch_prefetch *p = prefetch_start(w, w->blob, watch);

	world_wait(w, &w->origin.n_asks, 1);
	return p;
}

/* Packed bytes that were asked for and did not come. */
static uint64_t asked_bytes(const struct fake_source *s)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < s->n_asks; i++)
		bytes += s->asks[i].open ? (uint64_t)s->asks[i].run.n_units * BIG_BYTES : 0;
	return bytes;
}

/* Answer everything that is asked, in order. @return the largest number of bytes in flight */
static uint64_t serve_all(struct engine_world *w)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		most = asked_bytes(&w->origin) > most ? asked_bytes(&w->origin) : most;
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
		world_settle(w);
	}
	return most;
}

static void readers_together_stay_within_the_budget(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[32] = { 0 };
	uint64_t most;

	for (uint32_t i = 0; i < 32; i++)
		(void)world_read_start(w, &r[i], i * 10, 1);
	world_settle(w);
	most = serve_all(w);
	assert_in_range(most, 1, 4 * BIG_BYTES);
	for (uint32_t i = 0; i < 32; i++)
		world_read_ends_well(w, &r[i]);
}

static void units_above_the_budget_go_alone(void **state)
{
	const struct world_wish wish = { .n_chunks = 64,
		                         .chunk_bytes = BIG_BYTES,
		                         .in_flight_max_bytes = BIG_BYTES / 2 };
	struct engine_world *w = xcalloc(1, sizeof(*w));
	struct world_read r[3] = { 0 };

	(void)state;
	world_open(w, &wish);
	for (uint32_t i = 0; i < 3; i++)
		(void)world_read_start(w, &r[i], i * 10, 1);
	world_settle(w);
	assert_int_equal(serve_all(w), BIG_BYTES);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(r[i].n_done, 1);
		world_read_end(w, &r[i]);
	}
	world_close(w);
	free(w);
}

/* @return packed bytes of the largest question */
static uint64_t bring_everything_once(struct engine_world *w)
{
	uint64_t largest_bytes = 0;
	uint32_t next_unit = 0;
	struct watch watch = { 0 };
	uint32_t n_units = 0;

	fake_cas_set_ready(w->cas, 5);
	(void)prefetch(w, &watch);
	while (watch.n_done == 0) {
		for (uint32_t i = 0; i < w->origin.n_asks; i++) {
			assert_false(w->origin.asks[i].run.reader);
			if (!w->origin.asks[i].open)
				continue;
			assert_true(w->origin.asks[i].run.first_unit >= next_unit);
			next_unit = w->origin.asks[i].run.first_unit;
			n_units += w->origin.asks[i].run.n_units;
			largest_bytes = max_u64(
				largest_bytes, (uint64_t)BIG_BYTES * w->origin.asks[i].run.n_units);
			world_give_all(w, &w->origin, i);
		}
		world_turn(w);
	}
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, 0);
	assert_int_equal(n_units, WORLD_CHUNKS - 1);
	assert_true(watch.n_progress > 1);
	assert_int_equal(watch.done_bytes, (uint64_t)WORLD_CHUNKS * BIG_BYTES);
	assert_int_equal(watch.total_bytes, watch.done_bytes);
	return largest_bytes;
}

static void a_prefetch_brings_everything_once(void **state)
{
	assert_true(bring_everything_once(*state) > BIG_BYTES);
}

static void among_neighbours_a_prefetch_goes_the_same_way_in_small_runs(void **state)
{
	const struct world_wish wish = { .chunk_bytes = BIG_BYTES,
		                         .prefetch_run_bytes = 2 * BIG_BYTES };
	struct engine_world *w = xcalloc(1, sizeof(*w));

	(void)state;
	world_open(w, &wish);
	assert_int_equal(bring_everything_once(w), 2 * BIG_BYTES);
	world_close(w);
	free(w);
}

/* One turn of a prefetch at which all that was asked for comes. */
static void give_all_once(struct engine_world *w)
{
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
	}
	world_turn(w);
}

static void a_prefetch_asks_again_for_what_failed(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	(void)prefetch(w, &watch);
	fake_source_end(&w->origin, 0, -EAGAIN, "reset");
	while (watch.n_done == 0)
		give_all_once(w);
	assert_int_equal(watch.result, 0);
	assert_int_equal(cas_blob_is_present(w->cas, 0), true);
}

#define SHORT_MS 50U    /* a reader's time, within the first pause of its question */
#define GUARD_MS 30000U /* of a test, where nothing may ever move again */

struct guard {
	struct timer timer;
	bool rang;
};

static void on_guard(struct timer *t)
{
	container_of(t, struct guard, timer)->rang = true;
}

/* All that is asked for comes, until the prefetch ends. */
static void ends_well(struct engine_world *w, const struct watch *watch)
{
	struct guard guard = { 0 };

	timer_init(&guard.timer, w->loop, on_guard);
	timer_start(&guard.timer, GUARD_MS);
	while (watch->n_done == 0 && !guard.rang)
		give_all_once(w);
	timer_fini(&guard.timer);
	assert_int_equal(watch->n_done, 1);
	assert_int_equal(watch->result, 0);
}

/* They wait for one unit, no source gives it, and the reader's time ends while its question
 * pauses. */
static void a_prefetch_goes_on_when_the_reader_that_shared_its_question_is_gone(void **state)
{
	const struct world_wish wish = { .n_chunks = 64,
		                         .chunk_bytes = BIG_BYTES,
		                         .read_timeout_ms = SHORT_MS };
	struct engine_world *w = xcalloc(1, sizeof(*w));
	struct watch watch = { 0 };
	struct world_read r = { 0 };

	(void)state;
	world_open(w, &wish);
	(void)prefetch(w, &watch);
	assert_int_equal(world_read_start(w, &r, 7, 1), FETCH_PENDING);
	world_settle(w);
	w->origin.refuse = -EAGAIN;
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (w->origin.asks[i].open)
			fake_source_end(&w->origin, i, -EAGAIN, "reset");
	}
	fake_clock_advance_ms(&w->clock, SHORT_MS + 1);
	world_wait(w, &r.n_done, 1);
	assert_int_equal(r.result, -EIO);
	world_read_end(w, &r);
	w->origin.refuse = 0;
	ends_well(w, &watch);
	world_close(w);
	free(w);
}

static void refused(struct engine_world *w, int peer_says)
{
	struct watch watch = { 0 };
	uint32_t i = 0;

	w->peer.refuse = peer_says;
	(void)prefetch(w, &watch);
	fake_clock_advance_ms(&w->clock, 11000);
	while (watch.n_done == 0) {
		for (; i < w->origin.n_asks; i++) {
			if (w->origin.asks[i].open)
				fake_source_end(&w->origin, i, SOURCE_GONE, "refused");
		}
		world_turn(w);
	}
	assert_int_equal(watch.result, -EACCES);
}

static void a_prefetch_that_is_refused_says_so_before_long(void **state)
{
	refused(*state, SOURCE_GONE);
}

static void so_it_does_where_neighbours_have_nothing_yet(void **state)
{
	refused(*state, SOURCE_MISS);
}

/* All that a question is for, with wrong bytes; the origin says so where that cannot be had at all.
 */
static void answer_wrongly(struct engine_world *w, uint32_t ask_idx)
{
	const struct unit_run *run = &w->origin.asks[ask_idx].run;
	const bool gives = w->origin.may_ask_again;

	for (uint32_t i = 0; gives && i < run->n_units; i++)
		world_give_wrong(w, &w->origin, ask_idx, run->first_unit + i);
	fake_source_end(&w->origin, ask_idx, gives ? SOURCE_OK : SOURCE_GONE, NULL);
	world_settle(w);
}

/* Some turns of a prefetch. */
static void give_wrong(struct engine_world *w, uint32_t n_turns, const struct watch *watch)
{
	for (uint32_t n = 0; n < n_turns && watch->n_done == 0; n++) {
		for (uint32_t i = 0; i < w->origin.n_asks; i++) {
			if (w->origin.asks[i].open)
				answer_wrongly(w, i);
		}
		if (watch->n_done == 0)
			world_turn(w);
	}
}

static void all_but_the_first(struct engine_world *w, uint32_t n)
{
	for (uint32_t i = n; i < WORLD_CHUNKS; i++)
		fake_cas_set_ready(w->cas, i);
}

/* The origin gives wrong bytes for all that is missing; nobody else has it. */
static void prefetch_wrong(struct engine_world *w, uint32_t n_turns, struct watch *watch)
{
	all_but_the_first(w, 4);
	w->peer.refuse = SOURCE_MISS;
	(void)prefetch(w, watch);
	give_wrong(w, n_turns, watch);
}

static void a_prefetch_whose_origin_gives_wrong_bytes_says_so_before_long(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	prefetch_wrong(w, 20, &watch);
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, -EIO);
	assert_non_null(strstr(watch.why, "wrong digest"));
	assert_in_range(w->origin.n_asks, 2, 6);
}

/* It is not asked for them any more, and says why: nobody else has them. */
static void so_does_one_whose_origin_is_struck_for_them(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	prefetch_wrong(w, 1, &watch);
	w->origin.may_ask_again = false;
	give_wrong(w, 20, &watch);
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, -EIO);
}

static void but_not_where_the_origin_is_merely_down(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	prefetch_wrong(w, 1, &watch);
	w->origin.refuse = -EAGAIN;
	give_wrong(w, 6, &watch);
	assert_int_equal(watch.n_done, 0);
	w->origin.refuse = 0;
	while (watch.n_done == 0)
		give_all_once(w);
	assert_int_equal(watch.result, 0);
}

static void a_prefetch_ends_when_the_disk_is_full(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	(void)prefetch(w, &watch);
	while (watch.n_done == 0)
		give_all_once(w);
	assert_int_equal(watch.result, -ENOSPC);
	assert_in_range(w->origin.n_asks, 1, 8);
}

static void a_prefetch_fetches_again_what_is_evicted_meanwhile(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };

	fake_cas_put_says(w->cas, CAS_MISS);
	(void)prefetch(w, &watch);
	while (watch.n_done == 0) {
		give_all_once(w);
		fake_cas_put_says(w->cas, 0);
	}
	assert_int_equal(watch.result, 0);
	assert_true(cas_blob_is_present(w->cas, 0));
}

static void ends_as_all_is_evicted(struct engine_world *w)
{
	struct watch watch = { 0 };

	fake_cas_put_says(w->cas, CAS_MISS);
	(void)prefetch(w, &watch);
	for (uint32_t i = 0; i < 300 && watch.n_done == 0; i++)
		give_all_once(w);
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, -ENOSPC);
}

/* The image is larger than the cache, and the registry slower than eviction. */
static void a_prefetch_ends_where_all_is_evicted_as_it_comes(void **state)
{
	ends_as_all_is_evicted(*state);
}

/* An eighth of a handful is less than one. */
static void a_prefetch_ends_where_the_same_few_are_evicted_again_and_again(void **state)
{
	struct engine_world *w = *state;

	all_but_the_first(w, 2);
	ends_as_all_is_evicted(w);
}

static void a_prefetch_that_is_cancelled_says_so_at_once(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);

	fetch_prefetch_cancel(p);
	assert_int_equal(watch.n_done, 1);
	assert_int_equal(watch.result, -ECANCELED);
}

static void a_reader_overtakes_a_prefetch(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct world_read r = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);
	uint32_t ask;

	world_settle(w);
	/* What the prefetch asked for has not come; the reader's question does not wait for it. */
	assert_int_equal(world_read_start(w, &r, WORLD_CHUNKS - 1, 1), FETCH_PENDING);
	world_settle(w);
	ask = world_ask_of(&w->origin, WORLD_CHUNKS - 1);
	assert_true(w->origin.asks[ask].run.reader);
	world_give(w, &w->origin, ask, WORLD_CHUNKS - 1);
	world_settle(w);
	world_read_ends_well(w, &r);
	fetch_prefetch_cancel(p);
}

static void a_reader_overtakes_units_that_wait_for_a_worker(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct world_read r = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);
	uint32_t n_left;

	assert_true(w->origin.asks[0].run.n_units >= 40);
	/* Many have come: some are with the workers, the rest waits in the engine. */
	for (uint32_t i = 0; i < 40; i++)
		world_give(w, &w->origin, 0, i);
	(void)world_read_start(w, &r, 39, 1);
	(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
	n_left = fake_pool_n_waiting(w->pool);
	assert_true(n_left > 1);
	(void)fake_pool_run_one(w->pool); /* readers first */
	world_read_ends_well(w, &r);
	fetch_prefetch_cancel(p);
}

static void closing_a_blob_cancels_what_was_asked_for_it(void **state)
{
	struct engine_world *w = *state;
	struct watch watch = { 0 };
	struct fetch_prefetch *p = prefetch(w, &watch);

	fetch_prefetch_cancel(p);
	fetch_blob_release(&w->blob);
	assert_int_equal(w->origin.n_cancels, w->origin.n_asks);
	assert_int_equal(metrics_sum(w->metrics, METRIC_FETCHES_IN_FLIGHT), 0);
}

/* Questions about a blob, open or ended. */
static uint32_t n_asks_of(const struct fake_source *s, const struct cas_blob *cas)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_asks; i++)
		n += s->asks[i].run.blob == cas;
	return n;
}

/* One blob's prefetch has all the places, and its registry is silent. */
static void a_prefetch_that_is_cancelled_leaves_its_places_to_others(void **state)
{
	struct engine_world *w = *state;
	struct world_blob silent = world_blob_open(w, WORLD_CHUNKS, BIG_BYTES);
	struct watch watch = { 0 };
	struct watch cancelled = { 0 };
	struct fetch_prefetch *p = prefetch_start(w, silent.blob, &cancelled);
	struct fetch_prefetch *other;

	world_wait(w, &w->origin.n_asks, 4);
	other = prefetch_start(w, w->blob, &watch);
	world_settle(w);
	assert_int_equal(n_asks_of(&w->origin, w->cas), 0);
	fetch_blob_release(&silent.blob);
	fetch_prefetch_cancel(p);
	assert_int_equal(w->origin.n_cancels, 4);
	world_settle(w);
	assert_int_equal(n_asks_of(&w->origin, w->cas), 4);
	fetch_prefetch_cancel(other);
	cas_blob_release(&silent.cas);
}

/* Readers of an image have all the room, and what they read is unmounted. */
static void a_blob_that_is_closed_leaves_its_room_to_others(void **state)
{
	struct engine_world *w = *state;
	struct world_blob silent = world_blob_open(w, WORLD_CHUNKS, BIG_BYTES);
	struct world_read r[4] = { 0 };
	struct world_read other = { 0 };

	world_swap(w, &silent);
	for (uint32_t i = 0; i < ARRAY_LEN(r); i++)
		(void)world_read_start(w, &r[i], i * 10, 1);
	world_settle(w);
	world_swap(w, &silent);
	assert_int_equal(world_read_start(w, &other, 7, 1), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(n_asks_of(&w->origin, w->cas), 0);
	fetch_blob_release(&silent.blob);
	world_settle(w);
	assert_int_equal(n_asks_of(&w->origin, w->cas), 1);
	world_give_all(w, &w->origin, w->origin.n_asks - 1);
	world_settle(w);
	world_read_ends_well(w, &other);
	for (uint32_t i = 0; i < ARRAY_LEN(r); i++) {
		assert_int_equal(r[i].result, -EIO);
		world_read_end(w, &r[i]);
	}
	cas_blob_release(&silent.cas);
}

static void a_marked_unit_brings_the_next_window_before_the_reader_needs_it(void **state)
{
	struct engine_world *w = *state;
	struct world_read r[64] = { 0 };
	uint32_t n_pending = 0;

	for (uint32_t i = 0; i < 64; i++) {
		n_pending += world_read_start(w, &r[i], i, 1) == FETCH_PENDING;
		world_settle(w);
		world_serve(w);
		assert_true(r[i].n_done <= 1);
		world_read_end(w, &r[i]);
	}
	/* All but the first few were here before they were asked for. */
	assert_in_range(n_pending, 1, 8);
}

static void on_a_full_disk_nothing_is_read_ahead(void **state)
{
	struct engine_world *w = *state;
	struct world_read r = { 0 };

	fake_cas_put_says(w->cas, CAS_FULL);
	assert_int_equal(world_read_start(w, &r, 7, 2), FETCH_PENDING);
	world_settle(w);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(w->origin.asks[0].run.first_unit, 7);
	assert_int_equal(w->origin.asks[0].run.n_units, 2);
	world_give_all(w, &w->origin, 0);
	world_settle(w);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
}

#define TEST(f)       cmocka_unit_test_setup_teardown(f, set_up, world_tear_down)
#define TEST_ROOMY(f) cmocka_unit_test_setup_teardown(f, set_up_roomy, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(readers_together_stay_within_the_budget),
		cmocka_unit_test(units_above_the_budget_go_alone),
		TEST_ROOMY(a_prefetch_brings_everything_once),
		cmocka_unit_test(among_neighbours_a_prefetch_goes_the_same_way_in_small_runs),
		TEST_ROOMY(a_prefetch_asks_again_for_what_failed),
		cmocka_unit_test(
			a_prefetch_goes_on_when_the_reader_that_shared_its_question_is_gone),
		TEST_ROOMY(a_prefetch_that_is_refused_says_so_before_long),
		TEST_ROOMY(so_it_does_where_neighbours_have_nothing_yet),
		TEST_ROOMY(a_prefetch_whose_origin_gives_wrong_bytes_says_so_before_long),
		TEST_ROOMY(so_does_one_whose_origin_is_struck_for_them),
		TEST_ROOMY(but_not_where_the_origin_is_merely_down),
		TEST_ROOMY(a_prefetch_ends_when_the_disk_is_full),
		TEST_ROOMY(a_prefetch_fetches_again_what_is_evicted_meanwhile),
		TEST_ROOMY(a_prefetch_ends_where_all_is_evicted_as_it_comes),
		TEST_ROOMY(a_prefetch_ends_where_the_same_few_are_evicted_again_and_again),
		TEST_ROOMY(a_prefetch_that_is_cancelled_says_so_at_once),
		TEST_ROOMY(a_reader_overtakes_a_prefetch),
		TEST_ROOMY(a_reader_overtakes_units_that_wait_for_a_worker),
		TEST_ROOMY(closing_a_blob_cancels_what_was_asked_for_it),
		TEST_ROOMY(a_prefetch_that_is_cancelled_leaves_its_places_to_others),
		TEST(a_blob_that_is_closed_leaves_its_room_to_others),
		TEST_ROOMY(on_a_full_disk_nothing_is_read_ahead),
		TEST_ROOMY(a_marked_unit_brings_the_next_window_before_the_reader_needs_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
