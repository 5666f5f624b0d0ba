/*
 * source_zone: from the zone to the cluster. With a lease of the zone's home in hand, what it
 * covers is asked of the cluster's home, so that of all zones one asks the origin, and each byte
 * comes into a zone once.
 *
 *   seek in the zone --lease--> the seek beyond it --holders, wait--> GET from another zone
 *                                                  `--lease--> the engine's, for the origin
 *
 * Meanwhile the zone's home hears that it goes on (LEASE_PROGRESS): when bytes came from the other
 * zone or the origin, the cluster's home said something, or who is waited for there showed that it
 * lives; never because time passes. In the end it hears what came of it (LEASE_END). Those of the
 * zone who want the same wait here.
 */
#include "bytes.h"
#include "source_impl.h"
#include <utlist.h>

#define LOOK_EVERY_NS  (20 * NS_PER_MS)
#define RENEW_EVERY_NS (50 * NS_PER_MS) /* less than a blocked reader's patience */

struct seek *seek_beyond(const struct seek *s)
{
	return s->beyond ? NULL : source_seek(s->req, s->segment_idx, true);
}

/* ---- across ---- */

/* The unit's chunks in the segment of s: wanted there until now, from here on beyond. */
static struct wire_set move(struct seek *s, const struct unit_rec *u)
{
	const struct wire_set set = set_and(unit_in_segment(s, u), &s->want);
	struct seek *beyond = seek_beyond(s);

	if (beyond == NULL || set_empty(&set))
		return set_none(set.n);
	seek_settle(s, &set);
	beyond->want = set_or(beyond->want, &set);
	beyond->lost = set_minus(beyond->lost, &set);
	beyond->n_asks = 0; /* it is asked for something new */
	return set;
}

static void cross_unit(struct source_req *req, struct lease_held *held, uint32_t unit_idx)
{
	struct unit_rec u;

	if (!layout_unit(req->run->layout, unit_idx, &u))
		return;
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		struct seek *s = &req->seeks[i];
		struct wire_set moved;

		if (s->beyond)
			continue;
		moved = move(s, &u);
		if (s->segment_idx != held->segment_idx && !set_empty(&moved))
			lease_cover_more(held, &seek_segment(s)->list, &moved);
	}
}

void zone_cross(struct seek *s, const struct wire_answer_item *item)
{
	struct source_req *req = s->req;
	struct lease_held *held = lease_new(s, item);
	struct source_lease range;
	uint32_t pos = 0;

	held->crossing = true;
	while (lease_next_range(s, &item->set, &pos, &range)) {
		for (uint32_t i = 0; i < range.n_units; i++)
			cross_unit(req, held, range.first_unit + i);
	}
	source_dirty(req);
}

/* ---- what comes of it ---- */

static bool is_sought(const struct peer *p, const struct wire_id *list, uint32_t pos)
{
	const struct source_req *req;

	DL_FOREACH(p->reqs, req)
	{
		for (uint32_t i = 0; i < req->n_seeks; i++) {
			const struct seek *s = &req->seeks[i];

			if (s->beyond && wire_set_has(&s->want, pos) &&
			    !wire_set_has(&s->lost, pos) && id_equal(&seek_segment(s)->list, list))
				return true;
		}
	}
	return false;
}

static bool is_open(struct peer *p, const struct wire_id *list, const struct wire_set *set)
{
	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		if (is_sought(p, list, pos) || landing_has(p, list, (uint16_t)pos) ||
		    leases_have(p, list, (uint16_t)pos, false))
			return true;
	}
	return false;
}

static bool goes_on(struct peer *p, const struct lease_held *held)
{
	if (is_open(p, &segments_at(held->known->segments, held->segment_idx)->list, &held->set))
		return true;
	for (uint32_t i = 0; i < held->n_more; i++) {
		if (is_open(p, &held->more[i].list, &held->more[i].set))
			return true;
	}
	return false;
}

static bool covers_any(const struct lease_held *held, const struct wire_id *list,
                       const struct wire_set *set)
{
	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		if (lease_covers(held, list, (uint16_t)pos))
			return true;
	}
	return false;
}

/* Is it the zone home's, and beyond, of the cluster's home, for some of it? */
static bool crosses_by(const struct lease_held *held, const struct lease_held *beyond)
{
	return held->crossing &&
	       covers_any(held, &segments_at(beyond->known->segments, beyond->segment_idx)->list,
	                  &beyond->set);
}

static void move_on(struct lease_held *held, uint32_t more_bytes)
{
	held->progress_bytes += more_bytes;
	held->moved = true;
}

void zone_progress(const struct seek *s, uint32_t more_bytes)
{
	struct lease_held *held;

	if (!s->beyond)
		return;
	DL_FOREACH(s->req->p->leases, held)
	{
		if (held->crossing && lease_speaks_of(held, &seek_segment(s)->list))
			move_on(held, more_bytes);
	}
}

void zone_lease_progress(struct peer *p, const struct lease_held *beyond, uint32_t more_bytes)
{
	struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		if (crosses_by(held, beyond))
			move_on(held, more_bytes);
	}
}

static bool loses(const struct source_req *req, const struct lease_held *held)
{
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		const struct seek *s = &req->seeks[i];
		const struct wire_set lost = set_and(s->want, &s->lost);

		if (s->beyond && covers_any(held, &seek_segment(s)->list, &lost))
			return true;
	}
	return false;
}

void zone_lost(const struct source_req *req)
{
	struct lease_held *held;

	DL_FOREACH(req->p->leases, held)
	held->failed = held->failed || (held->crossing && loses(req, held));
}

void zone_failed(struct peer *p, const struct lease_held *beyond)
{
	struct lease_held *held;

	DL_FOREACH(p->leases, held)
	held->failed = held->failed || crosses_by(held, beyond);
}

/* Who failed is not given it again for a while; who was only stopped is. */
static void zone_end(struct peer *p, struct lease_held *held)
{
	const struct wire_set left = lease_left(held);
	const struct source_req *req;

	DL_FOREACH(p->reqs, req)
	held->failed = held->failed || loses(req, held);
	held->failed = held->failed && !set_empty(&left);
	lease_end(p, held);
}

void zone_work(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	struct lease_held *held;
	struct lease_held *next;

	if (now < p->zone_ns)
		return;
	p->zone_ns = now + LOOK_EVERY_NS;
	DL_FOREACH_SAFE(p->leases, held, next)
	{
		if (!held->crossing)
			continue;
		if (!goes_on(p, held)) {
			zone_end(p, held);
		} else if (held->moved && now - held->told_ns >= RENEW_EVERY_NS) {
			held->moved = false;
			lease_renew(p, held);
		}
	}
}

uint64_t zone_due_ns(const struct peer *p)
{
	const struct lease_held *held;

	DL_FOREACH(p->leases, held)
	{
		if (held->crossing)
			return p->zone_ns;
	}
	return UINT64_MAX;
}
