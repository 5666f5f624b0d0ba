/*
 * unit_cutter: a list of byte ranges in ascending order, filled from one stream of bytes.
 */
#include "unit_cutter.h"
#include "bytes.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int unit_cutter_init(struct unit_cutter *c, const struct unit_run *run, struct err *e)
{
	uint64_t last_offset = 0;

	*c = (struct unit_cutter){ .first_unit = run->first_unit, .n_cuts = run->n_units };
	c->cuts = calloc(run->n_units, sizeof(*c->cuts));
	if (c->cuts == NULL)
		return err_set(e, ENOMEM, "no memory for a run of %u units", run->n_units);
	for (uint32_t i = 0; i < c->n_cuts; i++) {
		struct unit_rec unit;

		if (!layout_unit(run->layout, run->first_unit + i, &unit) ||
		    unit.packed_offset < last_offset || unit.packed_size_bytes == 0) {
			unit_cutter_fini(c);
			return err_set(e, EINVAL, "unit %u cannot be part of a run",
			               run->first_unit + i);
		}
		c->cuts[i].packed_offset = unit.packed_offset;
		c->cuts[i].packed_size_bytes = unit.packed_size_bytes;
		last_offset = unit.packed_offset;
	}
	return 0;
}

void unit_cutter_fini(struct unit_cutter *c)
{
	for (uint32_t i = 0; c->cuts != NULL && i < c->n_cuts; i++)
		free(c->cuts[i].bytes);
	free(c->cuts);
	c->cuts = NULL;
}

bool unit_cutter_restart(struct unit_cutter *c, uint64_t *ret_offset, uint64_t *ret_size_bytes)
{
	uint64_t begin = UINT64_MAX;
	uint64_t end = 0;

	for (uint32_t i = 0; i < c->n_cuts; i++) {
		struct cut *cut = &c->cuts[i];

		free(cut->bytes);
		cut->bytes = NULL;
		cut->n_filled = 0;
		cut->headless = false;
		if (cut->state != CUT_WANTED)
			continue;
		begin = min_u64(begin, cut->packed_offset);
		end = max_u64(end, cut->packed_offset + cut->packed_size_bytes);
	}
	if (end == 0)
		return false;
	c->first_open = 0;
	c->at = begin;
	*ret_offset = begin;
	*ret_size_bytes = end - begin;
	return true;
}

/* Copy what belongs to this unit. @return is it full? -ENOMEM */
static int fill(struct cut *cut, uint64_t at, const uint8_t *bytes, size_t size_bytes)
{
	const uint64_t want = cut->packed_offset + cut->n_filled;
	const uint64_t end = min_u64(at + size_bytes, cut->packed_offset + cut->packed_size_bytes);

	if (end <= want)
		return 0;
	if (cut->bytes == NULL)
		cut->bytes = malloc(cut->packed_size_bytes);
	if (cut->bytes == NULL)
		return -ENOMEM;
	memcpy(cut->bytes + cut->n_filled, bytes + (want - at), end - want);
	cut->n_filled += (uint32_t)(end - want);
	return cut->n_filled == cut->packed_size_bytes;
}

/* @return unit() wants no more */
static bool deliver(struct unit_cutter *c, struct cut *cut,
                    bool (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes), void *arg)
{
	uint8_t *full = cut->bytes;

	cut->bytes = NULL;
	cut->state = CUT_DONE;
	return !unit(arg, c->first_unit + (uint32_t)(cut - c->cuts), full);
}

int unit_cutter_take(struct unit_cutter *c, const uint8_t *bytes, size_t size_bytes,
                     bool (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes), void *arg)
{
	const uint64_t at = c->at;

	c->at += size_bytes;
	for (uint32_t i = c->first_open; i < c->n_cuts; i++) {
		struct cut *cut = &c->cuts[i];
		int r;

		if (cut->packed_offset >= at + size_bytes)
			break;
		r = cut->state == CUT_WANTED ? fill(cut, at, bytes, size_bytes) : 0;
		if (r < 0)
			return r;
		if (r > 0 && !cut->headless && deliver(c, cut, unit, arg))
			return -ECANCELED;
		if (i == c->first_open && cut->state != CUT_WANTED)
			c->first_open++;
	}
	return 0;
}

bool unit_cutter_done(const struct unit_cutter *c)
{
	for (uint32_t i = 0; i < c->n_cuts; i++)
		if (c->cuts[i].state != CUT_DONE)
			return false;
	return true;
}

/* ---- a head that comes another way ---- */

static struct cut *first_wanted(const struct unit_cutter *c)
{
	uint32_t i = 0;

	while (i < c->n_cuts && c->cuts[i].state != CUT_WANTED)
		i++;
	return i < c->n_cuts ? &c->cuts[i] : NULL;
}

int unit_cutter_behead(struct unit_cutter *c, uint32_t head_bytes)
{
	struct cut *cut = first_wanted(c);

	assert(cut != NULL && cut->n_filled == 0 && head_bytes < cut->packed_size_bytes);
	cut->bytes = malloc(cut->packed_size_bytes);
	if (cut->bytes == NULL)
		return -ENOMEM;
	cut->n_filled = head_bytes;
	cut->headless = true;
	c->at = cut->packed_offset + head_bytes;
	return 0;
}

static struct cut *headless(const struct unit_cutter *c)
{
	struct cut *cut = first_wanted(c);

	return cut != NULL && cut->headless ? cut : NULL;
}

bool unit_cutter_is_headless(const struct unit_cutter *c)
{
	return headless(c) != NULL;
}

int unit_cutter_head(struct unit_cutter *c, const uint8_t *bytes, uint32_t head_bytes,
                     bool (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes), void *arg)
{
	struct cut *cut = headless(c);

	assert(cut != NULL && head_bytes <= cut->n_filled);
	memcpy(cut->bytes, bytes, head_bytes);
	cut->headless = false;
	if (cut->n_filled < cut->packed_size_bytes)
		return 0;
	return deliver(c, cut, unit, arg) ? -ECANCELED : 0;
}

bool unit_cutter_only_head(const struct unit_cutter *c)
{
	const struct cut *without = headless(c);

	for (uint32_t i = 0; i < c->n_cuts; i++) {
		const struct cut *cut = &c->cuts[i];

		if (cut->state == CUT_WANTED &&
		    (cut != without || cut->n_filled < cut->packed_size_bytes))
			return false;
	}
	return without != NULL;
}

bool unit_cutter_awaits(const struct unit_cutter *c, uint32_t unit_idx, uint64_t *ret_bytes)
{
	const struct cut *cut;
	uint64_t end;

	if (unit_idx < c->first_unit || unit_idx - c->first_unit >= c->n_cuts)
		return false;
	cut = &c->cuts[unit_idx - c->first_unit];
	if (cut->state != CUT_WANTED)
		return false;
	end = cut->packed_offset + cut->packed_size_bytes;
	*ret_bytes = end > c->at ? end - c->at : 0;
	return true;
}
