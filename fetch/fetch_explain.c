/*
 * fetch_explain: the last questions to sources, in a ring, for people who ask why a read was slow;
 * and those that are open now.
 */
#include "engine.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint32_t us_since(uint64_t from_ns, uint64_t to_ns)
{
	const uint64_t us = to_ns > from_ns ? (to_ns - from_ns) / 1000 : 0;

	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static struct fetch_event *new_event(const struct fetch_blob *blob, uint32_t source_idx)
{
	struct fetch *f = blob->f;
	struct fetch_event *event = &f->events[f->n_events++ % EXPLAIN_EVENTS];

	*event = (struct fetch_event){ .source = f->sources[source_idx]->ops->name };
	(void)snprintf(event->blob_key, sizeof(event->blob_key), "%s", cas_blob_key(blob->cas));
	return event;
}

static struct fetch_event *new_event_of_run(const struct run *run)
{
	struct fetch_event *event = new_event(run->blob, run->source_idx);

	event->first_unit = run->ask.first_unit;
	event->n_units = run->ask.n_units;
	event->reader = run->ask.reader;
	event->asked_wall_ms = run->asked_wall_ms;
	event->took_us = us_since(run->asked_ns, clock_now_ns(run->blob->f->opts.clock));
	if (run->first_unit_ns != 0)
		event->first_unit_us = us_since(run->asked_ns, run->first_unit_ns);
	return event;
}

static void set_detail(struct fetch_event *event, const char *text)
{
	(void)snprintf(event->detail, sizeof(event->detail), "%.*s", (int)sizeof(event->detail) - 1,
	               text);
}

void explain_record(struct run *run, int result, const struct err *why)
{
	struct fetch_event *event = new_event_of_run(run);

	event->result = result;
	if (result < 0)
		set_detail(event, why->msg);
}

void explain_wrong(struct flight *fl)
{
	const struct clock *clock = fl->blob->f->opts.clock;
	struct fetch_event *event = new_event(fl->blob, fl->source_idx);

	event->first_unit = fl->unit_idx;
	event->n_units = 1;
	event->result = -EBADMSG;
	event->asked_wall_ms = clock->wall_seconds(clock) * 1000;
	set_detail(event, fl->why->msg);
}

void explain_note(void *arg, const char *text)
{
	struct fetch_event *event = new_event_of_run(arg);

	event->is_note = true;
	set_detail(event, text);
}

uint32_t fetch_explain(const struct fetch *f, const char *blob_key, uint32_t unit_idx,
                       struct fetch_event *ret_events, uint32_t max)
{
	uint64_t i = f->n_events > EXPLAIN_EVENTS ? f->n_events - EXPLAIN_EVENTS : 0;
	uint32_t n = 0;

	for (; i < f->n_events && n < max; i++) {
		const struct fetch_event *event = &f->events[i % EXPLAIN_EVENTS];

		if (strcmp(event->blob_key, blob_key) == 0 && unit_idx >= event->first_unit &&
		    unit_idx - event->first_unit < event->n_units)
			ret_events[n++] = *event;
	}
	return n;
}

/* The last step that was told of a question; "" */
static const char *last_note(const struct fetch *f, const struct run *run)
{
	const uint64_t oldest = f->n_events > EXPLAIN_EVENTS ? f->n_events - EXPLAIN_EVENTS : 0;

	for (uint64_t i = f->n_events; i > oldest; i--) {
		const struct fetch_event *event = &f->events[(i - 1) % EXPLAIN_EVENTS];

		if (event->first_unit == run->ask.first_unit &&
		    event->n_units == run->ask.n_units &&
		    strcmp(event->blob_key, cas_blob_key(run->blob->cas)) == 0)
			return event->is_note ? event->detail : "";
	}
	return "";
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
		(void)snprintf(q->detail, sizeof(q->detail), "%s", last_note(f, run));
		n++;
	}
	return n;
}
