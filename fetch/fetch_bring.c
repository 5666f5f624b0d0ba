/*
 * fetch_bring: stretches of chunks, in about the order given, behind all readers: what somebody
 * expects to be read soon. What does not come is left to who reads it; after FAILURES_MAX questions
 * that came to nothing the rest is, too.
 *
 * The order is given up among TOGETHER stretches, so that neighbours share a request. All of it is
 * the loop thread's.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define TOGETHER     64U
#define RUN_BYTES    (512U << 10)         /* packed, in one question */
#define BRING_BYTES  (UINT64_C(32) << 20) /* packed, in all */
#define LOOKS_A_TURN 4096U                /* chunks, and those of the unit of the last */
#define FAILURES_MAX 8U                   /* of questions that nobody waits for, since it began */

struct fetch_bring {
	struct fetch_bring *prev, *next;
	struct fetch *f;
	struct fetch_bring_opts opts;
	struct fetch_blob **blobs;
	struct fetch_stretch *stretches; /* of chunks, as they were given */
	uint32_t at;
	uint32_t n_looked; /* chunks of stretches[at] that were looked at */
	uint64_t asked_bytes;
	uint64_t failed_before;
	bool turn_is_due;
	struct timer timer;
};

static void bring_turn(struct fetch_bring *b)
{
	if (!b->turn_is_due)
		timer_start(&b->timer, 0);
	b->turn_is_due = true;
}

static void finish(struct fetch_bring *b)
{
	const struct fetch_bring_opts opts = b->opts;
	const uint64_t asked_bytes = b->asked_bytes;

	DL_DELETE(b->f->brings, b);
	timer_fini(&b->timer);
	blobs_release(&b->blobs, opts.n_blobs);
	free(b->stretches);
	free(b);
	if (opts.done != NULL)
		opts.done(opts.arg, asked_bytes);
}

/* ---- what to ask for ---- */

/* The chunk's unit, and those behind it up to the end of the stretch, as far as one question goes.
 */
static void ask_from(struct fetch_bring *b, struct fetch_blob *blob, uint32_t chunk_idx,
                     uint32_t end_chunk)
{
	const struct blob_layout *l = blob->layout;
	struct plan_view view = flight_view(blob);
	struct plan_span span = plan_unit(l, layout_unit_of(l, chunk_idx));

	view.end_unit = end_chunk;
	if (l->units == NULL && span.packed_bytes < RUN_BYTES)
		(void)plan_widen_forward(&view, &span, RUN_BYTES - span.packed_bytes);
	b->asked_bytes += span.packed_bytes;
	(void)run_new(blob, &span, RUN_PREFETCH);
	runs_pump(b->f);
}

static bool is_missing(struct fetch_blob *blob, uint32_t chunk_idx)
{
	struct unit_rec u;
	uint32_t unit_idx;

	if (blob->layout->chunks[chunk_idx].plain_size_bytes == 0)
		return false;
	unit_idx = layout_unit_of(blob->layout, chunk_idx);
	return layout_unit(blob->layout, unit_idx, &u) && flight_wanted(blob, unit_idx);
}

/* Behind the chunks of a stretch that are of one unit: they come together. */
static uint32_t end_of_unit(const struct blob_layout *l, uint32_t chunk_idx, uint32_t end_chunk)
{
	uint32_t i = chunk_idx + 1;

	if (l->chunks[chunk_idx].plain_size_bytes == 0)
		return i;
	while (i < end_chunk && l->chunks[i].plain_size_bytes > 0 &&
	       layout_unit_of(l, i) == layout_unit_of(l, chunk_idx))
		i++;
	return i;
}

/* One look. @return chunks that it was for */
static uint32_t step(struct fetch_bring *b)
{
	const struct fetch_stretch *s = &b->stretches[b->at];
	struct fetch_blob *blob = b->blobs[s->blob_idx];
	const uint32_t end =
		(uint32_t)min_u64((uint64_t)s->first_chunk + s->n_chunks, blob->layout->n_chunks);
	const uint64_t chunk_idx = (uint64_t)s->first_chunk + b->n_looked;
	uint32_t n;

	if (chunk_idx >= end) {
		b->at++;
		b->n_looked = 0;
		return 1;
	}
	n = end_of_unit(blob->layout, (uint32_t)chunk_idx, end) - (uint32_t)chunk_idx;
	b->n_looked += n;
	if (is_missing(blob, (uint32_t)chunk_idx))
		ask_from(b, blob, (uint32_t)chunk_idx, end);
	return n;
}

static bool is_over(const struct fetch_bring *b)
{
	return b->at == b->opts.n_stretches ||
	       b->f->n_failed_runs - b->failed_before >= FAILURES_MAX ||
	       b->asked_bytes >= BRING_BYTES ||
	       !cas_blob_takes_chunks(b->blobs[b->stretches[b->at].blob_idx]->cas);
}

/* Others want the loop, too: the rest in its next turn, or when a question has been answered. */
static void on_turn(struct timer *t)
{
	struct fetch_bring *b = container_of(t, struct fetch_bring, timer);
	uint32_t n_looks = 0;

	b->turn_is_due = false;
	while (!is_over(b) && n_looks < LOOKS_A_TURN && runs_take_prefetch(b->f))
		n_looks += step(b);
	if (is_over(b))
		finish(b);
	else if (n_looks >= LOOKS_A_TURN)
		bring_turn(b);
}

void brings_pump(struct fetch *f)
{
	struct fetch_bring *b;

	DL_FOREACH(f->brings, b)
	bring_turn(b);
}

/* ---- begin and end ---- */

static int by_place(const void *a, const void *b)
{
	const struct fetch_stretch *x = a;
	const struct fetch_stretch *y = b;

	if (x->blob_idx != y->blob_idx)
		return x->blob_idx < y->blob_idx ? -1 : 1;
	return x->first_chunk < y->first_chunk ? -1 : x->first_chunk > y->first_chunk;
}

/* Put neighbours together. Those that name no blob of these go. @return how many are left */
static uint32_t arrange(struct fetch_stretch *s, uint32_t n, uint32_t n_blobs)
{
	uint32_t n_kept = 0;

	for (uint32_t i = 0; i < n; i += TOGETHER)
		qsort(s + i, min_u64(TOGETHER, n - i), sizeof(*s), by_place);
	for (uint32_t i = 0; i < n; i++) {
		struct fetch_stretch *last = n_kept > 0 ? &s[n_kept - 1] : NULL;

		if (s[i].blob_idx >= n_blobs)
			continue;
		if (last != NULL && last->blob_idx == s[i].blob_idx &&
		    (uint64_t)last->first_chunk + last->n_chunks == s[i].first_chunk &&
		    s[i].n_chunks <= UINT32_MAX - last->n_chunks)
			last->n_chunks += s[i].n_chunks;
		else
			s[n_kept++] = s[i];
	}
	return n_kept;
}

struct fetch_bring *fetch_bring_start(struct fetch *f, const struct fetch_bring_opts *opts)
{
	struct fetch_bring *b = xcalloc(1, sizeof(*b));

	b->f = f;
	b->opts = *opts;
	b->failed_before = f->n_failed_runs;
	b->stretches = xcalloc(opts->n_stretches + (size_t)1, sizeof(*b->stretches));
	memcpy(b->stretches, opts->stretches, opts->n_stretches * sizeof(*b->stretches));
	b->opts.n_stretches = arrange(b->stretches, opts->n_stretches, opts->n_blobs);
	b->blobs = blobs_use(opts->blobs, opts->n_blobs);
	DL_APPEND(f->brings, b);
	timer_init(&b->timer, f->opts.loop, on_turn);
	bring_turn(b);
	return b;
}

void fetch_bring_cancel(struct fetch_bring *b)
{
	b->opts.done = NULL;
	finish(b);
}
