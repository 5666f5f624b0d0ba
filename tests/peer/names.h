/*
 * names: ids, lists and layouts for the tests of peer, made from numbers.
 */
#pragma once
#include "layout.h"
#include "set.h"
#include "wire.h"

/** An id that looks like a hash of (kind, number). */
struct wire_id test_id(uint32_t kind, uint64_t number);

/** A layout of n_chunks chunks of plain_bytes each (packed: half), digests made from seed, each
 * chunk its own unit. */
struct blob_layout *test_layout(uint32_t n_chunks, uint32_t plain_bytes, uint64_t seed);

/** Give a chunk another digest (made from seed), or make it a hole. */
void test_layout_change(struct blob_layout *l, uint32_t chunk_idx, uint64_t seed);
void test_layout_hole(struct blob_layout *l, uint32_t chunk_idx);

/** Set holding positions first .. first + count - 1 of n. */
struct wire_set test_range(uint32_t n, uint32_t first, uint32_t count);
