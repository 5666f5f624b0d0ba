/*
 * source_unit: units whose chunks lie in several segments. Their lease is given by the home of the
 * first chunk; the homes of the others know nothing of it. So what nobody has there is put off
 * until the first segment's way is known, and then goes the same way.
 */
#include "source_impl.h"

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

/* The seek and position of the first chunk of a chunk's unit. */
static struct seek *first_of_unit(const struct seek *s, uint16_t pos, uint16_t *ret_pos)
{
	const struct source_req *req = s->req;
	const struct blob_layout *l = req->run->layout;
	const uint32_t unit_idx = layout_unit_of(l, seek_chunk(s, pos));
	uint32_t segment_idx;
	struct unit_rec u;

	if (!layout_unit(l, unit_idx, &u) || u.n_members == 0 ||
	    !segments_find(req->known->segments, layout_member(l, &u, 0), &segment_idx, ret_pos))
		return NULL;
	for (uint32_t i = 0; i < req->n_seeks; i++) {
		if (req->seeks[i].segment_idx == segment_idx && req->seeks[i].beyond == s->beyond)
			return &req->seeks[i];
	}
	return NULL;
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

/* Of t's that were put off: those whose unit begins with one of set in s. */
static struct wire_set followers(const struct seek *t, const struct seek *s,
                                 const struct wire_set *set)
{
	struct wire_set found = set_none(t->want.n);

	for (uint32_t pos = set_next(&t->put_off, 0); pos < t->put_off.n;
	     pos = set_next(&t->put_off, pos + 1)) {
		uint16_t first_pos;

		if (first_of_unit(t, (uint16_t)pos, &first_pos) == s &&
		    wire_set_has(set, first_pos))
			wire_set_add(&found, pos);
	}
	return found;
}

void unit_follow(struct seek *s, const struct wire_set *set, const struct wire_id *node)
{
	struct source_req *req = s->req;

	for (uint32_t i = 0; req->run->layout->units != NULL && i < req->n_seeks; i++) {
		struct seek *t = &req->seeks[i];
		struct wire_set found;

		if (t == s || t->beyond != s->beyond || set_empty(&t->put_off))
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
