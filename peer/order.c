/*
 * order: see the header.
 */
#include "order.h"
#include "placement.h"
#include "set.h"
#include <errno.h>
#include <stdlib.h>

struct ranked {
	uint64_t score;
	uint32_t idx;
};

static int by_score(const void *a, const void *b)
{
	const struct ranked *x = a;
	const struct ranked *y = b;

	if (x->score != y->score)
		return x->score < y->score ? -1 : 1;
	return x->idx < y->idx ? -1 : x->idx > y->idx;
}

/* Not the score of placement itself: a node would begin with what it is home of. */
static uint64_t order_score(const struct wire_id *node, const struct wire_id *name)
{
	return mix64(placement_score(name, node) + UINT64_C(0x9e3779b97f4a7c15));
}

int order_segments(const struct wire_id *node, const struct wire_id *names, uint32_t n,
                   uint32_t *ret_order, struct err *e)
{
	struct ranked *ranked = calloc(n > 0 ? n : 1, sizeof(*ranked));

	if (ranked == NULL)
		return err_set(e, ENOMEM, "the order of %u segments", n);
	for (uint32_t i = 0; i < n; i++)
		ranked[i] = (struct ranked){ order_score(node, &names[i]), i };
	qsort(ranked, n, sizeof(*ranked), by_score);
	for (uint32_t i = 0; i < n; i++)
		ret_order[i] = ranked[i].idx;
	free(ranked);
	return 0;
}

/* Is this chunk the first of its unit that agents can speak of? */
static bool begins_unit(const struct segments *s, const struct unit_rec *unit, uint32_t chunk_idx)
{
	for (uint32_t i = 0; i < unit->n_members; i++) {
		const uint32_t member = layout_member(segments_layout(s), unit, i);
		uint32_t segment_idx;
		uint16_t pos;

		if (member < chunk_idx && segments_find(s, member, &segment_idx, &pos))
			return false;
	}
	return true;
}

static bool begins_run(const struct wire_set *runs, uint64_t run_bytes,
                       const struct unit_rec *before, const struct unit_rec *unit)
{
	const bool overlap =
		unit->packed_offset > before->packed_offset &&
		unit->packed_offset < before->packed_offset + before->packed_size_bytes;

	return set_empty(runs) ||
	       run_bytes + unit->packed_size_bytes >
	               (overlap ? ORDER_RUN_OVERLAP_BYTES : ORDER_RUN_PACKED_BYTES);
}

void order_cut(const struct segments *s, uint32_t segment_idx, struct wire_set *ret_units,
               struct wire_set *ret_runs)
{
	const struct blob_layout *layout = segments_layout(s);
	const struct segment *segment = segments_at(s, segment_idx);
	uint64_t run_bytes = 0;
	uint32_t last_unit = UINT32_MAX;
	struct unit_rec before = { .packed_size_bytes = 0 };

	*ret_units = set_none(segment->n_chunks);
	*ret_runs = set_none(segment->n_chunks);
	for (uint16_t pos = 0; pos < segment->n_chunks; pos++) {
		const uint32_t chunk_idx = segments_chunk(s, segment_idx, pos);
		const uint32_t unit_idx = layout_unit_of(layout, chunk_idx);
		struct unit_rec unit;

		if (unit_idx == last_unit || !layout_unit(layout, unit_idx, &unit))
			continue;
		last_unit = unit_idx;
		if (!begins_unit(s, &unit, chunk_idx))
			continue; /* it began in an earlier segment */
		if (begins_run(ret_runs, run_bytes, &before, &unit)) {
			wire_set_add(ret_runs, pos);
			run_bytes = 0;
		}
		wire_set_add(ret_units, pos);
		run_bytes += unit.packed_size_bytes;
		before = unit;
	}
}
