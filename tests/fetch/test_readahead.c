/*
 * The window policy, on a made blob: how many requests and how many bytes each order of reading
 * costs. No time, no threads: what is asked for is here at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bytes.h"
#include "mem.h"
#include "readahead.h"
#include <stdlib.h>
#include <string.h>

#define N_UNITS 4000

struct model {
	struct readahead ra;
	struct readahead_record record;
	struct readahead_starts starts;
	struct blob_layout *layout;
	bool here[N_UNITS];
	bool brought[N_UNITS];
	bool touched[N_UNITS];
	bool marked[N_UNITS];
	uint64_t bytes;
	uint64_t largest_miss_bytes; /* beyond the reader's own unit */
	uint64_t largest_bytes;      /* of a window */
	uint32_t n_asks;
	struct plan_view view;
};

static bool wanted(void *arg, uint32_t unit_idx)
{
	const struct model *m = arg;

	return !m->here[unit_idx];
}

static bool was_touched(void *arg, uint32_t unit_idx)
{
	const struct model *m = arg;

	return m->touched[unit_idx];
}

/* Sizes as in a real image: most small, some large. 10 KB in the mean. */
static uint32_t size_of(uint32_t i)
{
	const uint32_t hash = i * 2654435761U;

	return hash >> 27 == 0 ? 200000 : 500 + (hash >> 16) % 7000;
}

static struct model *model_new(void)
{
	struct model *m = xcalloc(1, sizeof(*m));
	uint64_t place = 0;

	m->layout = layout_new(N_UNITS);
	for (uint32_t i = 0; i < N_UNITS; i++) {
		m->layout->chunks[i] = (struct chunk_rec){ .place = place,
			                                   .packed_size_bytes = size_of(i),
			                                   .plain_size_bytes = 3 * size_of(i) };
		place += size_of(i);
	}
	m->layout->packed_data_end = place;
	m->view = (struct plan_view){ .layout = m->layout, .wanted = wanted, .arg = m };
	readahead_init(&m->ra, &m->record, &m->starts);
	return m;
}

static void model_free(struct model *m)
{
	readahead_fini(&m->ra);
	layout_unref(&m->layout);
	free(m);
}

static void ask(struct model *m, const struct plan_span *span, uint32_t n_demand, uint32_t demand)
{
	uint32_t marker;

	for (uint32_t i = span->first_unit; i < span->first_unit + span->n_units; i++) {
		assert_false(m->here[i]);
		m->here[i] = true;
		m->brought[i] = n_demand == 0 || i != demand;
	}
	m->n_asks++;
	m->largest_bytes = max_u64(m->largest_bytes, span->packed_bytes);
	m->bytes += span->packed_bytes;
	marker = readahead_issued(&m->ra, span, n_demand == 0 ? span->first_unit : demand + 1);
	if (marker != READAHEAD_NO_MARKER)
		m->marked[marker] = true;
}

static void miss(struct model *m, uint32_t unit_idx)
{
	const struct plan_span demand = plan_unit(m->layout, unit_idx);
	const struct readahead_window window = readahead_miss(&m->ra, &demand);
	struct plan_span span = demand;
	const uint64_t added = plan_widen_forward(&m->view, &span, window.forward_bytes);

	(void)plan_widen_backward(&m->view, &span,
	                          min_u64(window.backward_bytes, window.total_bytes - added));
	m->largest_miss_bytes =
		max_u64(m->largest_miss_bytes, span.packed_bytes - demand.packed_bytes);
	ask(m, &span, 1, unit_idx);
}

static void ahead(struct model *m)
{
	uint32_t from;
	uint64_t max_bytes;

	while (readahead_next(&m->ra, was_touched, m, &from, &max_bytes)) {
		struct plan_span span;

		if (from >= N_UNITS || m->here[from])
			continue;
		span = plan_unit(m->layout, from);
		(void)plan_widen_forward(&m->view, &span, max_bytes - span.packed_bytes);
		ask(m, &span, 0, 0);
	}
}

static void read_unit(struct model *m, uint32_t unit_idx)
{
	const bool first = !m->touched[unit_idx];

	if (!m->here[unit_idx])
		miss(m, unit_idx);
	m->touched[unit_idx] = true;
	if (first && m->brought[unit_idx])
		readahead_useful(&m->ra, size_of(unit_idx));
	if (m->marked[unit_idx]) {
		m->marked[unit_idx] = false;
		ahead(m);
	}
}

static void reading_everything_takes_few_requests_and_every_byte_once(void **state)
{
	struct model *m = model_new();

	(void)state;
	for (uint32_t i = 0; i < N_UNITS; i++)
		read_unit(m, i);
	assert_int_equal(m->bytes, m->layout->packed_data_end);
	assert_in_range(m->n_asks, 1, m->bytes / (1 << 20));
	model_free(m);
}

static void reading_backwards_ramps_up_too(void **state)
{
	struct model *m = model_new();

	(void)state;
	for (uint32_t i = N_UNITS; i > 0; i--)
		read_unit(m, i - 1);
	assert_int_equal(m->bytes, m->layout->packed_data_end);
	assert_in_range(m->n_asks, 1, 4 * m->bytes / (1 << 20));
	model_free(m);
}

/* A walk over directories: mostly in order, with jumps, and some places seen again later. */
static void a_walk_with_jumps_ramps_up_too(void **state)
{
	struct model *m = model_new();

	(void)state;
	for (uint32_t dir = 0; dir < N_UNITS; dir += 40) {
		for (uint32_t i = dir + 30; i < dir + 40; i++)
			read_unit(m, i);
		for (uint32_t i = dir; i < dir + 30; i++)
			read_unit(m, i);
	}
	assert_int_equal(m->bytes, m->layout->packed_data_end);
	assert_in_range(m->n_asks, 1, 3 * m->bytes / (1 << 20));
	model_free(m);
}

static void four_readers_at_four_places_share_the_ramp(void **state)
{
	struct model *m = model_new();

	(void)state;
	for (uint32_t i = 0; i < N_UNITS / 4; i++) {
		for (uint32_t reader = 0; reader < 4; reader++)
			read_unit(m, reader * (N_UNITS / 4) + i);
	}
	assert_int_equal(m->bytes, m->layout->packed_data_end);
	assert_in_range(m->n_asks, 1, 2 * m->bytes / (1 << 20));
	model_free(m);
}

static void one_percent_at_random_moves_little_more_than_itself(void **state)
{
	struct model *m = model_new();
	uint64_t needed = 0;

	(void)state;
	for (uint32_t i = 0; i < N_UNITS / 100; i++) {
		const uint32_t unit = i * 2654435761U % N_UNITS;

		needed += size_of(unit);
		read_unit(m, unit);
	}
	assert_true(m->bytes <= needed + m->layout->packed_data_end / 50);
	model_free(m);
}

static void one_read_moves_at_most_its_unit_and_a_mebibyte_whatever_was_earned(void **state)
{
	struct model *m = model_new();

	(void)state;
	readahead_useful(&m->ra, UINT64_MAX);
	for (uint32_t i = 0; i < N_UNITS; i += 97)
		read_unit(m, i);
	assert_true(m->largest_miss_bytes <= READAHEAD_MISS_MAX_BYTES);
	model_free(m);
}

static void a_sequence_that_ends_costs_no_more_than_a_few_windows(void **state)
{
	struct model *m = model_new();
	uint64_t before;

	(void)state;
	for (uint32_t i = 0; i < N_UNITS / 2; i++)
		read_unit(m, i);
	before = m->bytes;
	for (uint32_t i = 0; i < 20; i++)
		read_unit(m, N_UNITS / 2 + 300 + i * 80);
	assert_true(m->bytes - before <= 5 * (uint64_t)READAHEAD_MISS_MAX_BYTES);
	model_free(m);
}

static void who_reads_all_that_is_brought_gets_windows_that_grow_with_it(void **state)
{
	struct model *m = model_new();
	uint64_t read_bytes = 0;

	(void)state;
	for (uint32_t i = 0; i < N_UNITS; i++) {
		read_unit(m, i);
		read_bytes += size_of(i);
		assert_true(m->bytes <= 2 * read_bytes + 2 * (uint64_t)READAHEAD_PROVEN_BYTES);
	}
	assert_true(m->largest_bytes > READAHEAD_MAX_BYTES - READAHEAD_MAX_BYTES / 16);
	assert_true(m->largest_bytes <= READAHEAD_MAX_BYTES);
	model_free(m);
}

/* Of each window that was earned it reads about half, and goes on elsewhere. */
static void who_leaves_half_of_it_does_not(void **state)
{
	struct model *m = model_new();
	uint64_t x = 1;

	(void)state;
	for (uint32_t n = 0; n < 60; n++) {
		const uint32_t from =
			(uint32_t)((x = x * 6364136223846793005ULL + 1) >> 33) % N_UNITS;

		for (uint32_t i = from; i < from + 60 && i < N_UNITS; i++)
			read_unit(m, i);
	}
	assert_true(m->largest_bytes <= READAHEAD_PROVEN_BYTES);
	model_free(m);
}

/* What one blob's reader proved counts in the next one. */
static void a_blob_that_is_new_begins_with_what_the_reader_proved_elsewhere(void **state)
{
	struct model *m = model_new();
	struct model *next = model_new();

	(void)state;
	readahead_init(&next->ra, &m->record, &m->starts);
	for (uint32_t i = 0; i < N_UNITS / 2; i++)
		read_unit(m, i);
	read_unit(next, 100);
	assert_true(next->bytes > READAHEAD_MISS_MAX_BYTES - READAHEAD_MISS_MAX_BYTES / 4);
	model_free(next);
	model_free(m);
}

/* n blobs, one behind the other, of each of which somebody reads the first n_units from a place on.
 * @return bytes that were moved and not read */
static uint64_t unread_of(struct readahead_record *record, struct model **blobs, uint32_t n,
                          uint32_t n_units)
{
	uint64_t unread_bytes = 0;

	for (uint32_t k = 0; k < n; k++) {
		struct model *m = blobs[k] = model_new();
		uint64_t read_bytes = 0;

		readahead_init(&m->ra, record, &m->starts);
		for (uint32_t i = 100; i < 100 + n_units; i++) {
			read_unit(m, i);
			read_bytes += size_of(i);
		}
		unread_bytes += m->bytes - read_bytes;
	}
	return unread_bytes;
}

static void who_reads_a_little_of_many_new_blobs_is_believed_for_a_few_of_them(void **state)
{
	struct model *m = model_new();
	struct model *blobs[200];
	uint64_t unread_bytes;

	(void)state;
	for (uint32_t i = 0; i < N_UNITS; i++)
		read_unit(m, i);
	unread_bytes = unread_of(&m->record, blobs, ARRAY_LEN(blobs), 1);
	assert_true(unread_bytes < 20 * (uint64_t)READAHEAD_MISS_MAX_BYTES);
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++)
		model_free(blobs[k]);
	model_free(m);
}

/* Of each about what the first two windows have. */
static void who_leaves_each_blob_early_gets_no_windows_that_grow(void **state)
{
	struct model *m = model_new();
	struct model *blobs[40];

	(void)state;
	for (uint32_t i = 0; i < N_UNITS; i++)
		read_unit(m, i);
	(void)unread_of(&m->record, blobs, ARRAY_LEN(blobs), 200);
	for (uint32_t k = 20; k < ARRAY_LEN(blobs); k++)
		assert_true(blobs[k]->largest_bytes <= READAHEAD_PROVEN_BYTES);
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++)
		model_free(blobs[k]);
	model_free(m);
}

/* Stretches between chunks that are here are brought apart, and counted where they are touched. */
static void what_others_brought_ahead_outweighs_no_windows(void **state)
{
	struct model *m = model_new();
	struct model *blobs[200];

	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		readahead_useful(&m->ra, 1 << 20);
	assert_true(unread_of(&m->record, blobs, ARRAY_LEN(blobs), 1) <
	            100 * (uint64_t)READAHEAD_MISS_MAX_BYTES);
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++)
		model_free(blobs[k]);
	model_free(m);
}

/* Many at once, each through all of its blob: nothing of it is given up. */
static void who_reads_all_of_some_blobs_by_turns_is_believed_on(void **state)
{
	struct model *blobs[READAHEAD_RECENT];
	struct readahead_record record = { .ahead_bytes = 0 };

	(void)state;
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++) {
		blobs[k] = model_new();
		readahead_init(&blobs[k]->ra, &record, &blobs[k]->starts);
	}
	for (uint32_t i = 0; i < N_UNITS; i++) {
		for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++)
			read_unit(blobs[k], i);
	}
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++) {
		assert_true(blobs[k]->largest_bytes > READAHEAD_MAX_BYTES / 2);
		model_free(blobs[k]);
	}
}

/* Modules of a program: in any order, in 400 units of 4,000, a third of which are read. */
static uint32_t asks_of_a_start(bool is_told, uint64_t *ret_bytes)
{
	struct model *m = model_new();
	uint32_t n_asks;

	if (is_told)
		readahead_starts(&m->ra);
	for (uint32_t i = 0; i < 133; i++)
		read_unit(m, 1000 + i * 2654435761U % 400);
	n_asks = m->n_asks;
	*ret_bytes = m->bytes;
	model_free(m);
	return n_asks;
}

static void a_start_waits_half_as_often_for_little_more(void **state)
{
	uint64_t bytes;
	uint64_t told_bytes;
	const uint32_t n_asks = asks_of_a_start(false, &bytes);

	(void)state;
	assert_in_range(asks_of_a_start(true, &told_bytes), 1, n_asks / 2);
	assert_true(told_bytes < bytes * 2);
}

/* Told by one blob's reader, spent by another's; reads at random forget nothing. */
static void what_a_start_brings_unasked_is_bounded(void **state)
{
	struct model *m = model_new();
	struct model *other = model_new();

	(void)state;
	readahead_init(&other->ra, &m->record, &m->starts);
	readahead_starts(&m->ra);
	for (uint32_t i = 0; i < N_UNITS / 10; i++) {
		const uint32_t unit = i * 2654435761U % N_UNITS;

		read_unit(other, unit);
		if (i == 0)
			assert_true(other->bytes > size_of(unit) + READAHEAD_START_FORWARD / 2);
	}
	assert_int_equal(m->starts.left_bytes, 0);
	other->largest_miss_bytes = 0;
	for (uint32_t i = N_UNITS / 10; i < N_UNITS / 9; i++)
		read_unit(other, i * 2654435761U % N_UNITS);
	assert_true(other->largest_miss_bytes < READAHEAD_START_BACK);
	model_free(other);
	model_free(m);
}

/* The n-th of a series of new blobs: one unit far from all else is read, so nothing is touched. */
static uint64_t unasked_of_a_miss(struct readahead_starts *starts, struct model **ret_blob)
{
	struct model *m = *ret_blob = model_new();

	readahead_init(&m->ra, &m->record, starts);
	read_unit(m, N_UNITS / 2);
	return m->bytes - size_of(N_UNITS / 2);
}

/* Who looks at many programs, and at nothing near them. */
static void many_starts_bring_no_more_unasked_than_one_may(void **state)
{
	struct readahead_starts starts = { .left_bytes = 0 };
	struct model *blobs[20 * 10];
	uint64_t unasked_bytes = 0;
	uint64_t wide_bytes = 0;

	(void)state;
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++) {
		const uint64_t bytes = unasked_of_a_miss(&starts, &blobs[k]);

		unasked_bytes += bytes;
		wide_bytes += bytes > READAHEAD_MIN_BYTES ? bytes : 0;
		if (k % 10 == 0)
			readahead_starts(&blobs[k]->ra);
	}
	assert_in_range(wide_bytes, READAHEAD_STARTS_BYTES / 2,
	                READAHEAD_STARTS_BYTES + READAHEAD_START_FORWARD + READAHEAD_START_BACK);
	assert_true(unasked_bytes <= wide_bytes + ARRAY_LEN(blobs) * READAHEAD_MIN_BYTES);
	/* What is touched earns more of it. */
	readahead_useful(&blobs[0]->ra, READAHEAD_START_BACK);
	readahead_starts(&blobs[0]->ra);
	assert_in_range(starts.left_bytes,
	                (READAHEAD_START_GAIN - 1) * READAHEAD_START_BACK - READAHEAD_START_FORWARD,
	                READAHEAD_START_GAIN * READAHEAD_START_BACK);
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++)
		model_free(blobs[k]);
}

/* What one start leaves is not there for whoever comes later. */
static void a_start_is_over_when_nothing_near_was_touched_for_long(void **state)
{
	struct readahead_starts starts = { .left_bytes = 0 };
	struct model *blobs[30];
	uint64_t wide_bytes = 0;

	(void)state;
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++) {
		const uint64_t bytes = unasked_of_a_miss(&starts, &blobs[k]);

		wide_bytes += bytes > READAHEAD_MIN_BYTES ? bytes : 0;
		if (k == 0)
			readahead_starts(&blobs[k]->ra);
	}
	assert_in_range(wide_bytes, READAHEAD_START_BYTES / READAHEAD_START_IDLE,
	                READAHEAD_START_BYTES / READAHEAD_START_IDLE + READAHEAD_START_FORWARD +
	                        READAHEAD_START_BACK);
	for (uint32_t k = 0; k < ARRAY_LEN(blobs); k++)
		model_free(blobs[k]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_everything_takes_few_requests_and_every_byte_once),
		cmocka_unit_test(reading_backwards_ramps_up_too),
		cmocka_unit_test(a_walk_with_jumps_ramps_up_too),
		cmocka_unit_test(four_readers_at_four_places_share_the_ramp),
		cmocka_unit_test(one_percent_at_random_moves_little_more_than_itself),
		cmocka_unit_test(
			one_read_moves_at_most_its_unit_and_a_mebibyte_whatever_was_earned),
		cmocka_unit_test(a_sequence_that_ends_costs_no_more_than_a_few_windows),
		cmocka_unit_test(who_reads_all_that_is_brought_gets_windows_that_grow_with_it),
		cmocka_unit_test(who_leaves_half_of_it_does_not),
		cmocka_unit_test(a_blob_that_is_new_begins_with_what_the_reader_proved_elsewhere),
		cmocka_unit_test(
			who_reads_a_little_of_many_new_blobs_is_believed_for_a_few_of_them),
		cmocka_unit_test(who_leaves_each_blob_early_gets_no_windows_that_grow),
		cmocka_unit_test(what_others_brought_ahead_outweighs_no_windows),
		cmocka_unit_test(who_reads_all_of_some_blobs_by_turns_is_believed_on),
		cmocka_unit_test(a_start_waits_half_as_often_for_little_more),
		cmocka_unit_test(what_a_start_brings_unasked_is_bounded),
		cmocka_unit_test(many_starts_bring_no_more_unasked_than_one_may),
		cmocka_unit_test(a_start_is_over_when_nothing_near_was_touched_for_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
