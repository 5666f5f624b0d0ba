/*
 * fake_cas: a blob of the cache in memory, linked in place of cas, for the engine's tests.
 *
 * The right bytes of a chunk are fake_cas_fill()'s; cas_blob_put() takes no others.
 */
#pragma once
#include "cas.h"
#include "share.h"

/** @param n_chunks  each its own unit, stored plain, chunk_bytes long, side by side. Trust: digests
 */
struct cas_blob *fake_cas_blob(uint32_t n_chunks, uint32_t chunk_bytes);

/** The layout, to change it before the blob is opened. */
struct blob_layout *fake_cas_layout(struct cas_blob *blob);

/** Before the blob is opened: batches of so many chunks, stored plain. It divides n_chunks. */
void fake_cas_pack(struct cas_blob *blob, uint32_t chunks_per_unit);

#define FAKE_CAS_PROGRAM 400 /* this chunk begins as programs do */
void fake_cas_fill(uint32_t chunk_idx, uint8_t *ret_bytes, uint32_t size_bytes);
void fake_cas_set_ready(struct cas_blob *blob, uint32_t chunk_idx);
void fake_cas_evict(struct cas_blob *blob, uint32_t chunk_idx);
void fake_cas_set_room(struct cas_blob *blob, uint64_t room_bytes); /* else it has 1 TiB */
/** Another blob is believed to have it. is_true: sharing (any) works. */
void fake_cas_set_candidate(struct cas_blob *blob, uint32_t chunk_idx, bool is_true);
void fake_cas_set_joining(struct cas_blob *blob, bool joining);
/** @param r  0: as it should be; CAS_FULL; -EIO; CAS_MISS: it is kept, and evicted at once */
void fake_cas_put_says(struct cas_blob *blob, int r);
uint32_t fake_cas_n_puts(const struct cas_blob *blob); /* right ones */
uint32_t fake_cas_n_rows(const struct cas_blob *blob); /* by which some of them came */
