/*
 * test_known: layouts are known as long as somebody has their blob, and a few longer.
 */
#include "fake_pool.h"
#include "known.h"
#include "names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N = 30, CHUNKS = 100 };

struct fixture {
	struct pool *pool;
	struct known_table *table;
	struct blob_layout *layouts[N];
	uint32_t n_made;
};

static void on_made(void *arg, struct known *k)
{
	struct fixture *f = arg;

	assert_false(k->failed);
	f->n_made++;
}

static bool is_known(const struct fixture *f, const struct wire_id *list)
{
	struct known *k;
	uint32_t segment_idx;

	return known_list(f->table, list, &k, &segment_idx);
}

static void layouts_of_closed_blobs_are_forgotten_but_for_a_few(void **state)
{
	struct fixture f = { .n_made = 0 };
	struct wire_id lists[N];
	struct err e;
	struct known *known[N];
	uint32_t n_known = 0;

	(void)state;
	assert_int_equal(pool_new(NULL, 1, "test", &f.pool, &e), 0);
	f.table = known_table_new(
		&(struct known_table_opts){ .pool = f.pool, .made = on_made, .arg = &f });
	for (uint32_t i = 0; i < N; i++) {
		f.layouts[i] = test_layout(CHUNKS, 100000, (uint64_t)i * CHUNKS);
		known[i] = known_get(f.table, f.layouts[i]);
		(void)fake_pool_drain(f.pool);
		lists[i] = segments_at(known[i]->segments, 0)->list;
		if (i > 0)
			known_put(known[i]);
	}
	assert_int_equal(f.n_made, N);
	known_sweep(f.table);
	for (uint32_t i = 0; i < N; i++) /* all blobs are open: all are known */
		assert_true(is_known(&f, &lists[i]));
	for (uint32_t i = 0; i < N - 1; i++)
		layout_unref(&f.layouts[i]);
	known_sweep(f.table);
	for (uint32_t i = 0; i < N; i++)
		n_known += is_known(&f, &lists[i]);
	assert_int_equal(n_known, KNOWN_IDLE_MAX + 2);
	assert_true(is_known(&f, &lists[0]));     /* somebody uses it */
	assert_true(is_known(&f, &lists[N - 1])); /* its blob is open */
	assert_true(is_known(&f, &lists[N - 2])); /* one of the latest */
	assert_false(is_known(&f, &lists[1]));
	known_put(known[0]);
	layout_unref(&f.layouts[N - 1]);
	known_table_free(&f.table);
	pool_free(&f.pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layouts_of_closed_blobs_are_forgotten_but_for_a_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
