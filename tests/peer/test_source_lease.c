/*
 * test_source_lease: when what stands in a home's queue waits for this node's own leases.
 */
#include "home.h"
#include "mem.h"
#include "names.h"
#include "source_impl.h"
#include <stdlib.h>
#include <utlist.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_CHUNKS = 5000 };

struct world {
	struct blob_layout *layout;
	struct segments *segments;
	struct known known;
	struct peer *p;
	struct source_req req;
	struct seek seek; /* of the last segment */
	struct lease_held leases[HOME_LEASES_PER_PEER];
};

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct err e;

	w->layout = test_layout(N_CHUNKS, 60000, 1);
	assert_int_equal(segments_new(w->layout, &w->segments, &e), 0);
	assert_true(segments_count(w->segments) > HOME_LEASES_PER_PEER);
	w->known.segments = w->segments;
	w->p = xcalloc(1, sizeof(*w->p));
	w->req = (struct source_req){ .p = w->p, .known = &w->known };
	w->seek = (struct seek){ .req = &w->req,
		                 .segment_idx = HOME_LEASES_PER_PEER,
		                 .ask_home = test_id(1, 1) };
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	segments_free(&w->segments);
	layout_unref(&w->layout);
	free(w->p);
	free(w);
	return 0;
}

/* One of another segment each. */
static void has_leases(struct world *w, uint32_t first, uint32_t n, const struct wire_id *home)
{
	for (uint32_t i = first; i < first + n; i++) {
		w->leases[i] =
			(struct lease_held){ .known = &w->known, .segment_idx = i, .home = *home };
		DL_APPEND(w->p->leases, &w->leases[i]);
	}
}

/* A home that gives no more than that is no home with an endless queue. */
static void who_has_all_leases_that_a_home_gives_a_node_waits_for_these(void **state)
{
	struct world *w = *state;

	has_leases(w, 0, HOME_LEASES_PER_PEER - 1, &w->seek.ask_home);
	assert_false(lease_is_open(&w->seek));
	has_leases(w, HOME_LEASES_PER_PEER - 1, 1, &w->seek.ask_home);
	assert_true(lease_is_open(&w->seek));
}

static void those_of_another_home_do_not_count(void **state)
{
	struct world *w = *state;
	const struct wire_id other = test_id(1, 2);

	has_leases(w, 0, HOME_LEASES_PER_PEER - 1, &w->seek.ask_home);
	has_leases(w, HOME_LEASES_PER_PEER - 1, 1, &other);
	assert_false(lease_is_open(&w->seek));
}

static void one_of_the_same_list_is_enough(void **state)
{
	struct world *w = *state;

	w->seek.segment_idx = 0;
	has_leases(w, 0, 1, &w->seek.ask_home);
	assert_true(lease_is_open(&w->seek));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(who_has_all_leases_that_a_home_gives_a_node_waits_for_these),
		T(those_of_another_home_do_not_count),
		T(one_of_the_same_list_is_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
