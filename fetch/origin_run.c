/*
 * origin_run: asks a blob's origins one after the other for the units that are still missing.
 *
 *   get --> ASK origin --bytes--> units are handed out as they become whole
 *            ^  `--all there--> end
 *            `-- it failed: the next origin, for the rest --> none left: end
 *
 * Slices of a gzip stream overlap: what the first one shares with another comes from there, where
 * it can (origin_run_heads.c).
 *
 * Origins that lately failed come last; one that gave wrong bytes for a unit twice is not asked for
 * it. When to try all of them again is not decided here. Does not know digests.
 */
#include "bytes.h"
#include "mem.h"
#include "origin_run_impl.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* What every origin said, one after the other. */
static void note_why(struct source_req *req, const char *origin, const char *what)
{
	AUTO(free_str)
	char *all = xasprintf("%s%s%s: %s", req->why.msg, req->why.msg[0] != '\0' ? "; " : "",
	                      origin, what);

	(void)err_set(&req->why, EIO, "%s", all);
}

void origin_run_free(struct source_req *req)
{
	head_drop(req);
	req->s->n_runs--;
	DL_DELETE(req->s->runs, req);
	heads_look(req->s);
	for (uint32_t i = 0; i < req->n_candidates; i++)
		origin_addr_wipe(&req->candidates[i].addr);
	unit_cutter_fini(&req->cutter);
	free(req);
}

/* ---- in which order ---- */

static uint32_t rank_of(const struct source_req *req, const char *origin)
{
	const struct origin_marks *marks = req->s->marks;
	const uint64_t now = origin_run_now_ns(req->s);
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

/* Leave out what the origin whose turn it is has spoilt too often. */
static void choose_units(struct source_req *req)
{
	const uint64_t now = origin_run_now_ns(req->s);

	req->has_strikes = false;
	for (uint32_t i = 0; i < req->cutter.n_cuts; i++) {
		struct cut *cut = &req->cutter.cuts[i];
		const uint32_t n = origin_marks_strikes(req->s->marks, origin_run_origin(req),
		                                        req->key, req->run->first_unit + i, now);

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
	origin_marks_delivered(req->s->marks, origin_run_origin(req), req->key, unit_idx,
	                       req->run->first_unit + req->run->n_units - 1);
	origin_marks_well(req->s->marks, origin_run_origin(req), req->key);
}

bool origin_run_hand_out(void *arg, uint32_t unit_idx, uint8_t *bytes)
{
	struct source_req *req = arg;

	/* Once an origin: what follows in this run comes from it, too. */
	if (!req->delivers)
		note_delivery(req, unit_idx);
	req->delivers = true;
	head_keep(req, unit_idx, bytes);
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
	r = unit_cutter_take(&req->cutter, bytes, size_bytes, origin_run_hand_out, req);
	if (req->cancelled)
		origin_run_free(req);
	return r;
}

/* @return how it ends, now that nobody is left to be asked */
static int outcome(const struct source_req *req)
{
	if (unit_cutter_done(&req->cutter))
		return SOURCE_OK;
	return req->trouble ? -EAGAIN : SOURCE_GONE;
}

void origin_run_finish(struct source_req *req, int r)
{
	const struct source_events ev = req->ev;
	void *arg = req->arg;
	struct err why = req->why;

	why.code = r < 0 ? -r : r == SOURCE_GONE ? req->gone_code : 0;
	origin_run_free(req);
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
	const char *origin = origin_run_origin(req);

	/* A registry's refusal is what its owner can mend, whatever the others say. */
	if (source_refused(-r) && req->gone_code != EACCES)
		req->gone_code = -r;
	note_why(req, origin, r == 0 ? "sent less than was asked for" : why->msg);
	if (r == -ENOENT || source_refused(-r) || r == -EINVAL) {
		origin_marks_gone(req->s->marks, origin, req->key, origin_run_now_ns(req->s));
		return;
	}
	origin_marks_trouble(req->s->marks, origin, is_trouble_of_host(req),
	                     origin_run_now_ns(req->s));
	req->trouble = true;
}

void origin_run_ask_again(struct source_req *req, uint32_t idx)
{
	heads_look(req->s);
	if (ask_from(req, idx) < 0)
		origin_run_finish(req, outcome(req));
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct source_req *req = arg;

	req->asked = NULL;
	if (unit_cutter_done(&req->cutter)) {
		origin_run_finish(req, SOURCE_OK);
		return;
	}
	if (r == 0 && unit_cutter_only_head(&req->cutter)) {
		req->only_head = true;
		return;
	}
	note_failure(req, r, why);
	origin_run_ask_again(req, req->candidate_idx + 1);
}

struct origin_ask origin_run_ask_for(struct source_req *req, uint64_t offset, uint64_t size_bytes)
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
	struct origin_ask ask = origin_run_ask_for(req, offset, size_bytes);

	ask.body = on_body;
	ask.end = on_end;
	return origin_ask_start(&req->s->opts, &ask, &req->asked, e);
}

/* @return 0 somebody is being asked; -1 nobody is left */
static int ask_from(struct source_req *req, uint32_t idx)
{
	for (; idx < req->n_candidates; idx++) {
		uint64_t offset;
		uint64_t size_bytes;
		struct err e = { 0 };
		int r;

		req->candidate_idx = idx;
		req->delivers = false;
		choose_units(req);
		if (!unit_cutter_restart(&req->cutter, &offset, &size_bytes)) {
			note_why(req, origin_run_origin(req), "gave bytes of a wrong digest twice");
			continue;
		}
		head_leave_out(req, &offset, &size_bytes);
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
	req->gone_code = ENOENT;
	req->s->n_runs++;
	DL_APPEND(s->runs, req);
	req->run = q->run;
	if (q->run->deadline_ns > origin_run_now_ns(s))
		req->patience_ns = q->run->deadline_ns - origin_run_now_ns(s);
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
		(void)err_set(e, r < 0 ? -r : req->gone_code, "%s", req->why.msg);
	}
	origin_run_free(req);
	return r;
}

void origin_run_cancel(struct source_req *req)
{
	if (req->asked != NULL)
		origin_ask_cancel(req->asked);
	req->asked = NULL;
	req->cancelled = true;
	if (!req->in_unit)
		origin_run_free(req);
}

void origin_run_whom(const struct source_req *req, char *ret_text, size_t size_bytes)
{
	const struct origin_asked *asked = req->asked != NULL ? req->asked : req->head_asked;

	if (asked != NULL)
		origin_ask_whom(asked, ret_text, size_bytes);
	else /* the head comes in another run */
		(void)snprintf(ret_text, size_bytes, "%s", origin_run_origin(req));
}
