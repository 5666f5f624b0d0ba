/*
 * source_unit: units whose chunks lie in several segments. Their lease is given by the home of the
 * first chunk; the homes of the others know nothing of it. So what nobody has there is put off
 * until the first segment's way is known, and then goes the same way.
 *
 * Slices of a gzip stream overlap: what two of them share crosses twice where two nodes fetch them.
 * So a row of slices goes one way, also across segments: those of the next segment are chained to
 * the last slice that begins before it (their lead). Who has the lease of the lead asks for theirs;
 * who waits for the lead somewhere waits there for them; nobody else asks for them meanwhile.
 */
#include "share.h"
#include "source_impl.h"
#include <utlist.h>

struct wire_set unit_in_segment(const struct seek *s, const struct unit_rec *u)
{
	const struct source_req *req = s->req;
	struct wire_set set = set_none(s->want.n);

	for (uint32_t m = 0; m < u->n_members; m++) {
		uint32_t segment_idx;
		uint16_t pos;

		if (segments_find(req->known->segments, layout_member(req->run->layout, u, m),
		                  &segment_idx, &pos) &&
		    segment_idx == s->segment_idx)
			wire_set_add(&set, pos);
	}
	return set;
}

uint32_t unit_largest_bytes(const struct seek *s, const struct wire_set *set)
{
	const struct blob_layout *l = s->req->run->layout;
	uint32_t most_bytes = 0;

	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		struct unit_rec u;

		if (layout_unit(l, layout_unit_of(l, seek_chunk(s, (uint16_t)pos)), &u) &&
		    u.packed_size_bytes > most_bytes)
			most_bytes = u.packed_size_bytes;
	}
	return most_bytes;
}

/* The seek and position of the first chunk of a unit. NULL: it is not looked for */
static struct seek *begin_of(const struct source_req *req, uint32_t unit_idx, bool beyond,
                             struct unit_rec *ret_unit, uint16_t *ret_pos)
{
	const struct blob_layout *l = req->run->layout;
	uint32_t segment_idx;

	if (!layout_unit(l, unit_idx, ret_unit) || ret_unit->n_members == 0 ||
	    !segments_find(req->known->segments, layout_member(l, ret_unit, 0), &segment_idx,
	                   ret_pos))
		return NULL;
	return source_seek(req, segment_idx, beyond);
}

/* ... of a chunk's unit. */
static struct seek *first_of_unit(const struct seek *s, uint16_t pos, uint16_t *ret_pos)
{
	const uint32_t unit_idx = layout_unit_of(s->req->run->layout, seek_chunk(s, pos));
	struct unit_rec u;

	return begin_of(s->req, unit_idx, s->beyond, &u, ret_pos);
}

struct wire_set unit_begun_here(const struct seek *s, const struct wire_set *set)
{
	struct wire_set here = set_none(set->n);

	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		uint16_t first_pos;

		if (first_of_unit(s, (uint16_t)pos, &first_pos) == s)
			wire_set_add(&here, pos);
	}
	return here;
}

struct wire_set unit_put_off(struct seek *s, const struct wire_set *set)
{
	struct wire_set put_off = set_none(set->n);

	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1)) {
		uint16_t first_pos;
		const struct seek *first = first_of_unit(s, (uint16_t)pos, &first_pos);

		if (first != NULL && first != s && wire_set_has(&first->want, first_pos) &&
		    !wire_set_has(&first->lost, first_pos))
			wire_set_add(&put_off, pos);
	}
	return put_off;
}

/* Of t's that are open: those whose unit begins with one of set in s. */
static struct wire_set followers(const struct seek *t, const struct seek *s,
                                 const struct wire_set *set)
{
	const struct wire_set open = seek_open(t);
	struct wire_set found = set_none(t->want.n);

	for (uint32_t pos = set_next(&open, 0); pos < open.n; pos = set_next(&open, pos + 1)) {
		uint16_t first_pos;

		if (first_of_unit(t, (uint16_t)pos, &first_pos) == s &&
		    wire_set_has(set, first_pos))
			wire_set_add(&found, pos);
	}
	return found;
}

/* Does any unit of its chunks begin in an earlier segment? The first one's, then. */
static bool spans(const struct seek *t)
{
	const struct blob_layout *l = t->req->run->layout;
	const struct segment *segment = seek_segment(t);
	struct unit_rec u;

	return layout_unit(l, layout_unit_of(l, segment->first_chunk), &u) && u.n_members > 0 &&
	       layout_member(l, &u, 0) < segment->first_chunk;
}

void unit_follow(struct seek *s, const struct wire_set *set, const struct wire_id *node)
{
	struct source_req *req = s->req;

	for (uint32_t i = 0; req->run->layout->units != NULL && i < req->n_seeks; i++) {
		struct seek *t = &req->seeks[i];
		struct wire_set found;

		if (t == s || t->beyond != s->beyond || !spans(t))
			continue;
		found = followers(t, s, set);
		if (set_empty(&found))
			continue;
		t->put_off = set_minus(t->put_off, &found);
		/* It may have the first chunk and not yet the last. */
		get_or_pause(t, node, &found, true);
		source_dirty(req);
	}
}

/* ---- chains ---- */

/* @param lead  another seek than s */
static void chain(struct seek *s, const struct unit_rec *u, const struct seek *lead,
                  uint16_t lead_pos)
{
	const struct wire_set set = unit_in_segment(s, u);

	if (set_empty(&set))
		return;
	if (set_empty(&s->chained)) {
		s->lead = lead;
		s->lead_pos = lead_pos;
	}
	s->chained = set_or(s->chained, &set);
}

static bool overlaps(const struct unit_rec *a, const struct unit_rec *b)
{
	return b->packed_offset >= a->packed_offset &&
	       b->packed_offset < a->packed_offset + a->packed_size_bytes;
}

/* A unit behind another of the run: is it, or what it overlaps with, chained in its segment? */
static void chain_unit(const struct source_req *req, uint32_t unit_idx)
{
	struct unit_rec before;
	struct unit_rec u;
	uint16_t before_pos;
	uint16_t pos;
	const struct seek *lead = begin_of(req, unit_idx - 1, false, &before, &before_pos);
	struct seek *s = begin_of(req, unit_idx, false, &u, &pos);

	if (lead == NULL || s == NULL || !overlaps(&before, &u))
		return;
	if (s != lead) {
		chain(s, &before, lead, before_pos);
		chain(s, &u, lead, before_pos);
	} else if (wire_set_has(&s->chained, before_pos)) {
		chain(s, &u, s->lead, s->lead_pos);
	}
}

/* Beyond the zone it is the same. */
static void chain_beyond(const struct seek *s)
{
	struct seek *beyond = seek_beyond(s);

	if (beyond == NULL || set_empty(&s->chained))
		return;
	beyond->lead = seek_beyond(s->lead);
	beyond->lead_pos = s->lead_pos;
	if (beyond->lead != NULL)
		beyond->chained = s->chained;
}

void unit_chain(struct source_req *req)
{
	if (req->run->layout->units == NULL)
		return;
	for (uint32_t i = 1; i < req->run->n_units; i++)
		chain_unit(req, req->run->first_unit + i);
	for (uint32_t i = 0; i < req->n_seeks; i++)
		chain_beyond(&req->seeks[i]);
}

/* Nobody has been asked for it who has it, and it is not known who brings it. */
static bool is_open(const struct seek *lead, uint16_t pos)
{
	const struct get *g;

	if (!wire_set_has(&lead->want, pos) || wire_set_has(&lead->lost, pos))
		return false;
	DL_FOREACH(lead->gets, g)
	{
		if (!g->wait && wire_set_has(&g->set, pos))
			return false;
	}
	return true;
}

bool unit_hold_back(struct source_req *req)
{
	bool any = false;

	for (uint32_t i = 0; i < req->n_seeks; i++) {
		struct seek *s = &req->seeks[i];
		const bool was = s->held_back;

		s->held_back = !set_empty(&s->chained) && is_open(s->lead, s->lead_pos);
		any = any || (was && !s->held_back);
	}
	return any;
}

/* t's lead comes to node. @return what was chained to it is asked for there, too */
static struct wire_set follow_lead(struct seek *t, const struct wire_id *node)
{
	const struct wire_set open = seek_open(t);
	const struct wire_set found = set_and(t->chained, &open);

	t->chained = set_none(t->want.n);
	t->put_off = set_minus(t->put_off, &found);
	if (!set_empty(&found))
		get_or_pause(t, node, &found, true);
	source_dirty(t->req);
	return found;
}

void unit_chain_follow(struct seek *s, const struct wire_set *set, const struct wire_id *node)
{
	struct source_req *req = s->req;
	struct wire_set follow = *set;

	/* Each is the lead of one at most, and of one behind it. */
	for (uint32_t i = 0; req->run->layout->units != NULL && i < req->n_seeks; i++) {
		struct seek *t = &req->seeks[i];

		if (set_empty(&t->chained) || t->lead != s || !wire_set_has(&follow, t->lead_pos))
			continue;
		follow = follow_lead(t, node);
		s = t;
		i = UINT32_MAX; /* from the first one on */
	}
}

/* ---- units whose first chunk is here ---- */

void unit_adopt(const struct seek *s, const struct wire_set *set, struct wire_set *units)
{
	const struct source_req *req = s->req;
	const struct blob_layout *l = req->run->layout;
	uint32_t last_unit = UINT32_MAX;

	for (uint32_t pos = set_next(set, 0); l->units != NULL && pos < set->n;
	     pos = set_next(set, pos + 1)) {
		const uint32_t unit_idx = layout_unit_of(l, seek_chunk(s, (uint16_t)pos));
		struct unit_rec u;

		if (unit_idx == last_unit || !layout_unit(l, unit_idx, &u) || u.n_members == 0)
			continue;
		last_unit = unit_idx;
		if (layout_member(l, &u, 0) < seek_segment(s)->first_chunk &&
		    cas_blob_is_present(req->run->blob, layout_member(l, &u, 0)))
			wire_set_add(units, pos);
	}
}
