/*
 * fetch_share: chunks that another blob of this node has: no source is asked for them.
 *
 * On the thread of whoever reads, else on workers: cas hashes the bytes when it shares them. What
 * turns out not to be there is asked for like anything else. Knows neither runs nor flights.
 */
#include "engine.h"
#include "mem.h"
#include "share.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREFETCH_UNITS 512U
#define PREFETCH_BYTES (4U << 20)

int share_read(struct fetch_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain, bool *ret_shared,
               struct err *e)
{
	const struct chunk_rec *c = &blob->layout->chunks[chunk_idx];
	int r = cas_blob_read(blob->cas, chunk_idx, 1, c->plain_offset, c->plain_size_bytes,
	                      ret_plain, e);

	if (r != CAS_MISS || !cas_blob_is_candidate(blob->cas, chunk_idx))
		return r;
	r = cas_blob_share_into(blob->cas, chunk_idx, ret_plain, e);
	if (r == 0 || r == CAS_FULL)
		*ret_shared = true;
	if (r < 0)
		return CAS_MISS;      /* what cannot be shared can be fetched */
	return r == CAS_FULL ? 0 : r; /* the bytes are right, wherever they stand */
}

/* A chunk that is the reader's whole needs no other room. */
static int share_to(const struct fetch_piece *p, struct err *e)
{
	const struct chunk_rec *c = &p->blob->layout->chunks[p->chunk_idx];
	uint8_t *plain = p->dst;
	int r;

	if (p->size_bytes != c->plain_size_bytes)
		plain = malloc(c->plain_size_bytes);
	if (plain == NULL)
		return CAS_MISS;
	r = cas_blob_share_into(p->blob->cas, p->chunk_idx, plain, e);
	if (plain == p->dst)
		return r;
	if (r == 0 || r == CAS_FULL)
		memcpy(p->dst, plain + p->chunk_offset, p->size_bytes);
	free(plain);
	return r;
}

int share_piece(const struct fetch_piece *p, struct err *e)
{
	struct fetch_blob *blob = p->blob;
	int r;

	if (p->dst == NULL || !cas_blob_is_candidate(blob->cas, p->chunk_idx) ||
	    !bitmap_set(blob->sharing, p->chunk_idx))
		return CAS_MISS;
	r = share_to(p, e);
	(void)bitmap_clear(blob->sharing, p->chunk_idx);
	return r == 0 || r == CAS_FULL ? 0 : CAS_MISS; /* as in share_read() */
}

/* Every candidate of a unit. Failures are whoever needs the chunk's to meet.
 * @return is all of it present now? */
static bool share_unit(struct fetch_blob *blob, uint32_t unit_idx)
{
	struct unit_rec u;
	struct err e;
	bool all = true;

	if (!layout_unit(blob->layout, unit_idx, &u))
		return false;
	for (uint32_t i = 0; i < u.n_members; i++)
		if (cas_blob_share(blob->cas, layout_member(blob->layout, &u, i), &e) != 0)
			all = false;
	return all;
}

/* ---- for prefetches ---- */

struct share {
	struct job job;
	struct fetch_blob *blob; /* held */
	uint32_t first_unit;
	uint32_t n_units;
	struct bitmap *present; /* the worker's result; NULL: memory is out */
};

static void share_work(struct job *job) /* worker */
{
	struct share *s = container_of(job, struct share, job);

	s->present = bitmap_new(s->n_units);
	for (uint32_t i = 0; s->present != NULL && i < s->n_units; i++)
		if (share_unit(s->blob, s->first_unit + i))
			(void)bitmap_set(s->present, i);
}

static void share_after(struct job *job)
{
	struct share *s = container_of(job, struct share, job);
	struct fetch_blob *blob = s->blob;
	struct fetch *f = blob->f;
	const struct err none = { .code = 0 };

	f->n_jobs--;
	f->n_shares--;
	for (uint32_t i = 0; i < s->n_units; i++) {
		const bool present = s->present != NULL && bitmap_get(s->present, i);

		prefetches_on_unit(blob, s->first_unit + i, present ? 0 : CAS_MISS, &none);
	}
	bitmap_free(&s->present);
	free(s);
	blob_drop(blob);
	batches_pump(f);
	runs_pump(f);
	prefetches_pump(f);
	fetch_maybe_finish(f);
}

uint32_t share_start(struct fetch_blob *blob, uint32_t first_unit,
                     bool (*meant)(void *arg, uint32_t unit_idx), void *arg)
{
	struct fetch *f = blob->f;
	struct share *s = xcalloc(1, sizeof(*s));
	uint64_t bytes = 0;

	s->blob = blob;
	s->first_unit = first_unit;
	for (uint32_t i = first_unit;
	     i < blob->layout->n_units && s->n_units < PREFETCH_UNITS && bytes < PREFETCH_BYTES;
	     i++) {
		struct unit_rec u;

		if (i > first_unit && (!layout_unit(blob->layout, i, &u) || !meant(arg, i) ||
		                       unit_is_ready(blob, i) || !unit_is_here(blob, i) ||
		                       bitmap_get(blob->in_flight, i)))
			break;
		if (layout_unit(blob->layout, i, &u))
			bytes += u.plain_size_bytes;
		s->n_units++;
	}
	s->job = (struct job){ .work = share_work, .after = share_after, .prio = JOB_PREFETCH };
	blob_hold(blob);
	f->n_jobs++;
	f->n_shares++;
	pool_submit(f->opts.pool, &s->job);
	return s->n_units;
}
