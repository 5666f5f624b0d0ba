/*
 * fetch: the engine's object, its blobs, and the path of reads whose bytes are all here. Knows
 * nothing of how missing bytes come: fetch_read.c takes over at the first miss.
 */
#include "decode.h"
#include "engine.h"
#include "mem.h"
#include "metrics.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

const char *const fetch_found_names[N_FOUND] = {
	[FOUND_CACHE] = "cache",
	[FOUND_DEDUP] = "dedup",
	[FOUND_PEER] = "peer",
	[FOUND_ORIGIN] = "origin",
};

static enum fetch_found found_of(const char *source)
{
	for (int i = 0; i < N_FOUND; i++) {
		if (strcmp(source, fetch_found_names[i]) == 0)
			return (enum fetch_found)i;
	}
	return FOUND_ORIGIN; /* "elsewhere": another blob's */
}

static void look_up_series(struct fetch *f)
{
	struct metrics *m = f->opts.metrics;

	for (uint32_t i = 0; i < f->opts.n_sources; i++) {
		const char *label;

		f->found_at[i] = found_of(f->sources[i]->ops->name);
		label = fetch_found_names[f->found_at[i]];
		f->chunks[i] = metrics_series(m, METRIC_CHUNKS, &label);
		f->chunk_bytes[i] = metrics_series(m, METRIC_CHUNK_BYTES, &label);
		f->verify_failures[i] = metrics_series(m, METRIC_VERIFY_FAILURES, &label);
	}
	f->origin_unique = metrics_series(m, METRIC_ORIGIN_UNIQUE_BYTES, NULL);
	f->fetches_in_flight = metrics_series(m, METRIC_FETCHES_IN_FLIGHT, NULL);
	f->readers_waiting = metrics_series(m, METRIC_READERS_WAITING, NULL);
	f->unverified_bytes = metrics_series(m, METRIC_UNVERIFIED_BYTES, NULL);
}

static void on_reader_timer(struct timer *t)
{
	reads_expire(container_of(t, struct fetch, reader_timer));
}

static void on_runs_timer(struct timer *t)
{
	runs_pump(container_of(t, struct fetch, runs_timer));
}

int fetch_new(const struct fetch_opts *opts, struct fetch **ret_fetch, struct err *e)
{
	struct fetch *f;
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (opts->n_sources > FETCH_SOURCES_MAX)
		return err_set(e, EINVAL, "%u sources, at most %d are possible", opts->n_sources,
		               FETCH_SOURCES_MAX);
	f = xcalloc(1, sizeof(*f));
	f->opts = *opts;
	for (uint32_t i = 0; i < opts->n_sources; i++)
		f->sources[i] = opts->sources[i];
	f->opts.sources = f->sources;
	f->read_timeout_ms = opts->read_timeout_ms;
	if (f->opts.in_flight_max_bytes == 0)
		f->opts.in_flight_max_bytes = IN_FLIGHT_DEFAULT_BYTES;
	f->n_workers = n_cpus > 0 && n_cpus < DECODERS_MAX ? (uint32_t)n_cpus : 4;
	f->random = clock_now_ns(opts->clock) | 1;
	(void)pthread_mutex_init(&f->decoders_lock, NULL);
	timer_init(&f->reader_timer, opts->loop, on_reader_timer);
	timer_init(&f->sweep_timer, opts->loop, sweep_on_turn);
	timer_init(&f->prefetch_timer, opts->loop, prefetches_on_turn);
	timer_init(&f->runs_timer, opts->loop, on_runs_timer);
	look_up_series(f);
	*ret_fetch = f;
	return 0;
}

void fetch_free(struct fetch **fetch)
{
	struct fetch *f = *fetch;

	*fetch = NULL;
	if (f == NULL)
		return;
	f->closing = true;
	runs_cancel(f, NULL);
	fetch_maybe_finish(f);
}

void fetch_set_read_timeout(struct fetch *f, uint64_t timeout_ms)
{
	f->read_timeout_ms = timeout_ms;
}

bool fetch_is_idle(const struct fetch *f)
{
	return f->blobs == NULL && f->n_jobs == 0;
}

/* What workers still hold is waited for: the last of their calls on the loop ends here. */
void fetch_maybe_finish(struct fetch *f)
{
	if (!f->closing || f->n_jobs > 0)
		return;
	assert(f->blobs == NULL && f->readers == NULL && f->prefetches == NULL &&
	       f->brings == NULL);
	for (uint32_t i = 0; i < f->n_decoders; i++)
		decoder_free(&f->decoders[i]);
	timer_fini(&f->reader_timer);
	timer_fini(&f->sweep_timer);
	timer_fini(&f->prefetch_timer);
	timer_fini(&f->runs_timer);
	(void)pthread_mutex_destroy(&f->decoders_lock);
	free(f);
}

/* ---- blobs ---- */

static void blob_free(struct fetch_blob *blob)
{
	if (blob->reading != NULL)
		reading_drop(blob);
	bitmap_free(&blob->in_flight);
	bitmap_free(&blob->touched);
	bitmap_free(&blob->brought);
	bitmap_free(&blob->marked);
	bitmap_free(&blob->sharing);
	bitmap_free(&blob->swept);
	bitmap_free(&blob->rest);
	bitmap_free(&blob->counted);
	cas_blob_release(&blob->cas);
	free(blob);
}

static struct fetch_blob *blob_new(struct fetch *f, struct cas_blob *cas)
{
	struct fetch_blob *blob = xcalloc(1, sizeof(*blob));

	blob->f = f;
	blob->cas = cas_blob_ref(cas);
	blob->layout = cas_blob_layout(cas);
	blob->in_flight = bitmap_new(blob->layout->n_units);
	blob->touched = bitmap_new(blob->layout->n_units);
	blob->brought = bitmap_new(blob->layout->n_units);
	blob->marked = bitmap_new(blob->layout->n_units);
	blob->sharing = bitmap_new(blob->layout->n_chunks);
	blob->swept = bitmap_new(blob->layout->n_units);
	blob->rest = bitmap_new(blob->layout->n_units);
	blob->counted = bitmap_new(blob->layout->n_units);
	blob->ahead_call.fn = demand_ahead;
	for (uint32_t i = 0; i < PROGRAMS_MAX; i++)
		blob->programs[i] = PROGRAM_NONE;
	blob->islands_marker = READAHEAD_NO_MARKER;
	if (blob->in_flight != NULL && blob->touched != NULL && blob->brought != NULL &&
	    blob->marked != NULL && blob->sharing != NULL && blob->swept != NULL &&
	    blob->rest != NULL && blob->counted != NULL) {
		reading_add(reading_new(f), blob);
		return blob;
	}
	blob_free(blob);
	return NULL;
}

struct fetch_blob *fetch_blob_open(struct fetch *f, struct cas_blob *cas)
{
	struct fetch_blob *blob;

	DL_FOREACH(f->blobs, blob)
	{
		if (blob->cas == cas)
			break;
	}
	if (blob == NULL) {
		blob = blob_new(f, cas);
		if (blob == NULL)
			return NULL;
		DL_APPEND(f->blobs, blob);
		if (f->opts.blob_opened != NULL)
			f->opts.blob_opened(f->opts.blob_opened_arg, cas);
	}
	blob->layout = cas_blob_layout(cas);
	blob->n_users++;
	return blob;
}

static void blob_maybe_free(struct fetch_blob *blob)
{
	struct fetch *f = blob->f;

	if (blob->n_users > 0 || blob->n_inner > 0 || atomic_load(&blob->ahead_posted))
		return;
	DL_DELETE(f->blobs, blob);
	blob_free(blob);
}

void blob_hold(struct fetch_blob *blob)
{
	blob->n_inner++;
}

void blob_drop(struct fetch_blob *blob)
{
	assert(blob->n_inner > 0);
	blob->n_inner--;
	blob_maybe_free(blob);
}

/* Its questions held places and room for which others wait. Who releases may be in the midst of
 * several blobs: they get theirs later. */
static void blob_close(struct fetch_blob *blob)
{
	struct fetch *f = blob->f;

	if (blob->n_users == 0) {
		sweep_ends(blob);
		runs_cancel(f, blob);
	}
	blob_drop(blob);
	if (f->closing)
		return;
	runs_pump_soon(f);
	prefetches_pump(f);
}

static void on_close(struct loop_call *call)
{
	struct fetch_blob *blob = container_of(call, struct fetch_blob, close_call);

	blob->close_posted = false;
	blob_close(blob);
}

void fetch_blob_release(struct fetch_blob **blob_ptr)
{
	struct fetch_blob *blob = *blob_ptr;

	*blob_ptr = NULL;
	if (blob == NULL)
		return;
	assert(blob->n_users > 0);
	blob->n_users--;
	if (blob->n_users > 0 || blob->close_posted)
		return;
	blob_hold(blob);
	if (blob->f->n_answering == 0) {
		blob_close(blob);
		return;
	}
	/* Released by the last reader's done(): later, what calls that still needs the runs. */
	blob->close_posted = true;
	blob->close_call.fn = on_close;
	loop_post(blob->f->opts.loop, &blob->close_call);
}

struct fetch_blob **blobs_use(struct fetch_blob *const *blobs, uint32_t n_blobs)
{
	struct fetch_blob **used = xcalloc(n_blobs + (size_t)1, sizeof(struct fetch_blob *));

	for (uint32_t i = 0; i < n_blobs; i++) {
		used[i] = blobs[i];
		used[i]->n_users++;
	}
	return used;
}

void blobs_release(struct fetch_blob ***blobs, uint32_t n_blobs)
{
	for (uint32_t i = 0; i < n_blobs; i++)
		fetch_blob_release(&(*blobs)[i]);
	free(*blobs);
	*blobs = NULL;
}

struct cas_blob *fetch_blob_cas(struct fetch_blob *blob)
{
	return blob->cas;
}

bool unit_is_ready(const struct fetch_blob *blob, uint32_t unit_idx)
{
	struct unit_rec u;

	if (blob->layout->units == NULL)
		return cas_blob_is_present(blob->cas, unit_idx);
	if (!layout_unit(blob->layout, unit_idx, &u))
		return false;
	for (uint32_t i = 0; i < u.n_members; i++) {
		if (!cas_blob_is_present(blob->cas, layout_member(blob->layout, &u, i)))
			return false;
	}
	return true;
}

bool chunk_is_here(const struct fetch_blob *blob, uint32_t chunk_idx)
{
	/* In this order: what is shared meanwhile is present before it ceases to be a candidate. */
	return cas_blob_is_candidate(blob->cas, chunk_idx) ||
	       cas_blob_is_present(blob->cas, chunk_idx);
}

bool unit_is_here(const struct fetch_blob *blob, uint32_t unit_idx)
{
	struct unit_rec u;

	if (blob->layout->units == NULL)
		return chunk_is_here(blob, unit_idx);
	if (!layout_unit(blob->layout, unit_idx, &u))
		return false;
	for (uint32_t i = 0; i < u.n_members; i++) {
		if (!chunk_is_here(blob, layout_member(blob->layout, &u, i)))
			return false;
	}
	return true;
}

/* ---- the warm path ---- */

/* A reader asks for this unit: what does that say of readahead? One look at a bit when warm. */
static void touch(struct fetch_blob *blob, uint32_t unit_idx)
{
	struct unit_rec u;

	if (bitmap_get(blob->touched, unit_idx) || !bitmap_set(blob->touched, unit_idx))
		return;
	if (!layout_unit(blob->layout, unit_idx, &u))
		return;
	sweep_touched(blob, unit_idx, &u);
	if (bitmap_get(blob->rest, unit_idx) && bitmap_clear(blob->rest, unit_idx))
		(void)atomic_fetch_add(&blob->f->rest_useful_bytes, u.packed_size_bytes);
	if (bitmap_get(blob->brought, unit_idx))
		(void)atomic_fetch_add(&blob->useful_bytes, u.packed_size_bytes);
	if (bitmap_get(blob->marked, unit_idx) && bitmap_clear(blob->marked, unit_idx) &&
	    !atomic_exchange(&blob->ahead_posted, true))
		loop_post(blob->f->opts.loop, &blob->ahead_call);
}

static uint64_t plain_offset(const struct fetch_piece *p)
{
	return p->blob->layout->chunks[p->chunk_idx].plain_offset + p->chunk_offset;
}

static bool piece_is_ready(const struct fetch_piece *p)
{
	return p->blob == NULL || cas_blob_is_present(p->blob->cas, p->chunk_idx);
}

/* Can b be read together with a, by one pread? */
static bool piece_follows(const struct fetch_piece *a, const struct fetch_piece *b)
{
	return b->blob == a->blob && b->dst == a->dst + a->size_bytes &&
	       (b->chunk_idx == a->chunk_idx || b->chunk_idx == a->chunk_idx + 1) &&
	       plain_offset(b) == plain_offset(a) + a->size_bytes;
}

/* Pieces i.. that are ready and stand side by side in the cache and at the reader's. */
static uint32_t group_ready(const struct fetch_read *r, uint32_t i, uint32_t *ret_size_bytes)
{
	const struct fetch_piece *p = r->pieces;
	uint32_t n = 1;

	*ret_size_bytes = p[i].size_bytes;
	while (i + n < r->n_pieces && piece_follows(&p[i + n - 1], &p[i + n]) &&
	       piece_is_ready(&p[i + n]) && *ret_size_bytes <= UINT32_MAX - p[i + n].size_bytes) {
		*ret_size_bytes += p[i + n].size_bytes;
		n++;
	}
	return n;
}

void read_account(struct fetch_read *r, uint32_t size_bytes, enum fetch_found found)
{
	r->found_bytes[found] += size_bytes;
	if (found > r->found)
		r->found = found;
}

/* One that is not ready, but another blob may have it. @return 0; CAS_MISS */
static int fill_shared(struct fetch_read *r, const struct fetch_piece *p, struct err *e)
{
	const int ret = share_piece(p, e);

	if (ret == 0)
		read_account(r, p->size_bytes, FOUND_DEDUP);
	return ret;
}

/**
 * Fill what is here of the pieces from *i on, one group.
 * @return 0 or CAS_MISS for the pieces up to *i; -EIO
 */
static int fill_group(struct fetch *f, struct fetch_read *r, uint32_t *i, struct err *e)
{
	const struct fetch_piece *p = &r->pieces[*i];
	uint32_t size_bytes;
	uint32_t n;
	int ret;

	if (p->blob == NULL) {
		if (p->dst != NULL)
			memset(p->dst, 0, p->size_bytes);
		read_account(r, p->size_bytes, FOUND_CACHE);
		*i += 1;
		return 0;
	}
	if (r->prefetch) {
		*i += 1;
		return piece_is_ready(p) ? 0 : CAS_MISS;
	}
	if (!piece_is_ready(p)) {
		*i += 1;
		return fill_shared(r, p, e);
	}
	n = group_ready(r, *i, &size_bytes);
	ret = cas_blob_read(p->blob->cas, p->chunk_idx, p[n - 1].chunk_idx - p->chunk_idx + 1,
	                    plain_offset(p), size_bytes, p->dst, e);
	if (ret == 0 && p->blob->layout->trust == TRUST_NONE)
		series_add(f->unverified_bytes, size_bytes);
	if (ret == 0)
		read_account(r, size_bytes, FOUND_CACHE);
	*i += n;
	return ret;
}

static void touch_all(const struct fetch_read *r)
{
	for (uint32_t i = 0; i < r->n_pieces; i++) {
		const struct fetch_piece *p = &r->pieces[i];

		if (p->blob != NULL)
			touch(p->blob, layout_unit_of(p->blob->layout, p->chunk_idx));
	}
}

/* From piece `from` on, which has missed: fill what is ready, leave the rest to the loop. */
static int read_cold(struct fetch *f, struct fetch_read *r, uint32_t from, uint32_t missed_to,
                     struct err *e)
{
	struct fetch_read_state *st = read_state_new(f, r);
	uint32_t i = missed_to;

	if (st == NULL)
		return err_set(e, EIO, "no memory for a read of %u pieces", r->n_pieces);
	memset(st->filled, 1, from);
	while (i < r->n_pieces) {
		const uint32_t first = i;
		const int ret = fill_group(f, r, &i, e);

		if (ret < 0) {
			read_state_free(st);
			return ret;
		}
		memset(st->filled + first, ret == 0, i - first);
	}
	read_post(st);
	return FETCH_PENDING;
}

int fetch_read(struct fetch *f, struct fetch_read *r, struct err *e)
{
	uint32_t i = 0;

	if (!r->prefetch)
		touch_all(r);
	while (i < r->n_pieces) {
		const uint32_t first = i;
		const int ret = fill_group(f, r, &i, e);

		if (ret < 0)
			return ret;
		if (ret == CAS_MISS)
			return read_cold(f, r, first, i, e);
	}
	return 0;
}
