/*
 * tree_read: the bytes of files: a FUSE read becomes pieces of chunks, which fetch fills in.
 *
 * A read lives in one block: what describes it, then the bytes of the answer. Where all chunks are
 * ready, the FUSE thread answers and puts the block back: no allocation. Otherwise the block stays
 * with the read until fetch is done, and is answered on whatever thread that is.
 *
 *   HELD by its thread --fetch_read() says PENDING--> LISTED --done()--> answered, block back
 *     `-- done() came first: answered --its thread lets go--> block back
 *
 * Where a reader goes from small file to small file, those that follow are put into the kernel's
 * page cache by the same way (a read without a request), as far as their chunks are here.
 *
 * Knows the image's map and fetch. Does not know where bytes come from.
 */
#include "blob_files.h"
#include "bytes.h"
#include "fuse_member.h"
#include "read_log.h"
#include "share.h"
#include "tree.h"
#include "tree_ahead.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>
#include <utlist.h>

/* 1 MiB of chunks of at least 4 KiB is 257 pieces at most. More is an image of other making. */
#define READ_PIECES_MAX   512
#define PAGE_BYTES        4096U
#define READ_SEGMENTS_MAX 64 /* asked of the image at once */
#define AHEAD_FILES_MAX   64
#define READ_LOG_EVERY_NS NS_PER_S

struct tree_read {
	struct fetch_read fetch;
	struct tree *tree;
	fuse_req_t req; /* NULL: nobody asked, see bring_file() */
	uint64_t node;
	uint64_t offset;
	uint32_t size_bytes; /* of the answer */
	uint64_t started_ns;
	struct fuse_asked asked; /* for those who watch; once it is listed */

	/* Under tree->lock once fetch has it. The block goes back when the last holder lets go. */
	uint32_t n_holders; /* its thread until it has listed it; done(); a canceller */
	bool counted;       /* in n_pending */
	bool answered;
	bool listed;
	bool cancelled;
	struct tree_read *prev, *next;

	struct fetch_piece pieces[READ_PIECES_MAX];
	_Alignas(64) uint8_t bytes[];
};

static_assert(sizeof(struct tree_read) + FUSE_READ_MAX_BYTES <= FUSE_BLOCK_BYTES,
              "a read must fit its block");

/* One line a second a mount: a dead registry must not fill the disk with log. */
static void log_failed(struct tree_read *read, const struct err *why)
{
	struct tree *tree = read->tree;
	const uint64_t now_ns = clock_now_ns(tree->clock);
	uint64_t n_unlogged = 0;
	bool quiet;

	pthread_mutex_lock(&tree->lock);
	quiet = now_ns < tree->read_log_after_ns;
	if (quiet) {
		tree->n_reads_unlogged++;
	} else {
		n_unlogged = tree->n_reads_unlogged;
		tree->n_reads_unlogged = 0;
		tree->read_log_after_ns = now_ns + READ_LOG_EVERY_NS;
	}
	pthread_mutex_unlock(&tree->lock);
	if (!quiet)
		log_error(tree->log, "read failed",
		          "image=%s node=%" PRIu64 " offset=%" PRIu64 " bytes=%" PRIu32
		          " why=%s more_not_logged=%" PRIu64,
		          LOG_Q(tree->image->name), read->node, read->offset, read->size_bytes,
		          LOG_Q(why->msg), n_unlogged);
}

static void count_bytes(const struct tree_read *read)
{
	const struct tree *tree = read->tree;

	for (uint32_t i = 0; i < N_FOUND; i++) {
		if (read->fetch.found_bytes[i] > 0)
			series_add(tree->read_bytes[i], (int64_t)read->fetch.found_bytes[i]);
	}
}

static struct failed_read as_failed(const struct tree_read *read, uint64_t at_ns)
{
	return (struct failed_read){ .thread = fuse_req_ctx(read->req)->pid,
		                     .node = read->node,
		                     .offset = read->offset,
		                     .end = read->offset + read->size_bytes,
		                     .at_ns = at_ns };
}

/* Before the answer: the kernel asks for one page of it again as soon as it has that. A single page
 * of a blob's file is EROFS's second try already, or one that has none: what is noted of it would
 * be held against the next reader. */
static void note_failed(struct tree_read *read)
{
	const uint64_t now_ns = clock_now_ns(read->tree->clock);
	const struct failed_read failed = as_failed(read, now_ns);

	if (read->tree->files != NULL && read->size_bytes <= PAGE_BYTES)
		return;
	atomic_store(&read->tree->last_failed_ns, now_ns);
	pthread_mutex_lock(&read->tree->lock);
	failed_reads_add(&read->tree->failed_reads, &failed);
	pthread_mutex_unlock(&read->tree->lock);
}

/* Takes no lock where nothing failed lately. */
static bool has_just_failed(struct tree_read *read)
{
	const struct failed_read asked = as_failed(read, read->started_ns);
	const uint64_t last_ns = atomic_load(&read->tree->last_failed_ns);
	bool failed;

	if (last_ns == 0 || asked.at_ns > last_ns + FAILED_READ_NS)
		return false;
	pthread_mutex_lock(&read->tree->lock);
	failed = failed_reads_take(&read->tree->failed_reads, &asked);
	pthread_mutex_unlock(&read->tree->lock);
	return failed;
}

/* Answer the kernel, if it asked: exactly once a read. */
static void answer(struct tree_read *read, int result, const struct err *why)
{
	if (read->req == NULL) /* brought ahead, and not here after all: who wants it will ask */
		return;
	if (result != 0 && atomic_load(&read->tree->handing_over)) {
		fuse_reply_none(read->req); /* the next process is asked again */
		return;
	}
	if (result == 0) {
		count_bytes(read);
		series_observe_ns(read->tree->read_seconds[read->fetch.found],
		                  clock_now_ns(read->tree->clock) - read->started_ns);
		(void)fuse_reply_buf(read->req, (const char *)read->bytes, read->size_bytes);
		return;
	}
	if (result != -ECANCELED)
		log_failed(read, why);
	note_failed(read);
	(void)fuse_reply_err(read->req, EIO);
}

/* The last holder gives the block back. Who waits for the last read of all is told, and may free
 * the tree at once: nothing of it is touched after that. */
static void let_go(struct tree_read *read)
{
	struct tree *tree = read->tree;
	struct block_list *blocks = tree->blocks;
	bool last_holder;
	bool drained = false;

	pthread_mutex_lock(&tree->lock);
	last_holder = --read->n_holders == 0;
	if (last_holder && read->counted) {
		drained = --tree->n_pending == 0 && tree->drain_wanted;
		tree->drain_wanted = tree->drain_wanted && !drained;
	}
	pthread_mutex_unlock(&tree->lock);
	if (last_holder)
		block_give(blocks, read);
	if (drained)
		tree->drained(tree);
}

static void read_done(struct fetch_read *f, int result, const struct err *why)
{
	struct tree_read *read = container_of(f, struct tree_read, fetch);
	struct tree *tree = read->tree;

	answer(read, result, why);
	pthread_mutex_lock(&tree->lock);
	read->answered = true;
	if (read->listed)
		DL_DELETE(tree->pending, read);
	read->listed = false;
	pthread_mutex_unlock(&tree->lock);
	let_go(read);
}

/* One segment of the image becomes one piece. @return -EUCLEAN it does not fit its blob */
static int add_piece(struct tree_read *read, const struct image_segment *seg, struct err *e)
{
	const struct lazy_image *image = read->tree->image;
	struct fetch_piece *piece = &read->fetch.pieces[read->fetch.n_pieces];

	*piece = (struct fetch_piece){ .size_bytes = seg->size_bytes,
		                       .dst = read->bytes + (seg->file_offset - read->offset) };
	read->fetch.n_pieces++;
	if (seg->blob_idx == IMAGE_BLOB_NONE)
		return 0;
	if (seg->blob_idx >= image->n_blobs ||
	    !image_segment_fits(seg, cas_blob_layout(fetch_blob_cas(image->blobs[seg->blob_idx]))))
		return err_set(e, EUCLEAN,
		               "file offset %" PRIu64 " names chunk %" PRIu32 " of blob %" PRIu32
		               ", which is not there",
		               seg->file_offset, seg->chunk_idx, seg->blob_idx);
	piece->blob = image->blobs[seg->blob_idx];
	piece->chunk_idx = seg->chunk_idx;
	piece->chunk_offset = seg->chunk_offset;
	return 0;
}

/* Turn [offset, + wanted_bytes) of the file into pieces; size_bytes is what is left of it at the
 * end of the file. Never less than that: the kernel takes a short answer for the end of the file
 * and fills the page with zeros. */
static int plan_file(struct tree_read *read, uint32_t wanted_bytes, struct err *e)
{
	struct image_segment segments[READ_SEGMENTS_MAX];
	int n = READ_SEGMENTS_MAX;

	while (n == READ_SEGMENTS_MAX && read->size_bytes < wanted_bytes) {
		n = image_map(read->tree->image->image, read->node, read->offset + read->size_bytes,
		              wanted_bytes - read->size_bytes, segments, READ_SEGMENTS_MAX, e);
		if (n < 0)
			return n;
		if (read->fetch.n_pieces + (uint32_t)n > READ_PIECES_MAX)
			return err_set(e, EUCLEAN, "more than %d chunks in 1 MiB of a file",
			               READ_PIECES_MAX);
		for (int i = 0; i < n; i++) {
			const int r = add_piece(read, &segments[i], e);

			if (r < 0)
				return r;
			read->size_bytes += segments[i].size_bytes;
		}
	}
	assert(read->size_bytes <= wanted_bytes);
	return 0;
}

/* The same for a file that is a blob. Where pieces run out the answer would be short: see above. */
static int plan_blob(struct tree_read *read, uint32_t wanted_bytes, struct err *e)
{
	while (read->size_bytes < wanted_bytes) {
		struct fetch_piece *piece = &read->pieces[read->fetch.n_pieces];
		int r;

		if (read->fetch.n_pieces == READ_PIECES_MAX)
			return err_set(e, EUCLEAN, "more than %d chunks in 1 MiB of a blob",
			               READ_PIECES_MAX);
		r = blob_files_piece(read->tree->files, read->node, read->offset + read->size_bytes,
		                     wanted_bytes - read->size_bytes, piece);
		if (r != 0)
			return r < 0 ? err_set(e, -r, "no such blob") : 0;
		piece->dst = read->bytes + read->size_bytes;
		read->size_bytes += piece->size_bytes;
		read->fetch.n_pieces++;
	}
	return 0;
}

static int plan(struct tree_read *read, uint32_t wanted_bytes, struct err *e)
{
	return read->tree->files != NULL ? plan_blob(read, wanted_bytes, e)
	                                 : plan_file(read, wanted_bytes, e);
}

/* As plan(). @return -EIO: it is the second try of what has failed */
static int plan_once(struct tree_read *read, uint32_t wanted_bytes, struct err *e)
{
	const int r = plan(read, wanted_bytes, e);

	return r == 0 && has_just_failed(read) ? -EIO : r;
}

/* fetch has it. List it, so that it can be cancelled, unless done() has come and gone. */
static void list_pending(struct tree_read *read)
{
	struct tree *tree = read->tree;

	(void)fuse_pool_asked(tree->fuse_pool, &read->asked);
	pthread_mutex_lock(&tree->lock);
	if (read->n_holders > 1) {
		read->counted = true;
		tree->n_pending++;
	}
	if (!read->answered) {
		DL_APPEND(tree->pending, read);
		read->listed = true;
	}
	pthread_mutex_unlock(&tree->lock);
	let_go(read);
}

/* @return 0: the bytes are here; FETCH_PENDING: read is fetch's now; -errno */
static int fetch_it(struct tree_read *read, struct err *e)
{
	int r;

	read->n_holders = 2; /* this thread and done() */
	r = fetch_read(read->tree->fetch, &read->fetch, e);
	if (r == FETCH_PENDING)
		list_pending(read);
	return r;
}

/* @return NULL: the tree ends, or memory is out */
static struct tree_read *read_new(struct tree *tree, fuse_req_t req, uint64_t node, uint64_t offset)
{
	struct tree_read *read = NULL;

	if (!atomic_load(&tree->ending))
		read = block_take(tree->blocks);
	if (read == NULL)
		return NULL;
	memset(read, 0, offsetof(struct tree_read, pieces));
	read->tree = tree;
	read->req = req;
	read->node = node;
	read->offset = offset;
	read->started_ns = clock_now_ns(tree->clock);
	read->fetch.pieces = read->pieces;
	read->fetch.done = read_done;
	return read;
}

/* ---- from file to file ---- */

/* Here: in this blob, or in another that it can be shared with. */
static bool all_here(const struct tree_read *read)
{
	for (uint32_t i = 0; i < read->fetch.n_pieces; i++) {
		const struct fetch_piece *p = &read->pieces[i];

		if (p->blob != NULL &&
		    !cas_blob_is_candidate(fetch_blob_cas(p->blob), p->chunk_idx) &&
		    !cas_blob_is_present(fetch_blob_cas(p->blob), p->chunk_idx))
			return false;
	}
	return true;
}

/* Into the kernel's page cache. Where it has forgotten the file, it says so, and nothing happens.
 */
static void store(const struct tree_read *read, void *bytes)
{
	struct fuse_bufvec buf = FUSE_BUFVEC_INIT(read->size_bytes);

	buf.buf[0].mem = bytes;
	if (fuse_lowlevel_notify_store(read->tree->session, read->node, 0, &buf, 0) == 0)
		count_bytes(read);
}

/* @return false: it is not here, and neither will be those behind it */
static bool bring_file(struct tree *tree, uint64_t node)
{
	struct tree_read *read = read_new(tree, NULL, node, 0);
	struct err e = { 0 };
	bool here;
	int r = -1;

	if (read == NULL)
		return false;
	here = plan(read, SMALL_FILE_MAX_BYTES, &e) == 0 && read->size_bytes > 0 && all_here(read);
	if (here)
		r = fetch_it(read, &e);
	if (r == 0) {
		store(read, read->bytes);
		/* Whoever reads it from there is not seen here. */
		read_log_note(tree->image->log, read->pieces, read->fetch.n_pieces);
	}
	if (r != FETCH_PENDING)
		block_give(tree->blocks, read);
	return here;
}

/* A reader of this file, which was answered, may want those behind it. The kernel locks the pages
 * that are stored, and a read that holds them waits for another thread of the pool: there must be
 * one. It does not wait longer, because all chunks of the file are here. */
static void bring_next_files(struct tree *tree, uint64_t node)
{
	uint64_t nodes[AHEAD_FILES_MAX];
	uint32_t n;

	if (!fuse_pool_step_aside(tree->fuse_pool))
		return;
	n = tree_ahead_next(tree->ahead, node, nodes, AHEAD_FILES_MAX);
	for (uint32_t i = 0; i < n && bring_file(tree, nodes[i]); i++)
		;
	fuse_pool_back(tree->fuse_pool);
}

void tree_op_read(fuse_req_t req, fuse_ino_t node, size_t size_bytes, off_t offset,
                  struct fuse_file_info *fi)
{
	struct tree *tree = fuse_req_userdata(req);
	struct tree_read *read = read_new(tree, req, node, (uint64_t)offset);
	const uint32_t wanted_bytes = (uint32_t)min_u64(size_bytes, FUSE_READ_MAX_BYTES);
	struct err e = { 0 };
	bool small;
	int r;

	(void)fi;
	if (read == NULL) {
		(void)fuse_reply_err(req, EIO);
		return;
	}
	r = plan_once(read, wanted_bytes, &e);
	small = tree->files == NULL && offset == 0 && read->size_bytes <= SMALL_FILE_MAX_BYTES;
	if (r == 0 && read->size_bytes > 0) {
		read_log_note(tree->image->log, read->pieces, read->fetch.n_pieces);
		r = fetch_it(read, &e);
		if (r == FETCH_PENDING)
			return;
		answer(read, r, &e);
	} else if (r == 0) {
		(void)fuse_reply_buf(req, NULL, 0);
	} else {
		if (r == -EUCLEAN)
			tree_bad_node(tree, node, &e);
		(void)fuse_reply_err(req, r == -EUCLEAN ? EIO : -r);
	}
	block_give(tree->blocks, read);
	if (r == 0 && small)
		bring_next_files(tree, node);
}

/* The next one that was not cancelled yet, held, so that it stays while it is cancelled. */
static struct tree_read *hold_next(struct tree *tree)
{
	struct tree_read *read;

	pthread_mutex_lock(&tree->lock);
	for (read = tree->pending; read != NULL && read->cancelled; read = read->next)
		;
	if (read != NULL) {
		read->cancelled = true;
		read->n_holders++;
	}
	pthread_mutex_unlock(&tree->lock);
	return read;
}

void tree_cancel_reads(struct tree *tree)
{
	for (struct tree_read *read = hold_next(tree); read != NULL; read = hold_next(tree)) {
		fetch_cancel(tree->fetch, &read->fetch);
		let_go(read);
	}
}

uint32_t tree_asked(struct tree *tree, struct fuse_asked *ret_asked, uint32_t n_max)
{
	uint32_t n = 0;

	pthread_mutex_lock(&tree->lock);
	for (const struct tree_read *read = tree->pending; read != NULL && n < n_max;
	     read = read->next) {
		if (read->asked.unique != 0)
			ret_asked[n++] = read->asked;
	}
	pthread_mutex_unlock(&tree->lock);
	return n;
}

bool tree_drain(struct tree *tree)
{
	bool idle;

	pthread_mutex_lock(&tree->lock);
	idle = tree->n_pending == 0;
	tree->drain_wanted = !idle;
	pthread_mutex_unlock(&tree->lock);
	return idle;
}
