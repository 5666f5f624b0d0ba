/*
 * ci_units: from records and contexts to units, numbered in the order in which they stand in the
 * object, so that neighbours in number are neighbours on the line. Checks no sizes: layout_check()
 * does, for layouts from anywhere.
 *
 * A unit is first known by its raw number: contexts in their order, then the chunks that stand
 * alone in theirs.
 */
#include "ci_units.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define UNPLACED UINT64_MAX /* a batch that no record names */

struct place {
	uint64_t packed_offset;
	uint32_t raw;
};

struct draft {
	struct unit_rec *units; /* by raw number */
	struct place *order;
	uint32_t *rank; /* raw number -> unit number */
	uint32_t n;
};

static void draft_free(struct draft *d)
{
	free(d->units);
	free(d->order);
	free(d->rank);
}

static uint32_t raw_of(const struct ci *ci, const struct ci_record *c, uint32_t *n_alone)
{
	return (c->flags & (CI_ZRAN | CI_BATCH)) != 0 ? c->ctx_idx : ci->n_contexts + (*n_alone)++;
}

static int count_units(const struct ci *ci, uint32_t *ret_n, struct err *e)
{
	uint32_t n_alone = 0;

	for (uint32_t i = 0; i < ci->n_records; i++) {
		struct ci_record c;
		int r = ci_record(ci, i, &c, e);

		if (r < 0)
			return r;
		(void)raw_of(ci, &c, &n_alone);
	}
	*ret_n = ci->n_contexts + n_alone;
	return 0;
}

static int draft_new(const struct ci *ci, struct draft *d, struct err *e)
{
	int r = count_units(ci, &d->n, e);

	if (r < 0)
		return r;
	d->units = calloc((size_t)d->n + 1, sizeof(*d->units));
	d->order = calloc((size_t)d->n + 1, sizeof(*d->order));
	d->rank = calloc((size_t)d->n + 1, sizeof(*d->rank));
	if (d->units == NULL || d->order == NULL || d->rank == NULL)
		return err_set(e, ENOMEM, "no memory for %u units of blob %s", d->n,
		               ci->blob->blob_id);
	for (uint32_t i = 0; i < ci->n_contexts; i++) {
		ci_context(ci, i, &d->units[i]);
		if (d->units[i].kind == UNIT_BATCH)
			d->units[i].packed_offset = UNPLACED;
	}
	return 0;
}

static struct unit_rec unit_alone(const struct ci_record *c)
{
	return (struct unit_rec){
		.kind = UNIT_CHUNK,
		.packed_offset = c->packed_offset,
		.packed_size_bytes = c->packed_size_bytes,
		.plain_size_bytes = c->plain_size_bytes,
		.compressed = (c->flags & CI_COMPRESSED) != 0,
		.encrypted = (c->flags & CI_ENCRYPTED) != 0,
	};
}

/* A batch stands where its members say, all of them the same. */
static int place_batch(const struct ci *ci, const struct ci_record *c, struct unit_rec *u,
                       struct err *e)
{
	const bool encrypted = (c->flags & CI_ENCRYPTED) != 0;

	if (u->packed_offset != UNPLACED &&
	    (u->packed_offset != c->packed_offset || u->encrypted != encrypted))
		return err_set(e, EUCLEAN,
		               "blob %s: the members of batch %u do not agree where it is",
		               ci->blob->blob_id, c->ctx_idx);
	u->packed_offset = c->packed_offset;
	u->encrypted = encrypted;
	return 0;
}

static int read_units(const struct ci *ci, struct draft *d, struct err *e)
{
	uint32_t n_alone = 0;

	for (uint32_t i = 0; i < ci->n_records; i++) {
		struct ci_record c;
		struct unit_rec *u;
		int r = ci_record(ci, i, &c, e);

		if (r < 0)
			return r;
		u = &d->units[raw_of(ci, &c, &n_alone)];
		if (c.flags & CI_BATCH)
			r = place_batch(ci, &c, u, e);
		else if (!(c.flags & CI_ZRAN))
			*u = unit_alone(&c);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct place *x = a;
	const struct place *y = b;

	if (x->packed_offset != y->packed_offset)
		return x->packed_offset < y->packed_offset ? -1 : 1;
	return x->raw < y->raw ? -1 : x->raw > y->raw;
}

static void sort_units(struct draft *d, struct blob_layout *layout)
{
	for (uint32_t i = 0; i < d->n; i++)
		d->order[i] = (struct place){ d->units[i].packed_offset, i };
	qsort(d->order, d->n, sizeof(*d->order), by_place);
	for (uint32_t i = 0; i < d->n; i++) {
		d->rank[d->order[i].raw] = i;
		layout->units[i] = d->units[d->order[i].raw];
		if (layout->units[i].packed_offset == UNPLACED)
			layout->units[i].packed_offset = 0;
	}
}

/* Into which unit each chunk goes; @param fill  its number in members, too, else count alone */
static int add_members(const struct ci *ci, const struct draft *d, bool fill,
                       struct blob_layout *layout, struct err *e)
{
	uint32_t n_alone = 0;

	for (uint32_t i = 0; i < ci->n_records; i++) {
		struct ci_record c;
		struct unit_rec *u;
		uint32_t unit_idx;
		int r = ci_record(ci, i, &c, e);

		if (r < 0)
			return r;
		unit_idx = d->rank[raw_of(ci, &c, &n_alone)];
		if (layout->chunks[i].plain_size_bytes == 0)
			continue;
		u = &layout->units[unit_idx];
		if (fill)
			layout->members[u->first_member + u->n_members] = i;
		u->n_members++;
		layout->chunks[i].place = (uint64_t)unit_idx << 32;
		if (c.flags & (CI_ZRAN | CI_BATCH))
			layout->chunks[i].place |= c.offset_in_unit;
		layout->chunks[i].packed_size_bytes = 0;
	}
	return 0;
}

static int fill_members(const struct ci *ci, const struct draft *d, struct blob_layout *layout,
                        struct err *e)
{
	uint32_t first = 0;
	int r = add_members(ci, d, false, layout, e);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < d->n; i++) {
		layout->units[i].first_member = first;
		first += layout->units[i].n_members;
		layout->units[i].n_members = 0;
	}
	return add_members(ci, d, true, layout, e);
}

static int copy_dicts(const struct ci *ci, struct blob_layout *layout, struct err *e)
{
	if (ci->dicts_size_bytes == 0)
		return 0;
	layout->zran_dicts = malloc(ci->dicts_size_bytes);
	if (layout->zran_dicts == NULL)
		return err_set(e, ENOMEM, "no memory for the dictionaries of blob %s",
		               ci->blob->blob_id);
	memcpy(layout->zran_dicts, ci->dicts, ci->dicts_size_bytes);
	layout->zran_dicts_size_bytes = ci->dicts_size_bytes;
	return 0;
}

int ci_units_build(const struct ci *ci, struct blob_layout *layout, struct err *e)
{
	struct draft d = { 0 };
	int r = draft_new(ci, &d, e);

	if (r == 0)
		r = read_units(ci, &d, e);
	if (r == 0) {
		layout->n_units = d.n;
		layout->units = calloc((size_t)d.n + 1, sizeof(*layout->units));
		layout->members = calloc((size_t)ci->n_records + 1, sizeof(*layout->members));
		if (layout->units == NULL || layout->members == NULL)
			r = err_set(e, ENOMEM, "no memory for %u units of blob %s", d.n,
			            ci->blob->blob_id);
	}
	if (r == 0) {
		sort_units(&d, layout);
		r = fill_members(ci, &d, layout, e);
	}
	if (r == 0)
		r = copy_dicts(ci, layout, e);
	draft_free(&d);
	return r;
}
