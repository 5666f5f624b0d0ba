/*
 * test_past: what is remembered of the last minutes, and what the metrics' sums are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "past.h"

static void add(struct past *past, uint64_t uptime_ms, uint64_t read_bytes)
{
	const struct sums sums = { .uptime_ms = uptime_ms,
		                   .read_bytes = { [FOUND_CACHE] = read_bytes } };

	past_add(past, &sums);
}

static void a_young_agent_remembers_from_its_start_on(void **state)
{
	AUTO(past_free) struct past *past = past_new();
	AUTO(json_drop) json_t *list = NULL;

	(void)state;
	assert_int_equal(past_begin(past, 10)->uptime_ms, 0);
	add(past, 5000, 7);
	add(past, 10001, 9);
	assert_int_equal(past_begin(past, 12000)->read_bytes[FOUND_CACHE], 0);
	list = past_tell(past, 12000);
	assert_int_equal(json_array_size(list), 3);
	assert_int_equal(json_u64(json_array_get(list, 1), "uptime_ms"), 5000);
	assert_int_equal(json_u64(json_object_get(json_array_get(list, 2), "read_bytes"), "cache"),
	                 9);
}

static void of_an_old_one_five_minutes_are_kept_in_their_order(void **state)
{
	AUTO(past_free) struct past *past = past_new();

	(void)state;
	for (uint64_t i = 1; i <= 1000; i++) {
		const uint64_t now_ms = i * PAST_STEP_MS + i % 3; /* timers are a little late */
		AUTO(json_drop) json_t *list = NULL;
		uint64_t before_ms = 0;
		const json_t *one;
		size_t k;

		add(past, now_ms, i);
		list = past_tell(past, now_ms + 1200);
		json_array_foreach(list, k, one)
		{
			assert_true(k == 0 || json_u64(one, "uptime_ms") > before_ms);
			before_ms = json_u64(one, "uptime_ms");
		}
		assert_int_equal(before_ms, now_ms);
		assert_int_equal(past_begin(past, now_ms + 1200)->uptime_ms,
		                 json_u64(json_array_get(list, 0), "uptime_ms"));
		if (i < PAST_STEPS)
			continue;
		assert_int_equal(json_array_size(list), PAST_STEPS + 1);
		assert_in_range(now_ms + 1200 - past_begin(past, now_ms + 1200)->uptime_ms,
		                PAST_STEPS * PAST_STEP_MS - 3,
		                PAST_STEPS * PAST_STEP_MS + PAST_STEP_MS / 2);
	}
}

static void what_is_older_than_five_minutes_does_not_count_as_them(void **state)
{
	AUTO(past_free) struct past *past = past_new();

	(void)state;
	add(past, 5000, 7);
	add(past, 4000000, 8); /* the machine slept */
	assert_int_equal(past_begin(past, 4001000)->uptime_ms, 4000000);
}

static void sums_are_those_of_the_metrics_by_their_labels(void **state)
{
	AUTO(metrics_free) struct metrics *m = metrics_new();
	const char *const data[] = { "r:1", "data" };
	const char *const other_data[] = { "r:2", "data" };
	const char *const meta[] = { "data", "meta" };
	const char *const again[] = { "again" };
	const char *const origin[] = { "origin" };
	const char *const cache[] = { "cache" };
	struct sums sums;

	(void)state;
	metrics_add(m, METRIC_ORIGIN_RECEIVED_BYTES, data, 40);
	metrics_add(m, METRIC_ORIGIN_RECEIVED_BYTES, other_data, 2);
	metrics_add(m, METRIC_ORIGIN_RECEIVED_BYTES, meta, 500);
	metrics_add(m, METRIC_ORIGIN_UNIQUE_BYTES, NULL, 41);
	metrics_add(m, METRIC_LEASED_CHUNKS, again, 3);
	series_observe_ns(metrics_series(m, METRIC_READ_SECONDS, origin), 1500000000);
	series_observe_ns(metrics_series(m, METRIC_READ_SECONDS, origin), 250000000);
	series_observe_ns(metrics_series(m, METRIC_READ_SECONDS, cache), 90000000);
	sums_take(m, 77, &sums);
	assert_int_equal(sums.uptime_ms, 77);
	assert_int_equal(sums.origin_received_bytes, 542);
	assert_int_equal(sums.origin_data_bytes, 42);
	assert_int_equal(sums.origin_unique_bytes, 41);
	assert_int_equal(sums.leased_chunks[SUMS_AGAIN], 3);
	assert_int_equal(sums.leased_chunks[SUMS_FIRST], 0);
	assert_int_equal(sums.waited_ms, 1750);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_young_agent_remembers_from_its_start_on),
		cmocka_unit_test(of_an_old_one_five_minutes_are_kept_in_their_order),
		cmocka_unit_test(what_is_older_than_five_minutes_does_not_count_as_them),
		cmocka_unit_test(sums_are_those_of_the_metrics_by_their_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
