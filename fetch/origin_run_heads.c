/*
 * origin_run_heads: what two slices of a gzip stream share crosses the line once.
 *
 * Slices overlap. What the first slice of a run has in common with a slice before it that came
 * lately from the same origin, or is on its way from there in another run, is not asked for again:
 * it is the slice's head. Where that run fails, or a reader would have to wait for what is far in
 * front of it, the head alone is asked for; where that fails, all of it.
 */
#include "bytes.h"
#include "origin_run_impl.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define HEAD_NEAR_BYTES (256U << 10)   /* a blocked reader waits for no more in front of a head */
#define HEAD_WAIT_NS    (1 * NS_PER_S) /* nor longer for one */

/* May one give the other a head? */
static bool are_alike(const struct source_req *one, const struct source_req *other)
{
	return strcmp(one->key, other->key) == 0 &&
	       strcmp(origin_run_origin(one), origin_run_origin(other)) == 0;
}

void heads_look(struct origin_source *s)
{
	const struct source_req *req = s->runs;

	while (req != NULL && !unit_cutter_is_headless(&req->cutter))
		req = req->next;
	if (req != NULL)
		timer_start(&s->heads_timer, 0);
}

static void head_drop_ask(struct source_req *req)
{
	if (req->head_asked != NULL)
		origin_ask_cancel(req->head_asked);
	req->head_asked = NULL;
	free(req->head_part);
	req->head_part = NULL;
	req->head_part_bytes = 0;
}

void head_drop(struct source_req *req)
{
	head_drop_ask(req);
	free(req->head_bytes);
	req->head_bytes = NULL;
}

void head_keep(struct source_req *req, uint32_t unit_idx, const uint8_t *bytes)
{
	struct source_req *other;
	struct slice_head head;
	struct unit_rec u;

	if (!slice_head_of(req->run->layout, unit_idx + 1, &head) ||
	    !layout_unit(req->run->layout, unit_idx, &u))
		return;
	bytes += head.offset - u.packed_offset;
	slice_heads_keep(req->s->heads, req->key, origin_run_origin(req), &head, bytes);
	DL_FOREACH(req->s->runs, other)
	{
		if (!unit_cutter_is_headless(&other->cutter) || other->head_bytes != NULL ||
		    other->head.offset != head.offset ||
		    other->head.size_bytes != head.size_bytes || !are_alike(other, req))
			continue;
		other->head_bytes = malloc(head.size_bytes);
		if (other->head_bytes != NULL)
			memcpy(other->head_bytes, bytes, head.size_bytes);
	}
	heads_look(req->s);
}

/* Is another run about to have the slice before this one? */
static bool head_is_coming(const struct source_req *req, uint32_t unit_idx)
{
	const struct source_req *other;
	const bool reader = req->head_late_ns != 0;
	uint64_t before_bytes;

	if (reader && origin_run_now_ns(req->s) >= req->head_late_ns)
		return false;
	DL_FOREACH(req->s->runs, other)
	{
		if (other == req || (other->asked == NULL && !other->only_head) ||
		    !are_alike(other, req) ||
		    !unit_cutter_awaits(&other->cutter, unit_idx - 1, &before_bytes))
			continue;
		if (!reader || (other->run->reader && before_bytes <= HEAD_NEAR_BYTES))
			return true;
	}
	return false;
}

static void take_head(struct source_req *req)
{
	int r;

	head_drop_ask(req);
	r = unit_cutter_head(&req->cutter, req->head_bytes, req->head.size_bytes,
	                     origin_run_hand_out, req);
	if (req->cancelled)
		origin_run_free(req);
	else if (r == 0 && req->only_head)
		origin_run_finish(req, SOURCE_OK);
}

/* All of it is asked for, then. */
static void lose_head(struct source_req *req)
{
	if (req->asked != NULL)
		origin_ask_cancel(req->asked);
	req->asked = NULL;
	head_drop_ask(req);
	req->whole = true;
	req->only_head = false;
	origin_run_ask_again(req, req->candidate_idx);
}

static int on_head_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct source_req *req = arg;
	const size_t n = min_u64(size_bytes, req->head.size_bytes - req->head_part_bytes);

	memcpy(req->head_part + req->head_part_bytes, bytes, n);
	req->head_part_bytes += (uint32_t)n;
	return 0;
}

static void on_head_end(void *arg, int r, const struct err *why)
{
	struct source_req *req = arg;

	(void)why; /* the same origin is asked for all of it, and says it again */
	req->head_asked = NULL;
	if (r < 0 || req->head_part_bytes < req->head.size_bytes) {
		lose_head(req);
		return;
	}
	free(req->head_bytes);
	req->head_bytes = req->head_part;
	req->head_part = NULL;
	take_head(req);
}

/* What was asked for besides it goes on. */
static void ask_head(struct source_req *req)
{
	struct origin_ask ask;
	struct err e;

	/* Whatever time the run had for its question went by while it waited. */
	if (req->patience_ns > 0)
		req->late_ns = origin_run_now_ns(req->s) + req->patience_ns;
	ask = origin_run_ask_for(req, req->head.offset, req->head.size_bytes);
	ask.body = on_head_body;
	ask.end = on_head_end;
	req->head_part = malloc(req->head.size_bytes);
	if (req->head_part == NULL ||
	    origin_ask_start(&req->s->opts, &ask, &req->head_asked, &e) < 0)
		lose_head(req);
}

/* @return false: nobody's wait has ended */
static bool settle_one_head(struct origin_source *s)
{
	struct source_req *req;

	DL_FOREACH(s->runs, req)
	{
		if (!unit_cutter_is_headless(&req->cutter))
			continue;
		if (req->head_bytes != NULL)
			take_head(req);
		else if (req->head_asked == NULL && !head_is_coming(req, req->head_unit))
			ask_head(req);
		else
			continue;
		return true;
	}
	return false;
}

/* Readers do not wait for ever. */
static void await_late_heads(struct origin_source *s)
{
	const uint64_t now = origin_run_now_ns(s);
	uint64_t late_ns = UINT64_MAX;
	const struct source_req *req;

	DL_FOREACH(s->runs, req)
	{
		if (unit_cutter_is_headless(&req->cutter) && req->head_asked == NULL &&
		    req->head_late_ns != 0)
			late_ns = min_u64(late_ns, req->head_late_ns);
	}
	if (late_ns != UINT64_MAX)
		timer_start(&s->heads_timer,
		            late_ns > now ? (late_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0);
}

static void on_heads(struct timer *t)
{
	struct origin_source *s = container_of(t, struct origin_source, heads_timer);

	/* Whoever is told something may end any of them. */
	while (settle_one_head(s)) {
	}
	await_late_heads(s);
}

void head_leave_out(struct source_req *req, uint64_t *offset, uint64_t *size_bytes)
{
	const struct blob_layout *l = req->run->layout;
	const uint8_t *bytes;
	uint32_t i = 0;
	struct unit_rec next;

	head_drop(req);
	req->head_late_ns = req->run->reader ? origin_run_now_ns(req->s) + HEAD_WAIT_NS : 0;
	if (req->whole || req->has_strikes)
		return;
	while (req->cutter.cuts[i].state != CUT_WANTED)
		i++;
	req->head_unit = req->run->first_unit + i;
	if (!slice_head_of(l, req->head_unit, &req->head) || req->head.offset != *offset)
		return;
	if (i + 1 < req->run->n_units && layout_unit(l, req->head_unit + 1, &next) &&
	    next.packed_offset < req->head.offset + req->head.size_bytes)
		return; /* it is the head of several */
	bytes = slice_heads_find(req->s->heads, req->key, origin_run_origin(req), &req->head);
	if ((bytes == NULL && !head_is_coming(req, req->head_unit)) ||
	    unit_cutter_behead(&req->cutter, req->head.size_bytes) < 0)
		return;
	*offset += req->head.size_bytes;
	*size_bytes -= req->head.size_bytes;
	if (bytes == NULL && req->s->heads_timer.fn == NULL)
		timer_init(&req->s->heads_timer, req->s->opts.loop, on_heads);
	if (bytes == NULL)
		heads_look(req->s);
	else if (unit_cutter_head(&req->cutter, bytes, req->head.size_bytes, origin_run_hand_out,
	                          req) < 0)
		abort(); /* a head is not all of it: nothing was handed out */
}

void origin_run_hurry(struct source_req *req, uint32_t unit_idx)
{
	if (!unit_cutter_is_headless(&req->cutter) || unit_idx != req->head_unit ||
	    req->head_late_ns != 0)
		return;
	req->head_late_ns = origin_run_now_ns(req->s) + HEAD_WAIT_NS;
	heads_look(req->s);
}
