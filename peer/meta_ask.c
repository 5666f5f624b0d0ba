/*
 * meta_ask: metadata of an image asked of the other agents: a few at once, those of this node's
 * zone first, until one gives it or none is left.
 *
 *   candidate: WAITS --asked--> OPEN --not here, withheld, silent--> OUT
 *               ^               `--all came--> the request is done
 *               `--busy; another began to give it first; slow: once all others are OUT, once--
 *
 * Callbacks of connections only note what they heard; meta_asks_work() takes the next step. What
 * came is not verified: the asker does that, and tells distrust().
 */
#include "bytes.h"
#include "log.h"
#include "mem.h"
#include "meta_source.h"
#include "metrics.h"
#include "peer_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define AT_ONCE    4U
#define SILENT_NS  (2 * NS_PER_S)
#define BROKEN_NS  (250 * NS_PER_MS) /* the same, of one that was silent just now */
#define AGAIN_NS   (50 * NS_PER_MS)  /* this node has too much open there */
#define RATE_BYTES (64U << 10)       /* in SILENT_NS; where less is to come, an eighth of it */
#define BUSY_MAX   10U
#define ROOM_BYTES (64U << 10) /* that it begins with */
#define HINT_NODES 3U          /* that are asked for a hint, of the own zone alone */

enum candidate_state { WAITS, OPEN, OUT };

struct candidate {
	struct wire_id id;
	enum candidate_state state;
	uint32_t n_busy;
	uint64_t not_before_ns;
	bool broken; /* it failed just now: not waited for as long as others */
	bool slow;   /* it gave too little in its time */
};

/* A META_GET to one of them. */
struct ask {
	struct meta_req *req;
	uint32_t candidate_idx;
	bool used;
	struct conn *conn;
	uint32_t wire_req;
	uint64_t heard_ns;
	uint64_t window_ns, window_bytes; /* when, and where its rate was looked at last */
	uint64_t total_bytes;
	bool ended, out_of_memory;
	enum wire_status status;
	uint32_t retry_ms;
	uint8_t *bytes;
	uint64_t size_bytes, room_bytes;
	bool is_public;
};

struct meta_req {
	struct meta_req *prev, *next;
	struct peer *p;
	enum meta_kind kind;
	char key[WIRE_META_KEY_MAX + 1];
	uint64_t max_bytes, deadline_ns;
	void (*done)(void *arg, int r, const struct meta_got *got);
	void *arg;
	struct candidate *candidates;
	uint32_t n_candidates;
	struct ask asks[AT_ONCE];
	const struct ask *giving; /* who sent something first */
	bool withheld;
};

static struct peer *peer_of(struct meta_source *s)
{
	return container_of(s, struct peer, meta_source);
}

/* ---- what connections say ---- */

static bool make_room(struct ask *a, uint64_t more_bytes)
{
	uint64_t room = a->room_bytes > 0 ? a->room_bytes : ROOM_BYTES;
	uint8_t *bigger;

	while (room < a->size_bytes + more_bytes)
		room *= 2;
	if (room == a->room_bytes)
		return true;
	bigger = realloc(a->bytes, room);
	if (bigger == NULL)
		return false;
	a->bytes = bigger;
	a->room_bytes = room;
	return true;
}

/* Room grows with what came; the session holds it against max_bytes. */
static void on_meta(void *arg, const struct wire_meta *meta, const uint8_t *bytes,
                    uint32_t size_bytes)
{
	struct ask *a = arg;

	a->heard_ns = peer_now_ns(a->req->p);
	if (a->req->giving == NULL)
		a->req->giving = a;
	if (a->size_bytes == 0) {
		a->window_ns = a->heard_ns;
		a->total_bytes = meta->total_bytes;
		peer_work_soon(a->req->p);
	}
	a->out_of_memory = a->out_of_memory || !make_room(a, size_bytes);
	if (a->out_of_memory)
		return;
	memcpy(a->bytes + a->size_bytes, bytes, size_bytes);
	a->size_bytes += size_bytes;
	a->is_public = meta->is_public;
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct ask *a = arg;

	a->ended = true;
	a->status = status;
	a->retry_ms = retry_ms;
	peer_work_soon(a->req->p);
}

static const struct request_ops ask_ops = { .meta = on_meta, .end = on_end };

/* ---- one ask ---- */

static void ask_close(struct ask *a, enum candidate_state state)
{
	struct meta_req *req = a->req;

	if (!a->ended)
		conn_cancel(a->conn, a->wire_req);
	if (req->giving == a)
		req->giving = NULL;
	req->candidates[a->candidate_idx].state = state;
	free(a->bytes);
	*a = (struct ask){ .used = false };
}

/* Asked, and why not, if not. */
static void ask_open(struct meta_req *req, uint32_t candidate_idx, struct ask *a)
{
	const struct request_opts opts = { .ops = &ask_ops,
		                           .arg = a,
		                           .meta_max_bytes = req->max_bytes };
	struct candidate *c = &req->candidates[candidate_idx];
	const struct link *l = link_to(req->p, &c->id);
	struct wire_msg msg = { .type = WIRE_META_GET };
	int r = -ENOTCONN;

	msg.u.meta_get.kind = req->kind;
	memcpy(msg.u.meta_get.key, req->key, sizeof(req->key));
	if (l != NULL)
		r = conn_request(l->conn, &msg, &opts, &a->wire_req);
	if (r != 0) {
		c->state = r == -EBUSY ? WAITS : OUT;
		c->not_before_ns = peer_now_ns(req->p) + AGAIN_NS;
		return;
	}
	a->req = req;
	a->candidate_idx = candidate_idx;
	a->used = true;
	a->conn = l->conn;
	a->heard_ns = peer_now_ns(req->p);
	c->state = OPEN;
}

static enum candidate_state judge(const struct meta_req *req, const struct ask *a)
{
	struct candidate *c = &req->candidates[a->candidate_idx];

	if (a->status != WIRE_IS_BUSY || c->n_busy++ >= BUSY_MAX)
		return OUT;
	c->not_before_ns = peer_now_ns(req->p) + a->retry_ms * NS_PER_MS;
	return WAITS;
}

static bool gave_all(const struct ask *a)
{
	return a->ended && a->status == WIRE_DONE && a->size_bytes > 0 && !a->out_of_memory;
}

/* ---- a request ---- */

static void req_free(struct meta_req *req)
{
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		if (req->asks[i].used)
			ask_close(&req->asks[i], OUT);
	}
	DL_DELETE(req->p->meta_reqs, req);
	free(req->candidates);
	free(req);
}

/* The request is gone when its asker is told. @return true */
static bool finish(struct meta_req *req, int r, struct ask *from)
{
	void (*done)(void *, int, const struct meta_got *) = req->done;
	struct meta_got got = { .bytes = NULL };
	void *arg = req->arg;

	if (from != NULL) {
		got = (struct meta_got){
			.bytes = from->bytes,
			.size_bytes = from->size_bytes,
			.is_public = from->is_public,
			.giver = source_giver(req->p, &req->candidates[from->candidate_idx].id)
		};
		from->bytes = NULL;
	}
	log_debug(req->p->opts.log, "metadata asked of peers", "key=%s r=%d bytes=%llu",
	          LOG_Q(req->key), r, (unsigned long long)got.size_bytes);
	req_free(req);
	done(arg, r, &got);
	return true;
}

/* When to look whether it still gives. */
static uint64_t look_ns(const struct ask *a)
{
	const bool broken = a->req->candidates[a->candidate_idx].broken;

	if (a->size_bytes == 0)
		return a->heard_ns + (broken ? BROKEN_NS : SILENT_NS);
	return min_u64(a->heard_ns, a->window_ns) + SILENT_NS;
}

/* One that trickles would have all of the time. */
static bool is_slow(const struct ask *a)
{
	return a->size_bytes - a->window_bytes < min_u64(RATE_BYTES, a->total_bytes / 8);
}

static void give_up(struct ask *a, bool slow)
{
	struct meta_req *req = a->req;
	struct candidate *c = &req->candidates[a->candidate_idx];
	const bool once_more = slow && !c->slow;

	c->slow = c->slow || slow;
	if (!c->broken)
		holders_fault(req->p->holders, &c->id, 0, HOLDERS_FAILED);
	ask_close(a, once_more ? WAITS : OUT);
}

/* Its time is over: another time of the same length, or not? */
static void look(struct ask *a, uint64_t now)
{
	const bool silent = a->size_bytes == 0 || now >= a->heard_ns + SILENT_NS;

	if (silent || is_slow(a)) {
		give_up(a, !silent);
		return;
	}
	a->window_ns = now;
	a->window_bytes = a->size_bytes;
}

/* Close what is over. @return who gave it */
static struct ask *look_at_asks(struct meta_req *req, uint64_t now)
{
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		struct ask *a = &req->asks[i];

		if (!a->used)
			continue;
		if (gave_all(a))
			return a;
		if (a->ended) {
			req->withheld = req->withheld || a->status == WIRE_DENIED;
			ask_close(a, judge(req, a));
		} else if (a->out_of_memory) {
			give_up(a, false);
		} else if (now >= look_ns(a)) {
			look(a, now);
		} else if (req->giving != NULL && req->giving != a) {
			ask_close(a, WAITS);
		}
	}
	return NULL;
}

static bool others_are_out(const struct meta_req *req)
{
	for (uint32_t i = 0; i < req->n_candidates; i++) {
		if (!req->candidates[i].slow && req->candidates[i].state != OUT)
			return false;
	}
	return true;
}

static bool is_in_line(const struct meta_req *req, const struct candidate *c)
{
	return c->state == WAITS && (!c->slow || others_are_out(req));
}

static bool has_free_ask(const struct meta_req *req)
{
	for (uint32_t k = 0; k < AT_ONCE; k++) {
		if (!req->asks[k].used)
			return true;
	}
	return false;
}

static void ask_more(struct meta_req *req, uint64_t now)
{
	uint32_t i = 0;

	for (uint32_t k = 0; k < AT_ONCE; k++) {
		while (!req->asks[k].used && i < req->n_candidates) {
			const struct candidate *c = &req->candidates[i];

			if (is_in_line(req, c) && now >= c->not_before_ns)
				ask_open(req, i, &req->asks[k]);
			i++;
		}
	}
}

static bool is_exhausted(const struct meta_req *req)
{
	for (uint32_t i = 0; i < req->n_candidates; i++) {
		if (req->candidates[i].state != OUT)
			return false;
	}
	return true;
}

/* @return is it done, and gone? */
static bool step(struct meta_req *req, uint64_t now)
{
	struct ask *from = look_at_asks(req, now);

	if (from != NULL)
		return finish(req, META_FOUND, from);
	if (now >= req->deadline_ns)
		return finish(req, -EAGAIN, NULL);
	if (req->giving == NULL)
		ask_more(req, now);
	if (is_exhausted(req))
		return finish(req, req->withheld ? META_WITHHELD : META_NOWHERE, NULL);
	return false;
}

/* Who is told may ask again or cancel others: after each end from the front. */
void meta_asks_work(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	struct meta_req *req = p->meta_reqs;

	while (req != NULL)
		req = step(req, now) ? p->meta_reqs : req->next;
}

uint64_t meta_asks_due_ns(const struct peer *p)
{
	uint64_t due = UINT64_MAX;
	const struct meta_req *req;

	DL_FOREACH(p->meta_reqs, req)
	{
		due = min_u64(due, req->deadline_ns);
		for (uint32_t i = 0; i < AT_ONCE; i++) {
			if (req->asks[i].used)
				due = min_u64(due, look_ns(&req->asks[i]));
		}
		if (req->giving != NULL || !has_free_ask(req))
			continue;
		for (uint32_t i = 0; i < req->n_candidates; i++) {
			if (is_in_line(req, &req->candidates[i]))
				due = min_u64(due, req->candidates[i].not_before_ns);
		}
	}
	return due;
}

/* ---- who may be asked ---- */

/* broken: those alone that failed just now, or else those that did not. */
static void add_zone(struct meta_req *req, bool same, bool broken)
{
	struct peer *p = req->p;
	const struct link *l;

	DL_FOREACH(p->links, l)
	{
		if (!l->open || link_to(p, &l->id) != l || !holders_trusted(p->holders, &l->id) ||
		    placement_same_zone(p->placement, &p->self.self.id, &l->id) != same ||
		    holders_usable(p->holders, &l->id) == broken)
			continue;
		req->candidates[req->n_candidates++] =
			(struct candidate){ .id = l->id, .broken = broken };
	}
}

/* Another beginning on each node: nobody is everybody's first. */
static void rotate(struct candidate *c, uint32_t n, uint64_t by)
{
	struct candidate *copy = xcalloc(n + (size_t)1, sizeof(*copy));

	for (uint32_t i = 0; i < n; i++)
		copy[i] = c[(i + by) % n];
	memcpy(c, copy, n * sizeof(*copy));
	free(copy);
}

/* A hint is worth a few questions, and of agents that know the kind: to older ones it is a breach.
 */
static void find_few(struct meta_req *req)
{
	uint32_t n = 0;

	add_zone(req, true, false);
	for (uint32_t i = 0; i < req->n_candidates; i++) {
		const struct link *l = link_to(req->p, &req->candidates[i].id);

		if (l != NULL && conn_peer(l->conn)->max_version >= WIRE_VERSION)
			req->candidates[n++] = req->candidates[i];
	}
	rotate(req->candidates, n, req->p->self.self.generation);
	req->n_candidates = n < HINT_NODES ? n : HINT_NODES;
}

static void find_candidates(struct meta_req *req)
{
	const struct peer *p = req->p;
	const struct link *l;
	uint32_t first = 0;
	uint32_t n = 1;

	DL_FOREACH(p->links, l)
	n++;
	req->candidates = xcalloc(n, sizeof(*req->candidates));
	if (req->kind == META_FIRST_READS) {
		find_few(req);
		return;
	}
	for (uint32_t i = 0; i < 4; i++) {
		add_zone(req, i % 2 == 0, i / 2 != 0);
		rotate(req->candidates + first, req->n_candidates - first, p->self.self.generation);
		first = req->n_candidates;
	}
}

static struct meta_req *get(struct meta_source *s, const struct meta_want *want,
                            void (*done)(void *arg, int r, const struct meta_got *got), void *arg)
{
	struct meta_req *req = xcalloc(1, sizeof(*req));

	req->p = peer_of(s);
	req->kind = want->kind;
	req->max_bytes = min_u64(want->max_bytes, WIRE_META_MAX_BYTES);
	req->deadline_ns = want->deadline_ns;
	req->done = done;
	req->arg = arg;
	if (strlen(want->key) <= META_KEY_MAX) {
		(void)snprintf(req->key, sizeof(req->key), "%s", want->key);
		find_candidates(req);
	}
	DL_APPEND(req->p->meta_reqs, req);
	peer_work_soon(req->p);
	return req;
}

static void distrust(struct meta_source *s, uint32_t giver)
{
	struct peer *p = peer_of(s);
	const char *label = "peer";
	char name[PEER_NAME_BYTES];

	source_distrust(p, giver, name);
	series_add(metrics_series(p->opts.metrics, METRIC_VERIFY_FAILURES, &label), 1);
	log_warn(p->opts.log, "wrong metadata from a peer", "peer=%s", name);
}

const struct meta_source_ops peer_meta_ops = {
	.get = get,
	.cancel = req_free,
	.distrust = distrust,
};

void meta_asks_fini(struct peer *p)
{
	struct meta_req *req;
	struct meta_req *next;

	DL_FOREACH_SAFE(p->meta_reqs, req, next)
	req_free(req);
}
