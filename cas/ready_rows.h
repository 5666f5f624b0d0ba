/*
 * ready_rows: ready maps in the database, in slices of READY_SLICE_BITS bits, a row each.
 *
 * Knows rows and bits; knows no files, and not what "ready" means. [writer], but for loading.
 */
#pragma once
#include "bitmap.h"
#include "blob.h"
#include "db.h"

#define READY_SLICE_BYTES (READY_SLICE_BITS / 8)

static inline uint32_t ready_n_slices(uint32_t n_bits)
{
	return (n_bits + READY_SLICE_BITS - 1) / READY_SLICE_BITS;
}

/* One slice's bits at one moment: bit i of the slice is bit i % 8 of byte i / 8. */
struct ready_slice {
	uint32_t slice;
	uint32_t n_bytes;
	uint8_t bytes[READY_SLICE_BYTES];
};
void ready_slice_read(const struct bitmap *b, uint32_t slice, struct ready_slice *ret_slice);

/** Set in bits what the database says of blob row. Any connection. */
MUST_CHECK int ready_rows_load(struct db *db, uint64_t row, struct bitmap *bits, struct err *e);

/** Inside a transaction: the slice becomes this. */
MUST_CHECK int ready_rows_store(struct db *db, uint64_t row, const struct ready_slice *s,
                                struct err *e);

/** Its own, synced transaction: clear what `gone` has set. */
MUST_CHECK int ready_rows_clear(struct db *db, uint64_t row, const struct bitmap *gone,
                                struct err *e);

/** Inside a transaction: forget the whole map. */
MUST_CHECK int ready_rows_delete(struct db *db, uint64_t row, struct err *e);
