/*
 * refer: the dedup map of an open blob: which of its chunks stand in the files of other blobs, the
 * owners. Private to cas/.
 *
 * A reference is a pointer to (owner, index), whose chunk has the same digest: it holds while the
 * owner has that chunk ready, and comes back to life when the owner has it again. So nothing here
 * has to be cleared when an owner loses a chunk, and no order of writing can make it wrong.
 *
 * While the blob is used, it holds its owners open (blob_table: holds); the map goes when the last
 * user has gone, so that blobs that refer to each other do not keep each other open.
 */
#pragma once
#include "blob.h"
#include "db.h"

#define REFER_OWNERS_MAX   256U /* of one blob; beyond, chunks are copied */
#define REFER_SLICE_BITS   12   /* a row in the database is of so many chunks */
#define REFER_SLICE_CHUNKS (1U << REFER_SLICE_BITS)

struct refer_map {
	_Atomic(struct cas_blob *) owners[REFER_OWNERS_MAX]; /* each held; from the first on */
	_Atomic uint64_t at[]; /* 0: none; (index into owners + 1) << 32 | index there */
};

static inline uint32_t refer_n_slices(uint32_t n_chunks)
{
	return (n_chunks + REFER_SLICE_CHUNKS - 1) >> REFER_SLICE_BITS;
}

/** [any] Where chunk_idx stands. @return false: nowhere. The owner lives as long as the caller's
 * reference of blob. It may have lost the chunk. */
static inline bool refer_get(const struct cas_blob *blob, uint32_t chunk_idx,
                             struct cas_blob **ret_owner, uint32_t *ret_idx)
{
	struct refer_map *map = atomic_load_explicit(&blob->refers, memory_order_acquire);
	uint64_t at;

	if (map == NULL)
		return false;
	at = atomic_load_explicit(&map->at[chunk_idx], memory_order_acquire);
	if (at == 0)
		return false;
	*ret_owner = atomic_load_explicit(&map->owners[(at >> 32) - 1], memory_order_acquire);
	*ret_idx = (uint32_t)at;
	return true;
}

/** [any] Does the owner have it now? */
static inline bool refer_is_good(const struct cas_blob *blob, uint32_t chunk_idx)
{
	struct cas_blob *owner;
	uint32_t idx;

	return refer_get(blob, chunk_idx, &owner, &idx) && bitmap_get(owner->ready, idx);
}

/** Is it the same chunk by digest, algorithm and size? Indices may come from outside. */
bool refer_same_chunk(const struct blob_layout *a, uint32_t a_idx, const struct blob_layout *b,
                      uint32_t b_idx);

/**
 * [worker] The bytes of chunk_idx, which were hashed, stand there from now on.
 *
 * @param owner  the caller has a reference
 * @return 0 is new; 1 it was so; CAS_MISS the digests differ, or it has too many owners: copy;
 *         -ENOMEM
 */
MUST_CHECK int refer_set(struct cas_blob *blob, uint32_t chunk_idx, struct cas_blob *owner,
                         uint32_t owner_idx, struct err *e);

/** [worker] Keep open the blob of this row: it has chunks that this one may want.
 * @return 0; CAS_MISS it is gone, or there are too many; negative */
MUST_CHECK int refer_keep_owner(struct cas_blob *blob, uint64_t owner_row, struct err *e);

/** [worker] The same of one that is open: of both the caller has a reference, or closes it right
 * now.
 */
void refer_hold(struct cas_blob *blob, struct cas_blob *owner);

/** [any] The chunk has its own bytes. */
void refer_drop(struct cas_blob *blob, uint32_t chunk_idx);

/** [worker] What the database says. The blob is this thread's (BLOB_ACTIVATING). What does not fit
 * any more is left out. */
void refer_load(struct cas_blob *blob);

/** [writer] Let all owners go. What was not written by now is not known any more: what is stored
 * stays. The blob is this thread's, and nobody reads it. */
void refer_forget(struct cas_blob *blob);

/** [writer] Write what has changed. */
MUST_CHECK int refer_flush(struct cas_blob *blob, struct err *e);
static inline bool refer_is_dirty(const struct cas_blob *blob)
{
	return bitmap_next_set(blob->refer_dirty, 0) < blob->refer_dirty->n_bits;
}

/* ---- refer_rows.c: tables refer and refer_owner ---- */

/* So many chunks from chunk_idx on stand in owner_row from owner_idx on. */
struct refer_run {
	uint32_t chunk_idx;
	uint32_t n_chunks;
	uint64_t owner_row;
	uint32_t owner_idx;
};

/** Every run of a blob, in order. fn returns 0 to go on. Any connection.
 * @return 0; -EUCLEAN a row contradicts itself; what fn returned */
MUST_CHECK int refer_rows_each(struct db *db, uint64_t row,
                               int (*fn)(void *arg, const struct refer_run *run, struct err *e),
                               void *arg, struct err *e);

/** Inside a transaction: the runs of one slice become these (of chunks of that slice). */
MUST_CHECK int refer_rows_store(struct db *db, uint64_t row, uint32_t slice,
                                const struct refer_run *runs, uint32_t n_runs, struct err *e);

/** Inside a transaction: who is referred to by row, and nobody else. */
MUST_CHECK int refer_rows_owners(struct db *db, uint64_t row, const uint64_t *owner_rows,
                                 uint32_t n_owners, struct err *e);

/** Row refers to nobody any more: inside a transaction or alone, at any time (what is open goes on;
 * found again at the next opening). Of a blob that no image uses. */
MUST_CHECK int refer_rows_forget(struct db *db, uint64_t row, struct err *e);

/** Inside the transaction that ends a blob: that, and nobody is said to refer to it. */
MUST_CHECK int refer_rows_delete(struct db *db, uint64_t row, struct err *e);

/** SQL: no registered blob refers to the one of this row id. Else its rows and its file stay. */
#define REFER_SQL_NO_OWNER(id)                                                                     \
	" NOT EXISTS(SELECT 1 FROM refer_owner ro JOIN blob rb ON rb.id = ro.blob"                 \
	" WHERE ro.owner = " id ")"

/** Set in ret_referred the chunks of a blob that some owner has ready, by what the database says.
 * Any connection. */
MUST_CHECK int refer_rows_present(struct db *db, uint64_t row, struct bitmap *ret_referred,
                                  struct err *e);
