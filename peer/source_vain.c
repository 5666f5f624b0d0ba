/*
 * source_vain: what a blocked reader goes without, and for how long.
 *
 * Who is asked may live, answer, and bring nothing: a home that lets it stand in a queue, or sends
 * it to wait where nothing comes; one that is always busy. It is passed by after a while that
 * starts anew with each chunk that comes, each lease, and each word that there is progress. Of all
 * the time that a reader has, peers have a share: whoever keeps telling of progress, and brings
 * none, costs no more than that, and the rest is the origin's.
 *
 * A home that is passed by is to blame, so that takes what an honest one does not do: it lets a
 * reader stand in a queue, brings nothing itself, or sends it to wait at one who is silent for
 * longer than it would let that one be.
 */
#include "bytes.h"
#include "home.h"
#include "source_impl.h"
#include <utlist.h>

/* Nobody is to bring it: longer than a home needs to lease again. */
#define QUEUE_NS (5 * NS_PER_S)
/* It is waited for somewhere: as long as an honest home lets it. */
#define WAIT_NS ((uint64_t)HOME_LEASE_PROVEN_MS * NS_PER_MS)
/* ... elsewhere than at the home: so that this one can lease again, and say so. */
#define NAMED_NS (WAIT_NS + 2 * NS_PER_S)
/* A part of a chunk came so lately: it goes on. */
#define BYTES_NS (2 * NS_PER_S)

/* At most these shares of the reader's time for the first two. */
#define QUEUE_SHARE 4
#define WAIT_SHARE  3
/* And for all of it: half; two thirds while something comes. Then nobody is to blame for that. */
#define PEERS_SHARE 2

/* ---- who brings nothing ---- */

/* What it goes without: holders that were asked, and those that are busy, are watched as such. */
static struct wire_set left_of(const struct seek *s)
{
	const struct wire_set asked = seek_asked_of(s, false);
	struct wire_set left = seek_own(s);

	left = set_minus(left, &s->paused);
	return set_minus(left, &asked);
}

static bool is_in_queue(const struct seek *s, const struct wire_set *left)
{
	const struct wire_set gets = seek_in_gets(s, true, NULL);
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
	const uint64_t wait_ns =
		is_at_home(s, left) ? min_u64(WAIT_NS, time_ns / WAIT_SHARE) : NAMED_NS;
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

/* A node has one lease of a segment at a time: while its own brings something the rest waits. */
static void look_at_own_lease(struct seek *s)
{
	const struct peer *p = s->req->p;
	const uint64_t moved_ns = lease_moved_ns(p, &seek_segment(s)->list);
	const uint64_t now = peer_calm_ns(p);

	if (moved_ns != 0)
		s->vain_ns = max_u64(s->vain_ns, now - min_u64(now, peer_now_ns(p) - moved_ns));
}

/* Since when node cannot be asked; a new one, if it could. */
static struct seek_busy *busy_of(struct seek *s, const struct wire_id *node)
{
	struct seek_busy *b = s->busy;

	for (uint32_t i = 0; i < s->n_busy; i++) {
		if (id_equal(&s->busy[i].node, node))
			return &s->busy[i];
	}
	if (s->n_busy < SEEK_BUSY_MAX)
		b = &s->busy[s->n_busy++];
	*b = (struct seek_busy){ .node = *node, .since_ns = peer_calm_ns(s->req->p) };
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

	if (!s->req->run->reader)
		return false;
	b = busy_of(s, node);
	if (said && b->said_ns == 0)
		b->said_ns = now;
	if (now - b->since_ns < limit_ns)
		return false;
	leave_busy(s, b, b->said_ns != 0 && now - b->said_ns >= limit_ns);
	return true;
}

/* From when on it does is noted. */
static bool goes_without(struct seek *s, const struct wire_set *left)
{
	const bool goes = s->req->run->reader && !set_empty(left);

	if (!goes)
		s->vain_ns = 0;
	else if (s->vain_ns == 0)
		s->vain_ns = peer_calm_ns(s->req->p);
	return goes;
}

void vain_look(struct seek *s)
{
	const uint64_t now = peer_calm_ns(s->req->p);
	const struct wire_set left = left_of(s);
	uint64_t vain_ns;

	if (!goes_without(s, &left))
		return;
	look_at_own_lease(s);
	look_at_queue(s, &left);
	if (now < over_ns(s, &left))
		return;
	vain_ns = now - s->vain_ns;
	s->vain_ns = now;
	ask_pass_by(s, vain_ns);
}

void vain_settle(struct seek *s)
{
	const struct wire_set left = left_of(s);

	(void)goes_without(s, &left);
	look_at_queue(s, &left);
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

void vain_bytes(struct seek *s)
{
	s->req->bytes_ns = peer_calm_ns(s->req->p);
	if (s->vain_ns != 0)
		s->vain_ns = s->req->bytes_ns;
}

void vain_told(struct seek *s, uint64_t progress_bytes)
{
	if (progress_bytes != 0 && progress_bytes != s->told_bytes)
		vain_came(s);
	s->told_bytes = progress_bytes;
}

/* ---- the reader's time ---- */

uint64_t vain_over_ns(const struct source_req *req)
{
	const uint64_t from_ns = req->time_from_ns;
	const uint64_t while_it_comes_ns =
		min_u64(req->bytes_ns + BYTES_NS, from_ns + req->time_ns / 3 * 2);

	if (req->time_end_ns == 0)
		return UINT64_MAX;
	return max_u64(from_ns + req->time_ns / PEERS_SHARE, while_it_comes_ns);
}

bool vain_is_over(struct source_req *req)
{
	const uint64_t now = peer_now_ns(req->p);

	if (!req->run->reader || req->run->deadline_ns <= now)
		return false;
	if (req->run->deadline_ns != req->time_end_ns) { /* something came; or its reader did */
		req->time_end_ns = req->run->deadline_ns;
		req->time_ns = req->time_end_ns - now;
		req->time_from_ns = peer_calm_ns(req->p);
	}
	return peer_calm_ns(req->p) >= vain_over_ns(req);
}
