/*
 * The fetch engine among fakes: the rest of a blob, for who reads about all of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "engine.h"
#include "engine_world.h"
#include "mem.h"
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#define BIG_BYTES    (64U << 10)
#define MIB          (1U << 20)
#define N_CHUNKS     1024U
#define RUN_CHUNKS   16U                      /* of a prefetch among neighbours */
#define WINDOW_MAX   ((8U << 20) / BIG_BYTES) /* the largest without a sweep */
#define WINDOW_SMALL ((2U << 20) / BIG_BYTES)

static int set_up(void **state)
{
	const struct world_wish wish = { .n_chunks = N_CHUNKS,
		                         .chunk_bytes = BIG_BYTES,
		                         .prefetch_run_bytes = (uint64_t)RUN_CHUNKS * BIG_BYTES };

	return world_set_up(state, &wish);
}

static int set_up_alone(void **state)
{
	const struct world_wish wish = { .n_chunks = N_CHUNKS, .chunk_bytes = BIG_BYTES };

	return world_set_up(state, &wish);
}

/* What moves without sources, and timers that are due. */
static void move(struct engine_world *w)
{
	world_settle(w);
	(void)event_base_loop(loop_base(w->loop), EVLOOP_NONBLOCK);
}

/* All that is asked for comes, and so does what is asked for then. */
static void let_come(struct engine_world *w)
{
	uint32_t n_asks;

	do {
		n_asks = w->origin.n_asks;
		move(w);
		world_serve(w);
	} while (w->origin.n_asks != n_asks);
}

static void read_chunk(struct engine_world *w, uint32_t chunk_idx)
{
	struct world_read r = { 0 };
	const int at_once = world_read_start(w, &r, chunk_idx, 1);

	let_come(w);
	if (at_once == 0)
		world_read_end(w, &r);
	else
		world_read_ends_well(w, &r);
}

static void read_range(struct engine_world *w, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++)
		read_chunk(w, i);
}

/* It is here, and nothing that is asked for comes. */
static void read_here(struct engine_world *w, uint32_t chunk_idx)
{
	struct world_read r = { 0 };

	assert_int_equal(world_read_start(w, &r, chunk_idx, 1), 0);
	world_read_end(w, &r);
	move(w);
}

static uint32_t n_asked_of(const struct engine_world *w, const struct cas_blob *cas)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (w->origin.asks[i].run.blob == cas)
			n += w->origin.asks[i].run.n_units;
	}
	return n;
}

static uint32_t n_asked(const struct engine_world *w)
{
	return n_asked_of(w, w->cas);
}

/* Asked for ever, but outside of what was read. */
static uint32_t n_unread(const struct engine_world *w, uint32_t first_read, uint32_t end_read)
{
	bool asked[N_CHUNKS] = { false };
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		const struct unit_run *run = &w->origin.asks[i].run;

		for (uint32_t k = run->first_unit; k < run->first_unit + run->n_units; k++)
			asked[k] = true;
	}
	for (uint32_t k = 0; k < N_CHUNKS; k++)
		n += (k < first_read || k >= end_read) && asked[k];
	return n;
}

/* Of what is read: so much may be swept, and windows bring two of their own. */
static uint32_t most_unread(uint32_t n_read)
{
	const uint32_t times = (uint32_t)min_u64(2 + n_read * BIG_BYTES / MIB, 4);

	return times * n_read + 2 * WINDOW_SMALL;
}

static void who_reads_all_has_up_to_four_times_as_much_brought(void **state)
{
	struct engine_world *w = *state;
	uint32_t most_ahead = 0;

	for (uint32_t i = 0; i < N_CHUNKS / 4; i++) {
		read_chunk(w, i);
		most_ahead = (uint32_t)max_u64(most_ahead, n_asked(w) - (i + 1));
		assert_true(n_asked(w) <= i + 1 + most_unread(i + 1));
		assert_true(atomic_load(&w->blob->reading->ahead_bytes) <=
		            4 * (uint64_t)BIG_BYTES * (i + 1));
	}
	assert_true(most_ahead > 3 * WINDOW_MAX);
	for (uint32_t i = 0; i < w->origin.n_asks; i++)
		assert_true(w->origin.asks[i].run.reader ||
		            w->origin.asks[i].run.n_units <= WINDOW_SMALL);
}

#define N_WARM (N_CHUNKS / 2)

static void what_was_here_before_earns_nothing(void **state)
{
	struct engine_world *w = *state;

	for (uint32_t i = 0; i < N_WARM; i++)
		fake_cas_set_ready(w->cas, i);
	for (uint32_t i = 0; i < N_WARM; i++)
		read_here(w, i);
	for (uint32_t i = 0; i < N_CHUNKS / 16; i++) {
		read_chunk(w, N_WARM + i);
		assert_true(n_unread(w, N_WARM, N_WARM + i + 1) <= most_unread(i + 1));
	}
}

static void what_is_read_again_earns_nothing(void **state)
{
	struct engine_world *w = *state;
	const uint32_t n_read = 3 * RUN_CHUNKS;

	for (uint32_t times = 0; times < 20; times++) {
		read_range(w, 0, n_read);
		assert_true(atomic_load(&w->blob->reading->read_bytes) <=
		            (uint64_t)n_read * BIG_BYTES);
		for (uint32_t i = 0; i < n_read; i++)
			fake_cas_evict(w->cas, i);
	}
}

/* Neither far beyond it, nor what a reader is past. */
static void in_a_small_cache_little_lies_ahead(void **state)
{
	struct engine_world *w = *state;

	fake_cas_set_room(w->cas, 32 * (uint64_t)MIB);
	for (uint32_t i = 0; i < N_CHUNKS / 2; i++) {
		read_chunk(w, i);
		assert_true(n_unread(w, 0, i + 1) <= 4 * MIB / BIG_BYTES + 2 * WINDOW_SMALL);
		if (i >= RUN_CHUNKS)
			fake_cas_evict(w->cas, i - RUN_CHUNKS);
	}
	assert_true(n_asked(w) <= N_CHUNKS / 2 + n_unread(w, 0, N_CHUNKS / 2));
}

/* Chunks, of those that no reader came to. */
static uint32_t n_swept(const struct fetch_blob *blob)
{
	return bitmap_count(blob->swept);
}

#define ROOM_BYTES  (UINT64_C(64) * MIB)
#define ROOM_CHUNKS (ROOM_BYTES / 8 / BIG_BYTES) /* that may lie ahead */

/* Also of one that is swept to its end, and not read on. */
static void all_images_share_what_may_lie_ahead_in_the_cache(void **state)
{
	struct engine_world *w = *state;
	struct world_blob other = world_blob_open(w, N_CHUNKS / 8, BIG_BYTES);
	uint32_t most = 0;

	fake_cas_set_room(w->cas, ROOM_BYTES);
	fake_cas_set_room(other.cas, ROOM_BYTES);
	world_swap(w, &other);
	for (uint32_t i = 0; w->blob->ra.sweeps; i++)
		read_chunk(w, i);
	world_swap(w, &other);
	assert_true(n_swept(other.blob) >= RUN_CHUNKS);
	for (uint32_t i = 0; i < N_CHUNKS / 2; i++) {
		read_chunk(w, i);
		most = (uint32_t)max_u64(most, n_swept(w->blob));
	}
	assert_true(most > 0);
	assert_true(n_swept(other.blob) + most <= ROOM_CHUNKS);
	world_blob_release(w, &other);
}

static void what_a_reader_is_past_is_not_asked_for_again(void **state)
{
	struct engine_world *w = *state;
	const uint32_t n_evicted = 3 * RUN_CHUNKS;
	uint32_t n_before;

	fake_cas_set_room(w->cas, 0);
	read_range(w, 0, 4 * RUN_CHUNKS);
	for (uint32_t i = 0; i < n_evicted; i++)
		fake_cas_evict(w->cas, i);
	n_before = w->origin.n_asks;
	fake_cas_set_room(w->cas, UINT64_C(1) << 40);
	read_range(w, 4 * RUN_CHUNKS, 6 * RUN_CHUNKS);
	assert_true(w->origin.n_asks > n_before + 4);
	for (uint32_t i = n_before; i < w->origin.n_asks; i++)
		assert_true(w->origin.asks[i].run.first_unit >= n_evicted);
}

static void it_is_all_here_in_the_end_and_came_once(void **state)
{
	struct engine_world *w = *state;

	read_range(w, 0, N_CHUNKS / 2);
	assert_int_equal(n_asked(w), N_CHUNKS);
	assert_true(cas_blob_is_present(w->cas, N_CHUNKS - 1));
}

static void it_begins_where_the_reader_did(void **state)
{
	struct engine_world *w = *state;

	for (uint32_t i = N_CHUNKS / 2; i < N_CHUNKS; i++)
		read_chunk(w, i);
	assert_false(cas_blob_is_present(w->cas, 0));
	assert_true(n_asked(w) < N_CHUNKS / 2 + WINDOW_SMALL);
}

/* As if there were none. */
static void with_nothing_left_to_sweep_windows_are_large(void **state)
{
	struct engine_world *w = *state;
	uint32_t largest = 0;
	uint32_t n_before;

	read_range(w, N_CHUNKS / 2, N_CHUNKS);
	n_before = w->origin.n_asks;
	read_range(w, 0, N_CHUNKS / 2);
	for (uint32_t i = n_before; i < w->origin.n_asks; i++)
		largest = (uint32_t)max_u64(largest, w->origin.asks[i].run.n_units);
	assert_true(largest > WINDOW_SMALL);
}

static void who_leaves_a_quarter_of_it_has_windows_alone(void **state)
{
	struct engine_world *w = *state;

	for (uint32_t i = 0; i < N_CHUNKS / 2; i++) {
		if (i % 4 == 0)
			continue;
		read_chunk(w, i);
		assert_true(n_asked(w) <= i + 1 + 2 * WINDOW_MAX);
	}
}

static uint32_t n_open(const struct engine_world *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->origin.n_asks; i++)
		n += w->origin.asks[i].open && !w->origin.asks[i].run.reader;
	return n;
}

static void fail_what_is_open(struct engine_world *w)
{
	const uint32_t n = w->origin.n_asks;

	for (uint32_t i = 0; i < n; i++) {
		if (w->origin.asks[i].open && !w->origin.asks[i].run.reader)
			fake_source_end(&w->origin, i, -EAGAIN, "503");
	}
	move(w);
}

#define N_READ 128U

/* It asks for nothing any more, and a container's start counts no failure of it as its own. */
static void one_that_fails_ends(void **state)
{
	struct engine_world *w = *state;
	uint32_t n_asks;

	read_range(w, 0, N_READ);
	for (uint32_t i = N_READ; n_open(w) == 0; i++)
		read_here(w, i);
	n_asks = w->origin.n_asks;
	fail_what_is_open(w);
	assert_int_equal(w->origin.n_asks, n_asks);
	assert_int_equal(w->fetch->n_failed_runs, 0);
}

static void a_prefetch_that_begins_finds_places(void **state)
{
	struct engine_world *w = *state;
	struct fetch_prefetch *p;
	uint32_t n_swept;

	read_range(w, 0, N_READ);
	for (uint32_t i = N_READ; i < 2 * N_READ; i++)
		read_here(w, i);
	n_swept = n_open(w);
	assert_in_range(n_swept, prefetch_runs_max(w->fetch) / 2, prefetch_runs_max(w->fetch) - 1);
	p = world_prefetch_start(w, NULL);
	move(w);
	assert_true(n_open(w) > n_swept);
	fetch_prefetch_cancel(p);
}

static void who_reads_one_image_says_nothing_of_another(void **state)
{
	struct engine_world *w = *state;
	struct world_blob other;

	read_range(w, 0, N_READ);
	other = world_blob_open(w, N_CHUNKS, BIG_BYTES);
	world_swap(w, &other);
	read_chunk(w, 0);
	read_chunk(w, 1);
	assert_true(n_asked(w) < RUN_CHUNKS / 2);
	world_swap(w, &other);
	world_blob_release(w, &other);
}

static void of_one_image_each_blob_is_swept_that_is_read_of(void **state)
{
	struct engine_world *w = *state;
	struct world_blob other = world_blob_open(w, N_CHUNKS, BIG_BYTES);
	struct fetch_blob *both[] = { w->blob, other.blob };

	fetch_blobs_together(both, 2);
	read_range(w, 0, N_READ);
	assert_int_equal(n_asked_of(w, other.cas), 0);
	world_swap(w, &other);
	read_chunk(w, 0);
	read_range(w, 1, RUN_CHUNKS);
	assert_true(w->blob->sweep_unit >= RUN_CHUNKS);
	world_swap(w, &other);
	world_blob_release(w, &other);
}

/* A registry alone has all of it at once: windows do. */
static void without_neighbours_it_is_windows_alone(void **state)
{
	struct engine_world *w = *state;

	for (uint32_t i = 0; i < N_CHUNKS / 2; i++) {
		read_chunk(w, i);
		assert_true(n_asked(w) <= i + 1 + 2 * WINDOW_MAX);
	}
}

#define TEST(fn)       cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
#define TEST_ALONE(fn) cmocka_unit_test_setup_teardown(fn, set_up_alone, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(who_reads_all_has_up_to_four_times_as_much_brought),
		TEST(what_was_here_before_earns_nothing),
		TEST(what_is_read_again_earns_nothing),
		TEST(in_a_small_cache_little_lies_ahead),
		TEST(all_images_share_what_may_lie_ahead_in_the_cache),
		TEST(what_a_reader_is_past_is_not_asked_for_again),
		TEST(it_is_all_here_in_the_end_and_came_once),
		TEST(it_begins_where_the_reader_did),
		TEST(with_nothing_left_to_sweep_windows_are_large),
		TEST(who_leaves_a_quarter_of_it_has_windows_alone),
		TEST(one_that_fails_ends),
		TEST(a_prefetch_that_begins_finds_places),
		TEST(who_reads_one_image_says_nothing_of_another),
		TEST(of_one_image_each_blob_is_swept_that_is_read_of),
		TEST_ALONE(without_neighbours_it_is_windows_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
