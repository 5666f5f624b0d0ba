/*
 * fetch_queue: when a queued question may be put, so that what is in flight stays below its budget
 * and readers come first.
 */
#include "engine.h"
#include <stdlib.h>
#include <utlist.h>

#define PREFETCH_MAX_BYTES (UINT64_C(16) << 20) /* asked at a time, in runs */

static uint64_t packed_bytes(const struct run *run)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < run->n_units; i++) {
		const struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL)
			bytes += fl->packed_size_bytes;
	}
	return bytes;
}

/* Readers may use all of the budget, the rest leaves them room. Alone, anything may go. */
static bool has_room(const struct fetch *f, enum run_prio prio, uint64_t bytes)
{
	static const uint64_t eighths[N_RUN_PRIOS] = {
		[RUN_READER] = 8, [RUN_AHEAD] = 6, [RUN_PREFETCH] = 4
	};
	const uint64_t max = f->opts.in_flight_max_bytes / 8 * eighths[prio];

	return f->in_flight_bytes == 0 || f->in_flight_bytes + bytes <= max;
}

void runs_pump(struct fetch *f)
{
	for (enum run_prio prio = 0; prio < N_RUN_PRIOS; prio++) {
		while (f->queue[prio] != NULL) {
			struct run *run = f->queue[prio];
			const uint64_t bytes = packed_bytes(run);

			if (!has_room(f, prio, bytes))
				return;
			run_start(run);
		}
	}
}

static bool is_blocked_on(const struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		const struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL && flight_is_blocked_on(fl))
			return true;
	}
	return false;
}

enum run_state run_requeue(struct run *run)
{
	struct fetch *f = run->blob->f;

	if (is_blocked_on(run))
		run->prio = RUN_READER;
	DL_DELETE(f->runs, run);
	DL_APPEND(f->queue[run->prio], run);
	return RUN_QUEUED;
}

void runs_pump_soon(struct fetch *f)
{
	timer_start(&f->runs_timer, 0);
}

void run_count_asked(const struct run *run, uint32_t more)
{
	struct fetch *f = run->blob->f;

	if (run->prio != RUN_PREFETCH)
		return;
	f->n_prefetch_runs += more;
	f->n_sweep_runs += run->sweeps ? more : 0;
	run->blob->n_prefetch_runs += run->sweeps ? 0 : more;
}

uint64_t prefetch_run_bytes(const struct fetch *f)
{
	return f->opts.prefetch_run_bytes > 0 ? f->opts.prefetch_run_bytes : RUN_MAX_BYTES;
}

uint32_t prefetch_runs_max(const struct fetch *f)
{
	return (uint32_t)(PREFETCH_MAX_BYTES / prefetch_run_bytes(f));
}

bool runs_take_prefetch(const struct fetch *f)
{
	return f->n_prefetch_runs < prefetch_runs_max(f) && f->queue[RUN_READER] == NULL &&
	       f->queue[RUN_AHEAD] == NULL && f->queue[RUN_PREFETCH] == NULL &&
	       has_room(f, RUN_PREFETCH, prefetch_run_bytes(f));
}
