/*
 * evict_batch: the steps that take a group of chunks out of one blob's file:
 *
 *   bar, clear the bit --> synced transaction --> readers and writers of that moment are gone
 *        --> punch what lies between chunks that are ready --> un-bar
 *
 * All of it is one job of the writer, so that no ready map is written meanwhile, and whoever wants
 * a barred chunk back waits for it (blob_clear_now()). Whole runs of missing chunks are barred and
 * punched: neighbours of victims may share a block with them. Knows not why these and no others.
 */
#include "bytes.h"
#include "evict.h"
#include "gc.h"
#include "hand_out.h"
#include "layout.h"
#include "ready_rows.h"
#include "share_rules.h"
#include "state.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES UINT64_C(4096)

/* ---- bits ---- */

static void take_back(struct evict_batch *b)
{
	struct cas_blob *blob = b->blob;

	b->n_chunks = 0;
	b->generation = atomic_load(&blob->generation);
	for (uint32_t i = bitmap_next_set(b->victims, 0); i < b->victims->n_bits;
	     i = bitmap_next_set(b->victims, i + 1)) {
		/* Barred by another: being taken back already. */
		const bool mine = bitmap_set(blob->barred, i);

		if (mine)
			(void)bitmap_set(b->barred_here, i);
		if (mine && bitmap_clear(blob->ready, i)) {
			b->n_chunks++;
			share_went(blob, i);
		} else {
			(void)bitmap_clear(b->victims, i);
		}
	}
}

static void unbar(struct evict_batch *b)
{
	for (uint32_t i = bitmap_next_set(b->barred_here, 0); i < b->barred_here->n_bits;
	     i = bitmap_next_set(b->barred_here, i + 1)) {
		(void)bitmap_clear(b->blob->barred, i);
		(void)bitmap_clear(b->barred_here, i);
	}
	blob_voids_wait(b->blob);
}

/* The bytes are all there still, whatever the database says: it is told again. But a reader of that
 * moment may have found one of them wrong, and took it for barred already: then all stay away, and
 * their bars are the job's that records such faults. Otherwise the bars go together with that: a
 * reader of any later moment sets one of its own, which unbar() does not take for ours. */
static void give_back(struct evict_batch *b)
{
	struct cas_blob *blob = b->blob;
	bool is_faulty;

	(void)pthread_mutex_lock(&blob->mutex);
	is_faulty = atomic_load(&blob->generation) != b->generation;
	for (uint32_t i = bitmap_next_set(b->victims, 0); i < b->victims->n_bits;
	     i = bitmap_next_set(b->victims, i + 1)) {
		(void)bitmap_clear(b->barred_here, i);
		if (!is_faulty) {
			(void)bitmap_set(blob->ready, i); /* first: nobody may write it */
			(void)bitmap_clear(blob->barred, i);
		}
	}
	(void)pthread_mutex_unlock(&blob->mutex);
	for (uint32_t i = bitmap_next_set(b->victims, 0); i < b->victims->n_bits;
	     i = bitmap_next_set(b->victims, i + 1)) {
		(void)bitmap_clear(b->victims, i);
		if (!is_faulty)
			blob_became_ready(blob, i);
	}
	unbar(b);
	b->n_chunks = 0;
}

/* ---- the database ---- */

static int clear_rows(struct cas *cas, const struct evict_batch *b, struct err *e)
{
	int r;

	if (b->n_chunks == 0 || b->blob->row == 0)
		return 0;
	r = ready_rows_clear(cas->db, b->blob->row, b->victims, e);
	if (r != -ENOSPC)
		return r;
	/* On a full disk nothing can be freed before this is written: that is what ballast is for.
	 */
	if (!evict_give_ballast(cas))
		return r;
	return ready_rows_clear(cas->db, b->blob->row, b->victims, e);
}

/* ---- holes ---- */

/* A run of chunks that are not ready, and the bytes between those that are. */
struct run {
	uint32_t first;
	uint32_t end;
	uint64_t from;
	uint64_t to;
	uint32_t victim; /* the first at or behind `first`; a walk looks at each of them once */
};

/* The next run behind this one; from the beginning where its end is 0. @return false: there is none
 */
static bool next_run(const struct evict_batch *b, struct run *inout_run)
{
	const struct bitmap *ready = b->blob->ready;
	const uint32_t n = b->layout->n_chunks;
	struct run run = { .victim = inout_run->victim };

	run.first = bitmap_next_clear(ready, inout_run->end);
	if (run.first >= n)
		return false;
	run.end = bitmap_next_set(ready, run.first);
	run.end = run.end < n ? run.end : n;
	run.from = 0;
	run.to = b->layout->plain_size_bytes;
	if (run.first > 0) {
		const struct chunk_rec *before = &b->layout->chunks[run.first - 1];

		run.from = before->plain_offset + before->plain_size_bytes;
	}
	if (run.end < n)
		run.to = b->layout->chunks[run.end].plain_offset;
	run.from = align_up(run.from, BLOCK_BYTES);
	if (run.end < n)
		run.to &= ~(BLOCK_BYTES - 1);
	else
		run.to = align_up(run.to, BLOCK_BYTES);
	if (inout_run->end == 0 || run.victim < run.first)
		run.victim = bitmap_next_set(b->victims, run.first);
	*inout_run = run;
	return true;
}

static bool is_wanted(const struct evict_batch *b, const struct run *run)
{
	return b->trim || run->victim < run->end;
}

/* Whoever writes a chunk of the runs now is waited for, or waits. */
static void bar_runs(struct evict_batch *b)
{
	struct run run = { .end = 0 };

	while (next_run(b, &run))
		for (uint32_t i = run.first; i < run.end && is_wanted(b, &run); i++)
			if (bitmap_set(b->blob->barred, i))
				(void)bitmap_set(b->barred_here, i);
}

/* Does the layout describe all that is ready? Otherwise nobody here knows where it stands. */
static bool knows_all(const struct evict_batch *b)
{
	for (uint32_t i = bitmap_next_set(b->blob->ready, 0); i < b->layout->n_chunks;
	     i = bitmap_next_set(b->blob->ready, i + 1))
		if (b->layout->chunks[i].plain_size_bytes == 0)
			return false;
	return true;
}

/* Chunks of others' bars may be written, or be wrong, right now: leave such a run to the next one.
 */
static bool all_barred_here(const struct evict_batch *b, const struct run *run)
{
	const uint32_t gap = bitmap_next_clear(b->barred_here, run->first);

	return gap >= run->end;
}

static void punch(struct cas *cas, struct evict_batch *b, const struct run *run)
{
	const struct disk *d = cas->disk;
	const off_t data = d->seek(d, b->blob->fd, (off_t)run->from, SEEK_DATA);

	if (run->from >= run->to || data < 0 || (uint64_t)data >= run->to)
		return; /* a hole already */
	if (cas->can_clone)
		b->shared_bytes += measure_shared(b->blob->fd, run->from, run->to);
	if (d->punch(d, b->blob->fd, (off_t)run->from, (off_t)(run->to - run->from)) == 0)
		return;
	if (errno == EOPNOTSUPP && !atomic_exchange(&cas->evictor.cannot_punch, true))
		log_error(cas->log, "this file system cannot free a part of a file: no eviction",
		          "%s", "");
	else if (errno != EOPNOTSUPP)
		log_error(cas->log, "evicted chunks still take their space", "blob=%s why=%s",
		          b->blob->key, LOG_Q(strerrordesc_np(errno)));
}

static void punch_runs(struct cas *cas, struct evict_batch *b)
{
	struct run run = { .end = 0 };
	const uint64_t before = measure_fd(b->blob->fd);
	uint64_t after;

	/* Looked at anew: what was being written when the runs were barred is ready now, and
	 * nothing else comes between them while they are. */
	while (next_run(b, &run))
		if (is_wanted(b, &run) && all_barred_here(b, &run))
			punch(cas, b, &run);
	after = measure_fd(b->blob->fd);
	after += b->shared_bytes; /* others have them still */
	b->freed_bytes = before > after ? before - after : 0;
	room_freed(&cas->room, b->freed_bytes);
}

static int run_on_writer(struct cas *cas, void *arg, struct err *e)
{
	struct evict_batch *b = arg;
	int r;

	b->freed_bytes = 0;
	b->shared_bytes = 0;
	b->n_chunks = 0;
	b->knows_all = knows_all(b);
	if (!b->knows_all || cas_blob_is_pinned(b->blob) || blob_is_held_elsewhere(b->blob))
		return 0;
	take_back(b);
	r = clear_rows(cas, b, e);
	if (r < 0) {
		give_back(b);
		return err_wrap(e, "evicting chunks of blob %s", b->blob->key);
	}
	bar_runs(b);
	readers_wait(&b->blob->readers);
	b->knows_all = knows_all(b);
	if (!b->knows_all) { /* another image has described more, and it came, just now */
		give_back(b);
		return 0;
	}
	punch_runs(cas, b);
	unbar(b);
	return 0;
}

int evict_batch_run(struct cas *cas, struct evict_batch *batch, struct err *e)
{
	return writer_do(cas, run_on_writer, batch, e);
}
