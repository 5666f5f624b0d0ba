/*
 * order: in which order this node wants things, so that nodes that want the same at once do not
 * walk in step; and where a request may be cut.
 *
 * Pure functions; any thread.
 */
#pragma once
#include "layout.h"
#include "segments.h"
#include "wire.h"
#include <stdint.h>

#define ORDER_RUN_PACKED_BYTES  (256U << 10)
#define ORDER_RUN_OVERLAP_BYTES (8U << 20)

/** The order in which node prefetches n segments: ret_order gets the numbers 0 .. n - 1, sorted by
 * a hash of name and node. @return 0; -ENOMEM */
MUST_CHECK int order_segments(const struct wire_id *node, const struct wire_id *names, uint32_t n,
                              uint32_t *ret_order, struct err *e);

/**
 * Where a segment's units and runs begin. A run is a row of whole units of at most 256 KiB packed
 * (or one larger unit); of units that overlap (slices of a gzip stream), of at most 8 MiB: what two
 * of them share is fetched twice where they are leased apart.
 * @param ret_units  positions where a unit begins whose first member is in this segment; a unit
 * that began in an earlier one has its lease there
 * @param ret_runs   positions where a run begins: a part of ret_units
 */
void order_cut(const struct segments *s, uint32_t segment_idx, struct wire_set *ret_units,
               struct wire_set *ret_runs);
