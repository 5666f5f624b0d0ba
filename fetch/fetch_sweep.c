/*
 * fetch_sweep: the rest of an image's blobs, for who reads about all of it, where neighbours do the
 * same.
 *
 * What comes by way of several nodes takes long, however much of it comes at a time: nodes that
 * read the same in the same order are all behind the first of them. So where a reader is seen to
 * read all that is brought, what lies further ahead is asked for as a prefetch asks: in runs that
 * the nodes share out among them, behind all readers.
 *
 *   [ read ][ windows ][ swept, and not read yet: up to n times what was read ][ the rest ]
 *
 * n grows with what was read of the image: SWEEP_TIMES at first, one more for each
 * SWEEP_TIMES_BYTES, SWEEP_TIMES_MAX at most. Who stops has no more than that too many, exactly;
 * nor more than SWEEP_AHEAD_BYTES; nor all images together than a part of the room that the cache
 * has: what is far ahead of a reader might be evicted before he comes to it. Read is what was not
 * here before somebody wanted it, once.
 *
 * All else is counted an image: who reads one says nothing of another. Of its blobs the one goes
 * on that is the least swept: who walks a tree is about as far in one layer as in the next. What is
 * swept is no evidence for windows or against.
 * A part of the places stays free for prefetches and starts of containers, which somebody asked
 * for, and half of them while there are any. Where a question of it fails, windows go on alone.
 * Slices of a gzip stream overlap, and batches are large: those blobs have windows alone.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include <stdlib.h>
#include <utlist.h>

#define SWEEP_TIMES       2U
#define SWEEP_TIMES_MAX   4U
#define SWEEP_TIMES_BYTES (1U << 20)
#define SWEEP_AHEAD_BYTES (64U << 20)
#define ROOM_SHARE        8U    /* of the cache's room: plain, and not read yet, of all images */
#define LOOKS             4096U /* units, at a time */
#define ASKS_A_TURN       8U

/* ---- images ---- */

struct reading *reading_new(struct fetch *f)
{
	struct reading *r = xcalloc(1, sizeof(*r));

	r->f = f;
	return r;
}

static void unlist(struct reading *r)
{
	if (!r->listed)
		return;
	r->listed = false;
	DL_DELETE(r->f->sweeping, r);
}

void reading_add(struct reading *r, struct fetch_blob *blob)
{
	blob->reading = r;
	r->n_blobs++;
	readahead_init(&blob->ra, &r->record, &r->f->starts);
	blob->ra.sweeps = blob->f->opts.prefetch_run_bytes > 0 && blob->layout->units == NULL;
}

/* Of what was asked for ahead, where it was: a reader has come to it, or never will. */
static bool is_ahead_no_more(struct fetch_blob *blob, uint32_t unit_idx, const struct unit_rec *u)
{
	if (!bitmap_get(blob->swept, unit_idx) || !bitmap_clear(blob->swept, unit_idx))
		return false;
	(void)atomic_fetch_sub(&blob->reading->ahead_bytes, u->packed_size_bytes);
	(void)atomic_fetch_sub(&blob->f->ahead_plain_bytes, u->plain_size_bytes);
	return true;
}

/* What it has not read of this one it never will. */
static void forget_ahead(struct fetch_blob *blob)
{
	for (uint32_t i = bitmap_next_set(blob->swept, 0); i < blob->swept->n_bits;
	     i = bitmap_next_set(blob->swept, i + 1)) {
		struct unit_rec u;

		if (layout_unit(blob->layout, i, &u))
			(void)is_ahead_no_more(blob, i, &u);
	}
}

void reading_drop(struct fetch_blob *blob)
{
	struct reading *r = blob->reading;

	sweep_ends(blob);
	forget_ahead(blob);
	readahead_fini(&blob->ra);
	blob->reading = NULL;
	r->n_blobs--;
	if (r->n_blobs > 0)
		return;
	unlist(r);
	free(r);
}

void fetch_blobs_together(struct fetch_blob *const *blobs, uint32_t n_blobs)
{
	struct reading *common = NULL;

	for (uint32_t i = 0; i < n_blobs; i++) {
		struct fetch_blob *blob = blobs[i];

		if (blob->n_users > 1 || blob->ra.began)
			continue; /* another image has it, too */
		if (common == NULL) {
			common = blob->reading;
			continue;
		}
		reading_drop(blob);
		reading_add(common, blob);
	}
}

/* ---- what is read, and how far ahead ---- */

void sweep_touched(struct fetch_blob *blob, uint32_t unit_idx, const struct unit_rec *u)
{
	const bool cold = is_ahead_no_more(blob, unit_idx, u) ||
	                  bitmap_get(blob->brought, unit_idx) || !unit_is_here(blob, unit_idx);

	if (cold && bitmap_set(blob->counted, unit_idx))
		(void)atomic_fetch_add(&blob->reading->read_bytes, u->packed_size_bytes);
}

/* May so much more lie ahead? In the cache all images count, also those swept to their end. */
static bool may_lie_ahead(const struct fetch_blob *blob, uint64_t packed_bytes,
                          uint64_t plain_bytes)
{
	const struct reading *r = blob->reading;
	const uint64_t read_bytes = atomic_load(&r->read_bytes);
	const uint64_t times =
		min_u64(SWEEP_TIMES + read_bytes / SWEEP_TIMES_BYTES, SWEEP_TIMES_MAX);

	return atomic_load(&r->ahead_bytes) + packed_bytes <=
	               min_u64(times * read_bytes, SWEEP_AHEAD_BYTES) &&
	       atomic_load(&r->f->ahead_plain_bytes) + plain_bytes <=
	               cas_blob_room_bytes(blob->cas) / ROOM_SHARE;
}

static uint64_t span_plain_bytes(const struct fetch_blob *blob, const struct plan_span *span)
{
	uint64_t bytes = 0;

	for (uint32_t i = span->first_unit; i < span->first_unit + span->n_units; i++) {
		struct unit_rec u;

		if (layout_unit(blob->layout, i, &u))
			bytes += u.plain_size_bytes;
	}
	return bytes;
}

static void note_ahead(struct fetch_blob *blob, const struct plan_span *span, uint64_t span_bytes)
{
	(void)atomic_fetch_add(&blob->reading->ahead_bytes, span->packed_bytes);
	(void)atomic_fetch_add(&blob->f->ahead_plain_bytes, span_bytes);
	for (uint32_t i = span->first_unit; i < span->first_unit + span->n_units; i++) {
		struct unit_rec u;

		(void)bitmap_set(blob->swept, i);
		/* A reader may have come to it meanwhile, and not have seen that. */
		if (bitmap_get(blob->touched, i) && layout_unit(blob->layout, i, &u))
			(void)is_ahead_no_more(blob, i, &u);
	}
}

/* ---- blobs of which something is left ---- */

void sweep_begins(struct fetch_blob *blob, uint32_t first_unit)
{
	if (!blob->ra.sweeps || blob->sweep_listed)
		return;
	blob->sweep_unit = first_unit;
	blob->sweep_listed = true;
	DL_APPEND2(blob->reading->blobs, blob, sweep_prev, sweep_next);
}

void sweep_ends(struct fetch_blob *blob)
{
	blob->ra.sweeps = false;
	if (!blob->sweep_listed)
		return;
	blob->sweep_listed = false;
	DL_DELETE2(blob->reading->blobs, blob, sweep_prev, sweep_next);
}

static bool is_less_swept(const struct fetch_blob *a, const struct fetch_blob *b)
{
	return (uint64_t)a->sweep_unit * b->layout->n_units <
	       (uint64_t)b->sweep_unit * a->layout->n_units;
}

static struct fetch_blob *least_swept(const struct reading *r)
{
	struct fetch_blob *best = NULL;
	struct fetch_blob *blob;

	DL_FOREACH2(r->blobs, blob, sweep_next)
	{
		if (best == NULL || is_less_swept(blob, best))
			best = blob;
	}
	return best;
}

/* Nobody brings it, and nobody has read it, not even before it was evicted. */
static bool is_unread(void *arg, uint32_t unit_idx)
{
	struct fetch_blob *blob = arg;

	return !bitmap_get(blob->touched, unit_idx) && flight_wanted(blob, unit_idx);
}

/* @return false: not now */
static bool sweep_on(struct fetch_blob *blob)
{
	struct plan_view view = flight_view(blob);
	struct plan_span span;
	struct run *run;
	uint64_t span_bytes;
	uint32_t next;

	view.wanted = is_unread;
	if (!plan_next_span(&view, blob->sweep_unit, prefetch_run_bytes(blob->f), LOOKS, &span,
	                    &next)) {
		blob->sweep_unit = next;
		if (next >= blob->layout->n_units)
			sweep_ends(blob);
		return true;
	}
	span_bytes = span_plain_bytes(blob, &span);
	if (!may_lie_ahead(blob, span.packed_bytes, span_bytes))
		return false;
	blob->sweep_unit = next;
	note_ahead(blob, &span, span_bytes);
	(void)bitmap_set(blob->marked, span.first_unit); /* touched: more was read */
	run = run_new(blob, &span, RUN_PREFETCH);
	run->sweeps = true;
	runs_pump(blob->f);
	return true;
}

/* ---- turns ---- */

static bool has_a_place(const struct fetch *f)
{
	const uint32_t n_places = prefetch_runs_max(f);
	const bool is_alone = f->prefetches == NULL && f->brings == NULL;

	return f->n_sweep_runs < (is_alone ? n_places - n_places / 4 : n_places / 2) &&
	       runs_take_prefetch(f);
}

static bool may_sweep(const struct reading *r)
{
	return r->blobs != NULL && r->record.reads_all;
}

/* One question, or a look, of the image whose turn it is. @return false: none may go on now */
static bool sweep_one(struct fetch *f)
{
	struct reading *r;
	struct reading *next;

	DL_FOREACH_SAFE(f->sweeping, r, next)
	{
		struct fetch_blob *blob = least_swept(r);

		if (!may_sweep(r)) {
			unlist(r);
			continue;
		}
		if (!cas_blob_takes_chunks(blob->cas) || !sweep_on(blob))
			continue;
		DL_DELETE(f->sweeping, r);
		DL_APPEND(f->sweeping, r);
		return true;
	}
	return false;
}

/* Not from inside whatever called; and others want the loop, too. */
void sweep_on_turn(struct timer *t)
{
	struct fetch *f = container_of(t, struct fetch, sweep_timer);
	uint32_t n = 0;

	while (n < ASKS_A_TURN && has_a_place(f) && sweep_one(f))
		n++;
	if (n == ASKS_A_TURN)
		sweeps_pump(f);
}

void sweeps_pump(struct fetch *f)
{
	if (f->sweeping != NULL)
		timer_start(&f->sweep_timer, 0);
}

void sweep_is_due(struct fetch_blob *blob)
{
	struct reading *r = blob->reading;

	if (!r->listed && may_sweep(r)) {
		r->listed = true;
		DL_APPEND(r->f->sweeping, r);
	}
	sweeps_pump(r->f);
}
