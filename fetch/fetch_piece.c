/*
 * fetch_piece: chunks from sources that do not pack as the origin does.
 *
 * A chunk that is its own unit takes the way of units (fetch_batch.c). One of several in a unit is
 * a piece: verified and kept at once, and handed to the readers that wait for it, so that a reader
 * need not wait for the rest of the unit and nothing is lost when that comes from somewhere else.
 * The run waits for its pieces before it goes on.
 */
#include "decode.h"
#include "engine.h"
#include "mem.h"
#include "metrics.h"
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

static uint32_t plain_size(const struct piece *p)
{
	return p->blob->layout->chunks[p->chunk_idx].plain_size_bytes;
}

static int unpack(struct piece *p, uint8_t *plain)
{
	struct decoder *d = decoder_take(p->blob->f);
	const int r = d != NULL ? decoder_chunk(d, &p->bytes, plain, plain_size(p), &p->why)
	                        : err_set(&p->why, ENOMEM, "no memory to unpack");

	if (d != NULL)
		decoder_give(p->blob->f, d);
	return r;
}

/* Others may have a use for it as it came. */
static void pass_on(const struct piece *p, struct chunk_bytes packed)
{
	const struct fetch_opts *opts = &p->blob->f->opts;

	if (opts->packed != NULL && p->result == 0)
		opts->packed(opts->packed_arg, p->blob->cas, p->chunk_idx, packed);
	else
		free(packed.data);
}

static void packed_piece_work(struct piece *p)
{
	const struct chunk_bytes packed = p->bytes;
	AUTO(free_bytes) uint8_t *plain = malloc(plain_size(p));

	p->result = plain != NULL ? unpack(p, plain) : err_set(&p->why, ENOMEM, "no memory");
	p->judged = p->result == 0 || p->result == -EBADMSG;
	if (p->result == 0)
		p->result = cas_blob_put(p->blob->cas, p->chunk_idx, plain, &p->why);
	else if (p->result == -EBADMSG)
		p->result = CAS_MISMATCH;
	p->bytes = (struct chunk_bytes){ .data = plain };
	plain = NULL;
	pass_on(p, packed);
}

static void piece_work(struct job *job) /* worker */
{
	struct piece *p = container_of(job, struct piece, job);

	if (p->bytes.form != COMPRESSOR_NONE) {
		packed_piece_work(p);
		return;
	}
	p->judged = true;
	p->result = cas_blob_put(p->blob->cas, p->chunk_idx, p->bytes.data, &p->why);
}

static void was_wrong(struct piece *p, struct flight *fl)
{
	struct fetch *f = p->blob->f;
	bool again;

	(void)err_set(&p->why, EBADMSG, "chunk %u: wrong digest", p->chunk_idx);
	series_add(f->verify_failures[p->source_idx], 1);
	log_warn(f->opts.log, "wrong bytes from a source", "source=%s blob=%s chunk=%u",
	         f->sources[p->source_idx]->ops->name, cas_blob_key(p->blob->cas), p->chunk_idx);
	if (fl == NULL)
		return;
	again = flight_was_wrong(fl, p->source_idx, p->giver);
	if (p->run == NULL)
		return;
	p->run->why = p->why;
	p->run->again = p->run->again || again;
	if (!again)
		p->run->struck |= BIT(p->source_idx);
}

/* There was no memory to look at it: nobody's fault, and nobody may have it. The next source is
 * asked. */
static void was_lost(const struct piece *p)
{
	log_warn(p->blob->f->opts.log, "a chunk that came was dropped", "blob=%s chunk=%u why=%s",
	         cas_blob_key(p->blob->cas), p->chunk_idx, LOG_Q(p->why.msg));
	if (p->run != NULL)
		p->run->why = p->why;
}

/* @return w wants no more of its unit: it is answered, or will be */
static bool serve_one(struct piece *p, struct waiter *w)
{
	const enum fetch_found found = p->blob->f->found_at[p->source_idx];

	if (!waiter_wants(w, p->chunk_idx))
		return false;
	if (p->result != 0) { /* verified, not kept: from memory */
		if (!waiter_fill_chunk(w, p->chunk_idx, p->bytes.data, found))
			return false;
		waiter_release(w);
		return true;
	}
	if (!waiter_is_here(w))
		return false;
	w->found = found;
	waiter_read_ready(w);
	return true;
}

static void serve(struct piece *p, struct flight *fl)
{
	struct waiter **at = &fl->waiters;

	while (*at != NULL) {
		struct waiter *w = *at;
		struct waiter *next = w->next;

		if (serve_one(p, w))
			*at = next;
		else
			at = &w->next;
	}
}

static void was_right(struct piece *p, struct flight *fl)
{
	struct fetch *f = p->blob->f;

	if (p->result == 0) {
		series_add(f->chunks[p->source_idx], 1);
		series_add(f->chunk_bytes[p->source_idx], plain_size(p));
		/* (Another blob may have it packed a little otherwise.) */
		if (f->found_at[p->source_idx] == FOUND_ORIGIN)
			series_add(f->origin_unique,
			           (int64_t)layout_share_bytes(p->blob->layout, p->chunk_idx));
	} else if (p->run != NULL) {
		p->run->disk_full = true;
	}
	if (fl == NULL)
		return;
	serve(p, fl);
	if (unit_is_ready(fl->blob, fl->unit_idx)) {
		/* Workers are ahead of what the loop has heard: who waits for a piece that it has
		 * not heard of yet looks again. */
		LL_CONCAT(fl->late, fl->waiters);
		fl->waiters = NULL;
		fl->run = NULL;
		flight_landed(fl);
	}
}

static void piece_after(struct job *job)
{
	struct piece *p = container_of(job, struct piece, job);
	struct fetch_blob *blob = p->blob;
	struct fetch *f = blob->f;
	struct run *run = p->run;
	struct flight *fl = flight_find(blob, p->unit_idx);

	f->n_jobs--;
	f->in_flight_bytes -= plain_size(p);
	if (fl != NULL && fl->run == NULL)
		fl = NULL; /* all of it came another way meanwhile: that tells the readers */
	if (!p->judged)
		was_lost(p);
	else if (p->result == CAS_MISMATCH ||
	         p->result == -EINVAL) /* wrong, or not to be checked */
		was_wrong(p, fl);
	else
		was_right(p, fl);
	if (run != NULL) {
		if (p->judged)
			run_has_part(run);
		DL_DELETE(run->pieces, p);
	}
	free(p->bytes.data);
	free(p);
	if (run != NULL && run->ended && run->pieces == NULL)
		run_settled(run);
	blob_drop(blob);
	batches_pump(f);
	runs_pump(f);
	prefetches_pump(f);
	fetch_maybe_finish(f);
}

static void piece_start(struct run *run, const struct flight *fl, const struct piece *given)
{
	struct fetch *f = run->blob->f;
	struct piece *p = xcalloc(1, sizeof(*p));

	*p = *given;
	p->run = run;
	p->blob = run->blob;
	p->unit_idx = fl->unit_idx;
	p->source_idx = run->source_idx;
	p->job = (struct job){ .work = piece_work, .after = piece_after, .prio = JOB_PREFETCH };
	if (fl->waiters != NULL)
		p->job.prio = JOB_READER;
	else if (run->prio != RUN_PREFETCH)
		p->job.prio = JOB_NORMAL;
	blob_hold(p->blob);
	DL_APPEND(run->pieces, p);
	f->n_jobs++;
	f->in_flight_bytes += plain_size(p);
	pool_submit(f->opts.pool, &p->job);
}

/* What a peer gave is kept at once, not when its batch is full or its run is over: others may wait
 * for it here, and this node for what they wait for. */
static void on_round_over(struct loop_call *call)
{
	struct fetch *f = container_of(call, struct fetch, chunks_call);
	struct run *run;

	f->chunks_posted = false;
	DL_FOREACH(f->runs, run)
	{
		if (run->open != NULL && run->open->flights[0]->by_chunk)
			batch_close(run);
	}
}

static void close_after_this_round(struct fetch *f)
{
	if (f->chunks_posted)
		return;
	f->chunks_posted = true;
	f->chunks_call.fn = on_round_over;
	loop_post(f->opts.loop, &f->chunks_call);
}

void run_on_chunk(void *arg, uint32_t chunk_idx, struct chunk_bytes bytes, uint32_t giver)
{
	struct run *run = arg;
	const struct blob_layout *l = run->blob->layout;
	struct flight *fl = NULL;

	if (run->first_unit_ns == 0)
		run->first_unit_ns = clock_now_ns(run->blob->f->opts.clock);
	if (chunk_idx < l->n_chunks && l->chunks[chunk_idx].plain_size_bytes > 0)
		fl = run_flight(run, layout_unit_of(l, chunk_idx));
	if (fl == NULL) { /* not asked for, or given already */
		free(bytes.data);
		return;
	}
	if (l->units != NULL) {
		const struct piece given = { .chunk_idx = chunk_idx,
			                     .bytes = bytes,
			                     .giver = giver };

		explain_fate(run, fl->unit_idx, FATE_PART);
		piece_start(run, fl, &given);
		return;
	}
	fl->packed = bytes.data;
	fl->by_chunk = true;
	fl->form = bytes.form;
	fl->came_bytes = bytes.size_bytes;
	flight_hold(fl, bytes.size_bytes);
	fl->giver = giver;
	run_brought(run, fl);
	batch_add(run, fl);
	close_after_this_round(run->blob->f);
}

void pieces_forget(struct run *run)
{
	struct piece *p;
	struct piece *next;

	DL_FOREACH_SAFE(run->pieces, p, next)
	{
		DL_DELETE(run->pieces, p);
		p->run = NULL;
	}
}
