/*
 * prefetch: all of some blobs, or what an image names of them, in the background, behind every
 * reader.
 *
 * Passes over the blobs: each asks for what is missing and nobody brings, in large runs, as many as
 * leave room. What is on its way is waited for; what failed, or was evicted meanwhile, is asked for
 * in the next pass. Passes without any progress end it after a while, and so do some that miss
 * about as much as the one before: what they bring takes the place of what others brought. Where
 * nothing is missing but what came with wrong bytes, few are enough: an origin that is down may be
 * back, one that gives wrong bytes is asked for them twice. Knows no sources.
 *
 * Several at a time take turns, a question each, and none has more than its share of the places
 * while others wait: at a silent registry a question holds its place for long.
 *
 * Nodes that prefetch the same image at once go the same way in small runs: what one of them gets
 * from the origin the others want at that moment, and have from it. Who is to fetch what their
 * homes decide. Slices of a gzip stream overlap: there runs are longer, and cut where the least is
 * shared.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#define LOOKS_MAX     4096             /* units a turn of the loop */
#define PASS_PAUSE_MS 500              /* between passes, when something failed */
#define GIVE_UP_MS    UINT64_C(120000) /* without a unit coming ... */
#define REFUSED_MS    UINT64_C(10000)  /* ... and where an origin refuses access */
#define VAIN_PASSES   3                /* all of it came, and about as much is missing */
#define WRONG_PASSES  3                /* nothing came, and all that is missing was wrong */

struct fetch_prefetch {
	struct fetch_prefetch *prev, *next;
	struct fetch *f;
	struct fetch_prefetch_opts opts;
	struct fetch_blob **blobs;
	uint32_t blob_idx; /* the cursor */
	uint32_t unit_idx;
	bool first_pass;
	bool pausing; /* the timer will go on */
	bool due;     /* its turn comes: fetch.prefetch_timer */
	bool full;    /* the disk takes no more: what comes does not stay */
	uint64_t done_bytes;
	uint64_t total_bytes;
	uint64_t progress_ns;    /* when the last unit came */
	uint64_t told_bytes;     /* in the last progress() */
	uint64_t n_missing;      /* units that the cursor passed and that are on their way */
	uint64_t n_found;        /* those that were missing in this pass ... */
	uint64_t n_found_before; /* ... and in the last one; 0: it is the first */
	uint32_t n_vain;         /* passes */
	struct bitmap **wrong;   /* a blob: units that came with wrong bytes; NULL: none did */
	uint32_t n_wrong;        /* passes in a row */
	bool came;               /* something did, in this pass */
	bool not_had;            /* something was not, in this pass, and may be had later */
	struct timer timer;
	struct err why;
};

static void finish(struct fetch_prefetch *p, int result, const struct err *why)
{
	const struct fetch_prefetch_opts opts = p->opts;

	DL_DELETE(p->f->prefetches, p);
	timer_fini(&p->timer);
	for (uint32_t i = 0; i < opts.n_blobs; i++)
		bitmap_free(&p->wrong[i]);
	free(p->wrong);
	blobs_release(&p->blobs, opts.n_blobs);
	free(p);
	opts.done(opts.arg, result, why);
}

/* Plain bytes of a unit's chunks: a slice of a gzip stream holds more than those. */
static uint64_t chunk_bytes(const struct blob_layout *l, uint32_t unit_idx)
{
	struct unit_rec u;
	uint64_t bytes = 0;

	if (!layout_unit(l, unit_idx, &u))
		return 0;
	for (uint32_t i = 0; i < u.n_members; i++)
		bytes += l->chunks[layout_member(l, &u, i)].plain_size_bytes;
	return bytes;
}

/* A blob may be of several images, of which each names a part. */
static bool is_meant(const struct fetch_prefetch *p, uint32_t blob_idx, uint32_t unit_idx)
{
	const struct bitmap *named = p->opts.named != NULL ? p->opts.named[blob_idx] : NULL;
	const struct blob_layout *l = p->blobs[blob_idx]->layout;
	struct unit_rec u;
	uint32_t i = 0;

	if (named == NULL)
		return true;
	if (!layout_unit(l, unit_idx, &u))
		return false;
	while (i < u.n_members && !bitmap_get(named, layout_member(l, &u, i)))
		i++;
	return i < u.n_members;
}

/* All of it that is meant. What else a batch holds may be missing, or wrong. */
static bool is_here(const struct fetch_prefetch *p, uint32_t blob_idx, uint32_t unit_idx)
{
	const struct bitmap *named = p->opts.named != NULL ? p->opts.named[blob_idx] : NULL;
	const struct fetch_blob *blob = p->blobs[blob_idx];
	struct unit_rec u;
	uint32_t i = 0;

	if (named == NULL || !layout_unit(blob->layout, unit_idx, &u))
		return unit_is_ready(blob, unit_idx);
	while (i < u.n_members &&
	       (!bitmap_get(named, layout_member(blob->layout, &u, i)) ||
	        cas_blob_is_present(blob->cas, layout_member(blob->layout, &u, i))))
		i++;
	return i == u.n_members;
}

static uint64_t total_plain_bytes(const struct fetch_prefetch *p, uint32_t blob_idx)
{
	const struct blob_layout *l = p->blobs[blob_idx]->layout;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < l->n_units; i++)
		bytes += is_meant(p, blob_idx, i) ? chunk_bytes(l, i) : 0;
	return bytes;
}

/* ---- passes ---- */

/* The cursor goes over so many units that are on their way. */
static void expect(struct fetch_prefetch *p, uint32_t n_units)
{
	p->n_missing += n_units;
	p->n_found += n_units;
}

/* Go over units from the cursor on to the next that is wanted, or to the end of a turn. */
static bool seek(struct fetch_prefetch *p, struct fetch_blob *blob, uint32_t max_looks)
{
	const struct blob_layout *l = blob->layout;

	for (uint32_t n = 0; n < max_looks && p->unit_idx < l->n_units; n++, p->unit_idx++) {
		struct unit_rec u;

		if (!layout_unit(l, p->unit_idx, &u) || !is_meant(p, p->blob_idx, p->unit_idx))
			continue;
		if (is_here(p, p->blob_idx, p->unit_idx)) {
			p->done_bytes += p->first_pass ? chunk_bytes(l, p->unit_idx) : 0;
			continue;
		}
		if (!bitmap_get(blob->in_flight, p->unit_idx))
			return true;
		expect(p, 1);
	}
	return false;
}

/* Of the blob that the cursor is in. */
static bool is_meant_here(void *arg, uint32_t unit_idx)
{
	const struct fetch_prefetch *p = arg;

	return is_meant(p, p->blob_idx, unit_idx);
}

/* What another blob has need not cross any line. */
static void share(struct fetch_prefetch *p, struct fetch_blob *blob)
{
	const uint32_t n = share_start(blob, p->unit_idx, is_meant_here, p);

	p->unit_idx += n;
	expect(p, n);
}

/* What one run and the next have in common is little, so. */
static void cut_well(const struct plan_view *v, struct plan_span *span)
{
	const struct blob_layout *l = v->layout;
	const uint32_t end = span->first_unit + span->n_units;
	uint32_t cut;

	if (span->n_units < 2 || plan_overlap_bytes(l, end) == 0 || !v->wanted(v->arg, end))
		return;
	cut = plan_best_cut(l, end - span->n_units / 2, end + 1);
	span->n_units = cut - span->first_unit; /* runs_pump() counts its bytes itself */
}

static bool has_slices(const struct blob_layout *l)
{
	return l->n_units > 0 && l->units != NULL && l->units[0].kind == UNIT_ZRAN;
}

static bool is_wanted(void *arg, uint32_t unit_idx)
{
	const struct fetch_prefetch *p = arg;

	return is_meant_here(arg, unit_idx) && flight_wanted(p->blobs[p->blob_idx], unit_idx);
}

static void ask(struct fetch_prefetch *p, struct fetch_blob *blob)
{
	const struct plan_view view = { .layout = blob->layout, .wanted = is_wanted, .arg = p };
	const uint64_t run_bytes =
		has_slices(blob->layout) ? RUN_MAX_BYTES : prefetch_run_bytes(p->f);
	struct plan_span span = plan_unit(blob->layout, p->unit_idx);

	if (span.packed_bytes < run_bytes)
		(void)plan_widen_forward(&view, &span, run_bytes - span.packed_bytes);
	cut_well(&view, &span);
	p->unit_idx += span.n_units;
	expect(p, span.n_units);
	(void)run_new(blob, &span, RUN_PREFETCH);
	runs_pump(p->f);
}

static void next_turn(struct fetch_prefetch *p)
{
	p->due = true;
	timer_start(&p->f->prefetch_timer, 0);
}

/* Others come first. */
static void pass_turn_on(struct fetch_prefetch *p)
{
	DL_DELETE(p->f->prefetches, p);
	DL_APPEND(p->f->prefetches, p);
	next_turn(p);
}

static void tell(struct fetch_prefetch *p)
{
	if (p->done_bytes == p->told_bytes)
		return;
	p->told_bytes = p->done_bytes;
	p->opts.progress(p->opts.arg, p->done_bytes, p->total_bytes);
}

/* Another pass of this kind would not bring more of it here. A cache that was emptied by hand is
 * one such pass. */
static void look_at_pass(struct fetch_prefetch *p)
{
	const uint64_t before = p->n_found_before;
	const bool only_wrong = p->why.code != 0 && !p->came && !p->not_had;

	p->n_wrong = only_wrong ? p->n_wrong + 1 : 0;
	p->came = false;
	p->not_had = false;
	if (p->why.code == 0 && before > 0 && p->n_found * 8 > before * 7)
		p->n_vain++;
	p->n_found_before = p->n_found;
	p->n_found = 0;
	if (p->n_vain < VAIN_PASSES)
		return;
	p->full = true;
	(void)err_set(&p->why, ENOSPC, "what came was evicted for the rest of it");
}

static int result_of(const struct fetch_prefetch *p)
{
	if (p->full)
		return -ENOSPC;
	return source_refused(p->why.code) ? -p->why.code : -EIO;
}

static bool is_given_up(const struct fetch_prefetch *p)
{
	const uint64_t idle_ns = clock_now_ns(p->f->opts.clock) - p->progress_ns;
	const uint64_t patience_ms = source_refused(p->why.code) ? REFUSED_MS : GIVE_UP_MS;

	return p->why.code != 0 &&
	       (p->n_wrong >= WRONG_PASSES || idle_ns > patience_ms * NS_PER_MS);
}

/* Everything that the pass asked for has come or failed. Only one that found nothing missing is the
 * end: what it says is so. */
static void end_pass(struct fetch_prefetch *p)
{
	const bool failed = p->why.code != 0;
	const bool is_whole = p->n_found == 0;

	look_at_pass(p);
	if (is_whole)
		p->done_bytes = p->total_bytes;
	tell(p);
	if (is_whole || p->full || is_given_up(p)) {
		const struct err why = p->why;

		finish(p, is_whole ? 0 : result_of(p), &why);
		return;
	}
	p->first_pass = false;
	p->blob_idx = 0;
	p->unit_idx = 0;
	p->why.code = 0;
	if (!failed) {
		next_turn(p);
		return;
	}
	p->pausing = true;
	timer_start(&p->timer, PASS_PAUSE_MS);
}

/* ---- turns ---- */

static bool wants_more(const struct fetch_prefetch *p)
{
	return p->blob_idx < p->opts.n_blobs && !p->full;
}

static uint32_t n_others_waiting(const struct fetch_prefetch *p)
{
	const struct fetch_prefetch *other;
	uint32_t n = 0;

	DL_FOREACH(p->f->prefetches, other)
	n += other != p && other->due && wants_more(other);
	return n;
}

static bool has_its_share(const struct fetch_prefetch *p)
{
	const uint32_t n_others = n_others_waiting(p);
	uint32_t n_held = 0;

	if (n_others == 0)
		return false;
	for (uint32_t i = 0; i < p->opts.n_blobs; i++)
		n_held += p->blobs[i]->n_prefetch_runs;
	return n_held >= max_u64(prefetch_runs_max(p->f) / (n_others + 1), 1);
}

static bool may_ask(const struct fetch_prefetch *p)
{
	return wants_more(p) && runs_take_prefetch(p->f) && p->f->n_shares < SHARES_MAX &&
	       !has_its_share(p);
}

/* A pass over a large image at a silent registry would take hours. */
static void look_at_patience(struct fetch_prefetch *p)
{
	const struct err why = p->why;

	tell(p);
	if (wants_more(p) && is_given_up(p))
		finish(p, result_of(p), &why);
}

static void advance(struct fetch_prefetch *p)
{
	while (may_ask(p)) {
		struct fetch_blob *blob = p->blobs[p->blob_idx];

		if (seek(p, blob, LOOKS_MAX)) {
			if (unit_is_here(blob, p->unit_idx))
				share(p, blob);
			else
				ask(p, blob);
			if (n_others_waiting(p) > 0) {
				pass_turn_on(p);
				return;
			}
		} else if (p->unit_idx >= blob->layout->n_units) {
			p->blob_idx++;
			p->unit_idx = 0;
		} else {
			pass_turn_on(p); /* others want the loop, too */
			return;
		}
	}
	if (!wants_more(p) && p->n_missing == 0)
		end_pass(p);
	else
		look_at_patience(p);
}

static struct fetch_prefetch *first_due(const struct fetch *f)
{
	struct fetch_prefetch *p = f->prefetches;

	while (p != NULL && !p->due)
		p = p->next;
	return p;
}

/* One of them: its owner may end everything in done(). */
void prefetches_on_turn(struct timer *t)
{
	struct fetch *f = container_of(t, struct fetch, prefetch_timer);
	struct fetch_prefetch *p = first_due(f);

	if (p == NULL)
		return;
	p->due = false;
	if (first_due(f) != NULL)
		timer_start(&f->prefetch_timer, 0);
	advance(p);
}

static void on_pause_end(struct timer *t)
{
	struct fetch_prefetch *p = container_of(t, struct fetch_prefetch, timer);

	p->pausing = false;
	next_turn(p);
}

void prefetches_pump(struct fetch *f)
{
	struct fetch_prefetch *p;

	brings_pump(f); /* first: somebody will wait for these */
	sweeps_pump(f);
	/* Not from inside whatever called, as above. */
	DL_FOREACH(f->prefetches, p)
	{
		if (!p->pausing)
			next_turn(p);
	}
}

/* ---- what others bring counts, too ---- */

static bool was_passed(const struct fetch_prefetch *p, uint32_t blob_idx, uint32_t unit_idx)
{
	return blob_idx < p->blob_idx || (blob_idx == p->blob_idx && unit_idx < p->unit_idx);
}

/* Its bytes were wrong, now or before, and no source may have better ones later. */
static bool is_wrong(struct fetch_prefetch *p, uint32_t blob_idx, uint32_t unit_idx, int code)
{
	struct bitmap **wrong = &p->wrong[blob_idx];

	if (code == EBADMSG && *wrong == NULL)
		*wrong = bitmap_new(p->blobs[blob_idx]->layout->n_units);
	if (code == EBADMSG && *wrong != NULL)
		(void)bitmap_set(*wrong, unit_idx);
	return code != 0 && !source_refused(code) && *wrong != NULL && bitmap_get(*wrong, unit_idx);
}

static void note_failure(struct fetch_prefetch *p, uint32_t blob_idx, uint32_t unit_idx,
                         const struct err *why)
{
	p->not_had = p->not_had || !is_wrong(p, blob_idx, unit_idx, why->code);
	p->why = *why;
	if (p->why.code == 0)
		(void)err_set(&p->why, EIO, "no source gave unit %u of blob %s", unit_idx,
		              cas_blob_key(p->blobs[blob_idx]->cas));
}

/* One that the cursor passed while it was on its way. */
static void settle(struct fetch_prefetch *p, uint32_t blob_idx, uint32_t unit_idx, int result,
                   const struct err *why)
{
	p->n_missing -= p->n_missing > 0;
	if (result == 0 || (result != CAS_MISS && is_here(p, blob_idx, unit_idx))) {
		p->done_bytes =
			min_u64(p->total_bytes,
		                p->done_bytes + chunk_bytes(p->blobs[blob_idx]->layout, unit_idx));
		p->progress_ns = clock_now_ns(p->f->opts.clock);
		p->came = true;
	} else if (result != CAS_MISS) {
		p->full = p->full || result == -ENOSPC;
		note_failure(p, blob_idx, unit_idx, why);
	}
}

/* A blob may be listed more than once, and was passed as often. */
void prefetches_on_unit(struct fetch_blob *blob, uint32_t unit_idx, int result,
                        const struct err *why)
{
	struct fetch_prefetch *p;

	DL_FOREACH(blob->f->prefetches, p)
	{
		for (uint32_t i = 0; i < p->opts.n_blobs && i <= p->blob_idx; i++)
			if (p->blobs[i] == blob && was_passed(p, i, unit_idx) &&
			    is_meant(p, i, unit_idx))
				settle(p, i, unit_idx, result, why);
	}
}

/* ---- begin and end ---- */

struct fetch_prefetch *fetch_prefetch_start(struct fetch *f, const struct fetch_prefetch_opts *opts)
{
	struct fetch_prefetch *p = xcalloc(1, sizeof(*p));

	p->f = f;
	p->opts = *opts;
	p->blobs = blobs_use(opts->blobs, opts->n_blobs);
	p->wrong = xcalloc(opts->n_blobs + (size_t)1, sizeof(struct bitmap *));
	for (uint32_t i = 0; i < opts->n_blobs; i++)
		p->total_bytes += total_plain_bytes(p, i);
	p->first_pass = true;
	p->progress_ns = clock_now_ns(f->opts.clock);
	DL_APPEND(f->prefetches, p);
	timer_init(&p->timer, f->opts.loop, on_pause_end);
	next_turn(p);
	return p;
}

void fetch_prefetch_cancel(struct fetch_prefetch *p)
{
	struct err why;

	(void)err_set(&why, ECANCELED, "cancelled");
	finish(p, -ECANCELED, &why);
}
