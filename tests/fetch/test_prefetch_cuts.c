/*
 * test_prefetch_cuts: where a prefetch of slices of a gzip stream ends one run and begins the next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"
#include "engine_world.h"
#include "mem.h"
#include <stdlib.h>

#define SLICES        8ULL /* in a run */
#define CUT_AT        6U
#define OVERLAP_BYTES 20U

/* Each overlaps with the next one, the one before CUT_AT least. @return units of the first run */
static uint32_t first_run_of_slices(struct bitmap *const *named)
{
	const struct world_wish wish = { .chunks_per_unit = 1,
		                         .prefetch_run_bytes =
		                                 SLICES * (WORLD_CHUNK_BYTES + OVERLAP_BYTES) };
	struct engine_world *w = xcalloc(1, sizeof(*w));
	struct fetch_prefetch *p;
	uint32_t n_units;

	world_open(w, &wish);
	for (uint32_t i = 0; i < WORLD_CHUNKS; i++)
		fake_cas_layout(w->cas)->units[i].packed_size_bytes +=
			i + 1 == CUT_AT ? OVERLAP_BYTES / 2 : OVERLAP_BYTES;
	p = world_prefetch_start(w, named);
	world_wait(w, &w->origin.n_asks, 1);
	n_units = w->origin.asks[0].run.n_units;
	fetch_prefetch_cancel(p);
	world_close(w);
	free(w);
	return n_units;
}

static void it_is_where_they_have_least_in_common(void **state)
{
	(void)state;
	assert_int_equal(first_run_of_slices(NULL), CUT_AT);
}

/* Nothing is asked for behind it. */
static void it_is_where_what_the_image_names_ends(void **state)
{
	struct bitmap *named = bitmap_new(WORLD_CHUNKS);

	(void)state;
	assert_non_null(named);
	for (uint32_t i = 0; i < SLICES; i++)
		(void)bitmap_set(named, i);
	assert_int_equal(first_run_of_slices(&named), SLICES);
	bitmap_free(&named);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_where_they_have_least_in_common),
		cmocka_unit_test(it_is_where_what_the_image_names_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
