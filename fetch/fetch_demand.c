/*
 * fetch_demand: which units to ask for, when a reader missed and when one came near the end of what
 * was read ahead. Joins plan (what can be one request) and readahead (how much) with the flights.
 */
#include "bytes.h"
#include "engine.h"

#define AHEAD_REQUESTS 8U   /* of one window: a reader that misses may wait behind them */
#define AHEAD_LOOKS    512U /* units */

static struct plan_view view_of(struct fetch_blob *blob)
{
	return (struct plan_view){ .layout = blob->layout, .wanted = flight_wanted, .arg = blob };
}

static bool was_touched(void *arg, uint32_t unit_idx)
{
	const struct fetch_blob *blob = arg;

	return bitmap_get(blob->touched, unit_idx);
}

static void collect_evidence(struct fetch_blob *blob)
{
	const uint64_t bytes = atomic_exchange(&blob->useful_bytes, 0);

	if (bytes > 0)
		readahead_useful(&blob->ra, bytes);
}

/* Nobody asked for these units yet: the first touch will say that they were worth it. */
static void mark_brought(struct fetch_blob *blob, uint32_t first_unit, uint32_t end_unit)
{
	for (uint32_t i = first_unit; i < end_unit; i++) {
		(void)bitmap_clear(blob->touched, i);
		(void)bitmap_set(blob->brought, i);
	}
}

static void remember_window(struct fetch_blob *blob, const struct plan_span *span,
                            uint32_t first_ahead)
{
	const uint32_t marker = readahead_issued(&blob->ra, span, first_ahead);

	if (marker != READAHEAD_NO_MARKER)
		(void)bitmap_set(blob->marked, marker);
}

/* The waiters from i on that stand side by side in the object. */
static struct plan_span demand_span(const struct fetch_read_state *st, uint32_t i)
{
	const struct waiter *w = &st->waiters[i];
	struct plan_span span = plan_unit(w->blob->layout, w->unit_idx);
	const struct plan_view view = view_of(w->blob);

	for (uint32_t k = i + 1; k < st->n_waiters; k++) {
		const struct waiter *next = &st->waiters[k];
		struct plan_span one;

		if (next->blob != w->blob || next->unit_idx != span.first_unit + span.n_units ||
		    !plan_touches(w->blob->layout, next->unit_idx - 1) ||
		    !view.wanted(view.arg, next->unit_idx))
			break;
		one = plan_unit(w->blob->layout, next->unit_idx);
		if (span.packed_bytes + one.packed_bytes > RUN_MAX_BYTES)
			break;
		span.n_units++;
		span.packed_bytes += one.packed_bytes;
	}
	return span;
}

/*
 * Reach beyond what is due. The range of a request comes in ascending order: so much before the
 * reader's units that it would delay them is asked for apart, behind them.
 */
static void ask_widened(struct fetch_blob *blob, const struct plan_span *demand)
{
	const struct plan_view view = view_of(blob);
	const uint32_t demand_end = demand->first_unit + demand->n_units;
	struct plan_span span = *demand;
	struct plan_span before;
	struct readahead_window window;
	uint64_t added;

	if (!cas_blob_takes_chunks(blob->cas)) { /* what comes unasked would be gone at once */
		(void)run_new(blob, demand, RUN_READER);
		return;
	}
	collect_evidence(blob);
	window = readahead_miss(&blob->ra, demand);
	added = plan_widen_forward(&view, &span, window.forward_bytes);
	before = span;
	added = plan_widen_backward(&view, &span,
	                            min_u64(window.backward_bytes, window.total_bytes - added));
	mark_brought(blob, span.first_unit, demand->first_unit);
	mark_brought(blob, demand_end, span.first_unit + span.n_units);
	if (added > READAHEAD_SAME_REQUEST_BYTES) {
		const struct plan_span back = { .first_unit = span.first_unit,
			                        .n_units = before.first_unit - span.first_unit,
			                        .packed_bytes = added };

		(void)run_new(blob, &before, RUN_READER);
		(void)run_new(blob, &back, RUN_AHEAD);
	} else {
		(void)run_new(blob, &span, RUN_READER);
	}
	remember_window(blob, &span, demand_end);
	programs_missed(blob, demand->first_unit);
	islands_missed(blob, demand, span.first_unit + span.n_units);
}

void demand_plan(struct fetch_read_state *st, uint32_t i)
{
	const struct plan_span span = demand_span(st, i);

	if (st->waiters[i].blocked)
		ask_widened(st->waiters[i].blob, &span);
	else
		(void)run_new(st->waiters[i].blob, &span, RUN_PREFETCH);
}

/* Ask for so much from there on. What is here, or on its way, is passed by: a reader who goes
 * through all of it would otherwise wait at the next unit that is not. */
static void ask_ahead(struct fetch_blob *blob, uint32_t from_unit, uint64_t max_bytes)
{
	const struct plan_view view = view_of(blob);
	const uint32_t end = (uint32_t)min_u64((uint64_t)from_unit + AHEAD_LOOKS, UINT32_MAX);
	struct plan_span window = { .n_units = 0 };
	struct plan_span span;
	uint32_t at = from_unit;

	if (from_unit == 0)
		return;
	for (uint32_t n = 0; n < AHEAD_REQUESTS && window.packed_bytes < max_bytes && at < end;
	     n++) {
		const uint64_t room_bytes = max_bytes - window.packed_bytes;

		if (!plan_next_span(&view, at, room_bytes, end - at, &span, &at) ||
		    span.packed_bytes > room_bytes)
			break;
		mark_brought(blob, span.first_unit, span.first_unit + span.n_units);
		(void)run_new(blob, &span, RUN_AHEAD);
		if (window.n_units == 0)
			window.first_unit = span.first_unit;
		window.n_units = span.first_unit + span.n_units - window.first_unit;
		window.packed_bytes += span.packed_bytes;
	}
	if (window.n_units > 0)
		remember_window(blob, &window, window.first_unit);
}

void demand_ahead(struct loop_call *call)
{
	struct fetch_blob *blob = container_of(call, struct fetch_blob, ahead_call);
	struct fetch *f = blob->f;
	uint64_t max_bytes;
	uint32_t from_unit;

	atomic_store(&blob->ahead_posted, false);
	blob_hold(blob);
	collect_evidence(blob);
	while (blob->n_users > 0 &&
	       readahead_next(&blob->ra, was_touched, blob, &from_unit, &max_bytes))
		ask_ahead(blob, from_unit, max_bytes);
	if (blob->n_users > 0)
		islands_ahead(blob);
	blob_drop(blob);
	runs_pump(f);
}
