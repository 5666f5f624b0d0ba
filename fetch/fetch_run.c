/*
 * fetch_run: one question for neighbouring units, put to the sources in order until it is settled.
 *
 *   QUEUED --budget--> ASK --asked--> ASKED --end--> ASK (what is left, next source) | DONE
 *    ^                  `--no source left--> LOST --a reader waits--> PAUSED
 *    `------------------------------------------------backoff-----------'
 *   LOST: all sources gave final answers, or nobody waits: DONE
 *
 * Units that come leave the run (fetch_batch.c). What is left after an end need not be one range
 * any more: each piece becomes a run of its own. All of it is the loop thread's.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

static enum run_state enter_ask(struct run *run);

static const struct {
	const char *name;
	enum run_state (*enter)(
		struct run *run); /* the next state, or its own: wait for a callback */
	unsigned may_follow;
} states[N_RUN_STATES] = {
	[RUN_QUEUED] = { "queued", run_requeue, BIT(RUN_ASK) | BIT(RUN_DONE) },
	[RUN_ASK] = { "ask", enter_ask, BIT(RUN_ASKED) | BIT(RUN_LOST) },
	[RUN_ASKED] = { "asked", NULL, BIT(RUN_ASK) | BIT(RUN_DONE) },
	[RUN_LOST] = { "lost", run_lost, BIT(RUN_PAUSED) | BIT(RUN_DONE) },
	[RUN_PAUSED] = { "paused", run_pause, BIT(RUN_QUEUED) | BIT(RUN_DONE) },
	[RUN_DONE] = { "done", NULL, 0 },
};

static struct fetch *fetch_of(const struct run *run)
{
	return run->blob->f;
}

static void run_free(struct fetch *f, struct run *run)
{
	struct fetch_blob *blob = run->blob;

	assert(run->open == NULL && run->pieces == NULL);
	DL_DELETE(f->runs, run);
	timer_fini(&run->timer);
	free(run->fates);
	free(run);
	blob_drop(blob);
}

static void run_step(struct run *run, enum run_state next)
{
	for (;;) {
		assert(states[run->state].may_follow & BIT(next));
		run->state = next;
		if (states[next].enter == NULL)
			break;
		next = states[next].enter(run);
		if (next == run->state)
			break;
	}
	if (run->state == RUN_DONE)
		run_free(fetch_of(run), run);
}

struct flight *run_flight(const struct run *run, uint32_t unit_idx)
{
	struct flight *fl = flight_find(run->blob, unit_idx);

	return fl != NULL && fl->run == run ? fl : NULL;
}

/* As run_flight(), for one that is this run's for sure. */
static struct flight *own_flight(const struct run *run, uint32_t unit_idx)
{
	struct flight *fl = run_flight(run, unit_idx);

	if (fl == NULL)
		abort();
	return fl;
}

static struct run *run_alloc(struct fetch_blob *blob, enum run_prio prio)
{
	struct run *run = xcalloc(1, sizeof(*run));

	run->blob = blob;
	run->prio = prio;
	blob_hold(blob);
	return run;
}

static void run_queue(struct run *run)
{
	DL_APPEND(fetch_of(run)->queue[run->prio], run);
}

struct run *run_new(struct fetch_blob *blob, const struct plan_span *span, enum run_prio prio)
{
	struct run *run = run_alloc(blob, prio);

	run->first_unit = span->first_unit;
	run->n_units = span->n_units;
	for (uint32_t i = 0; i < span->n_units; i++)
		flight_new(blob, span->first_unit + i)->run = run;
	run_queue(run);
	return run;
}

void run_promote(struct run *run)
{
	assert(run->state == RUN_QUEUED);
	DL_DELETE(fetch_of(run)->queue[run->prio], run);
	run->prio = RUN_READER;
	run_queue(run);
}

uint32_t run_drop_idle(struct run *run)
{
	uint32_t n_left = 0;

	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl == NULL)
			continue;
		if (flight_is_waited_for(fl))
			n_left++;
		else if (source_refused(run->why.code) || run_is_denied(run))
			flight_fail(fl, &run->why); /* a prefetch tells of it */
		else
			flight_drop(fl);
	}
	return n_left;
}

static bool is_idle(struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL && flight_is_waited_for(fl))
			return false;
	}
	return true;
}

static void unqueue(struct run *run)
{
	struct fetch *f = fetch_of(run);

	DL_DELETE(f->queue[run->prio], run);
	DL_APPEND(f->runs, run);
}

bool run_dissolve(struct run *run)
{
	assert(run->state == RUN_QUEUED);
	if (!is_idle(run))
		return false;
	(void)run_drop_idle(run);
	unqueue(run);
	run_step(run, RUN_DONE);
	return true;
}

/* ---- what is left of a run ---- */

/* From unit *at on, before end: the next stretch of this run's flights that one range covers. */
static bool stretch_before(const struct run *run, uint32_t end, uint32_t *at,
                           struct plan_span *ret_span)
{
	uint32_t i = *at;

	while (i < end && run_flight(run, i) == NULL)
		i++;
	*ret_span = (struct plan_span){ .first_unit = i };
	while (i < end && run_flight(run, i) != NULL) {
		ret_span->n_units++;
		i++;
		if (i < end && !plan_touches(run->blob->layout, i - 1))
			break;
	}
	*at = i;
	return ret_span->n_units > 0;
}

static bool next_stretch(const struct run *run, uint32_t *at, struct plan_span *ret_span)
{
	return stretch_before(run, run->first_unit + run->n_units, at, ret_span);
}

/* A run for a stretch of another, as far as that has come. */
static struct run *run_part(const struct run *of, const struct plan_span *span)
{
	struct run *run = run_alloc(of->blob, of->prio);

	run->state = of->state;
	run->first_unit = span->first_unit;
	run->n_units = span->n_units;
	run->source_idx = of->source_idx;
	run->struck = of->struck;
	run->missed = of->missed;
	run->put_off = of->put_off;
	run->last_resort = of->last_resort;
	run->sweeps = of->sweeps;
	run->n_pauses = of->n_pauses;
	run->n_lost = of->n_lost;
	run->lasted_ns = of->lasted_ns;
	run->lasted_at = of->lasted_at;
	run->why = of->why;
	for (uint32_t i = 0; i < span->n_units; i++)
		own_flight(of, span->first_unit + i)->run = run;
	DL_APPEND(fetch_of(run)->runs, run);
	return run;
}

static void step_parts(struct run *parts, enum run_state next)
{
	while (parts != NULL) {
		struct run *part = parts;

		parts = part->part;
		part->part = NULL;
		run_step(part, next);
	}
}

void run_go_on(struct run *run, enum run_state next)
{
	struct run *parts = NULL;
	struct plan_span first;
	struct plan_span span;
	uint32_t at = run->first_unit;

	if (!next_stretch(run, &at, &first)) {
		run_step(run, RUN_DONE);
		return;
	}
	while (next_stretch(run, &at, &span)) {
		struct run *part = run_part(run, &span);

		part->part = parts;
		parts = part;
	}
	run->first_unit = first.first_unit;
	run->n_units = first.n_units;
	run_step(run, next);
	step_parts(parts, next);
}

void run_pass_on(struct run *run, uint32_t first_unit, uint32_t end_unit)
{
	struct run *parts = NULL;
	struct plan_span span;

	while (stretch_before(run, end_unit, &first_unit, &span)) {
		struct run *part = run_part(run, &span);

		part->source_idx++;
		part->part = parts;
		parts = part;
	}
	step_parts(parts, RUN_ASK);
}

/* ---- asking ---- */

void run_has_part(struct run *run)
{
	run->n_pauses = 0;
	run->lasted_ns = 0;
}

void run_brought(struct run *run, struct flight *fl)
{
	explain_fate(run, fl->unit_idx, FATE_GIVEN);
	fl->n_pauses = run->n_pauses + run->n_lost;
	fl->run = NULL;
	run_has_part(run);
}

static void on_unit(void *arg, uint32_t unit_idx, uint8_t *bytes)
{
	struct run *run = arg;
	struct flight *fl =
		unit_idx < run->blob->layout->n_units ? run_flight(run, unit_idx) : NULL;

	if (run->first_unit_ns == 0)
		run->first_unit_ns = clock_now_ns(fetch_of(run)->opts.clock);
	if (fl == NULL) { /* not asked for, or given already */
		free(bytes);
		return;
	}
	fl->packed = bytes;
	run_brought(run, fl);
	batch_add(run, fl);
}

void run_settled(struct run *run)
{
	struct fetch *f = fetch_of(run);
	struct plan_span left;
	uint32_t at = run->first_unit;

	if (run->disk_full)
		(void)run_drop_idle(
			run); /* what was kept of them is kept, the rest would be lost again */
	if (next_stretch(run, &at, &left)) {
		run_note_failure(run, run->end_result, &run->end_why);
		run->source_idx += !run->again;
	}
	run->ended = false;
	run->again = false;
	run_go_on(run, RUN_ASK);
	runs_pump(f);
	prefetches_pump(f);
}

static void note_lasted(struct run *run)
{
	const uint64_t ns = clock_now_ns(fetch_of(run)->opts.clock) - run->asked_ns;

	if (ns < run->lasted_ns)
		return;
	run->lasted_ns = ns;
	run->lasted_at = run->source_idx;
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct run *run = arg;

	run->req = NULL;
	run_count_asked(run, -1U);
	explain_record(run, r, why);
	if (r < 0)
		note_lasted(run);
	if (r == SOURCE_OK)
		run_note_pace(run);
	batch_close(run);
	run->ended = true;
	run->end_result = r;
	run->end_why = *why;
	if (run->pieces == NULL)
		run_settled(run);
}

static uint64_t deadline_ns(const struct fetch *f)
{
	return clock_now_ns(f->opts.clock) + f->read_timeout_ms * NS_PER_MS;
}

static void on_wait(void *arg, uint64_t progress_bytes)
{
	struct run *run = arg;

	if (progress_bytes <= run->progress_bytes)
		return;
	lease_advance(run, progress_bytes - run->progress_bytes);
	run->progress_bytes = progress_bytes;
	run->progress_ns = clock_now_ns(fetch_of(run)->opts.clock);
	run->ask.deadline_ns = deadline_ns(fetch_of(run));
}

void run_hurry(struct run *run, uint32_t unit_idx)
{
	const struct source_ops *ops;

	if (run->state != RUN_ASKED || run->req == NULL)
		return;
	ops = fetch_of(run)->sources[run->source_idx]->ops;
	run->ask.reader = true;
	if (ops->hurry != NULL)
		ops->hurry(run->req, unit_idx);
}

static const struct source_events run_events = {
	.unit = on_unit,
	.chunk = run_on_chunk,
	.wait = on_wait,
	.lease = run_on_lease,
	.note = explain_note,
	.end = on_end,
};

/* While it was queued, or others were asked. */
static uint64_t waited_ns(const struct run *run)
{
	const uint64_t now_ns = clock_now_ns(fetch_of(run)->opts.clock);
	uint64_t since_ns = now_ns;

	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL)
			since_ns = min_u64(since_ns, flight_blocked_since_ns(fl));
	}
	return now_ns - since_ns;
}

static void aim(struct run *run)
{
	struct fetch *f = fetch_of(run);

	run->ask = (struct unit_run){
		.blob = run->blob->cas,
		.layout = run->blob->layout,
		.first_unit = run->first_unit,
		.n_units = run->n_units,
		.reader = run->prio == RUN_READER,
		.deadline_ns = deadline_ns(f),
		.waited_ns = waited_ns(run),
	};
	run->asked_ns = clock_now_ns(f->opts.clock);
	run->asked_wall_ms = clock_wall_ms(f->opts.clock);
	run->first_unit_ns = 0;
	run->progress_bytes = 0;
}

/* Its flights are that source's now. */
static void hand_to_source(struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = own_flight(run, run->first_unit + i);

		if (fl->source_idx != run->source_idx)
			fl->n_wrong = 0;
		fl->source_idx = run->source_idx;
		fl->struck = run->struck;
	}
}

/* Those that are down a moment ago are asked behind the others. */
static bool is_asked_now(struct run *run)
{
	struct source *s = fetch_of(run)->sources[run->source_idx];

	if (run->struck & BIT(run->source_idx))
		return false;
	if (run->last_resort)
		return run->put_off & BIT(run->source_idx);
	if (s->ops->is_down == NULL || !s->ops->is_down(s, &run->ask))
		return true;
	run->put_off |= BIT(run->source_idx);
	return false;
}

static bool seek_source(struct run *run)
{
	while (run->source_idx < fetch_of(run)->opts.n_sources && !is_asked_now(run))
		run->source_idx++;
	return run->source_idx < fetch_of(run)->opts.n_sources;
}

/* @return false: none is left in this round */
static bool next_source(struct run *run)
{
	if (seek_source(run))
		return true;
	if (run->put_off == 0 || run->last_resort)
		return false;
	run->last_resort = true;
	run->source_idx = 0;
	return seek_source(run);
}

static enum run_state enter_ask(struct run *run)
{
	struct fetch *f = fetch_of(run);

	aim(run);
	for (; next_source(run); run->source_idx++) {
		struct source *s = f->sources[run->source_idx];
		struct err why = { .code = 0 };
		int r;

		aim(run);
		hand_to_source(run);
		explain_asked(run);
		r = s->ops->get(s, &run->ask, &run_events, run, &run->req, &why);
		if (r == 0) {
			run_count_asked(run, 1);
			return RUN_ASKED;
		}
		explain_record(run, r, &why);
		run_note_failure(run, r, &why);
	}
	return RUN_LOST;
}

void run_again(struct flight *fl, uint32_t source_idx)
{
	struct fetch *f = fl->blob->f;
	struct run *run = run_alloc(fl->blob, RUN_READER);

	run->first_unit = fl->unit_idx;
	run->n_units = 1;
	run->struck = fl->struck;
	run->source_idx = source_idx;
	run->n_lost = fl->n_pauses;
	if (fl->why != NULL)
		run->why = *fl->why;
	fl->run = run;
	fl->batch = NULL;
	fl->n_kept = 0;
	fl->refused = false;
	fl->kept_bytes = 0;
	/* The sources before this one had a miss; those behind it may have it. */
	DL_APPEND(f->runs, run);
	run_step(run, RUN_ASK);
}

void run_start(struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = own_flight(run, run->first_unit + i);

		flight_hold(fl, fl->packed_size_bytes);
	}
	unqueue(run);
	run_step(run, RUN_ASK);
}

/* ---- the end ---- */

static void run_cancel(struct fetch *f, struct run *run)
{
	if (run->state == RUN_QUEUED)
		unqueue(run);
	if (run->req != NULL) {
		f->sources[run->source_idx]->ops->cancel(run->req);
		run->req = NULL;
		run_count_asked(run, -1U);
	}
	(void)err_set(&run->why, ECANCELED, "the blob was closed");
	batch_close(run);
	pieces_forget(run);
	run_fail(run);
	run->state = RUN_DONE;
	run_free(f, run);
}

static void collect(struct run *head, const struct fetch_blob *blob, struct run **doomed)
{
	struct run *run;

	DL_FOREACH(head, run)
	{
		if (blob != NULL && run->blob != blob)
			continue;
		run->part = *doomed;
		*doomed = run;
	}
}

void runs_cancel(struct fetch *f, struct fetch_blob *blob)
{
	struct run *doomed = NULL;

	for (enum run_prio prio = 0; prio < N_RUN_PRIOS; prio++)
		collect(f->queue[prio], blob, &doomed);
	collect(f->runs, blob, &doomed);
	while (doomed != NULL) {
		struct run *run = doomed;

		doomed = run->part;
		run_cancel(f, run);
	}
}
