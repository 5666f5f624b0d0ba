/*
 * The fetch engine among fakes: a program that is being started.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine_world.h"
#include "fake_cas.h"

#define CHUNK_BYTES (64U << 10)
#define HEAD        FAKE_CAS_PROGRAM
#define N_CHUNKS    6U /* of the program: the last is a small one */
#define PLAIN_HEAD  100U

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

static void give_all(struct engine_world *w)
{
	for (uint32_t i = 0; i < w->origin.n_asks; i++) {
		if (w->origin.asks[i].open)
			world_give_all(w, &w->origin, i);
		world_settle(w);
	}
}

static void read_chunk(struct engine_world *w, uint32_t chunk_idx)
{
	struct world_read r = { 0 };

	(void)world_read_start(w, &r, chunk_idx, 1);
	world_settle(w);
	give_all(w);
	assert_int_equal(r.n_done, 1);
	assert_int_equal(r.result, 0);
	world_read_is_right(w, &r);
	world_read_end(w, &r);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(its_head_alone_brings_nothing_else, set_up,
		                                world_tear_down),
		cmocka_unit_test_setup_teardown(
			a_second_miss_in_it_brings_the_rest_behind_the_reader, set_up,
			world_tear_down),
		cmocka_unit_test_setup_teardown(
			a_file_that_is_no_program_is_read_as_it_is_asked_for, set_up,
			world_tear_down),
		cmocka_unit_test_setup_teardown(what_stands_elsewhere_is_none_of_the_program,
		                                set_up, world_tear_down),
		cmocka_unit_test_setup_teardown(of_a_large_one_no_more_than_4_mib_are_brought,
		                                set_up, world_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
