/*
 * plan: neighbouring units of a layout that can be asked for with one range. Knows neither why a
 * unit is wanted nor who is asked.
 */
#include "plan.h"
#include <assert.h>

struct plan_span plan_unit(const struct blob_layout *l, uint32_t unit_idx)
{
	struct unit_rec u;
	const bool there = layout_unit(l, unit_idx, &u);

	assert(there);
	return (struct plan_span){ .first_unit = unit_idx,
		                   .n_units = 1,
		                   .packed_bytes = u.packed_size_bytes };
}

/* Slices of a gzip stream overlap; all others touch or leave a gap. */
bool plan_touches(const struct blob_layout *l, uint32_t unit_idx)
{
	struct unit_rec a;
	struct unit_rec b;
	uint64_t a_end;

	if (unit_idx + 1 >= l->n_units || !layout_unit(l, unit_idx, &a) ||
	    !layout_unit(l, unit_idx + 1, &b))
		return false;
	a_end = a.packed_offset + a.packed_size_bytes;
	return b.packed_offset >= a.packed_offset && b.packed_offset <= a_end &&
	       b.packed_offset + b.packed_size_bytes >= a_end;
}

uint64_t plan_overlap_bytes(const struct blob_layout *l, uint32_t unit_idx)
{
	struct unit_rec before;
	struct unit_rec unit;
	uint64_t end;

	if (l->units == NULL || unit_idx == 0 || unit_idx >= l->n_units ||
	    !layout_unit(l, unit_idx - 1, &before) || !layout_unit(l, unit_idx, &unit))
		return 0;
	end = before.packed_offset + before.packed_size_bytes;
	return unit.packed_offset >= before.packed_offset && unit.packed_offset < end
	               ? end - unit.packed_offset
	               : 0;
}

uint32_t plan_best_cut(const struct blob_layout *l, uint32_t first_unit, uint32_t end_unit)
{
	uint64_t least = UINT64_MAX;
	uint32_t best = first_unit;

	for (uint32_t i = first_unit; i < end_unit; i++) {
		const uint64_t bytes = plan_overlap_bytes(l, i);

		if (bytes > least)
			continue;
		least = bytes;
		best = i;
	}
	return best;
}

/* Its packed size where it can join, else -1. */
static int64_t joinable(const struct plan_view *v, uint32_t unit_idx, uint64_t room_bytes)
{
	struct unit_rec u;

	if ((v->end_unit > 0 && unit_idx >= v->end_unit) || !layout_unit(v->layout, unit_idx, &u) ||
	    u.packed_size_bytes > room_bytes || !v->wanted(v->arg, unit_idx))
		return -1;
	return u.packed_size_bytes;
}

uint64_t plan_widen_forward(const struct plan_view *v, struct plan_span *span, uint64_t max_bytes)
{
	uint64_t added = 0;

	while (span->n_units < PLAN_UNITS_MAX) {
		const uint32_t last = span->first_unit + span->n_units - 1;
		int64_t size;

		if (!plan_touches(v->layout, last))
			break;
		size = joinable(v, last + 1, max_bytes - added);
		if (size < 0)
			break;
		added += (uint64_t)size;
		span->n_units++;
	}
	span->packed_bytes += added;
	return added;
}

uint64_t plan_widen_backward(const struct plan_view *v, struct plan_span *span, uint64_t max_bytes)
{
	uint64_t added = 0;

	while (span->first_unit > 0 && span->n_units < PLAN_UNITS_MAX) {
		int64_t size;

		if (!plan_touches(v->layout, span->first_unit - 1))
			break;
		size = joinable(v, span->first_unit - 1, max_bytes - added);
		if (size < 0)
			break;
		added += (uint64_t)size;
		span->first_unit--;
		span->n_units++;
	}
	span->packed_bytes += added;
	return added;
}

bool plan_next_span(const struct plan_view *v, uint32_t from_unit, uint64_t max_bytes,
                    uint32_t max_looks, struct plan_span *ret_span, uint32_t *ret_next)
{
	uint32_t i = from_unit;

	for (uint32_t n = 0; i < v->layout->n_units && n < max_looks; i++, n++) {
		if (joinable(v, i, UINT64_MAX) < 0)
			continue;
		*ret_span = plan_unit(v->layout, i);
		if (ret_span->packed_bytes < max_bytes)
			(void)plan_widen_forward(v, ret_span, max_bytes - ret_span->packed_bytes);
		*ret_next = i + ret_span->n_units;
		return true;
	}
	*ret_next = i;
	return false;
}
