/*
 * Rows: neighbours that are kept by one write, all of them or none.
 */
#include "fixture.h"
#include "unconst.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SEED        7
#define N_CHUNKS    100
#define BLOCK_BYTES 4096U
#define ROW_BYTES   (256U << 10)

/* Counts writes, and lets those of rows fail. */
struct row_disk {
	struct disk disk;
	uint32_t n_writes, n_row_writes;
	int fail_errno;
	size_t short_by;      /* so many bytes of the last piece are not written */
	uint32_t block_bytes; /* 0: it does not tell */
};

static ssize_t count_pwrite(const struct disk *d, int fd, const void *buf, size_t n, off_t at)
{
	struct row_disk *r = unconst(d);

	r->n_writes++;
	return disk_real()->pwrite(d, fd, buf, n, at);
}

static ssize_t row_pwritev(const struct disk *d, int fd, const struct iovec *pieces, int n_pieces,
                           off_t at)
{
	struct row_disk *r = unconst(d);
	ssize_t done;

	r->n_row_writes++;
	errno = r->fail_errno;
	if (r->fail_errno != 0)
		return -1;
	done = disk_real()->pwritev(d, fd, pieces, n_pieces, at);
	return done - (ssize_t)r->short_by;
}

static int row_block_bytes(const struct disk *d, int dir_fd, uint32_t *ret_bytes)
{
	const struct row_disk *r = unconst(d);

	(void)dir_fd;
	*ret_bytes = r->block_bytes;
	return r->block_bytes != 0 ? 0 : -1;
}

static struct cas_blob *open_with(struct fixture *f, struct row_disk *r, struct blob_layout *l)
{
	struct cas_blob *blob = NULL;

	*r = (struct row_disk){ .disk = *disk_real(), .block_bytes = r->block_bytes };
	r->disk.block_bytes = row_block_bytes;
	r->disk.pwrite = count_pwrite;
	r->disk.pwritev = row_pwritev;
	f->disk = &r->disk;
	fixture_open(f);
	assert_int_equal(cas_blob_open(f->cas, l, &blob, &f->e), 0);
	layout_unref(&l);
	return blob;
}

static struct cas_blob *open_on_blocks(struct fixture *f, struct row_disk *r, uint32_t block_bytes)
{
	r->block_bytes = block_bytes;
	return open_with(f, r, sample_layout(SAMPLE_ID, N_CHUNKS, SEED));
}

static struct cas_blob *open_on(struct fixture *f, struct row_disk *r)
{
	return open_on_blocks(f, r, BLOCK_BYTES);
}

/* A block more than there would be before this chunk. */
static struct blob_layout *layout_with_gap(uint32_t chunk_idx)
{
	struct blob_layout *l = sample_layout(SAMPLE_ID, N_CHUNKS, SEED);

	for (uint32_t i = chunk_idx; i < N_CHUNKS; i++)
		l->chunks[i].plain_offset += BLOCK_BYTES;
	l->plain_size_bytes += BLOCK_BYTES;
	return l;
}

static uint64_t end_of(const struct chunk_rec *c)
{
	return c->plain_offset + c->plain_size_bytes;
}

static void assert_none_is_ready(const struct cas_blob *b, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++)
		assert_false(cas_blob_is_ready(b, i));
}

static void neighbours_are_kept_by_one_write_and_read_back(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on(f, &r);
	const struct chunk_rec *first = &cas_blob_layout(b)->chunks[3];
	const struct chunk_rec *last = first + 9;
	const uint32_t n_bytes = (uint32_t)(end_of(last) - first->plain_offset);
	uint8_t *all = malloc(n_bytes);

	assert_int_equal(cas_blob_row(b, 3, 10), 10);
	assert_true(put_samples(b, SEED, 3, 10));
	assert_int_equal(r.n_row_writes, 1);
	assert_int_equal(r.n_writes, 0);
	assert_int_equal(cas_blob_n_ready(b), 10);
	for (uint32_t i = 3; i < 13; i++)
		assert_int_equal(read_sample(b, SEED, i), 0);
	assert_int_equal(cas_blob_read(b, 3, 10, first->plain_offset, n_bytes, all, &f->e), 0);
	for (const struct chunk_rec *c = first; c < last; c++) /* padding stays zeros */
		for (uint64_t at = end_of(c); at < c[1].plain_offset; at++)
			assert_int_equal(all[at - first->plain_offset], 0);
	free(all);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	for (uint32_t i = 3; i < 13; i++)
		assert_int_equal(read_sample(b, SEED, i), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_row_ends_where_a_chunk_is_here(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on(f, &r);

	assert_int_equal(put_sample(b, SEED, 8), 0);
	assert_int_equal(cas_blob_row(b, 3, 10), 5);
	assert_int_equal(cas_blob_row(b, 8, 10), 1);
	assert_int_equal(cas_blob_row(b, 9, 4), 4);
	assert_int_equal(cas_blob_row(b, N_CHUNKS - 2, 4), 1); /* no such chunks */
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_row_ends_where_an_image_leaves_one_out_and_at_a_gap(void **state)
{
	struct fixture *f = *state;
	struct blob_layout *l = layout_with_gap(12);
	struct row_disk r = { .block_bytes = BLOCK_BYTES };
	struct cas_blob *b;

	l->chunks[6] = (struct chunk_rec){ .plain_size_bytes = 0 };
	b = open_with(f, &r, l);
	assert_int_equal(cas_blob_row(b, 3, 10), 3);
	assert_int_equal(cas_blob_row(b, 7, 10), 5);
	cas_blob_release(&b);
	fixture_close(f);
}

/* Up to a block of 4 KiB there may be room for others in the padding. */
static void padding_that_has_a_small_block_of_its_own_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on_blocks(f, &r, 1024);
	const struct chunk_rec *chunks = cas_blob_layout(b)->chunks;
	uint32_t n_ended = 0;

	for (uint32_t i = 0; i + 1 < N_CHUNKS; i++) {
		const bool has_block = chunks[i + 1].plain_offset - end_of(&chunks[i]) >= 1024;

		n_ended += has_block;
		assert_int_equal(cas_blob_row(b, i, 2), has_block ? 1 : 2);
	}
	assert_in_range(n_ended, 1, N_CHUNKS - 2); /* there are both */
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_file_system_of_larger_blocks_allows_no_larger_gap(void **state)
{
	struct fixture *f = *state;
	struct row_disk r = { .block_bytes = 65536 };
	struct cas_blob *b = open_with(f, &r, layout_with_gap(12));

	assert_int_equal(cas_blob_row(b, 7, 10), 5);
	cas_blob_release(&b);
	fixture_close(f);
}

static void where_no_block_is_known_no_padding_is_written(void **state)
{
	struct fixture *f = *state;
	struct blob_layout *l = sample_layout(SAMPLE_ID, N_CHUNKS, SEED);
	struct row_disk r = { .block_bytes = 0 };
	struct cas_blob *b;

	l->chunks[8].plain_offset = end_of(&l->chunks[7]);
	b = open_with(f, &r, l);
	assert_int_equal(cas_blob_row(b, 3, 2), 1);
	assert_int_equal(cas_blob_row(b, 7, 2), 2);
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_row_has_no_more_than_readers_wait_for(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on(f, &r);
	const struct chunk_rec *chunks = cas_blob_layout(b)->chunks;
	const uint32_t n = cas_blob_row(b, 0, N_CHUNKS);

	assert_in_range(n, 2, CAS_ROW_MAX - 1);
	assert_true(end_of(&chunks[n - 1]) <= ROW_BYTES);
	assert_true(end_of(&chunks[n]) > ROW_BYTES);
	cas_blob_release(&b);
	fixture_close(f);
}

/* All of them may find no room where each does, and the cache is no fuller for that. */
static void where_room_is_short_there_are_no_rows(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = NULL;

	f->quota_bytes = UINT64_C(200) << 10;
	b = open_on(f, &r);
	assert_in_range(cas_blob_row(b, 0, 20), 20, 20);
	for (uint32_t i = 50; i < 62; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	assert_int_equal(cas_blob_row(b, 0, 20), 1);
	assert_true(cas_blob_takes_chunks(b));
	cas_blob_release(&b);
	fixture_close(f);
}

static void wrong_bytes_of_one_keep_none(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on(f, &r);
	uint8_t *bytes[] = { sample_bytes(SEED, 3), sample_bytes(SEED, 4) };
	const uint8_t *plain[] = { bytes[0], bytes[1] };

	bytes[1][0] ^= 1;
	assert_false(cas_blob_put_row(b, 3, 2, plain));
	assert_int_equal(r.n_row_writes, 0);
	assert_none_is_ready(b, 3, 2);
	assert_int_equal(cas_blob_put(b, 3, plain[0], &f->e), 0);
	assert_int_equal(cas_blob_put(b, 4, plain[1], &f->e), CAS_MISMATCH);
	free(bytes[0]);
	free(bytes[1]);
	cas_blob_release(&b);
	fixture_close(f);
}

static void a_write_that_fails_or_ends_early_makes_nothing_ready(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on(f, &r);

	r.fail_errno = EIO;
	assert_false(put_samples(b, SEED, 3, 4));
	r.fail_errno = 0;
	r.short_by = 1;
	assert_false(put_samples(b, SEED, 3, 4));
	assert_int_equal(r.n_row_writes, 2);
	assert_none_is_ready(b, 3, 4);
	assert_int_equal(atomic_load(&f->cas->room.writing_bytes), 0);
	assert_int_equal(put_sample(b, SEED, 3), 0);
	cas_blob_release(&b);
	fixture_close(f);
}

/* Whoever punches it now would punch what was just written. */
static void what_is_being_taken_back_is_not_written(void **state)
{
	struct fixture *f = *state;
	struct row_disk r;
	struct cas_blob *b = open_on(f, &r);

	(void)bitmap_set(b->barred, 5);
	assert_false(put_samples(b, SEED, 3, 4));
	assert_int_equal(r.n_row_writes, 0);
	assert_none_is_ready(b, 3, 4);
	(void)bitmap_clear(b->barred, 5);
	assert_true(put_samples(b, SEED, 3, 4));
	cas_blob_release(&b);
	fixture_close(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(neighbours_are_kept_by_one_write_and_read_back),
		T(a_row_ends_where_a_chunk_is_here),
		T(a_row_ends_where_an_image_leaves_one_out_and_at_a_gap),
		T(padding_that_has_a_small_block_of_its_own_is_not_written),
		T(a_file_system_of_larger_blocks_allows_no_larger_gap),
		T(where_no_block_is_known_no_padding_is_written),
		T(a_row_has_no_more_than_readers_wait_for),
		T(where_room_is_short_there_are_no_rows),
		T(wrong_bytes_of_one_keep_none),
		T(a_write_that_fails_or_ends_early_makes_nothing_ready),
		T(what_is_being_taken_back_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
