/*
 * The fetch engine among fakes: a program that is being started.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine.h"
#include "engine_world.h"
#include "fake_cas.h"
#include "readahead.h"

#define CHUNK_BYTES (64U << 10)
#define HEAD        FAKE_CAS_PROGRAM
#define N_CHUNKS    6U /* of the program: the last is a small one */
#define PLAIN_HEAD  100U
#define ELSEWHERE   150U

static int set_up(void **state)
{
	const struct world_wish wish = { .chunk_bytes = CHUNK_BYTES };
	struct engine_world *w;
	struct chunk_rec *last;

	if (world_set_up(state, &wish) != 0)
		return -1;
	w = *state;
	last = &fake_cas_layout(w->cas)->chunks[HEAD + N_CHUNKS - 1];
	last->plain_size_bytes = 1000;
	last->packed_size_bytes = 1000;
	return 0;
}

/* All of it could be one program. */
static int set_up_plain(void **state)
{
	const struct world_wish wish = { .chunk_bytes = CHUNK_BYTES };

	return world_set_up(state, &wish);
}

/* As fast as that line is. */
static void read_within(struct engine_world *w, uint32_t chunk_idx, uint64_t ms)
{
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, chunk_idx, 1);
	world_settle(w);
	fake_clock_advance_ms(&w->clock, ms);
	world_serve(w);
	world_read_ends_well(w, &r);
}

static void read_chunk(struct engine_world *w, uint32_t chunk_idx)
{
	read_within(w, chunk_idx, 0);
}

static uint32_t n_here(const struct engine_world *w, uint32_t first, uint32_t n)
{
	uint32_t n_present = 0;

	for (uint32_t i = first; i < first + n; i++)
		n_present += cas_blob_is_present(w->cas, i);
	return n_present;
}

static void its_head_alone_brings_nothing_else(void **state)
{
	struct engine_world *w = *state;

	read_chunk(w, HEAD);
	assert_int_equal(w->origin.n_asks, 1);
	assert_int_equal(n_here(w, HEAD, N_CHUNKS), 1);
}

static void a_second_miss_in_it_brings_the_rest_behind_the_reader(void **state)
{
	struct engine_world *w = *state;

	read_chunk(w, HEAD);
	read_chunk(w, HEAD + 3);
	assert_int_equal(n_here(w, HEAD, N_CHUNKS), N_CHUNKS);
	assert_int_equal(n_here(w, HEAD + N_CHUNKS, 50), 0);
	assert_true(w->origin.asks[1].run.reader);
	assert_int_equal(w->origin.asks[1].run.first_unit, HEAD + 3);
	for (uint32_t i = 2; i < w->origin.n_asks; i++)
		assert_false(w->origin.asks[i].run.reader);
}

static void a_file_that_is_no_program_is_read_as_it_is_asked_for(void **state)
{
	struct engine_world *w = *state;

	read_chunk(w, PLAIN_HEAD);
	read_chunk(w, PLAIN_HEAD + 3);
	assert_int_equal(n_here(w, PLAIN_HEAD, N_CHUNKS), 2);
}

static void what_stands_elsewhere_is_none_of_the_program(void **state)
{
	struct engine_world *w = *state;

	read_chunk(w, HEAD);
	read_chunk(w, HEAD + N_CHUNKS);
	read_chunk(w, HEAD - 3);
	assert_int_equal(n_here(w, HEAD, N_CHUNKS), 1);
}

static void of_a_large_one_no_more_than_4_mib_are_brought(void **state)
{
	struct engine_world *w = *state;
	struct chunk_rec *last = &fake_cas_layout(w->cas)->chunks[HEAD + N_CHUNKS - 1];

	last->plain_size_bytes = CHUNK_BYTES;
	last->packed_size_bytes = CHUNK_BYTES;
	read_chunk(w, HEAD);
	read_chunk(w, HEAD + 2);
	assert_int_equal(n_here(w, HEAD, 64), 64);
	assert_int_equal(n_here(w, HEAD + 64, WORLD_CHUNKS - HEAD - 64), 0);
}

/* With one miss elsewhere. */
static uint32_t n_brought_elsewhere(struct engine_world *w)
{
	read_chunk(w, ELSEWHERE);
	return n_here(w, ELSEWHERE - 20, 40);
}

static void who_starts_it_gets_more_with_what_it_reads_next(void **state)
{
	struct engine_world *w = *state;

	read_chunk(w, HEAD);
	read_chunk(w, HEAD + 3);
	assert_int_equal(n_brought_elsewhere(w),
	                 1 + (READAHEAD_START_FORWARD + READAHEAD_START_BACK) / CHUNK_BYTES);
}

static void on_a_slow_line_nothing_comes_before_what_it_waits_for(void **state)
{
	struct engine_world *w = *state;

	read_within(w, HEAD, 500);
	read_chunk(w, HEAD + 3);
	read_chunk(w, ELSEWHERE);
	assert_int_equal(n_here(w, ELSEWHERE - 20, 20), 0);
	assert_int_equal(n_here(w, ELSEWHERE + 1, 20), READAHEAD_START_FORWARD / CHUNK_BYTES);
}

#define FIRST_PROGRAM 40U
#define PROGRAM_EVERY 100U
#define N_PROGRAMS    4U

/* Each a program of 4 MiB and more: its head was read, then a chunk far from that. */
static uint32_t start_program(struct engine_world *w, uint32_t n)
{
	const uint32_t head = FIRST_PROGRAM + n * PROGRAM_EVERY;
	const uint32_t n_before = n_here(w, 0, WORLD_CHUNKS);

	read_chunk(w, head);
	programs_add(w->blob, head);
	read_chunk(w, head + 50);
	return n_here(w, 0, WORLD_CHUNKS) - n_before;
}

/* Who looks at the middle of many, and reads nothing of what comes. */
static void the_rests_of_many_are_no_more_than_starts_may_bring(void **state)
{
	struct engine_world *w = *state;
	uint32_t n_unasked = 0;

	for (uint32_t n = 0; n < N_PROGRAMS; n++)
		n_unasked += start_program(w, n) - 2;
	assert_true(n_unasked <=
	            (READAHEAD_STARTS_BYTES + READAHEAD_START_FORWARD + READAHEAD_START_BACK) /
	                    CHUNK_BYTES);
	assert_true(n_unasked > READAHEAD_STARTS_BYTES / CHUNK_BYTES / 2);
}

static void who_copies_it_does_not(void **state)
{
	struct engine_world *w = *state;

	read_chunk(w, HEAD);
	read_chunk(w, HEAD + 1);
	assert_int_equal(n_here(w, HEAD, N_CHUNKS), N_CHUNKS);
	assert_int_equal(n_brought_elsewhere(w), 1);
}

#define TEST(fn)       cmocka_unit_test_setup_teardown(fn, set_up, world_tear_down)
#define TEST_PLAIN(fn) cmocka_unit_test_setup_teardown(fn, set_up_plain, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(its_head_alone_brings_nothing_else),
		TEST(a_second_miss_in_it_brings_the_rest_behind_the_reader),
		TEST(a_file_that_is_no_program_is_read_as_it_is_asked_for),
		TEST(what_stands_elsewhere_is_none_of_the_program),
		TEST(of_a_large_one_no_more_than_4_mib_are_brought),
		TEST(who_starts_it_gets_more_with_what_it_reads_next),
		TEST(on_a_slow_line_nothing_comes_before_what_it_waits_for),
		TEST_PLAIN(the_rests_of_many_are_no_more_than_starts_may_bring),
		TEST(who_copies_it_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
