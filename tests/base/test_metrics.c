/*
 * test_metrics: what is counted and what the page says of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_page_has(const struct metrics *m, const char *line)
{
	AUTO(free_str) char *page = metrics_render(m);

	if (strstr(page, line) == NULL)
		fail_msg("no \"%s\" in\n%s", line, page);
}

static unsigned n_lines_with(const struct metrics *m, const char *text)
{
	AUTO(free_str) char *page = metrics_render(m);
	unsigned n = 0;

	for (const char *p = page; (p = strstr(p, text)) != NULL; p++)
		n++;
	return n;
}

static void the_same_labels_are_the_same_series(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	const char *const a[] = { "cache", "x" };
	const char *const b[] = { "cachex", "" };

	(void)state;
	assert_ptr_equal(metrics_series(m, METRIC_READ_BYTES, a),
	                 metrics_series(m, METRIC_READ_BYTES, a));
	assert_ptr_not_equal(metrics_series(m, METRIC_READ_BYTES, a),
	                     metrics_series(m, METRIC_READ_BYTES, b));
}

static void the_page_has_type_help_and_every_series(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	const char *const a[] = { "cache", "app:1" };
	const char *const b[] = { "origin", "app:1" };

	(void)state;
	metrics_add(m, METRIC_READ_BYTES, a, 40);
	metrics_add(m, METRIC_READ_BYTES, a, 2);
	metrics_add(m, METRIC_READ_BYTES, b, 7);
	series_set(metrics_series(m, METRIC_CACHE_BYTES, NULL), 5);
	assert_page_has(m, "# HELP shoal_read_bytes_total Bytes handed to readers");
	assert_page_has(m, "\n# TYPE shoal_read_bytes_total counter\n"
	                   "shoal_read_bytes_total{source=\"cache\",image=\"app:1\"} 42\n"
	                   "shoal_read_bytes_total{source=\"origin\",image=\"app:1\"} 7\n");
	assert_page_has(m, "# TYPE shoal_cache_bytes gauge\nshoal_cache_bytes 5\n");
	assert_int_equal(metrics_sum(m, METRIC_READ_BYTES), 49);
}

static void metrics_without_labels_are_there_from_the_start(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();

	(void)state;
	assert_page_has(m, "\nshoal_readers_waiting 0\n");
	assert_page_has(m, "\nshoal_unverified_bytes_total 0\n");
}

static void all_series_of_one_label_are_there_from_the_start(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();

	(void)state;
	assert_page_has(m, "\nshoal_verify_failures_total{source=\"cache\"} 0\n"
	                   "shoal_verify_failures_total{source=\"dedup\"} 0\n"
	                   "shoal_verify_failures_total{source=\"peer\"} 0\n"
	                   "shoal_verify_failures_total{source=\"origin\"} 0\n");
	assert_page_has(m, "\nshoal_chunks_total{source=\"dedup\"} 0\n");
	assert_page_has(m, "\nshoal_peers{state=\"heard-of\"} 0\n");
	assert_page_has(m, "\nshoal_read_seconds_count{source=\"origin\"} 0\n");
}

static void label_values_cannot_break_out_of_the_page(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	const char *const labels[] = { "a\"} 1\nb\\", "\xff\x01" };

	(void)state;
	metrics_add(m, METRIC_READ_BYTES, labels, 1);
	assert_page_has(m, "{source=\"a\\\"} 1\\nb\\\\\",image=\"__\"} 1\n");
}

static void a_histogram_counts_up_to_each_bound(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	const char *const labels[] = { "cache" };
	struct series *s = metrics_series(m, METRIC_READ_SECONDS, labels);

	(void)state;
	series_observe_ns(s, 100000);                /* on the first bound */
	series_observe_ns(s, 100001);                /* just above */
	series_observe_ns(s, UINT64_C(3000000000));  /* 3 s */
	series_observe_ns(s, UINT64_C(60000000000)); /* beyond all bounds */
	assert_page_has(m, "shoal_read_seconds_bucket{source=\"cache\",le=\"0.0001\"} 1\n"
	                   "shoal_read_seconds_bucket{source=\"cache\",le=\"0.00025\"} 2\n");
	assert_page_has(m, "le=\"2.5\"} 2\n");
	assert_page_has(m, "le=\"5\"} 3\n");
	assert_page_has(m, "le=\"10\"} 3\n");
	assert_page_has(m, "le=\"+Inf\"} 4\n");
	assert_page_has(m, "shoal_read_seconds_sum{source=\"cache\"} 63.000200001\n"
	                   "shoal_read_seconds_count{source=\"cache\"} 4\n");
}

static void names_from_outside_cannot_fill_memory(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	char *long_name = xcalloc(100001, 1);
	const char *const long_labels[] = { "cache", long_name };

	(void)state;
	memset(long_name, 'x', 100000);
	metrics_add(m, METRIC_READ_BYTES, long_labels, 1);
	for (unsigned i = 0; i < METRICS_SERIES_MAX + 500; i++) {
		char name[16];
		const char *const labels[] = { "cache", name };

		(void)snprintf(name, sizeof(name), "image%u", i);
		metrics_add(m, METRIC_READ_BYTES, labels, 1);
	}
	assert_int_equal(n_lines_with(m, "\nshoal_read_bytes_total{"), METRICS_SERIES_MAX + 1);
	assert_page_has(m, "{source=\"other\",image=\"other\"} 501\n");
	assert_int_equal(metrics_sum(m, METRIC_READ_BYTES), METRICS_SERIES_MAX + 501);
	free_str(&long_name);
}

/* An image that is mounted has its own series, however many there were before it; the sums by
 * source lose nothing. */
static void what_nobody_holds_makes_room(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	const char *const kept_labels[] = { "cache", "kept" };
	struct series *kept = metrics_hold(m, METRIC_READ_BYTES, kept_labels);

	(void)state;
	series_add(kept, 7);
	for (unsigned i = 0; i < METRICS_SERIES_MAX + 500; i++) {
		char name[16];
		const char *const labels[] = { i % 2 == 0 ? "cache" : "peer", name };
		struct series *s;

		(void)snprintf(name, sizeof(name), "image%u", i);
		s = metrics_hold(m, METRIC_READ_BYTES, labels);
		assert_int_equal(series_get(s), 0);
		series_add(s, 1);
		metrics_release(m, &s);
		assert_null(s);
	}
	assert_in_range(n_lines_with(m, "\nshoal_read_bytes_total{"), METRICS_SERIES_MAX,
	                METRICS_SERIES_MAX + 2);
	assert_page_has(m, "{source=\"cache\",image=\"kept\"} 7\n");
	assert_page_has(m, "{source=\"peer\",image=\"image1499\"} 1\n");
	/* rate() would take what went there for what is read now. */
	assert_page_has(m, "{source=\"cache\",image=\"other\"} 0\n");
	assert_int_equal(metrics_sum_where(m, METRIC_READ_BYTES, "cache"), 750 + 7);
	assert_int_equal(metrics_sum_where(m, METRIC_READ_BYTES, "peer"), 750);
	metrics_release(m, &kept);
}

static void where_all_are_held_the_rest_is_told_by_source(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	struct series *held[METRICS_SERIES_MAX + 2];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(held); i++) {
		char name[16];
		const char *const labels[] = { "cache", name };

		(void)snprintf(name, sizeof(name), "image%u", i);
		held[i] = metrics_hold(m, METRIC_READ_BYTES, labels);
		series_add(held[i], 1);
	}
	assert_page_has(m, "{source=\"cache\",image=\"other\"} 2\n");
	for (unsigned i = 0; i < ARRAY_LEN(held); i++)
		metrics_release(m, &held[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_labels_are_the_same_series),
		cmocka_unit_test(the_page_has_type_help_and_every_series),
		cmocka_unit_test(metrics_without_labels_are_there_from_the_start),
		cmocka_unit_test(all_series_of_one_label_are_there_from_the_start),
		cmocka_unit_test(label_values_cannot_break_out_of_the_page),
		cmocka_unit_test(a_histogram_counts_up_to_each_bound),
		cmocka_unit_test(names_from_outside_cannot_fill_memory),
		cmocka_unit_test(what_nobody_holds_makes_room),
		cmocka_unit_test(where_all_are_held_the_rest_is_told_by_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
