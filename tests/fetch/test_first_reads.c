/*
 * What readers come to first: noted in order, each chunk once, and as bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_clock.h"
#include "first_reads.h"
#include "layout.h"
#include "read_log.h"
#include "reads_sift.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define N_CHUNKS    (READ_LOG_STRETCHES * 2 + 10)
#define CHUNK_BYTES 100U

/* Two blobs of one layout. To the log they are addresses. */
struct fixture {
	struct fake_clock clock;
	struct blob_layout *layout;
	struct fetch_blob *blobs[2];
	struct read_log *log;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct blob_layout *layouts[2];
	struct read_log_opts opts = { .layouts = layouts, .n_blobs = 2 };

	fake_clock_init(&f->clock);
	f->layout = layout_new(N_CHUNKS);
	for (uint32_t i = 0; i < N_CHUNKS; i++)
		f->layout->chunks[i] = (struct chunk_rec){ .plain_size_bytes = 2 * CHUNK_BYTES,
			                                   .packed_size_bytes = CHUNK_BYTES };
	f->layout->n_units = N_CHUNKS;
	f->blobs[0] = (struct fetch_blob *)&f->blobs[0];
	f->blobs[1] = (struct fetch_blob *)&f->blobs[1];
	layouts[0] = layouts[1] = f->layout;
	opts.blobs = f->blobs;
	opts.clock = &f->clock.clock;
	f->log = read_log_new(&opts);
	assert_non_null(f->log);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	read_log_free(&f->log);
	layout_unref(&f->layout);
	free(f);
	return 0;
}

static void read_chunk(struct fixture *f, struct fetch_blob *blob, uint32_t chunk_idx)
{
	const struct fetch_piece pieces[] = { { .blob = NULL, .size_bytes = 1 },
		                              { .blob = blob, .chunk_idx = chunk_idx } };

	read_log_note(f->log, pieces, 2);
}

static void expect(struct fixture *f, const struct fetch_stretch *expected, uint32_t n_expected)
{
	struct fetch_stretch *stretches = NULL;
	const uint32_t n = read_log_copy(f->log, &stretches);

	assert_int_equal(n, n_expected);
	if (n > 0)
		assert_memory_equal(stretches, expected, n * sizeof(*expected));
	free(stretches);
}

static void each_chunk_is_noted_once_in_the_order_of_reading(void **state)
{
	static const struct fetch_stretch expected[] = { { 1, 7, 2 }, { 0, 3, 1 }, { 1, 6, 1 } };
	struct fixture *f = *state;

	read_log_open(f->log, true);
	read_chunk(f, f->blobs[1], 7);
	read_chunk(f, f->blobs[1], 7);
	read_chunk(f, f->blobs[1], 8);
	read_chunk(f, f->blobs[0], 3);
	read_chunk(f, f->blobs[1], 7);
	read_chunk(f, f->blobs[1], 6);
	expect(f, expected, 3);
	assert_int_equal(read_log_state(f->log).packed_bytes, 4 * CHUNK_BYTES);
}

static void a_closed_log_and_strange_blobs_leave_no_trace(void **state)
{
	struct fixture *f = *state;

	read_chunk(f, f->blobs[0], 1);
	read_log_open(f->log, true);
	read_chunk(f, (struct fetch_blob *)f, 1);
	read_chunk(f, f->blobs[0], N_CHUNKS);
	expect(f, NULL, 0);
	assert_int_equal(read_log_state(f->log).first_ns, 0);
	read_chunk(f, f->blobs[0], 1);
	assert_int_not_equal(read_log_state(f->log).first_ns, 0);
	read_log_note(NULL, NULL, 0);
}

static void a_full_log_closes(void **state)
{
	struct fixture *f = *state;

	read_log_open(f->log, true);
	for (uint32_t i = 0; i < READ_LOG_STRETCHES; i++)
		read_chunk(f, f->blobs[0], 2 * i);
	assert_true(read_log_is_open(f->log));
	read_chunk(f, f->blobs[0], 2 * READ_LOG_STRETCHES);
	assert_false(read_log_is_open(f->log));
	assert_int_equal(read_log_state(f->log).packed_bytes, READ_LOG_STRETCHES * CHUNK_BYTES);
}

/* ---- as bytes ---- */

static void a_list_is_the_same_after_its_way_through_bytes(void **state)
{
	static const struct fetch_stretch list[] = { { 0, 0, 1 },
		                                     { 3, 1000000, 4000000000U },
		                                     { 0, UINT32_MAX - 1, 1 } };
	struct fetch_stretch *again = NULL;
	uint64_t size_bytes = 0;
	uint8_t *bytes = first_reads_make(list, 3, &size_bytes);
	uint32_t n = 0;
	struct err e;

	(void)state;
	assert_int_equal(size_bytes, 16 + 3 * 12);
	assert_int_equal(first_reads_parse(bytes, size_bytes, &again, &n, &e), 0);
	assert_int_equal(n, 3);
	assert_memory_equal(again, list, sizeof(list));
	free(again);
	free(bytes);
}

static void refused(const uint8_t *bytes, uint64_t size_bytes)
{
	struct fetch_stretch *stretches = NULL;
	uint32_t n = 0;
	struct err e;

	assert_int_equal(first_reads_parse(bytes, size_bytes, &stretches, &n, &e), -EUCLEAN);
	assert_null(stretches);
}

static void what_is_no_list_is_refused(void **state)
{
	static const struct fetch_stretch list[] = { { 0, 5, 1 }, { 0, 9, 1 } };
	uint64_t size_bytes = 0;
	uint8_t *bytes = first_reads_make(list, 2, &size_bytes);

	(void)state;
	refused(bytes, 0);
	refused(bytes, 15);
	refused(bytes, 16);
	refused(bytes, size_bytes - 1);
	bytes[0] ^= 1;
	refused(bytes, size_bytes);
	bytes[0] ^= 1;
	bytes[12] = 1;
	refused(bytes, size_bytes);
	bytes[12] = 0;
	bytes[8] = 0; /* none */
	refused(bytes, 16);
	bytes[8] = 2;
	bytes[24] = 0; /* an empty stretch */
	refused(bytes, size_bytes);
	memset(bytes + 20, 0xff, 8); /* one that ends behind all chunks */
	refused(bytes, size_bytes);
	free(bytes);
}

/* ---- what is left of a list for an image ---- */

#define BLOB_CHUNKS 200U

/* Of the first blob all chunks are the image's, of the second those from 64 to 129. */
static uint32_t sift(struct fetch_stretch *s, uint32_t n, uint32_t *ret_n_chunks)
{
	const uint32_t n_chunks[2] = { SIFT_CHUNKS_MAX + BLOB_CHUNKS, BLOB_CHUNKS };
	struct bitmap *named[2] = { NULL, bitmap_new(BLOB_CHUNKS) };
	const struct sift_opts opts = { .n_blobs = 2, .n_chunks = n_chunks, .named = named };
	uint32_t n_left;

	assert_non_null(named[1]);
	for (uint32_t i = 64; i < 130; i++)
		(void)bitmap_set(named[1], i);
	n_left = reads_sift(&opts, s, n, ret_n_chunks);
	bitmap_free(&named[1]);
	return n_left;
}

static void what_an_honest_list_says_stays_in_order(void **state)
{
	struct fetch_stretch s[] = { { 1, 64, 66 }, { 0, 63, 2 }, { 0, 0, 63 }, { 0, 65, 1000 } };
	uint32_t n_chunks = 0;

	(void)state;
	assert_int_equal(sift(s, 4, &n_chunks), 4);
	assert_int_equal(n_chunks, 66 + 2 + 63 + 1000);
	assert_int_equal(s[0].blob_idx, 1);
	assert_int_equal(s[2].first_chunk, 0);
}

static void what_is_not_the_images_goes(void **state)
{
	struct fetch_stretch s[] = { { 2, 0, 1 },          { UINT32_MAX, 0, 1 },
		                     { 1, 63, 1 },         { 1, 63, 2 },
		                     { 1, 129, 2 },        { 1, 199, 2 },
		                     { 1, UINT32_MAX, 1 }, { 0, SIFT_CHUNKS_MAX + BLOB_CHUNKS, 1 },
		                     { 0, 7, 0 },          { 1, 129, 1 } };
	uint32_t n_chunks = 0;

	(void)state;
	assert_int_equal(sift(s, 10, &n_chunks), 1);
	assert_int_equal(n_chunks, 1);
	assert_int_equal(s[0].first_chunk, 129);
}

static void a_chunk_counts_once(void **state)
{
	struct fetch_stretch s[] = { { 0, 10, 100 }, { 0, 10, 100 }, { 0, 109, 1 },
		                     { 0, 0, 11 },   { 1, 64, 1 },   { 0, 110, 1 } };
	uint32_t n_chunks = 0;

	(void)state;
	assert_int_equal(sift(s, 6, &n_chunks), 3);
	assert_int_equal(n_chunks, 102);
	assert_int_equal(s[2].first_chunk, 110);
}

static void a_list_of_too_many_chunks_is_cut(void **state)
{
	struct fetch_stretch s[] = { { 0, 0, SIFT_CHUNKS_MAX + 1 },
		                     { 0, 1, SIFT_CHUNKS_MAX - 1 },
		                     { 1, 64, 2 },
		                     { 1, 70, 1 } };
	uint32_t n_chunks = 0;

	(void)state;
	assert_int_equal(sift(s, 4, &n_chunks), 2);
	assert_int_equal(n_chunks, SIFT_CHUNKS_MAX);
	assert_int_equal(s[1].first_chunk, 70);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_chunk_is_noted_once_in_the_order_of_reading,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_closed_log_and_strange_blobs_leave_no_trace,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_log_closes, set_up, tear_down),
		cmocka_unit_test(a_list_is_the_same_after_its_way_through_bytes),
		cmocka_unit_test(what_is_no_list_is_refused),
		cmocka_unit_test(what_an_honest_list_says_stays_in_order),
		cmocka_unit_test(what_is_not_the_images_goes),
		cmocka_unit_test(a_chunk_counts_once),
		cmocka_unit_test(a_list_of_too_many_chunks_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
