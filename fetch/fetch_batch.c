/*
 * fetch_batch: units that came, on their way through a worker: unpack, verify and keep (cas), hand
 * to the readers that wait. Small units that nobody waits for share a job; one that somebody waits
 * for goes at once. Knows sources only where one gave wrong bytes.
 *
 * Memory: a job needs a buffer of its largest unit that came packed, or of 256 KiB for several. It
 * is accounted when the job goes to the workers, so that packed bytes and buffers together stay
 * below the budget with any number of them.
 */
#include "bytes.h"
#include "decode.h"
#include "engine.h"
#include "mem.h"
#include "metrics.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <utlist.h>

#define BATCH_BYTES       (256U << 10) /* packed: a few ms of work */
#define BATCH_FIRST_BYTES (32U << 10)  /* while no worker has anything to do */
#define ROW_BUFFER_BYTES  (256U << 10) /* to unpack neighbours to, so that one write keeps them */
#define WRONG_MAX         2            /* wrong digests of a unit until its source is struck */

static void batch_work(struct job *job);
static void batch_after(struct job *job);

static struct batch *batch_new(struct run *run)
{
	struct batch *b = xcalloc(1, sizeof(*b));

	b->blob = run->blob;
	b->job.work = batch_work;
	b->job.after = batch_after;
	b->job.prio = run->prio == RUN_PREFETCH ? JOB_PREFETCH : JOB_NORMAL;
	(void)pthread_mutex_init(&b->lock, NULL);
	blob_hold(b->blob);
	return b;
}

static void batch_free(struct batch *b)
{
	struct fetch_blob *blob = b->blob;

	(void)pthread_mutex_destroy(&b->lock);
	free(b);
	blob_drop(blob);
}

static bool came_plain(const struct flight *fl)
{
	return fl->by_chunk && fl->form == COMPRESSOR_NONE;
}

/* Room for the largest, and for several small ones, which are kept together. */
static uint32_t buffer_with(uint32_t buffer_bytes, uint32_t more_bytes)
{
	if (more_bytes >= ROW_BUFFER_BYTES || buffer_bytes >= ROW_BUFFER_BYTES)
		return more_bytes > buffer_bytes ? more_bytes : buffer_bytes;
	return buffer_bytes + more_bytes < ROW_BUFFER_BYTES ? buffer_bytes + more_bytes
	                                                    : ROW_BUFFER_BYTES;
}

static void put_in(struct batch *b, struct flight *fl)
{
	b->flights[b->n_flights++] = fl;
	b->packed_bytes += fl->packed_size_bytes;
	if (!came_plain(fl))
		b->plain_bytes = buffer_with(b->plain_bytes, fl->plain_size_bytes);
	fl->batch = b;
}

static void make_ready(struct batch *b)
{
	DL_APPEND(b->blob->f->batches[b->job.prio], b);
}

void batch_close(struct run *run)
{
	struct batch *b = run->open;

	run->open = NULL;
	if (b == NULL)
		return;
	b->run = NULL;
	make_ready(b);
	batches_pump(b->blob->f);
}

void batch_add(struct run *run, struct flight *fl)
{
	struct fetch *f = run->blob->f;
	const uint64_t enough = f->n_jobs == 0 ? BATCH_FIRST_BYTES : BATCH_BYTES;

	if (fl->waiters != NULL) {
		struct batch *alone = batch_new(run);

		alone->job.prio = fl->waiters->blocked ? JOB_READER : JOB_PREFETCH;
		put_in(alone, fl);
		make_ready(alone);
		batches_pump(f);
		return;
	}
	if (run->open == NULL) {
		run->open = batch_new(run);
		run->open->run = run;
	}
	put_in(run->open, fl);
	if (run->open->packed_bytes >= enough || run->open->n_flights == BATCH_UNITS_MAX)
		batch_close(run);
}

void batch_promote(struct flight *fl)
{
	struct batch *b = fl->batch;
	uint32_t at = 0;

	assert(!b->submitted);
	if (b->run != NULL)
		b->run->open = NULL;
	else
		DL_DELETE(b->blob->f->batches[b->job.prio], b);
	b->run = NULL;
	while (b->flights[at] != fl)
		at++;
	b->flights[at] = b->flights[0];
	b->flights[0] = fl;
	b->job.prio = JOB_READER;
	make_ready(b);
	batches_pump(b->blob->f);
}

static bool may_submit(const struct fetch *f, const struct batch *b)
{
	if (f->n_jobs == 0)
		return true;
	if (b->plain_bytes > 0 && f->in_flight_bytes + b->plain_bytes > f->opts.in_flight_max_bytes)
		return false;
	/* What waits here can still be overtaken and promoted; what the pool has cannot. */
	return b->job.prio == JOB_READER || f->n_jobs < 2 * f->n_workers;
}

void batches_pump(struct fetch *f)
{
	for (unsigned prio = 0; prio < N_JOB_PRIOS; prio++) {
		while (f->batches[prio] != NULL && may_submit(f, f->batches[prio])) {
			struct batch *b = f->batches[prio];

			DL_DELETE(f->batches[prio], b);
			b->submitted = true;
			f->n_jobs++;
			f->in_flight_bytes += b->plain_bytes;
			pool_submit(f->opts.pool, &b->job);
		}
		/* Room is kept for it: less urgent ones would take it away for ever. */
		if (f->batches[prio] != NULL)
			return;
	}
}

/* ---- on the worker ---- */

struct decoder *decoder_take(struct fetch *f)
{
	struct decoder *d = NULL;

	(void)pthread_mutex_lock(&f->decoders_lock);
	if (f->n_decoders > 0)
		d = f->decoders[--f->n_decoders];
	(void)pthread_mutex_unlock(&f->decoders_lock);
	return d != NULL ? d : decoder_new();
}

void decoder_give(struct fetch *f, struct decoder *d)
{
	(void)pthread_mutex_lock(&f->decoders_lock);
	if (f->n_decoders < DECODERS_MAX) {
		f->decoders[f->n_decoders++] = d;
		d = NULL;
	}
	(void)pthread_mutex_unlock(&f->decoders_lock);
	decoder_free(&d);
}

static void note(struct flight *fl, const struct err *why)
{
	if (fl->why == NULL)
		fl->why = xcalloc(1, sizeof(*fl->why));
	*fl->why = *why;
}

/* Verify and keep each member. A full or broken disk is no fault of the bytes: they are verified.
 */
static int keep(struct flight *fl, const struct unit_rec *u, const uint8_t *plain, struct err *e)
{
	int result = 0;
	const struct blob_layout *l = fl->blob->layout;

	for (uint32_t i = 0; i < u->n_members; i++) {
		const uint32_t chunk_idx = layout_member(l, u, i);
		const bool was_here = cas_blob_is_present(fl->blob->cas, chunk_idx);
		struct err disk;
		const int r = cas_blob_put(fl->blob->cas, chunk_idx,
		                           plain + layout_offset_in_unit(l, chunk_idx), &disk);

		if (r == CAS_MISMATCH) {
			result = err_set(e, EBADMSG, "chunk %u: wrong digest", chunk_idx);
		} else if (r == -EINVAL) { /* nothing to check it with: nobody may see it */
			*e = disk;
			result = r;
		} else if (r != 0) {
			fl->refused = true;
		}
		if (r != 0 || was_here)
			continue;
		fl->n_kept++;
		fl->kept_bytes += l->chunks[chunk_idx].plain_size_bytes;
	}
	return result;
}

/* In their own place stand plain units already: no copy. */
static bool is_plain(const struct unit_rec *u)
{
	return u->kind == UNIT_CHUNK && !u->compressed && !u->encrypted &&
	       u->packed_size_bytes == u->plain_size_bytes;
}

static void serve(struct batch *b, struct flight *fl, const uint8_t *plain)
{
	const enum fetch_found found = fl->blob->f->found_at[fl->source_idx];
	struct waiter *first;

	(void)pthread_mutex_lock(&b->lock);
	fl->served = true;
	first = fl->waiters;
	(void)pthread_mutex_unlock(&b->lock);
	for (struct waiter *w = first; w != NULL; w = w->next)
		waiter_fill(w, plain, found);
}

static bool is_packed_chunk(const struct flight *fl, const struct unit_rec *u)
{
	if (fl->by_chunk)
		return fl->form != COMPRESSOR_NONE;
	return u->kind == UNIT_CHUNK && u->compressed && !u->encrypted;
}

/* Others may have a use for it as it is packed. */
static void pass_on(struct flight *fl, const struct unit_rec *u)
{
	const struct fetch_opts *opts = &fl->blob->f->opts;
	const struct blob_layout *l = fl->blob->layout;
	struct chunk_bytes bytes = { .data = fl->packed,
		                     .size_bytes = fl->came_bytes,
		                     .form = fl->form };

	if (opts->packed == NULL || !is_packed_chunk(fl, u))
		return;
	if (!fl->by_chunk) {
		bytes.size_bytes = u->packed_size_bytes;
		bytes.form = l->compressor;
	}
	fl->packed = NULL;
	opts->packed(opts->packed_arg, fl->blob->cas, layout_member(l, u, 0), bytes);
}

/* Its plain bytes: in buffer, or where it came. */
static int open_up(struct flight *fl, const struct unit_rec *u, struct decoder *d, uint8_t *buffer,
                   const uint8_t **ret_plain, struct err *e)
{
	const struct chunk_bytes bytes = { .data = fl->packed,
		                           .size_bytes = fl->came_bytes,
		                           .form = fl->form };

	*ret_plain = came_plain(fl) || (!fl->by_chunk && is_plain(u)) ? fl->packed : buffer;
	if (*ret_plain == fl->packed)
		return 0;
	if (fl->by_chunk)
		return decoder_chunk(d, &bytes, buffer, u->plain_size_bytes, e);
	return decoder_unit(d, fl->blob->layout, fl->unit_idx, fl->packed, buffer, e);
}

/* Verified, and kept where there was room. */
static void landed(struct batch *b, struct flight *fl, const struct unit_rec *u,
                   const uint8_t *plain)
{
	fl->program = programs_is_head(u, plain);
	serve(b, fl, plain);
	pass_on(fl, u);
	free_bytes(&fl->packed);
}

static void land(struct batch *b, struct flight *fl, struct decoder *d, uint8_t *buffer)
{
	const uint8_t *plain;
	struct unit_rec u;
	struct err why;

	(void)layout_unit(fl->blob->layout, fl->unit_idx, &u); /* no hole is ever in flight */
	fl->result = open_up(fl, &u, d, buffer, &plain, &why);
	if (fl->result == 0)
		fl->result = keep(fl, &u, plain, &why);
	if (fl->result == 0) {
		landed(b, fl, &u, plain);
	} else {
		note(fl, &why);
		free_bytes(&fl->packed);
	}
}

/* ---- rows: neighbours that nobody waits for are kept by one write ---- */

/* How many flights from the first on stand side by side, with nobody who waits for one, and find
 * room in the buffer together? */
static uint32_t n_neighbours(struct batch *b, struct flight *const *flights, uint32_t n_flights)
{
	const uint32_t first = flights[0]->unit_idx;
	uint32_t room_bytes = b->plain_bytes;
	uint32_t n = 0;

	if (b->blob->layout->units != NULL) /* else a unit is a chunk */
		return 1;
	(void)pthread_mutex_lock(&b->lock);
	for (; n < n_flights && flights[n]->unit_idx == first + n; n++) {
		const uint32_t takes = came_plain(flights[n]) ? 0 : flights[n]->plain_size_bytes;

		if (takes > room_bytes || flights[n]->waiters != NULL)
			break;
		room_bytes -= takes;
	}
	(void)pthread_mutex_unlock(&b->lock);
	return n > 1 ? n : 1;
}

/* @return false: none of them is kept, and each finds out for itself why */
static bool land_row(struct batch *b, struct flight *const *flights, uint32_t n_flights,
                     struct decoder *d, uint8_t *buffer)
{
	const struct blob_layout *l = b->blob->layout;
	const uint32_t first = flights[0]->unit_idx;
	const uint8_t *plain[CAS_ROW_MAX] = { NULL };
	struct unit_rec units[CAS_ROW_MAX];
	struct err why;

	for (uint32_t i = 0; i < n_flights; i++) {
		(void)layout_unit(l, first + i, &units[i]);
		if (open_up(flights[i], &units[i], d, buffer, &plain[i], &why) < 0)
			return false;
		if (plain[i] == buffer)
			buffer += units[i].plain_size_bytes;
	}
	if (!cas_blob_put_row(b->blob->cas, first, n_flights, plain))
		return false;
	for (uint32_t i = 0; i < n_flights; i++) {
		flights[i]->n_kept = 1;
		flights[i]->kept_bytes = units[i].plain_size_bytes;
		landed(b, flights[i], &units[i], plain[i]);
	}
	return true;
}

/* They are rows, as far as the cache takes them so. */
static void land_neighbours(struct batch *b, struct flight *const *flights, uint32_t n_flights,
                            struct decoder *d, uint8_t *buffer)
{
	uint32_t n;

	for (uint32_t i = 0; i < n_flights; i += n) {
		n = n_flights - i > 1
		            ? cas_blob_row(b->blob->cas, flights[i]->unit_idx, n_flights - i)
		            : 1;
		if (n > 1 && land_row(b, &flights[i], n, d, buffer))
			continue;
		for (uint32_t k = 0; k < n; k++)
			land(b, flights[i + k], d, buffer);
	}
}

static void land_all(struct batch *b, struct decoder *d, uint8_t *buffer)
{
	uint32_t n;

	for (uint32_t i = 0; i < b->n_flights; i += n) {
		n = n_neighbours(b, &b->flights[i], b->n_flights - i);
		land_neighbours(b, &b->flights[i], n, d, buffer);
	}
}

static void lose_all(struct batch *b)
{
	struct err no_memory;

	for (uint32_t i = 0; i < b->n_flights; i++) {
		b->flights[i]->result = err_set(&no_memory, ENOMEM, "no memory to unpack");
		note(b->flights[i], &no_memory);
	}
}

static void batch_work(struct job *job)
{
	struct batch *b = container_of(job, struct batch, job);
	struct decoder *d = decoder_take(b->blob->f);
	uint8_t *buffer = malloc(b->plain_bytes + (size_t)1);

	if (d != NULL && buffer != NULL)
		land_all(b, d, buffer);
	else
		lose_all(b);
	free(buffer);
	if (d != NULL)
		decoder_give(b->blob->f, d);
}

/* ---- back on the loop ---- */

static void release_list(struct waiter **list)
{
	while (*list != NULL) {
		struct waiter *w = *list;

		*list = w->next;
		waiter_release(w);
	}
}

static void count_kept(const struct flight *fl)
{
	const struct fetch *f = fl->blob->f;

	series_add(f->chunks[fl->source_idx], fl->n_kept);
	series_add(f->chunk_bytes[fl->source_idx], (int64_t)fl->kept_bytes);
	if (f->found_at[fl->source_idx] == FOUND_ORIGIN && fl->n_kept > 0)
		series_add(f->origin_unique, fl->packed_size_bytes);
}

/* Those who came too late look again: it is ready now, or, on a full disk, asked for anew. So is
 * what was kept and is evicted again already: that is no full disk. */
void flight_landed(struct flight *fl)
{
	struct waiter *late = fl->late;
	struct err why = { .code = 0 };
	int result = 0;

	fl->landed = unit_is_ready(fl->blob, fl->unit_idx);
	if (!fl->landed && !fl->refused)
		result = CAS_MISS;
	else if (!fl->landed)
		result = err_set(&why, ENOSPC, "the disk takes no more (unit %u of blob %s)",
		                 fl->unit_idx, cas_blob_key(fl->blob->cas));
	fl->late = NULL;
	prefetches_on_unit(fl->blob, fl->unit_idx, result, &why);
	flight_end(fl);
	while (late != NULL) {
		struct waiter *w = late;

		late = w->next;
		if (waiter_is_live(w))
			waiter_place(w);
		else
			waiter_release(w);
	}
}

/* May the same source be asked once more, is there another, or is this the end? */
bool flight_was_wrong(struct flight *fl, uint32_t source_idx, uint32_t giver)
{
	struct fetch *f = fl->blob->f;
	struct source *s = f->sources[source_idx];
	const struct unit_run run = { .blob = fl->blob->cas,
		                      .layout = fl->blob->layout,
		                      .first_unit = fl->unit_idx,
		                      .n_units = 1 };
	bool again = true;

	fl->n_wrong++;
	if (!s->ops->distrust(s, &run, fl->unit_idx, giver) || fl->n_wrong >= WRONG_MAX) {
		fl->struck |= BIT(source_idx);
		fl->n_wrong = 0;
		again = false;
	}
	return again;
}

static void was_wrong(struct flight *fl)
{
	struct fetch *f = fl->blob->f;

	series_add(f->verify_failures[fl->source_idx], 1);
	log_warn(f->opts.log, "wrong bytes from a source", "source=%s blob=%s unit=%u why=%s",
	         f->sources[fl->source_idx]->ops->name, cas_blob_key(fl->blob->cas), fl->unit_idx,
	         LOG_Q(fl->why->msg));
	explain_wrong(fl);
	(void)flight_was_wrong(fl, fl->source_idx, fl->giver);
}

/* There was no memory to look at it: nobody's fault, and nobody may have it. */
static void was_lost(const struct flight *fl)
{
	log_warn(fl->blob->f->opts.log, "a unit that came was dropped", "blob=%s unit=%u why=%s",
	         cas_blob_key(fl->blob->cas), fl->unit_idx, LOG_Q(fl->why->msg));
}

static void ask_anew(struct flight *fl, uint32_t source_idx)
{
	free_bytes(&fl->packed);
	fl->n_pauses = fl->result == -ENOMEM ? fl->n_pauses : 0;
	fl->result = 0;
	fl->by_chunk = false;
	if (fl->held_bytes > 0)
		flight_hold(fl, fl->packed_size_bytes);
	fl->giver = 0;
	run_again(fl, source_idx);
}

/* Some of its chunks are wrong, the others are verified and kept: who wants none but those has
 * them. What one image says of a chunk that another has no file for is nothing to that one's
 * readers. */
static void serve_right(struct flight *fl)
{
	const enum fetch_found found = fl->blob->f->found_at[fl->source_idx];
	struct waiter **at = &fl->waiters;

	while (*at != NULL) {
		struct waiter *w = *at;
		struct waiter *next = w->next;

		if (!waiter_is_live(w) || !waiter_is_here(w)) {
			at = &w->next;
			continue;
		}
		*at = next;
		w->found = found;
		waiter_read_ready(w);
	}
}

static void settle(struct flight *fl)
{
	const int result = fl->result;

	if (result == 0) {
		count_kept(fl);
		if (fl->program && fl->waiters != NULL && fl->waiters->blocked)
			programs_add(fl->blob, fl->unit_idx);
		release_list(&fl->waiters);
		flight_landed(fl);
		return;
	}
	if (result == -EBADMSG) {
		was_wrong(fl);
		serve_right(fl);
	} else if (result == -ENOMEM) {
		was_lost(fl);
	}
	if (flight_is_waited_for(fl) && result == -EBADMSG)
		ask_anew(fl, fl->source_idx);
	else if (flight_is_waited_for(fl) && result == -ENOMEM)
		ask_anew(fl, fl->source_idx + 1);
	else
		flight_fail(fl, fl->why);
}

static void batch_after(struct job *job)
{
	struct batch *b = container_of(job, struct batch, job);
	struct fetch *f = b->blob->f;

	f->n_jobs--;
	f->in_flight_bytes -= b->plain_bytes;
	for (uint32_t i = 0; i < b->n_flights; i++)
		settle(b->flights[i]);
	batch_free(b);
	batches_pump(f);
	runs_pump(f);
	prefetches_pump(f);
	fetch_maybe_finish(f);
}
