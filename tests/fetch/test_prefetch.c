/*
 * Whole blobs in the background, among fakes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"
#include "bytes.h"
#include "engine_world.h"
#include "mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG_BYTES (UINT64_C(64) << 10)

static int set_up(void **state)
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

/* The rest is another image's: neither asked for, nor waited for, nor counted. */
static void a_prefetch_brings_what_the_image_names_and_no_more(void **state)
{
	static const uint32_t chunks[] = { 3, 4, 5, 7, 100, WORLD_CHUNKS - 1 };
	struct engine_world *w = *state;
	struct bitmap *named = bitmap_new(WORLD_CHUNKS);
	struct watch watch = { 0 };
	const struct fetch_prefetch_opts opts = { .blobs = &w->blob,
		                                  .n_blobs = 1,
		                                  .named = &named,
		                                  .progress = on_progress,
		                                  .done = on_prefetch_done,
		                                  .arg = &watch };

	assert_non_null(named);
	for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
		(void)bitmap_set(named, chunks[i]);
	fake_cas_set_ready(w->cas, 4);
	(void)fetch_prefetch_start(w->fetch, &opts);
	while (watch.n_done == 0)
		give_all_once(w);
	assert_int_equal(watch.result, 0);
	assert_int_equal(watch.total_bytes, ARRAY_LEN(chunks) * BIG_BYTES);
	assert_int_equal(watch.done_bytes, watch.total_bytes);
	for (uint32_t i = 0; i < WORLD_CHUNKS; i++)
		assert_int_equal(cas_blob_is_present(w->cas, i), bitmap_get(named, i));
	bitmap_free(&named);
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

/* As of two mounts that share it. */
static void a_blob_that_is_named_twice_comes_once(void **state)
{
	struct engine_world *w = *state;
	struct fetch_blob *const twice[] = { w->blob, w->blob };
	struct watch watch = { 0 };
	const struct fetch_prefetch_opts opts = { .blobs = twice,
		                                  .n_blobs = ARRAY_LEN(twice),
		                                  .progress = on_progress,
		                                  .done = on_prefetch_done,
		                                  .arg = &watch };

	(void)fetch_prefetch_start(w->fetch, &opts);
	ends_well(w, &watch);
	assert_int_equal(watch.done_bytes, watch.total_bytes);
	assert_int_equal(fake_cas_n_puts(w->cas), WORLD_CHUNKS);
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
	assert_int_equal(fake_source_n_asks(&w->origin, w->cas), 0);
	fetch_blob_release(&silent.blob);
	fetch_prefetch_cancel(p);
	assert_int_equal(w->origin.n_cancels, 4);
	world_settle(w);
	assert_int_equal(fake_source_n_asks(&w->origin, w->cas), 4);
	fetch_prefetch_cancel(other);
	cas_blob_release(&silent.cas);
}

/* ---- several at a time ---- */

#define PLACES 4U /* of questions */

/* A blob of each, and its prefetch. */
struct several {
	struct world_blob blobs[PLACES + 1];
	struct watch watch[PLACES + 1];
	struct fetch_prefetch *prefetches[PLACES + 1];
};

static void several_start(struct engine_world *w, struct several *s, uint32_t i)
{
	s->blobs[i] = world_blob_open(w, WORLD_CHUNKS, BIG_BYTES);
	s->prefetches[i] = prefetch_start(w, s->blobs[i].blob, &s->watch[i]);
	world_settle(w);
}

static void several_end(struct engine_world *w, struct several *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (s->watch[i].n_done == 0)
			fetch_prefetch_cancel(s->prefetches[i]);
		world_blob_release(w, &s->blobs[i]);
	}
}

/* The oldest open question about a blob comes to nothing. */
static void fails(struct engine_world *w, const struct world_blob *b)
{
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (!w->origin.asks[i].open || w->origin.asks[i].run.blob != b->cas)
			continue;
		fake_source_end(&w->origin, i, -EAGAIN, "reset");
		world_settle(w);
		return;
	}
	fail_msg("no open question");
}

static void a_prefetch_does_not_wait_for_the_end_of_another(void **state)
{
	struct engine_world *w = *state;
	struct several s = { 0 };

	several_start(w, &s, 0);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[0].cas), PLACES);
	several_start(w, &s, 1);
	fails(w, &s.blobs[0]);
	fails(w, &s.blobs[0]);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[1].cas), 2);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[0].cas), PLACES);
	several_end(w, &s, 2);
}

/* Whose questions come soon is not held up by one whose questions take long. */
static void each_keeps_its_share_of_the_places(void **state)
{
	struct engine_world *w = *state;
	struct several s = { 0 };

	several_start(w, &s, 0);
	several_start(w, &s, 1);
	fails(w, &s.blobs[0]);
	fails(w, &s.blobs[0]);
	for (uint32_t i = 0; i < 6; i++)
		fails(w, &s.blobs[1]);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[1].cas), 2 + 6);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[0].cas), PLACES);
	fails(w, &s.blobs[0]);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[0].cas), PLACES + 1);
	several_end(w, &s, 2);
}

static void more_of_them_than_places_take_turns(void **state)
{
	struct engine_world *w = *state;
	struct several s = { 0 };

	several_start(w, &s, 0);
	for (uint32_t i = 1; i <= PLACES; i++)
		several_start(w, &s, i);
	for (uint32_t i = 1; i < PLACES; i++)
		fails(w, &s.blobs[0]);
	for (uint32_t i = 0; i < PLACES; i++)
		assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[i].cas),
		                 i == 0 ? PLACES : 1);
	fails(w, &s.blobs[1]);
	assert_int_equal(fake_source_n_asks(&w->origin, s.blobs[PLACES].cas), 1);
	several_end(w, &s, PLACES + 1);
}

/* A question there takes long, and a pass of this image many of them. */
static void one_at_a_silent_registry_gives_up_before_its_pass_is_over(void **state)
{
	struct engine_world *w = *state;
	struct several s = { 0 };

	several_start(w, &s, 0);
	fails(w, &s.blobs[0]);
	fake_clock_advance_ms(&w->clock, 119000);
	fails(w, &s.blobs[0]);
	assert_int_equal(s.watch[0].n_done, 0);
	fake_clock_advance_ms(&w->clock, 2000);
	fails(w, &s.blobs[0]);
	assert_int_equal(s.watch[0].n_done, 1);
	assert_int_equal(s.watch[0].result, -EIO);
	assert_non_null(strstr(s.watch[0].why, "no source gave"));
	several_end(w, &s, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_prefetch_brings_everything_once),
		cmocka_unit_test(among_neighbours_a_prefetch_goes_the_same_way_in_small_runs),
		TEST(a_prefetch_brings_what_the_image_names_and_no_more),
		TEST(a_blob_that_is_named_twice_comes_once),
		TEST(a_prefetch_asks_again_for_what_failed),
		cmocka_unit_test(
			a_prefetch_goes_on_when_the_reader_that_shared_its_question_is_gone),
		TEST(a_prefetch_that_is_refused_says_so_before_long),
		TEST(so_it_does_where_neighbours_have_nothing_yet),
		TEST(a_prefetch_whose_origin_gives_wrong_bytes_says_so_before_long),
		TEST(so_does_one_whose_origin_is_struck_for_them),
		TEST(but_not_where_the_origin_is_merely_down),
		TEST(a_prefetch_ends_when_the_disk_is_full),
		TEST(a_prefetch_fetches_again_what_is_evicted_meanwhile),
		TEST(a_prefetch_ends_where_all_is_evicted_as_it_comes),
		TEST(a_prefetch_ends_where_the_same_few_are_evicted_again_and_again),
		TEST(a_prefetch_that_is_cancelled_says_so_at_once),
		TEST(a_prefetch_that_is_cancelled_leaves_its_places_to_others),
		TEST(a_prefetch_does_not_wait_for_the_end_of_another),
		TEST(each_keeps_its_share_of_the_places),
		TEST(more_of_them_than_places_take_turns),
		TEST(one_at_a_silent_registry_gives_up_before_its_pass_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
