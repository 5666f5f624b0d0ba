/*
 * source: what the engine asks of the peers: runs of units, cut into segments.
 *
 * A request begins in the next round of the loop, once the layout's segments are known, and ends
 * when each wanted chunk was delivered, leased, or can be had from nobody.
 */
#include "bytes.h"
#include "mem.h"
#include "share.h"
#include "source_impl.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static struct peer *peer_of(struct source *s)
{
	return container_of(s, struct peer, source);
}

void source_dirty(struct source_req *req)
{
	req->dirty = true;
	peer_work_soon(req->p);
}

void source_note(struct source_req *req, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_debug(req->p->opts.log, "asked", "blob=%.8s first=%u n=%u reader=%d what=%s",
	          cas_blob_key(req->run->blob), req->run->first_unit, req->run->n_units,
	          req->run->reader, LOG_Q(text));
	req->ev.note(req->arg, text);
}

/* ---- givers: what distrust() is told ---- */

uint32_t source_giver(struct peer *p, const struct wire_id *node)
{
	uint32_t at;

	for (uint32_t i = 0; i < p->n_givers; i++) {
		if (id_equal(&p->givers[i], node))
			return i + 1;
	}
	if (p->n_givers < PEER_GIVERS_MAX)
		at = p->n_givers++;
	else
		at = p->oldest_giver++ % PEER_GIVERS_MAX; /* a chunk is judged long before that */
	p->givers[at] = *node;
	return at + 1;
}

void source_distrust(struct peer *p, uint32_t giver, char ret_name[PEER_NAME_BYTES])
{
	(void)snprintf(ret_name, PEER_NAME_BYTES, "?");
	if (giver == 0 || giver > p->n_givers)
		return;
	peer_blame(p, &p->givers[giver - 1], 0, HOLDERS_WRONG_BYTES);
	holders_forget_node(p->holders, &p->givers[giver - 1]);
	wire_id_text(&p->givers[giver - 1], ret_name);
}

static bool distrust(struct source *source, const struct unit_run *run, uint32_t unit_idx,
                     uint32_t giver)
{
	struct peer *p = peer_of(source);
	char name[PEER_NAME_BYTES];

	source_distrust(p, giver, name);
	log_warn(p->opts.log, "wrong bytes from a peer", "peer=%s blob=%s unit=%u", name,
	         cas_blob_key(run->blob), unit_idx);
	return true; /* of others */
}

_Static_assert(HOME_ASK_MAX_MS == WIRE_TERM_MAX_MS, "homes and holders look equally far ahead");

uint32_t source_ms_left(const struct source_req *req)
{
	const uint64_t now = peer_now_ns(req->p);

	if (req->run->deadline_ns <= now)
		return 1;
	return (uint32_t)min_u64((req->run->deadline_ns - now) / NS_PER_MS + 1, WIRE_TERM_MAX_MS);
}

/* ---- cutting a run into segments ---- */

static void add_seek(struct source_req *req, uint32_t segment_idx, bool beyond)
{
	struct seek *s;

	req->seeks = xrealloc(req->seeks, req->n_seeks + (size_t)1, sizeof(*s));
	s = &req->seeks[req->n_seeks++];
	*s = (struct seek){ .req = req, .segment_idx = segment_idx, .beyond = beyond };
	s->want = set_none(seek_segment(s)->n_chunks);
	s->lost = s->want;
	s->asked = s->want;
	s->put_off = s->want;
	s->missed = s->want;
	s->paused = s->want;
	s->home_paused = s->want;
	s->named = s->want;
	s->hurried = s->want;
	s->awaited = s->want;
	s->stalled = s->want;
	s->unwatched = s->want;
	s->chained = s->want;
}

/* The last one first: chunks are looked up in their order. */
struct seek *source_seek(const struct source_req *req, uint32_t segment_idx, bool beyond)
{
	for (uint32_t i = req->n_seeks; i > 0; i--) {
		struct seek *s = &req->seeks[i - 1];

		if (s->segment_idx == segment_idx && s->beyond == beyond)
			return s;
	}
	return NULL;
}

static struct seek *seek_for(struct source_req *req, uint32_t segment_idx)
{
	struct seek *s = source_seek(req, segment_idx, false);

	if (s != NULL)
		return s;
	/* All of them now: they are not moved while something points to them. */
	if (placement_has_zones(req->p->placement))
		add_seek(req, segment_idx, true);
	add_seek(req, segment_idx, false);
	return &req->seeks[req->n_seeks - 1];
}

static void want_chunk(struct source_req *req, uint32_t chunk_idx)
{
	uint32_t segment_idx;
	uint16_t pos;

	if (cas_blob_is_present(req->run->blob, chunk_idx) ||
	    !segments_find(req->known->segments, chunk_idx, &segment_idx, &pos))
		return;
	wire_set_add(&seek_for(req, segment_idx)->want, pos);
}

static void cut(struct source_req *req)
{
	const struct blob_layout *l = req->run->layout;

	for (uint32_t i = 0; i < req->run->n_units; i++) {
		struct unit_rec u;

		if (!layout_unit(l, req->run->first_unit + i, &u))
			continue;
		for (uint32_t m = 0; m < u.n_members; m++)
			want_chunk(req, layout_member(l, &u, m));
	}
}

/* ---- delivering ---- */

static bool is_wanted(const struct seek *s, uint16_t pos)
{
	return wire_set_has(&s->want, pos);
}

void source_deliver(struct seek *s, uint16_t pos, struct chunk_bytes bytes, uint32_t giver)
{
	struct source_req *req = s->req;
	const uint32_t chunk_idx = seek_chunk(s, pos);
	struct wire_set one = set_none(s->want.n);

	if (!is_wanted(s, pos)) {
		free(bytes.data);
		return;
	}
	wire_set_add(&one, pos);
	vain_comes(s, pos);
	seek_settle(s, &one);
	landing_begin(req->p, &seek_segment(s)->list, pos, s->want.n);
	if (giver > 0)
		unit_follow(s, &one, &req->p->givers[giver - 1]);
	req->wait_bytes += req->run->layout->chunks[chunk_idx].plain_size_bytes;
	req->ev.wait(req->arg, req->wait_bytes);
	vain_delivered(req, chunk_idx);
	source_dirty(req);
	req->ev.chunk(req->arg, chunk_idx, bytes, giver);
}

/* ---- begin, step, end ---- */

static void req_free(struct source_req *req)
{
	for (uint32_t i = 0; i < req->n_seeks; i++)
		seek_stop(&req->seeks[i]);
	budget_settle(req);
	DL_DELETE(req->p->reqs, req);
	known_put(req->known);
	free(req->seeks);
	free(req);
}

static void finish(struct source_req *req, int r)
{
	const struct source_events ev = req->ev;
	const struct err none = { .code = 0 };
	void *arg = req->arg;

	peer_work_soon(req->p); /* somebody may wait here for what is not coming */
	req_free(req);
	ev.end(arg, r, &none);
}

/* Nodes that want the same at once do not walk in step: each begins with other segments. */
static void order(struct source_req *req)
{
	struct wire_id *names = xcalloc(req->n_seeks + (size_t)1, sizeof(*names));
	uint32_t *by_rank = xcalloc(req->n_seeks + (size_t)1, sizeof(*by_rank));
	struct seek *seeks = xcalloc(req->n_seeks + (size_t)1, sizeof(*seeks));
	struct err e;

	for (uint32_t i = 0; i < req->n_seeks; i++)
		names[i] = seek_segment(&req->seeks[i])->name;
	if (order_segments(&req->p->self.self.id, names, req->n_seeks, by_rank, &e) == 0) {
		for (uint32_t i = 0; i < req->n_seeks; i++)
			seeks[i] = req->seeks[by_rank[i]];
		memcpy(req->seeks, seeks, req->n_seeks * sizeof(*seeks));
	}
	free(seeks);
	free(by_rank);
	free(names);
}

static void await_chunk(struct seek *s, uint16_t pos, bool hurried)
{
	wire_set_add(&s->awaited, pos);
	if (!hurried)
		return;
	wire_set_add(&s->hurried, pos);
	wire_set_add(&s->unwatched, pos);
	if (wire_set_has(&s->chained, pos)) /* its reader waits for no other */
		s->chained = set_none(s->want.n);
}

/* A reader is blocked on it. hurried: and it is asked for already, or is about to be. */
static void await_unit(struct source_req *req, uint32_t unit_idx, bool hurried)
{
	const struct blob_layout *l = req->run->layout;
	struct unit_rec u;

	if (!layout_unit(l, unit_idx, &u))
		return;
	for (uint32_t m = 0; m < u.n_members; m++) {
		uint32_t segment_idx;
		uint16_t pos;

		if (!segments_find(req->known->segments, layout_member(l, &u, m), &segment_idx,
		                   &pos))
			continue;
		for (uint32_t i = 0; i < req->n_seeks; i++) {
			if (req->seeks[i].segment_idx == segment_idx)
				await_chunk(&req->seeks[i], pos, hurried);
		}
	}
}

static bool begin(struct source_req *req)
{
	if (req->known->segments == NULL)
		return req->known->failed;
	cut(req);
	if (!req->run->reader && req->seeks != NULL)
		order(req);
	if (req->early_unit == UINT32_MAX)
		unit_chain(req);
	else /* its reader waits for no other */
		await_unit(req, req->early_unit, false);
	return true;
}

static bool all_lost(const struct source_req *req)
{
	bool any = false;

	for (uint32_t i = 0; i < req->n_seeks; i++)
		any = any || !set_empty(&req->seeks[i].want);
	return any;
}

/* What is left was put off for segments that are done: it must find its own way now. */
static bool only_put_off(struct source_req *req)
{
	if (req->seeks == NULL)
		return false;
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		if (!seek_has_only_put_off(&req->seeks[i]))
			return false;
	}
	for (uint32_t i = 0; i < req->n_seeks; i++)
		req->seeks[i].put_off = set_none(req->seeks[i].want.n);
	return true;
}

static void time_is_over(struct source_req *req)
{
	for (uint32_t i = 0; req->run->reader && i < req->n_seeks; i++)
		seek_expire(&req->seeks[i]);
	finish(req, SOURCE_MISS);
}

static void step(struct source_req *req)
{
	bool settled = true;

	req->dirty = false;
	/* Both also while it cannot begin: what is due would be due for ever, and a reader waits.
	 */
	if (peer_now_ns(req->p) >= req->run->deadline_ns) {
		time_is_over(req);
		return;
	}
	if (vain_is_over(req)) {
		source_note(req, "nothing for %.1f s: the rest of its time is the origin's",
		            (double)(peer_calm_ns(req->p) - req->time_from_ns) / (double)NS_PER_S);
		time_is_over(req);
		return;
	}
	if (req->seeks == NULL && !begin(req))
		return; /* its layout is being looked at */
	if (!budget_admits(req))
		return;
	vain_watch(req);
	(void)unit_hold_back(req);
	for (uint32_t i = 0; i < req->n_seeks; i++)
		seek_step(&req->seeks[i]);
	if (unit_hold_back(req))
		source_dirty(req);
	for (uint32_t i = 0; i < req->n_seeks; i++)
		settled = settled && seek_is_settled(&req->seeks[i]);
	if (!settled && only_put_off(req))
		source_dirty(req);
	if (settled) {
		zone_lost(req);
		finish(req, all_lost(req) || req->seeks == NULL ? SOURCE_MISS : SOURCE_OK);
	}
}

static bool is_due(const struct source_req *req)
{
	const uint64_t calm = peer_calm_ns(req->p);
	const uint64_t now = peer_now_ns(req->p);

	if (req->dirty || now >= req->run->deadline_ns || now >= budget_due_ns(req) ||
	    calm >= vain_over_ns(req))
		return true;
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		if (seek_due_ns(&req->seeks[i]) <= calm)
			return true;
	}
	return false;
}

void source_work(struct peer *p)
{
	struct source_req *req;
	struct source_req *next;

	landings_expire(p);
	DL_FOREACH_SAFE(p->reqs, req, next)
	{
		if (is_due(req))
			step(req);
	}
}

uint64_t source_due_ns(struct peer *p)
{
	uint64_t due = UINT64_MAX;
	const struct source_req *req;

	DL_FOREACH(p->reqs, req)
	{
		due = min_u64(due, req->run->deadline_ns);
		due = min_u64(due, budget_due_ns(req));
		due = min_u64(due, peer_calm_due_ns(p, vain_over_ns(req)));
		for (uint32_t i = 0; i < req->n_seeks; i++)
			due = min_u64(due, peer_calm_due_ns(p, seek_due_ns(&req->seeks[i])));
	}
	return due;
}

void source_on_known(struct peer *p, struct known *k)
{
	struct source_req *req;

	DL_FOREACH(p->reqs, req)
	{
		if (req->known == k)
			source_dirty(req);
	}
}

static int get(struct source *source, const struct unit_run *run, const struct source_events *ev,
               void *arg, struct source_req **ret_req, struct err *e)
{
	struct peer *p = peer_of(source);
	struct source_req *req;

	(void)e;
	if (p->n_others == 0 || p->stopping || run->layout->trust == TRUST_NONE)
		return SOURCE_MISS;
	req = xcalloc(1, sizeof(*req));
	req->p = p;
	req->run = run;
	req->ev = *ev;
	req->arg = arg;
	req->early_unit = UINT32_MAX;
	req->known = known_get(p->known, run->layout);
	DL_APPEND(p->reqs, req);
	source_dirty(req);
	*ret_req = req;
	return 0;
}

static void cancel(struct source_req *req)
{
	peer_work_soon(req->p);
	req_free(req);
}

static void hurry(struct source_req *req, uint32_t unit_idx)
{
	if (req->n_seeks == 0) {
		if (req->early_unit == UINT32_MAX)
			req->early_unit = unit_idx;
	} else {
		await_unit(req, unit_idx, true);
	}
	source_dirty(req); /* its reader's time runs, also while it cannot begin */
}

void source_self_answer(struct peer *p, const struct home_out *out)
{
	struct source_req *req;

	DL_FOREACH(p->reqs, req)
	{
		for (uint32_t i = 0; i < req->n_seeks; i++) {
			struct seek *s = &req->seeks[i];

			if (!s->ask_open || s->ask_conn != NULL || s->ask_req != out->req)
				continue;
			if (out->n_items > 0)
				seek_on_items(s, out->items, out->n_items);
			if (out->end)
				seek_on_ask_end(s, out->status, 0);
			return;
		}
	}
}

/* Wanted, and waited for at node and nowhere else. */
static struct wire_set hanging_on(const struct seek *s, const struct wire_id *node)
{
	struct wire_set there = set_none(s->want.n);
	struct wire_set elsewhere = there;
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		struct wire_set *set = g->wait && id_equal(&g->node, node) ? &there : &elsewhere;

		*set = set_or(*set, &g->set);
	}
	return set_minus(there, &elsewhere);
}

struct wire_set source_not_coming(const struct peer *p, const struct wire_id *list,
                                  const struct wire_set *set, const struct wire_id *asker)
{
	struct wire_set rest = leases_without(p, list, set);
	const struct source_req *req;

	rest = landing_without(p, list, &rest);
	DL_FOREACH(p->reqs, req)
	{
		for (uint32_t i = 0; i < req->n_seeks && !set_empty(&rest); i++) {
			const struct seek *s = &req->seeks[i];
			struct wire_set coming;

			if (!id_equal(&seek_segment(s)->list, list))
				continue;
			coming = set_minus(s->want, &s->lost);
			if (asker != NULL) {
				const struct wire_set hanging = hanging_on(s, asker);

				coming = set_minus(coming, &hanging);
			}
			rest = set_minus(rest, &coming);
		}
	}
	return rest;
}

void source_distrusts(struct peer *p)
{
	struct source_req *req;

	DL_FOREACH(p->reqs, req)
	source_dirty(req);
}

void source_on_members(struct peer *p)
{
	struct source_req *req;

	DL_FOREACH(p->reqs, req)
	{
		for (uint32_t i = 0; i < req->n_seeks; i++)
			req->seeks[i].pause_ns = 0;
		source_dirty(req);
	}
}

void source_fini(struct peer *p)
{
	struct source_req *req;
	struct source_req *next;

	DL_FOREACH_SAFE(p->reqs, req, next)
	req_free(req);
	landings_free(p);
	leases_free(p);
}

/* For people. */
static void whom(const struct source_req *req, char *ret_text, size_t size_bytes)
{
	char node[PEER_NAME_BYTES];

	for (uint32_t i = 0; i < req->n_seeks; i++) {
		const struct seek *s = &req->seeks[i];

		if (s->gets == NULL && !s->ask_open)
			continue;
		wire_id_text(s->gets != NULL ? &s->gets->node : &s->ask_home, node);
		(void)snprintf(ret_text, size_bytes, "%s%s %.8s",
		               s->gets == NULL && s->beyond ? "the cluster's " : "",
		               s->gets != NULL ? "peer" : "home", node);
		return;
	}
}

const struct source_ops peer_source_ops = {
	.name = "peer",
	.get = get,
	.cancel = cancel,
	.hurry = hurry,
	.whom = whom,
	.distrust = distrust,
	.lease_progress = source_lease_progress,
	.lease_end = source_lease_end,
};
