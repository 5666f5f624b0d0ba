/*
 * fetch_islands: what is missing between chunks that are here, before a reader comes to it.
 *
 * A new version of an image lacks a chunk here and there: windows end at what is here, so that a
 * reader who goes through all of it would wait once for each. To one that is seen to read in order,
 * the next few stretches of missing units are asked for together, each in a request of its own.
 *
 *   here here [demand] here here here [island] here [island] here here [island] ...
 *                                        ^ marked: touching it makes those behind the last due
 *
 * Knows units and what was touched; knows no sources.
 */
#include "engine.h"

#define ISLANDS_MAX      8 /* requests at a time: a reader that misses may wait behind them */
#define ISLANDS_BYTES    (256U << 10) /* packed, at a time */
#define ISLANDS_LOOKS    4096U        /* units */
#define SEQUENCE_UNITS   16U          /* before the demand */
#define SEQUENCE_TOUCHED 12U

/* Has a reader asked for about all of what is before this unit? */
static bool in_order(const struct fetch_blob *blob, uint32_t unit_idx)
{
	uint32_t n = 0;

	if (unit_idx < SEQUENCE_UNITS)
		return false;
	for (uint32_t i = unit_idx - SEQUENCE_UNITS; i < unit_idx; i++)
		n += bitmap_get(blob->touched, i);
	return n >= SEQUENCE_TOUCHED;
}

/* Did the window end at something that is here? Elsewhere readahead goes on by itself. */
static bool is_broken_up(const struct fetch_blob *blob, uint32_t unit_idx)
{
	return unit_idx < blob->layout->n_units && unit_is_here(blob, unit_idx);
}

static void islands_from(struct fetch_blob *blob, uint32_t from_unit)
{
	const struct ahead_limits limits = { .packed_bytes = ISLANDS_BYTES,
		                             .n_requests = ISLANDS_MAX,
		                             .n_looks = ISLANDS_LOOKS };
	struct plan_span window;

	blob->islands_marker = READAHEAD_NO_MARKER;
	if (!ahead_ask(blob, from_unit, &limits, &window))
		return;
	blob->islands_marker = window.first_unit;
	(void)bitmap_set(blob->marked, window.first_unit);
	blob->islands_end = window.first_unit + window.n_units;
}

void islands_missed(struct fetch_blob *blob, const struct plan_span *demand, uint32_t end_unit)
{
	if (is_broken_up(blob, end_unit) && in_order(blob, demand->first_unit))
		islands_from(blob, end_unit);
}

void islands_ahead(struct fetch_blob *blob)
{
	if (blob->islands_marker != READAHEAD_NO_MARKER &&
	    bitmap_get(blob->touched, blob->islands_marker))
		islands_from(blob, blob->islands_end);
}
