/*
 * Which units join one request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "plan.h"
#include <stdlib.h>
#include <string.h>

#define N_UNITS 16
#define SIZE    UINT64_C(100)

struct world {
	struct blob_layout *layout;
	bool taken[N_UNITS]; /* here, or on its way */
	struct plan_view view;
};

static bool wanted(void *arg, uint32_t unit_idx)
{
	const struct world *w = arg;

	assert_true(w->layout->chunks[unit_idx].plain_size_bytes > 0);
	return !w->taken[unit_idx];
}

static void open_world(struct world *w)
{
	*w = (struct world){ .layout = layout_new(N_UNITS) };
	for (uint32_t i = 0; i < N_UNITS; i++)
		w->layout->chunks[i] = (struct chunk_rec){ .place = (uint64_t)i * SIZE,
			                                   .packed_size_bytes = SIZE,
			                                   .plain_size_bytes = SIZE };
	w->view = (struct plan_view){ .layout = w->layout, .wanted = wanted, .arg = w };
}

static void a_span_grows_while_the_bytes_allow(void **state)
{
	struct world w;
	struct plan_span span;

	(void)state;
	open_world(&w);
	span = plan_unit(w.layout, 5);
	assert_int_equal(plan_widen_forward(&w.view, &span, 3 * SIZE + SIZE - 1), 3 * SIZE);
	assert_int_equal(plan_widen_backward(&w.view, &span, 2 * SIZE), 2 * SIZE);
	assert_int_equal(span.first_unit, 3);
	assert_int_equal(span.n_units, 6);
	assert_int_equal(span.packed_bytes, 6 * SIZE);
	assert_int_equal(plan_widen_forward(&w.view, &span, UINT64_MAX), 7 * SIZE);
	assert_int_equal(plan_widen_backward(&w.view, &span, UINT64_MAX), 3 * SIZE);
	assert_int_equal(span.n_units, N_UNITS);
	layout_unref(&w.layout);
}

static void a_span_ends_at_what_is_here(void **state)
{
	struct world w;
	struct plan_span span;

	(void)state;
	open_world(&w);
	w.taken[3] = true;
	w.taken[8] = true;
	span = plan_unit(w.layout, 5);
	(void)plan_widen_forward(&w.view, &span, UINT64_MAX);
	(void)plan_widen_backward(&w.view, &span, UINT64_MAX);
	assert_int_equal(span.first_unit, 4);
	assert_int_equal(span.n_units, 4);
	layout_unref(&w.layout);
}

static void a_span_ends_where_its_view_does(void **state)
{
	struct world w;
	struct plan_span span;
	uint32_t next = 0;

	(void)state;
	open_world(&w);
	w.view.end_unit = 9;
	span = plan_unit(w.layout, 5);
	assert_int_equal(plan_widen_forward(&w.view, &span, UINT64_MAX), 3 * SIZE);
	assert_int_equal(span.n_units, 4);
	assert_true(plan_next_span(&w.view, 8, UINT64_MAX, N_UNITS, &span, &next));
	assert_int_equal(span.n_units, 1);
	assert_int_equal(next, 9);
	assert_false(plan_next_span(&w.view, next, UINT64_MAX, N_UNITS, &span, &next));
	layout_unref(&w.layout);
}

static void a_span_ends_at_gaps_and_holes(void **state)
{
	struct world w;
	struct plan_span span;

	(void)state;
	open_world(&w);
	for (uint32_t i = 8; i < N_UNITS; i++)
		w.layout->chunks[i].place += 1; /* one byte that is nobody's */
	w.layout->chunks[2].plain_size_bytes = 0;
	span = plan_unit(w.layout, 5);
	(void)plan_widen_forward(&w.view, &span, UINT64_MAX);
	(void)plan_widen_backward(&w.view, &span, UINT64_MAX);
	assert_int_equal(span.first_unit, 3);
	assert_int_equal(span.n_units, 5);
	layout_unref(&w.layout);
}

static void slices_that_overlap_join_and_others_out_of_order_do_not(void **state)
{
	struct world w;

	(void)state;
	open_world(&w);
	w.layout->chunks[5].packed_size_bytes = SIZE + 30; /* reaches into 6 */
	assert_true(plan_touches(w.layout, 5));
	w.layout->chunks[6].packed_size_bytes = 10; /* lies inside 5 */
	assert_false(plan_touches(w.layout, 5));
	w.layout->chunks[9].place = 0;
	assert_false(plan_touches(w.layout, 8));
	assert_false(plan_touches(w.layout, N_UNITS - 1));
	layout_unref(&w.layout);
}

static void spans_follow_each_other_until_nothing_is_wanted(void **state)
{
	struct world w;
	struct plan_span span;
	uint32_t at = 0;
	uint32_t n_units = 0;

	(void)state;
	open_world(&w);
	w.taken[0] = true;
	w.taken[7] = true;
	while (plan_next_span(&w.view, at, 4 * SIZE, N_UNITS, &span, &at)) {
		assert_true(span.packed_bytes <= 4 * SIZE);
		for (uint32_t i = 0; i < span.n_units; i++)
			assert_false(w.taken[span.first_unit + i]);
		n_units += span.n_units;
	}
	assert_int_equal(n_units, N_UNITS - 2);
	assert_int_equal(at, N_UNITS);
	layout_unref(&w.layout);
}

/* Units that overlap with the one before by these. */
static struct blob_layout *slices(const uint32_t *overlaps, uint32_t n)
{
	struct blob_layout *l = layout_new(n);
	uint64_t end = 0;

	l->n_units = n;
	l->units = calloc(n, sizeof(*l->units));
	assert_non_null(l->units);
	for (uint32_t i = 0; i < n; i++) {
		l->units[i] = (struct unit_rec){ .packed_offset = end - overlaps[i],
			                         .packed_size_bytes = SIZE,
			                         .n_members = 1,
			                         .kind = UNIT_ZRAN };
		end = l->units[i].packed_offset + SIZE;
	}
	return l;
}

static void a_cut_is_best_where_slices_have_least_in_common(void **state)
{
	static const uint32_t overlaps[] = { 0, 30, 10, 20, 10, 0, 40 };
	AUTO(layout_unref) struct blob_layout *l = slices(overlaps, 7);

	(void)state;
	for (uint32_t i = 0; i < 7; i++)
		assert_int_equal(plan_overlap_bytes(l, i), overlaps[i]);
	assert_int_equal(plan_best_cut(l, 1, 4), 2);
	assert_int_equal(plan_best_cut(l, 1, 5), 4); /* the last of equals */
	assert_int_equal(plan_best_cut(l, 1, 7), 5);
	assert_int_equal(plan_best_cut(l, 6, 7), 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_span_grows_while_the_bytes_allow),
		cmocka_unit_test(a_span_ends_at_what_is_here),
		cmocka_unit_test(a_span_ends_where_its_view_does),
		cmocka_unit_test(a_span_ends_at_gaps_and_holes),
		cmocka_unit_test(slices_that_overlap_join_and_others_out_of_order_do_not),
		cmocka_unit_test(spans_follow_each_other_until_nothing_is_wanted),
		cmocka_unit_test(a_cut_is_best_where_slices_have_least_in_common),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
