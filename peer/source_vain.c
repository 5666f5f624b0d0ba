/*
 * source_vain: what a blocked reader goes without, and for how long.
 *
 * Who is asked may live, answer, and bring nothing: a home that lets it stand in a queue, or sends
 * it to wait where nothing comes; one that is always busy. It is passed by after a while that
 * starts anew when some of that comes, with each lease, and with each word that there is progress.
 * Of all the time that a reader has, peers have a share, and the rest is the origin's. They are
 * given time back for one chunk at a time, which a reader waits for: so much as a line of the least
 * use takes for it. Whatever else is told, or comes, costs no more than their share.
 *
 * A home that is passed by is to blame, so that takes what an honest one does not do: it lets a
 * reader stand in a queue, brings nothing itself, or sends it to wait at one who is silent for
 * longer than it would let that one be.
 */
#include "bytes.h"
#include "home.h"
#include "source_impl.h"
#include <utlist.h>

/* Nobody is to bring it: an honest home leases it at once. */
#define QUEUE_NS (5 * NS_PER_S)
/* It is waited for somewhere: as long as an honest home lets it, and until that has said so. */
#define WAIT_NS ((uint64_t)HOME_LEASE_PROVEN_MS * NS_PER_MS + 2 * NS_PER_S)
/* A part of a chunk came so lately: it goes on. */
#define BYTES_NS (2 * NS_PER_S)

/* At most this share of the reader's time in the queue, ... */
#define QUEUE_SHARE 4
/* ... and at the home itself: 12 s of 30. */
#define WAIT_OF(time_ns) ((time_ns) / 5 * 2)
/* And for all of it: half; two thirds while something comes. Then nobody is to blame for that. */
#define PEERS_SHARE 2
/* Who had to wait until peers could be asked has so much for them all the same. */
#define LEAST_SHARE 3

/* ---- who brings nothing ---- */

/* What it goes without: holders that were asked, and those that are busy, are watched as such. A
 * node has one lease of a segment at a time, and so many of a home: while they are open, what is in
 * the queue waits for the origin. */
static struct wire_set left_of(const struct seek *s)
{
	const struct wire_set asked = seek_asked_of(s, false);
	struct wire_set left = seek_own(s);

	left = set_minus(left, &s->paused);
	left = set_minus(left, &asked);
	if (lease_is_open(s)) {
		const struct wire_set waited = seek_asked_of(s, true);

		left = set_and(left, &waited);
	}
	return left;
}

static bool is_in_queue(const struct seek *s, const struct wire_set *left)
{
	const struct wire_set gets = seek_in_gets(s, true);
	const struct wire_set queued = set_minus(*left, &gets);

	return !set_empty(&queued);
}

/* Does it wait for some of it at the home itself? */
static bool is_at_home(const struct seek *s, const struct wire_set *left)
{
	const struct get *g;

	DL_FOREACH(s->gets, g)
	{
		const struct wire_set set = set_and(g->set, left);

		if (g->wait && id_equal(&g->node, &s->ask_home) && !set_empty(&set))
			return true;
	}
	return false;
}

/* When it is passed by. */
static uint64_t over_ns(const struct seek *s, const struct wire_set *left)
{
	const uint64_t time_ns = s->req->time_ns;
	const uint64_t wait_ns = is_at_home(s, left) ? min_u64(WAIT_NS, WAIT_OF(time_ns)) : WAIT_NS;
	const uint64_t queue_ns = min_u64(QUEUE_NS, time_ns / QUEUE_SHARE);

	if (s->queue_ns == 0)
		return s->vain_ns + wait_ns;
	return min_u64(s->vain_ns + wait_ns, max_u64(s->vain_ns, s->queue_ns) + queue_ns);
}

/* What was waited for elsewhere, and is asked for anew, has not been in the queue until now. */
static void look_at_queue(struct seek *s, const struct wire_set *left)
{
	if (!is_in_queue(s, left))
		s->queue_ns = 0;
	else if (s->queue_ns == 0)
		s->queue_ns = peer_calm_ns(s->req->p);
}

/* Since when node cannot be asked; a new one, if it could. */
static struct seek_busy *busy_of(struct seek *s, const struct wire_id *node, uint64_t now)
{
	struct seek_busy *b = s->busy;

	for (uint32_t i = 0; i < s->n_busy; i++) {
		if (id_equal(&s->busy[i].node, node))
			return &s->busy[i];
	}
	if (s->n_busy < SEEK_BUSY_MAX)
		b = &s->busy[s->n_busy++];
	*b = (struct seek_busy){ .node = *node, .since_ns = now };
	return b;
}

static void leave_busy(struct seek *s, struct seek_busy *b, bool is_busy)
{
	const uint64_t now = peer_calm_ns(s->req->p);
	char name[PEER_NAME_BYTES];

	wire_id_text(&b->node, name);
	source_note(s->req, "peer %.8s: %s for %.1f s, it is passed by", name,
	            is_busy ? "busy" : "not connected",
	            (double)(now - b->since_ns) / (double)NS_PER_S);
	if (is_busy) /* who cannot be reached is members' to judge */
		holders_fault(s->req->p->holders, &b->node, 0, HOLDERS_FAILED);
	seek_avoid(s, &b->node, WIRE_AVOID_FAILED);
	*b = s->busy[--s->n_busy];
	source_dirty(s->req);
}

bool vain_is_busy(struct seek *s, const struct wire_id *node, bool said)
{
	const uint64_t now = peer_calm_ns(s->req->p);
	const uint64_t limit_ns = min_u64(QUEUE_NS, s->req->time_ns / QUEUE_SHARE);
	struct seek_busy *b;

	if (s->req->time_ns == 0) /* also of a reader who came just now: the next step sees him */
		return false;
	b = busy_of(s, node, now);
	if (said && b->said_ns == 0)
		b->said_ns = now;
	if (now - b->since_ns < limit_ns)
		return false;
	leave_busy(s, b, b->said_ns != 0 && now - b->said_ns >= limit_ns);
	return true;
}

/* Is a reader blocked on it, and goes without ret_left? From when on it does is noted. A prefetch
 * is not looked at: that takes time, for each of its segments, in each step. */
static bool goes_without(struct seek *s, struct wire_set *ret_left)
{
	if (!s->req->run->reader)
		return false;
	*ret_left = left_of(s);
	look_at_queue(s, ret_left);
	if (set_empty(ret_left))
		s->vain_ns = 0;
	else if (s->vain_ns == 0)
		s->vain_ns = peer_calm_ns(s->req->p);
	return s->vain_ns != 0;
}

void vain_look(struct seek *s)
{
	const uint64_t now = peer_calm_ns(s->req->p);
	struct wire_set left;
	uint64_t vain_ns;

	if (!goes_without(s, &left) || now < over_ns(s, &left))
		return;
	vain_ns = now - s->vain_ns;
	s->vain_ns = now;
	ask_pass_by(s, vain_ns);
}

void vain_settle(struct seek *s)
{
	struct wire_set left;

	(void)goes_without(s, &left);
}

uint64_t vain_due_ns(const struct seek *s)
{
	struct wire_set left;

	if (s->vain_ns == 0) /* nobody is blocked on it: each turn of the loop asks of all seeks */
		return UINT64_MAX;
	left = left_of(s);
	return set_empty(&left) ? UINT64_MAX : over_ns(s, &left);
}

void vain_passed_on(struct seek *s)
{
	if (s->vain_ns != 0)
		s->vain_ns = peer_calm_ns(s->req->p);
}

void vain_came(struct seek *s)
{
	vain_passed_on(s);
	s->n_busy = 0;
}

void vain_comes(struct seek *s, uint16_t pos)
{
	s->n_busy = 0;
	if (s->vain_ns != 0) {
		const struct wire_set left = left_of(s);

		if (wire_set_has(&left, pos))
			vain_passed_on(s);
	}
	if (wire_set_has(&s->named, pos))
		ask_was_useful(s);
}

void vain_bytes(struct seek *s, bool waited)
{
	s->req->bytes_ns = peer_calm_ns(s->req->p);
	if (waited) /* who was asked is not what it goes without */
		vain_passed_on(s);
}

void vain_told(struct seek *s, uint64_t progress_bytes)
{
	if (progress_bytes != 0 && progress_bytes != s->told_bytes)
		vain_came(s);
	s->told_bytes = progress_bytes;
}

/* ---- the reader's time ---- */

/* The first chunk that is wanted; awaited: and that a reader is known to wait for. UINT32_MAX: none
 */
static uint32_t first_of(const struct source_req *req, bool awaited)
{
	uint32_t first = UINT32_MAX;

	for (uint32_t i = 0; i < req->n_seeks; i++) {
		const struct seek *s = &req->seeks[i];
		const struct wire_set set = awaited ? set_and(s->want, &s->awaited) : s->want;
		const uint32_t pos = set_next(&set, 0);

		if (pos < set.n && seek_chunk(s, (uint16_t)pos) < first)
			first = seek_chunk(s, (uint16_t)pos);
	}
	return first;
}

static bool is_wanted(const struct source_req *req, uint32_t chunk_idx)
{
	uint32_t segment_idx;
	uint16_t pos;

	if (!segments_find(req->known->segments, chunk_idx, &segment_idx, &pos))
		return false;
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		const struct seek *s = &req->seeks[i];

		if (s->segment_idx == segment_idx && wire_set_has(&s->want, pos))
			return true;
	}
	return false;
}

/* Where it is not told what a reader waits for, that is the first chunk: questions begin with what
 * they are for. It is watched until it is there, whatever comes, and whoever else comes to wait:
 * with another one each time a reader could wait for ever. */
static void watch_next(struct source_req *req)
{
	req->watched = first_of(req, true);
	if (req->watched == UINT32_MAX)
		req->watched = first_of(req, false);
}

void vain_delivered(struct source_req *req, uint32_t chunk_idx)
{
	const uint64_t now = peer_now_ns(req->p);
	const uint64_t bytes = req->run->layout->chunks[chunk_idx].plain_size_bytes;

	if (req->time_ns == 0 || chunk_idx != req->watched)
		return;
	req->time_from_ns = min_u64(req->time_from_ns + bytes * NS_PER_S / SLOW_BYTES_PER_S,
	                            peer_calm_ns(req->p));
	if (req->run->deadline_ns > now)
		req->time_ns = max_u64(req->time_ns, req->run->deadline_ns - now);
	watch_next(req);
}

uint64_t vain_most_ns(const struct source_req *req)
{
	return req->time_ns / 3 * 2;
}

uint64_t vain_over_ns(const struct source_req *req)
{
	const uint64_t from_ns = req->time_from_ns;
	const uint64_t while_it_comes_ns =
		min_u64(req->bytes_ns + BYTES_NS, from_ns + vain_most_ns(req));

	if (req->time_ns == 0)
		return UINT64_MAX;
	return max_u64(from_ns + req->time_ns / PEERS_SHARE, while_it_comes_ns);
}

void vain_watch(struct source_req *req)
{
	if (req->time_ns != 0 && !is_wanted(req, req->watched)) /* it began, or that was leased */
		watch_next(req);
}

/* That a reader has left: before peers were asked others were, or none could be. */
static uint64_t left_ns(const struct unit_run *run, uint64_t now)
{
	const uint64_t all_ns = run->deadline_ns - now;

	return max_u64(all_ns - min_u64(run->waited_ns, all_ns), all_ns / LEAST_SHARE);
}

bool vain_is_over(struct source_req *req)
{
	const uint64_t now = peer_now_ns(req->p);

	if (!req->run->reader || req->run->deadline_ns <= now)
		return false;
	if (req->time_ns == 0) {
		req->time_ns = left_ns(req->run, now);
		req->time_from_ns = peer_calm_ns(req->p);
		req->watched = UINT32_MAX;
	}
	return peer_calm_ns(req->p) >= vain_over_ns(req);
}
