/*
 * origin_run: asks a blob's origins one after the other for the units that are still missing.
 *
 *   get --> ASK origin --bytes--> units are handed out as they become whole
 *            ^  `--all there--> end
 *            `-- it failed: the next origin, for the rest --> none left: end
 *
 * Origins that lately failed come last; one that gave wrong bytes for a unit twice is not asked for
 * it. When to try all of them again is not decided here. Does not know digests.
 */
#include "origin_run.h"
#include "mem.h"
#include "unit_cutter.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct candidate {
	struct origin_addr addr;
	uint32_t rank; /* the smaller, the earlier */
};

struct source_req {
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
	struct err why;
};

static uint64_t now_ns(const struct origin_source *s)
{
	return clock_now_ns(s->opts.clock);
}

/* What every origin said, one after the other. */
static void note_why(struct source_req *req, const char *origin, const char *what)
{
	AUTO(free_str)
	char *all = xasprintf("%s%s%s: %s", req->why.msg, req->why.msg[0] != '\0' ? "; " : "",
	                      origin, what);

	(void)err_set(&req->why, EIO, "%s", all);
}

static void req_free(struct source_req *req)
{
	req->s->n_runs--;
	for (uint32_t i = 0; i < req->n_candidates; i++)
		origin_addr_wipe(&req->candidates[i].addr);
	unit_cutter_fini(&req->cutter);
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

static void note_delivery(struct source_req *req, uint32_t unit_idx)
{
	const char *origin = req->candidates[req->candidate_idx].addr.text;

	origin_marks_delivered(req->s->marks, origin, req->key, unit_idx,
	                       req->run->first_unit + req->run->n_units - 1);
	origin_marks_well(req->s->marks, origin, req->key);
}

static bool hand_out(void *arg, uint32_t unit_idx, uint8_t *bytes)
{
	struct source_req *req = arg;

	/* Once an origin: what follows in this run comes from it, too. */
	if (!req->delivers)
		note_delivery(req, unit_idx);
	req->delivers = true;
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

static void note_failure(struct source_req *req, int r, const struct err *why)
{
	const char *origin = req->candidates[req->candidate_idx].addr.text;

	note_why(req, origin, r == 0 ? "sent less than was asked for" : why->msg);
	if (r == -ENOENT || r == -EACCES || r == -EINVAL) {
		origin_marks_gone(req->s->marks, origin, req->key, now_ns(req->s));
		return;
	}
	origin_marks_trouble(req->s->marks, origin, now_ns(req->s));
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
	note_failure(req, r, why);
	if (ask_from(req, req->candidate_idx + 1) < 0)
		finish(req, outcome(req));
}

/* @return 0 this origin is being asked; -errno it cannot be */
static int ask_one(struct source_req *req, uint64_t offset, uint64_t size_bytes, struct err *e)
{
	const struct origin_ask ask = {
		.addr = &req->candidates[req->candidate_idx].addr,
		.object = req->run->layout->blob_id,
		.offset = offset,
		.size_bytes = size_bytes,
		.metric = "data",
		.gave_wrong_bytes = req->has_strikes,
		.deadline_ns = req->run->deadline_ns,
		.urgent = &req->run->reader,
		.body = on_body,
		.end = on_end,
		.arg = req,
	};

	return origin_ask_start(&req->s->opts, &ask, &req->asked, e);
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
	req->run = q->run;
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
