/*
 * plan: which neighbouring units join one request.
 *
 * A request is one range of the object and every byte of it is wanted: it ends at a unit that is
 * here or on its way, at a hole of the index, and where the next unit does not touch.
 * Pure: knows a layout and a predicate.
 */
#pragma once
#include "auto.h"
#include "layout.h"
#include <stdbool.h>
#include <stdint.h>

struct plan_view {
	const struct blob_layout *layout;
	/* Is it missing here, and is nobody bringing it? Never asked for holes. */
	bool (*wanted)(void *arg, uint32_t unit_idx);
	void *arg;
	uint32_t end_unit; /* from here on none joins; 0: to the layout's end */
};

struct plan_span {
	uint32_t first_unit;
	uint32_t n_units;
	uint64_t packed_bytes; /* sum over its units */
};

#define PLAN_UNITS_MAX 4096 /* in one request, so that its book-keeping stays small */

/** The span of this one unit. unit_idx: no hole. */
struct plan_span plan_unit(const struct blob_layout *l, uint32_t unit_idx);

/** Does the unit behind the span touch it in the object, so that one range covers both? */
bool plan_touches(const struct blob_layout *l, uint32_t unit_idx);

/** Bytes of the object that a unit has in common with the one before it: slices of a gzip stream
 * overlap, and these bytes cross twice where the two are fetched by different nodes. */
uint64_t plan_overlap_bytes(const struct blob_layout *l, uint32_t unit_idx);

/** Where best to cut before one of the units [first_unit, end_unit): where the least overlaps, the
 * last of equals. first_unit < end_unit */
uint32_t plan_best_cut(const struct blob_layout *l, uint32_t first_unit, uint32_t end_unit);

/** Add wanted units at the end (or before the start) while they fit into max_bytes. @return bytes
 * added */
uint64_t plan_widen_forward(const struct plan_view *v, struct plan_span *span, uint64_t max_bytes);
uint64_t plan_widen_backward(const struct plan_view *v, struct plan_span *span, uint64_t max_bytes);

/**
 * The first span of wanted units at or after from_unit, as long as max_bytes allow (one unit at
 * least), looking at no more than max_looks units.
 *
 * @param ret_next  where to go on
 * @return false: none was found so far
 */
bool plan_next_span(const struct plan_view *v, uint32_t from_unit, uint64_t max_bytes,
                    uint32_t max_looks, struct plan_span *ret_span, uint32_t *ret_next);
