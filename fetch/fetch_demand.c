/*
 * fetch_demand: which units to ask for, when a reader missed and when one came near the end of what
 * was read ahead. Joins plan (what can be one request) and readahead (how much) with the flights.
 */
#include "bytes.h"
#include "engine.h"

#define AHEAD_REQUESTS 8U   /* of one window: a reader that misses may wait behind them */
#define AHEAD_LOOKS    512U /* units */
#define DELAY_MS       50U

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
	const struct plan_view view = flight_view(w->blob);

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

/* What lies before the reader's bytes, or is asked for beside them, he waits for: on a line on
 * which that takes a while he has none of it. */
static uint64_t no_delay_bytes(const struct fetch *f)
{
	const uint64_t bytes_per_ms = f->origin_bytes_per_ms;

	if (bytes_per_ms == 0 || bytes_per_ms > READAHEAD_SAME_REQUEST_BYTES / DELAY_MS)
		return UINT64_MAX;
	return bytes_per_ms * DELAY_MS;
}

/*
 * Reach beyond what is due. The range of a request comes in ascending order: so much before the
 * reader's units that it would delay them is asked for apart, behind them.
 */
static void ask_widened(struct fetch_blob *blob, const struct plan_span *demand)
{
	const struct plan_view view = flight_view(blob);
	const uint32_t demand_end = demand->first_unit + demand->n_units;
	struct plan_span span = *demand;
	struct plan_span before;
	struct readahead_window window;
	uint64_t added;
	uint64_t back_bytes;

	if (!cas_blob_takes_chunks(blob->cas)) { /* what comes unasked would be gone at once */
		(void)run_new(blob, demand, RUN_READER);
		return;
	}
	collect_evidence(blob);
	if (!blob->ra.began)
		sweep_begins(blob, demand->first_unit);
	window = readahead_miss(&blob->ra, demand);
	added = plan_widen_forward(&view, &span, window.forward_bytes);
	before = span;
	back_bytes = min_u64(window.backward_bytes, window.total_bytes - added);
	if (window.forward_bytes > 0) /* else the reader goes that way */
		back_bytes = min_u64(back_bytes, no_delay_bytes(blob->f));
	added = plan_widen_backward(&view, &span, back_bytes);
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

bool ahead_ask(struct fetch_blob *blob, uint32_t from_unit, const struct ahead_limits *limits,
               struct plan_span *ret_window)
{
	const struct plan_view view = flight_view(blob);
	const uint32_t end = (uint32_t)min_u64((uint64_t)from_unit + limits->n_looks, UINT32_MAX);
	struct plan_span window = { .n_units = 0 };
	struct plan_span span;
	uint32_t at = from_unit;

	for (uint32_t n = 0;
	     n < limits->n_requests && window.packed_bytes < limits->packed_bytes && at < end;
	     n++) {
		const uint64_t room_bytes = limits->packed_bytes - window.packed_bytes;

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
	*ret_window = window;
	return window.n_units > 0;
}

static void ask_ahead(struct fetch_blob *blob, uint32_t from_unit, uint64_t max_bytes)
{
	const struct ahead_limits limits = { .packed_bytes = max_bytes,
		                             .n_requests = AHEAD_REQUESTS,
		                             .n_looks = AHEAD_LOOKS };
	struct plan_span window;

	if (from_unit > 0 && ahead_ask(blob, from_unit, &limits, &window))
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
	if (blob->n_users > 0)
		sweep_is_due(blob);
	blob_drop(blob);
	runs_pump(f);
}
