/*
 * origin_run: asks a blob's origins one after the other for the units that are still missing.
 *
 *   get --> ASK origin --bytes--> units are handed out as they become whole
 *            ^  `--all there--> end
 *            `-- it failed: the next origin, for the rest --> none left: end
 *
 * Slices of a gzip stream overlap. What the first one has in common with a slice before it that
 * came lately from the same origin, or is on its way from there in another run, is not asked for
 * again: it is the slice's head. Where that run fails, or a reader would have to wait for what is
 * far in front of it, the head alone is asked for; where that fails, all of it.
 *
 * Origins that lately failed come last; one that gave wrong bytes for a unit twice is not asked for
 * it. When to try all of them again is not decided here. Does not know digests.
 */
#include "origin_run.h"
#include "bytes.h"
#include "mem.h"
#include "unit_cutter.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define HEAD_NEAR_BYTES (256U << 10)   /* a blocked reader waits for no more in front of a head */
#define HEAD_WAIT_NS    (1 * NS_PER_S) /* nor longer for one */

struct candidate {
	struct origin_addr addr;
	uint32_t rank; /* the smaller, the earlier */
};

struct source_req {
	struct source_req *prev, *next; /* of s->runs */
	struct origin_source *s;
	const struct unit_run *run; /* borrowed */
	struct source_events ev;
	void *arg;
	char key[BLOB_ID_MAX + 16]; /* of the target */
	struct unit_cutter cutter;
	struct candidate candidates[CAS_ORIGINS_MAX];
	uint32_t n_candidates;
	uint32_t candidate_idx; /* the one that is being asked */
	struct origin_asked *asked;
	bool delivers;       /* it has delivered a unit */
	bool trouble;        /* some origin may have it another time */
	bool has_strikes;    /* the one that is being asked, for a unit of these */
	uint64_t body_bytes; /* came, from all origins */
	bool in_unit;        /* a cancel from inside unit() frees it behind that */
	bool cancelled;
	struct slice_head head; /* that is waited for, while the cutter is headless ... */
	uint32_t head_unit;     /* ... by this unit */
	uint8_t *head_bytes;    /* it has come */
	uint64_t head_late_ns;  /* a reader is blocked on head_unit, and waits until then; else 0 */
	struct origin_asked *head_asked; /* for the head alone ... */
	uint8_t *head_part;              /* of which this came */
	uint32_t head_part_bytes;
	uint64_t patience_ns; /* the time that the run has got for a question; 0: no deadline */
	uint64_t late_ns;     /* the deadline of what is asked for after a wait for a head; or 0 */
	bool whole;           /* no heads any more: the one that was waited for did not come */
	bool only_head;       /* all but the head is here */
	struct err why;
};

static uint64_t now_ns(const struct origin_source *s)
{
	return clock_now_ns(s->opts.clock);
}

/* Whom it asks now. */
static const char *origin_of(const struct source_req *req)
{
	return req->candidates[req->candidate_idx].addr.text;
}

/* May one give the other a head? */
static bool are_alike(const struct source_req *one, const struct source_req *other)
{
	return strcmp(one->key, other->key) == 0 && strcmp(origin_of(one), origin_of(other)) == 0;
}

/* What every origin said, one after the other. */
static void note_why(struct source_req *req, const char *origin, const char *what)
{
	AUTO(free_str)
	char *all = xasprintf("%s%s%s: %s", req->why.msg, req->why.msg[0] != '\0' ? "; " : "",
	                      origin, what);

	(void)err_set(&req->why, EIO, "%s", all);
}

/* Those that wait for a head look for it, from a turn of their own. */
static void look_for_heads(struct origin_source *s)
{
	const struct source_req *req = s->runs;

	while (req != NULL && !unit_cutter_is_headless(&req->cutter))
		req = req->next;
	if (req != NULL)
		timer_start(&s->heads_timer, 0);
}

static void drop_head_ask(struct source_req *req)
{
	if (req->head_asked != NULL)
		origin_ask_cancel(req->head_asked);
	req->head_asked = NULL;
	free(req->head_part);
	req->head_part = NULL;
	req->head_part_bytes = 0;
}

static void req_free(struct source_req *req)
{
	drop_head_ask(req);
	req->s->n_runs--;
	DL_DELETE(req->s->runs, req);
	look_for_heads(req->s);
	for (uint32_t i = 0; i < req->n_candidates; i++)
		origin_addr_wipe(&req->candidates[i].addr);
	unit_cutter_fini(&req->cutter);
	free(req->head_bytes);
	free(req);
}

/* ---- in which order ---- */

static uint32_t rank_of(const struct source_req *req, const char *origin)
{
	const struct origin_marks *marks = req->s->marks;
	const uint64_t now = now_ns(req->s);
	uint32_t rank = 0;

	if (origin_marks_is_gone(marks, origin, req->key, now))
		rank += 4;
	if (origin_marks_has_trouble(marks, origin, now))
		rank += 2;
	if (origin_marks_strikes(marks, origin, req->key, req->run->first_unit, now) > 0)
		rank += 1;
	return rank;
}

static void add_candidate(struct source_req *req, const char *origin)
{
	struct candidate new = { 0 };
	struct err e = { 0 };
	uint32_t i = req->n_candidates;

	if (origin_addr_parse(origin, &new.addr, &e) < 0) {
		note_why(req, origin, e.msg);
		return;
	}
	new.rank = rank_of(req, origin);
	for (; i > 0 && req->candidates[i - 1].rank > new.rank; i--)
		req->candidates[i] = req->candidates[i - 1];
	req->candidates[i] = new;
	req->n_candidates++;
}

static void find_candidates(struct source_req *req, const struct origin_target *target)
{
	for (uint32_t i = 0; i < target->n_origins && i < CAS_ORIGINS_MAX; i++)
		add_candidate(req, target->origins[i].text);
	if (target->n_origins == 0)
		note_why(req, req->key, "no origin of this blob is known");
}

/* Leave out what this origin has spoilt too often. */
static void choose_units(struct source_req *req, const char *origin)
{
	const uint64_t now = now_ns(req->s);

	req->has_strikes = false;

	for (uint32_t i = 0; i < req->cutter.n_cuts; i++) {
		struct cut *cut = &req->cutter.cuts[i];
		const uint32_t n = origin_marks_strikes(req->s->marks, origin, req->key,
		                                        req->run->first_unit + i, now);

		if (cut->state == CUT_DONE)
			continue;
		cut->state = n >= ORIGIN_STRIKES_OUT ? CUT_SKIP : CUT_WANTED;
		req->has_strikes = req->has_strikes || n > 0;
	}
}

/* ---- asking ---- */

static int ask_from(struct source_req *req, uint32_t idx);
static void on_heads(struct timer *t);

static void note_delivery(struct source_req *req, uint32_t unit_idx)
{
	const char *origin = origin_of(req);

	origin_marks_delivered(req->s->marks, origin, req->key, unit_idx,
	                       req->run->first_unit + req->run->n_units - 1);
	origin_marks_well(req->s->marks, origin, req->key);
}

/* The end of a unit is the head of the next one: for who waits for it, and who may come. */
static void keep_head(struct source_req *req, uint32_t unit_idx, const uint8_t *bytes)
{
	struct source_req *other;
	struct slice_head head;
	struct unit_rec u;

	if (!slice_head_of(req->run->layout, unit_idx + 1, &head) ||
	    !layout_unit(req->run->layout, unit_idx, &u))
		return;
	bytes += head.offset - u.packed_offset;
	slice_heads_keep(req->s->heads, req->key, origin_of(req), &head, bytes);
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
	look_for_heads(req->s);
}

static bool hand_out(void *arg, uint32_t unit_idx, uint8_t *bytes)
{
	struct source_req *req = arg;

	/* Once an origin: what follows in this run comes from it, too. */
	if (!req->delivers)
		note_delivery(req, unit_idx);
	req->delivers = true;
	keep_head(req, unit_idx, bytes);
	req->in_unit = true;
	req->ev.unit(req->arg, unit_idx, bytes);
	req->in_unit = false;
	return !req->cancelled;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct source_req *req = arg;

	int r;

	req->body_bytes += size_bytes;
	if (req->ev.wait != NULL)
		req->ev.wait(req->arg, req->body_bytes);
	r = unit_cutter_take(&req->cutter, bytes, size_bytes, hand_out, req);

	if (req->cancelled)
		req_free(req);
	return r;
}

/* @return how it ends, now that nobody is left to be asked */
static int outcome(const struct source_req *req)
{
	if (unit_cutter_done(&req->cutter))
		return SOURCE_OK;
	return req->trouble ? -EAGAIN : SOURCE_GONE;
}

static void finish(struct source_req *req, int r)
{
	const struct source_events ev = req->ev;
	void *arg = req->arg;
	struct err why = req->why;

	why.code = r < 0 ? -r : r == SOURCE_GONE ? ENOENT : 0;
	req_free(req);
	ev.end(arg, r, &why);
}

/* Where mounts say how a host is reached, each repository has its own way there. */
static bool is_trouble_of_host(const struct source_req *req)
{
	const struct origin_addr *addr = &req->candidates[req->candidate_idx].addr;

	return addr->kind != &origin_kind_registry ||
	       !registry_is_hinted(req->s->opts.registry, addr->host);
}

static void note_failure(struct source_req *req, int r, const struct err *why)
{
	const char *origin = origin_of(req);

	note_why(req, origin, r == 0 ? "sent less than was asked for" : why->msg);
	if (r == -ENOENT || r == -EACCES || r == -EINVAL) {
		origin_marks_gone(req->s->marks, origin, req->key, now_ns(req->s));
		return;
	}
	origin_marks_trouble(req->s->marks, origin, is_trouble_of_host(req), now_ns(req->s));
	req->trouble = true;
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct source_req *req = arg;

	req->asked = NULL;
	if (unit_cutter_done(&req->cutter)) {
		finish(req, SOURCE_OK);
		return;
	}
	if (r == 0 && unit_cutter_only_head(&req->cutter)) {
		req->only_head = true;
		return;
	}
	note_failure(req, r, why);
	if (ask_from(req, req->candidate_idx + 1) < 0)
		finish(req, outcome(req));
}

/* Of the origin whose turn it is; who gets the answer is to be added. */
static struct origin_ask ask_for(struct source_req *req, uint64_t offset, uint64_t size_bytes)
{
	return (struct origin_ask){
		.addr = &req->candidates[req->candidate_idx].addr,
		.object = req->run->layout->blob_id,
		.offset = offset,
		.size_bytes = size_bytes,
		.metric = "data",
		.gave_wrong_bytes = req->has_strikes,
		.deadline_ns = max_u64(req->run->deadline_ns, req->late_ns),
		.urgent = &req->run->reader,
		.arg = req,
	};
}

/* @return 0 this origin is being asked; -errno it cannot be */
static int ask_one(struct source_req *req, uint64_t offset, uint64_t size_bytes, struct err *e)
{
	struct origin_ask ask = ask_for(req, offset, size_bytes);

	ask.body = on_body;
	ask.end = on_end;
	return origin_ask_start(&req->s->opts, &ask, &req->asked, e);
}

/* ---- heads ---- */

/* Is another run about to have the slice before this one? */
static bool head_is_coming(const struct source_req *req, uint32_t unit_idx)
{
	const struct source_req *other;
	const bool reader = req->head_late_ns != 0;
	uint64_t before_bytes;

	if (reader && now_ns(req->s) >= req->head_late_ns)
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

/* The range without what comes another way. */
static void leave_out_head(struct source_req *req, uint64_t *offset, uint64_t *size_bytes)
{
	const struct blob_layout *l = req->run->layout;
	const uint8_t *bytes;
	uint32_t i = 0;
	struct unit_rec next;

	drop_head_ask(req);
	free(req->head_bytes);
	req->head_bytes = NULL;
	req->head_late_ns = req->run->reader ? now_ns(req->s) + HEAD_WAIT_NS : 0;
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
	bytes = slice_heads_find(req->s->heads, req->key, origin_of(req), &req->head);
	if ((bytes == NULL && !head_is_coming(req, req->head_unit)) ||
	    unit_cutter_behead(&req->cutter, req->head.size_bytes) < 0)
		return;
	*offset += req->head.size_bytes;
	*size_bytes -= req->head.size_bytes;
	if (bytes == NULL && req->s->heads_timer.fn == NULL)
		timer_init(&req->s->heads_timer, req->s->opts.loop, on_heads);
	if (bytes == NULL)
		look_for_heads(req->s);
	else if (unit_cutter_head(&req->cutter, bytes, req->head.size_bytes, hand_out, req) < 0)
		abort(); /* a head is not all of it: nothing was handed out */
}

static void take_head(struct source_req *req)
{
	int r;

	drop_head_ask(req);
	r = unit_cutter_head(&req->cutter, req->head_bytes, req->head.size_bytes, hand_out, req);
	if (req->cancelled)
		req_free(req);
	else if (r == 0 && req->only_head)
		finish(req, SOURCE_OK);
}

/* All of it is asked for, then. */
static void lose_head(struct source_req *req)
{
	if (req->asked != NULL)
		origin_ask_cancel(req->asked);
	req->asked = NULL;
	drop_head_ask(req);
	req->whole = true;
	req->only_head = false;
	if (ask_from(req, req->candidate_idx) < 0)
		finish(req, outcome(req));
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
		req->late_ns = now_ns(req->s) + req->patience_ns;
	ask = ask_for(req, req->head.offset, req->head.size_bytes);
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
	const uint64_t now = now_ns(s);
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

/* @return 0 somebody is being asked; -1 nobody is left */
static int ask_from(struct source_req *req, uint32_t idx)
{
	for (; idx < req->n_candidates; idx++) {
		const char *origin = req->candidates[idx].addr.text;
		uint64_t offset;
		uint64_t size_bytes;
		struct err e = { 0 };
		int r;

		req->candidate_idx = idx;
		req->delivers = false;
		choose_units(req, origin);
		if (!unit_cutter_restart(&req->cutter, &offset, &size_bytes)) {
			note_why(req, origin, "gave wrong bytes twice");
			continue;
		}
		leave_out_head(req, &offset, &size_bytes);
		r = ask_one(req, offset, size_bytes, &e);
		if (r == 0)
			return 0;
		note_failure(req, r, &e);
	}
	return -1;
}

/* ---- the source's calls ---- */

int origin_run_start(struct origin_source *s, const struct origin_question *q,
                     struct source_req **ret_req, struct err *e)
{
	struct source_req *req = xcalloc(1, sizeof(*req));
	int r;

	assert(q->run->n_units > 0);
	req->s = s;
	req->s->n_runs++;
	DL_APPEND(s->runs, req);
	req->run = q->run;
	if (q->run->deadline_ns > now_ns(s))
		req->patience_ns = q->run->deadline_ns - now_ns(s);
	req->ev = *q->ev;
	req->arg = q->arg;
	(void)snprintf(req->key, sizeof(req->key), "%s", q->target.key);
	r = unit_cutter_init(&req->cutter, q->run, e);
	if (r == 0) {
		find_candidates(req, &q->target);
		if (ask_from(req, 0) == 0) {
			*ret_req = req;
			return 0;
		}
		r = outcome(req);
		(void)err_set(e, r < 0 ? -r : ENOENT, "%s", req->why.msg);
	}
	req_free(req);
	return r;
}

void origin_run_cancel(struct source_req *req)
{
	if (req->asked != NULL)
		origin_ask_cancel(req->asked);
	req->asked = NULL;
	req->cancelled = true;
	if (!req->in_unit)
		req_free(req);
}

void origin_run_hurry(struct source_req *req, uint32_t unit_idx)
{
	if (!unit_cutter_is_headless(&req->cutter) || unit_idx != req->head_unit ||
	    req->head_late_ns != 0)
		return;
	req->head_late_ns = now_ns(req->s) + HEAD_WAIT_NS;
	look_for_heads(req->s);
}
