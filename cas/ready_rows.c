/*
 * ready_rows: see the header.
 */
#include "ready_rows.h"
#include "layout_code.h"
#include "rows.h"
#include <errno.h>

_Static_assert(BLOB_CHUNKS_MAX / LAYOUT_PART_CHUNKS <= 1U << PART_BITS, "parts fit in their ids");
_Static_assert(BLOB_CHUNKS_MAX / READY_SLICE_BITS <= 1U << PART_BITS, "slices fit in their ids");

#define SLICE_WORDS (READY_SLICE_BITS / 64)

void ready_slice_read(const struct bitmap *b, uint32_t slice, struct ready_slice *ret_slice)
{
	const uint32_t first_word = slice * SLICE_WORDS;
	uint32_t n_bytes = 0;

	for (uint32_t i = 0; i < READY_SLICE_BYTES; i++) {
		const uint32_t word = first_word + i / 8;

		if (word >= bitmap_n_words(b))
			break;
		ret_slice->bytes[i] =
			(uint8_t)(atomic_load_explicit(&b->words[word], memory_order_acquire) >>
		                  (8 * (i % 8)));
		if (ret_slice->bytes[i] != 0)
			n_bytes = i + 1;
	}
	ret_slice->slice = slice;
	ret_slice->n_bytes = n_bytes;
}

static void set_bits(struct bitmap *bits, uint32_t slice, const uint8_t *bytes, size_t n_bytes)
{
	for (size_t i = 0; i < n_bytes && i < READY_SLICE_BYTES; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			const uint64_t idx = (uint64_t)slice * READY_SLICE_BITS + i * 8 + bit;

			if ((bytes[i] >> bit & 1) && idx < bits->n_bits)
				(void)bitmap_set(bits, (uint32_t)idx);
		}
}

int ready_rows_load(struct db *db, uint64_t row, struct bitmap *bits, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare_parts(db, "SELECT id, bits FROM ready WHERE id >= ? AND id < ?", row,
	                         &stmt, e);

	if (r < 0)
		return r;
	while ((r = db_step(stmt, e)) == 1) {
		size_t n_bytes;
		const uint8_t *bytes = db_blob(stmt, 1, &n_bytes);

		set_bits(bits, part_of_id(db_u64(stmt, 0)), bytes, n_bytes);
	}
	return r;
}

int ready_rows_store(struct db *db, uint64_t row, const struct ready_slice *s, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r =
		db_prepare(db, "INSERT OR REPLACE INTO ready(id, bits) VALUES(?, ?)", &stmt, e);

	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, part_id(row, s->slice));
	db_bind_blob(stmt, 2, s->bytes, s->n_bytes);
	return db_run(stmt, e);
}

/* All slices in which `gone` has a bit: what is stored, without it. */
static int clear_in(struct db *db, uint64_t row, struct bitmap *stored, const struct bitmap *gone,
                    struct err *e)
{
	int r = ready_rows_load(db, row, stored, e);

	for (uint32_t i = bitmap_next_set(gone, 0); i < gone->n_bits && r == 0;) {
		const uint32_t slice = i / READY_SLICE_BITS;
		struct ready_slice s;

		for (; i < gone->n_bits && i / READY_SLICE_BITS == slice;
		     i = bitmap_next_set(gone, i + 1))
			(void)bitmap_clear(stored, i);
		ready_slice_read(stored, slice, &s);
		r = ready_rows_store(db, row, &s, e);
	}
	return r;
}

int ready_rows_clear(struct db *db, uint64_t row, const struct bitmap *gone, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	AUTO(bitmap_free) struct bitmap *stored = bitmap_new(gone->n_bits);
	int r;

	if (stored == NULL)
		return err_set(e, ENOMEM, "ready map of %u chunks: out of memory", gone->n_bits);
	r = tx_begin(db, TX_SYNCED, &tx, e);
	if (r == 0)
		r = clear_in(db, row, stored, gone, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

int ready_rows_delete(struct db *db, uint64_t row, struct err *e)
{
	return db_run_parts(db, "DELETE FROM ready WHERE id >= ? AND id < ?", row, e);
}
