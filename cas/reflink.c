/*
 * reflink: see the header.
 *
 *   a run of references --> its bytes are read in the owner's file and hashed --> cloned
 *        --> the owner has them still --> ready here, to be written down behind a sync
 *
 * All of it as a reader of the owner's file (nothing of it is punched) and like a writer of this
 * one (keep() in blob_io.c). Knows bits and files; rows are flush.c's.
 */
#include "reflink.h"
#include "bytes.h"
#include "data_file.h"
#include "refer.h"
#include "state.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES UINT64_C(4096)
#define TURN_BYTES  (UINT64_C(32) << 20) /* then joins have their turn */

struct run {
	struct cas_blob *owner;
	uint32_t first; /* of n chunks here */
	uint32_t owner_first;
	uint32_t n;
	uint64_t size_bytes; /* whole blocks */
	uint64_t generation; /* of the owner, before anything was looked at */
};

static uint64_t end_of(const struct chunk_rec *c)
{
	return c->plain_offset + c->plain_size_bytes;
}

void reflink_try(struct cas *cas)
{
	cas->can_clone = cas->dedup && cas->disk->can_clone(cas->disk, cas->blobs_fd);
}

static bool are_all(const struct bitmap *map, uint32_t first, uint32_t n)
{
	return bitmap_next_clear(map, first) >= first + n;
}

static bool is_any(const struct bitmap *map, uint32_t first, uint32_t n)
{
	return bitmap_next_set(map, first) < first + n;
}

/* ---- which chunks ---- */

/* Does nothing but padding follow up to the block's end? What no image described may be anywhere.
 */
static bool ends_in_padding(const struct blob_layout *l, uint32_t idx)
{
	const uint64_t end = end_of(&l->chunks[idx]);
	const struct chunk_rec *next = idx + 1 < l->n_chunks ? &l->chunks[idx + 1] : NULL;

	if (end % BLOCK_BYTES == 0)
		return true;
	if (next == NULL)
		return align_up(end, BLOCK_BYTES) <= l->plain_size_bytes;
	return next->plain_size_bytes > 0 && next->plain_offset >= align_up(end, BLOCK_BYTES);
}

/* A reference to a chunk that begins with a block on both sides. */
static bool is_fit(const struct cas_blob *blob, uint32_t idx, struct cas_blob **ret_owner,
                   uint32_t *ret_owner_idx)
{
	return !bitmap_get(blob->ready, idx) && refer_get(blob, idx, ret_owner, ret_owner_idx) &&
	       bitmap_get((*ret_owner)->ready, *ret_owner_idx) &&
	       blob_layout(blob)->chunks[idx].plain_offset % BLOCK_BYTES == 0 &&
	       blob_layout(*ret_owner)->chunks[*ret_owner_idx].plain_offset % BLOCK_BYTES == 0;
}

/* Does the chunk behind the run stand right behind it in both files? */
static bool goes_on(const struct cas_blob *blob, const struct run *run)
{
	const struct blob_layout *l = blob_layout(blob);
	const struct blob_layout *theirs = blob_layout(run->owner);
	const uint32_t idx = run->first + run->n;
	struct cas_blob *owner = NULL;
	uint32_t owner_idx = 0;

	return idx < l->n_chunks && is_fit(blob, idx, &owner, &owner_idx) && owner == run->owner &&
	       owner_idx == run->owner_first + run->n &&
	       l->chunks[idx].plain_offset == align_up(end_of(&l->chunks[idx - 1]), BLOCK_BYTES) &&
	       theirs->chunks[owner_idx].plain_offset ==
	               align_up(end_of(&theirs->chunks[owner_idx - 1]), BLOCK_BYTES);
}

static void measure_run(const struct cas_blob *blob, struct run *run)
{
	const struct chunk_rec *chunks = blob_layout(blob)->chunks;

	run->size_bytes = align_up(end_of(&chunks[run->first + run->n - 1]), BLOCK_BYTES) -
	                  chunks[run->first].plain_offset;
}

/* The run that begins here. @return false: none does */
static bool run_at(const struct cas_blob *blob, uint32_t idx, struct run *ret_run)
{
	struct run run = { .first = idx, .n = 1 };
	uint32_t last;

	if (!is_fit(blob, idx, &run.owner, &run.owner_first))
		return false;
	measure_run(blob, &run);
	while (run.size_bytes < REFLINK_RUN_BYTES && goes_on(blob, &run)) {
		run.n++;
		measure_run(blob, &run);
	}
	last = run.n - 1;
	if (!ends_in_padding(blob_layout(blob), idx + last) ||
	    !ends_in_padding(blob_layout(run.owner), run.owner_first + last))
		run.n--; /* behind the others is the one that was left out */
	if (run.n == 0)
		return false;
	measure_run(blob, &run);
	*ret_run = run;
	return true;
}

/* ---- the bytes ---- */

/* What was taken back there meanwhile may be half replaced. */
static bool has_them_still(const struct run *run)
{
	return atomic_load(&run->owner->generation) == run->generation &&
	       are_all(run->owner->ready, run->owner_first, run->n);
}

static void was_wrong(const struct cas_blob *blob, const struct run *run, uint32_t idx)
{
	static const char *const from_dedup[] = { "dedup" };

	if (!has_them_still(run))
		return;
	metrics_add(blob->cas->metrics, METRIC_VERIFY_FAILURES, from_dedup, 1);
	blob_void(run->owner, run->owner_first + (idx - run->first), VOID_WRONG_BYTES);
}

/* Every chunk of the run, and zeros behind each. @param bytes  the run's, as they stand there */
static bool are_right(const struct cas_blob *blob, const struct run *run, const uint8_t *bytes)
{
	const struct blob_layout *l = blob_layout(blob);
	const uint64_t from = l->chunks[run->first].plain_offset;

	for (uint32_t i = run->first; i < run->first + run->n; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		const uint8_t *at = bytes + (c->plain_offset - from);

		if (!digest_matches(l->digest_alg, at, c->plain_size_bytes, c->digest)) {
			was_wrong(blob, run, i);
			return false;
		}
		if (!all_zero(at + c->plain_size_bytes,
		              align_up(end_of(c), BLOCK_BYTES) - end_of(c)))
			return false;
	}
	return true;
}

static bool verify(const struct cas_blob *blob, const struct run *run)
{
	const uint64_t from = blob_layout(run->owner)->chunks[run->owner_first].plain_offset;
	uint8_t *bytes = malloc(run->size_bytes);
	const bool ok = bytes != NULL &&
	                data_file_read(blob->cas->disk, run->owner->fd, from, run->size_bytes,
	                               bytes) == 0 &&
	                are_right(blob, run, bytes);

	free(bytes);
	return ok;
}

/* @return false: not now, or not at all */
static bool clone_bytes(struct cas_blob *blob, const struct run *run)
{
	const struct disk *d = blob->cas->disk;
	const uint64_t from = blob_layout(run->owner)->chunks[run->owner_first].plain_offset;
	const uint64_t to = blob_layout(blob)->chunks[run->first].plain_offset;

	if (d->clone(d, run->owner->fd, (off_t)from, (off_t)run->size_bytes, blob->fd, (off_t)to) ==
	    0)
		return true;
	if (errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL) /* it never will */
		atomic_store(&blob->cannot_clone, true);
	log_debug(blob->cas->log, "chunks stay referred to", "blob=%s why=%s", blob->key,
	          LOG_Q(strerrordesc_np(errno)));
	return false;
}

/* ---- the bits ---- */

/* Nobody is told: they were present. */
static void mark_ready(struct cas_blob *blob, const struct run *run)
{
	for (uint32_t i = 0; i < run->n; i++) {
		const uint32_t idx = run->first + i;

		atomic_store_explicit(&blob->used[idx],
		                      atomic_load_explicit(&run->owner->used[run->owner_first + i],
		                                           memory_order_relaxed),
		                      memory_order_relaxed);
		(void)bitmap_set(blob->ready, idx);
		(void)bitmap_set(blob->dirty, idx / READY_SLICE_BITS);
		refer_drop(blob, idx);
	}
	flush_timer_wake(&blob->cas->flush_timer);
}

/* As a reader of the owner. */
static bool clone_held(struct cas_blob *blob, struct run *run)
{
	run->generation = atomic_load(&run->owner->generation);
	if (!has_them_still(run) || !verify(blob, run) ||
	    is_any(blob->barred, run->first, run->n) || !clone_bytes(blob, run) ||
	    !has_them_still(run))
		return false;
	mark_ready(blob, run);
	return true;
}

/* @param ret_run  of n 0: there are no more */
static uint32_t step(struct cas_blob *blob, uint32_t *at, struct run *ret_run)
{
	const uint32_t n_chunks = blob_layout(blob)->n_chunks;
	struct run run = { .n = 0 };
	uint32_t turn;
	uint32_t owner_turn;
	bool cloned;

	while (*at < n_chunks && !run_at(blob, *at, &run))
		*at += 1;
	*ret_run = run;
	if (*at >= n_chunks || run.owner == NULL)
		return 0;
	*at += run.n;
	turn = readers_enter(&blob->readers);
	owner_turn = readers_enter(&run.owner->readers);
	cloned = clone_held(blob, &run);
	readers_leave(&run.owner->readers, owner_turn);
	readers_leave(&blob->readers, turn);
	return cloned ? run.n : 0;
}

uint32_t reflink_step(struct cas_blob *blob, uint32_t *at)
{
	struct run run;

	return step(blob, at, &run);
}

/* ---- behind everybody's back ---- */

static void submit(struct cas_blob *blob);

/* [helper] */
static void clone_work(struct job *job)
{
	struct cas_blob *blob = container_of(job, struct cas_blob, clone_job);
	const struct cas *cas = blob->cas;
	const uint32_t n_chunks = blob_layout(blob)->n_chunks;
	uint64_t bytes = 0; /* looked at, cloned or not: it is reading that takes the time */

	if (atomic_exchange(&blob->clone_wanted, false))
		blob->clone_at = 0;
	while (blob->clone_at < n_chunks && bytes < TURN_BYTES && !atomic_load(&cas->closing) &&
	       !atomic_load(&blob->cannot_clone)) {
		struct run run;

		(void)step(blob, &blob->clone_at, &run);
		bytes += run.size_bytes;
	}
	if (bytes >= TURN_BYTES) {
		submit(blob);
		return;
	}
	atomic_store(&blob->clone_queued, false);
	if (atomic_load(&blob->clone_wanted))
		reflink_soon(blob);
	cas_blob_release(&blob);
}

static void submit(struct cas_blob *blob)
{
	blob->clone_job = (struct job){ .work = clone_work, .prio = JOB_PREFETCH };
	pool_submit(blob->cas->helper, &blob->clone_job);
}

void reflink_soon(struct cas_blob *blob)
{
	if (!blob->cas->can_clone || atomic_load(&blob->refers) == NULL ||
	    atomic_load(&blob->cannot_clone) || atomic_load(&blob->cas->closing))
		return;
	atomic_store(&blob->clone_wanted, true);
	if (atomic_exchange(&blob->clone_queued, true))
		return;
	(void)cas_blob_ref(blob);
	submit(blob);
}
