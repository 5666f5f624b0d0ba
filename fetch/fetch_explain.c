/*
 * fetch_explain: the last questions to sources, in a ring, for people who ask why a read was slow;
 * and those that are open now.
 */
#include "engine.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Looked through for each open question, each second that somebody watches. */
#define NOTE_EVENTS 256U
/* Of one question: what it says of more stretches is not told apart. */
#define STRETCHES_MAX 16U
/* A unit has one flight, and so one question; what it left may not have ended. */
#define OPEN_MAX 2U

static_assert(sizeof(((struct fetch *)NULL)->events) <= EXPLAIN_MAX_BYTES,
              "what is remembered is bounded");

static uint32_t us_since(uint64_t from_ns, uint64_t to_ns)
{
	const uint64_t us = to_ns > from_ns ? (to_ns - from_ns) / 1000 : 0;

	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static struct fetch_event event_of_run(const struct run *run)
{
	const struct fetch *f = run->blob->f;
	struct fetch_event event = { .source = f->sources[run->source_idx]->ops->name };

	(void)snprintf(event.blob_key, sizeof(event.blob_key), "%s", cas_blob_key(run->blob->cas));
	event.first_unit = run->ask.first_unit;
	event.n_units = run->ask.n_units;
	event.reader = run->ask.reader;
	event.asked_wall_ms = run->asked_wall_ms;
	event.took_us = us_since(run->asked_ns, clock_now_ns(f->opts.clock));
	if (run->first_unit_ns != 0)
		event.first_unit_us = us_since(run->asked_ns, run->first_unit_ns);
	return event;
}

static struct fetch_event *remember(struct fetch *f, const struct fetch_event *event)
{
	struct fetch_event *kept = &f->events[f->n_events++ % EXPLAIN_EVENTS];

	*kept = *event;
	return kept;
}

static void set_detail(struct fetch_event *event, const char *text)
{
	(void)snprintf(event->detail, sizeof(event->detail), "%.*s", (int)sizeof(event->detail) - 1,
	               text);
}

/* ---- what became of each unit ---- */

void explain_asked(struct run *run)
{
	free(run->fates);
	run->fates = xcalloc(run->ask.n_units, sizeof(*run->fates));
}

static enum fate fate_of(const struct run *run, uint32_t unit_idx)
{
	return (enum fate)run->fates[unit_idx - run->ask.first_unit];
}

void explain_fate(struct run *run, uint32_t unit_idx, enum fate fate)
{
	run->fates[unit_idx - run->ask.first_unit] = (uint8_t)fate;
}

void explain_leased(struct run *run, uint32_t first_unit, uint32_t n_units)
{
	struct fetch_event event = event_of_run(run);

	event.kind = FETCH_LEASE;
	event.first_unit = first_unit;
	event.n_units = n_units;
	(void)remember(run->blob->f, &event);
	for (uint32_t i = first_unit; i < first_unit + n_units; i++) {
		if (run_flight(run, i) != NULL)
			explain_fate(run, i, FATE_LEASED);
	}
}

/* What a question that ends with result says of a unit. @return false: nothing */
static bool says_of(const struct run *run, uint32_t unit_idx, int result, int *ret_result)
{
	const enum fate fate = fate_of(run, unit_idx);

	*ret_result = result;
	if (fate == FATE_GIVEN || (fate == FATE_PART && unit_is_ready(run->blob, unit_idx)))
		*ret_result = SOURCE_OK;
	else if (fate == FATE_OPEN && result == SOURCE_OK)
		*ret_result = -EPROTO;
	return fate != FATE_LEASED && (fate != FATE_OPEN || run_flight(run, unit_idx) != NULL);
}

/* As many of the next units as it says the same of, or says nothing of. */
static uint32_t say_the_same(const struct run *run, uint32_t first_unit, int result)
{
	const uint32_t end = run->ask.first_unit + run->ask.n_units;
	int want;
	int got;
	const bool says = says_of(run, first_unit, result, &want);
	uint32_t i = first_unit + 1;

	while (i < end && says_of(run, i, result, &got) == says && (!says || got == want))
		i++;
	return i - first_unit;
}

static void record_one(struct run *run, const struct fetch_event *like, const struct err *why)
{
	struct fetch_event *event = remember(run->blob->f, like);

	if (event->result == -EPROTO)
		set_detail(event, why->msg[0] != '\0' ? why->msg : "it ended before all was there");
	else if (event->result < 0 || event->result == SOURCE_GONE)
		set_detail(event, why->msg);
	if (event->result == SOURCE_GONE && source_refused(why->code))
		event->result = -why->code;
}

void explain_record(struct run *run, int result, const struct err *why)
{
	const uint32_t end = run->ask.first_unit + run->ask.n_units;
	struct fetch_event event = event_of_run(run);
	uint32_t n_said = 0;

	for (uint32_t at = run->ask.first_unit; at < end; at += event.n_units) {
		event.first_unit = at;
		event.n_units = say_the_same(run, at, result);
		if (!says_of(run, at, result, &event.result))
			continue;
		if (++n_said == STRETCHES_MAX && at + event.n_units < end) {
			event.n_units = end - at;
			event.kind = FETCH_SOME;
		}
		record_one(run, &event, why);
	}
	free(run->fates);
	run->fates = NULL;
}

void explain_wrong(struct flight *fl)
{
	const struct fetch *f = fl->blob->f;
	struct fetch_event event = { .first_unit = fl->unit_idx,
		                     .n_units = 1,
		                     .source = f->sources[fl->source_idx]->ops->name,
		                     .result = -EBADMSG,
		                     .asked_wall_ms = clock_wall_ms(f->opts.clock) };

	(void)snprintf(event.blob_key, sizeof(event.blob_key), "%s", cas_blob_key(fl->blob->cas));
	set_detail(&event, fl->why->msg);
	(void)remember(fl->blob->f, &event);
}

void explain_note(void *arg, const char *text)
{
	const struct run *run = arg;
	struct fetch_event event = event_of_run(run);

	event.kind = FETCH_STEP;
	set_detail(&event, text);
	(void)remember(run->blob->f, &event);
}

static uint64_t oldest_event(const struct fetch *f, uint32_t n_back)
{
	return f->n_events > n_back ? f->n_events - n_back : 0;
}

static bool is_about(const struct fetch_event *event, const char *blob_key, uint32_t unit_idx)
{
	return unit_idx >= event->first_unit && unit_idx - event->first_unit < event->n_units &&
	       strcmp(event->blob_key, blob_key) == 0;
}

/* The last step that was told of a question; "" where there was none lately */
static const char *last_note(const struct fetch *f, const struct run *run)
{
	const uint64_t oldest = oldest_event(f, NOTE_EVENTS);

	for (uint64_t i = f->n_events; i > oldest; i--) {
		const struct fetch_event *event = &f->events[(i - 1) % EXPLAIN_EVENTS];

		if (event->first_unit == run->ask.first_unit &&
		    event->n_units == run->ask.n_units &&
		    strcmp(event->blob_key, cas_blob_key(run->blob->cas)) == 0)
			return event->kind == FETCH_STEP ? event->detail : "";
	}
	return "";
}

/* Whom the source of an open question asks now, else the last step that it told of. */
static void set_whom(const struct fetch *f, const struct run *run, char *ret_text,
                     size_t size_bytes)
{
	const struct source_ops *ops = f->sources[run->source_idx]->ops;

	ret_text[0] = '\0';
	if (ops->whom != NULL && run->req != NULL)
		ops->whom(run->req, ret_text, size_bytes);
	if (ret_text[0] == '\0')
		(void)snprintf(ret_text, size_bytes, "%s", last_note(f, run));
}

/* No question is out for a unit of it. */
static struct fetch_event event_of_rest(const struct run *run, const char *why)
{
	struct fetch_event event = { .kind = FETCH_OPEN,
		                     .source = FETCH_NOBODY,
		                     .first_unit = run->first_unit,
		                     .n_units = run->n_units,
		                     .reader = run->prio == RUN_READER };

	set_detail(&event, why);
	return event;
}

/* What a run that has not ended says of one of its units. @return false: nothing */
static bool open_event(const struct fetch *f, const struct run *run, uint32_t unit_idx,
                       struct fetch_event *ret_event)
{
	if (run->state == RUN_QUEUED || run->state == RUN_PAUSED) {
		*ret_event = event_of_rest(run, run->state == RUN_QUEUED
		                                        ? "it waits for its turn"
		                                        : "it is asked for again in a moment");
		return run_flight(run, unit_idx) != NULL;
	}
	if (run->state != RUN_ASKED || run->fates == NULL ||
	    unit_idx - run->ask.first_unit >= run->ask.n_units)
		return false;
	*ret_event = event_of_run(run);
	if (fate_of(run, unit_idx) == FATE_GIVEN)
		return true;
	ret_event->kind = FETCH_OPEN;
	set_whom(f, run, ret_event->detail, sizeof(ret_event->detail));
	return run_flight(run, unit_idx) != NULL;
}

static uint32_t open_events(const struct fetch *f, const char *blob_key, uint32_t unit_idx,
                            struct fetch_event *ret_events, uint32_t max)
{
	const struct run *const lists[] = { f->runs, f->queue[RUN_READER], f->queue[RUN_AHEAD],
		                            f->queue[RUN_PREFETCH] };
	uint32_t n = 0;

	static_assert(N_RUN_PRIOS == 3, "all of them are looked through");
	for (uint32_t i = 0; i < ARRAY_LEN(lists); i++) {
		for (const struct run *run = lists[i]; run != NULL && n < max; run = run->next) {
			if (strcmp(cas_blob_key(run->blob->cas), blob_key) == 0 &&
			    open_event(f, run, unit_idx, &ret_events[n]))
				n++;
		}
	}
	return n;
}

static uint32_t past_events(const struct fetch *f, const char *blob_key, uint32_t unit_idx,
                            struct fetch_event *ret_events, uint32_t max)
{
	const uint64_t oldest = oldest_event(f, EXPLAIN_EVENTS);
	uint32_t n = 0;

	/* The newest, from the end of the array on; then they move to its beginning. */
	for (uint64_t i = f->n_events; i > oldest && n < max; i--) {
		const struct fetch_event *event = &f->events[(i - 1) % EXPLAIN_EVENTS];

		if (is_about(event, blob_key, unit_idx))
			ret_events[max - ++n] = *event;
	}
	memmove(ret_events, &ret_events[max - n], n * sizeof(*ret_events));
	return n;
}

uint32_t fetch_explain(const struct fetch *f, const char *blob_key, uint32_t unit_idx,
                       struct fetch_event *ret_events, uint32_t max)
{
	struct fetch_event open[OPEN_MAX];
	const uint32_t n_open = open_events(f, blob_key, unit_idx, open, OPEN_MAX);
	const uint32_t n = past_events(f, blob_key, unit_idx, ret_events, max - n_open);

	memcpy(&ret_events[n], open, n_open * sizeof(*open));
	return n + n_open;
}

uint64_t fetch_explain_since_ms(const struct fetch *f)
{
	return f->n_events > EXPLAIN_EVENTS ? f->events[f->n_events % EXPLAIN_EVENTS].asked_wall_ms
	                                    : 0;
}

uint32_t fetch_questions(const struct fetch *f, struct fetch_question *ret_questions, uint32_t max)
{
	const uint64_t now_ns = clock_now_ns(f->opts.clock);
	uint32_t n = 0;

	for (const struct run *run = f->runs; run != NULL && n < max; run = run->next) {
		struct fetch_question *q = &ret_questions[n];

		if (run->state != RUN_ASKED)
			continue;
		*q = (struct fetch_question){ .first_unit = run->ask.first_unit,
			                      .n_units = run->ask.n_units,
			                      .source = f->sources[run->source_idx]->ops->name,
			                      .reader = run->ask.reader,
			                      .since_us = us_since(run->asked_ns, now_ns) };
		(void)snprintf(q->blob_key, sizeof(q->blob_key), "%s",
		               cas_blob_key(run->blob->cas));
		set_whom(f, run, q->detail, sizeof(q->detail));
		n++;
	}
	return n;
}
