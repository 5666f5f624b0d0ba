/*
 * gc: room in the cache, made by hand; and files that must stay whole.
 *
 * The cache keeps to its watermarks by itself (docs/on-disk.md, "Room"). Knows chunks, blobs and
 * disk space. Of images it knows only that a blob without one is garbage.
 */
#pragma once
#include "bitmap.h"
#include "cas.h"

struct cas_gc_progress {
	uint64_t done_bytes;  /* freed, or with dry_run: that would be */
	uint64_t total_bytes; /* to be freed */
};

struct cas_gc_opts {
	uint64_t to_bytes; /* evict until blobs take no more; UINT64_MAX: to the low watermark */
	bool dry_run;      /* only say what would go */
	/* Now and then; non-zero stops it (-ECANCELED). May be NULL. [the thread of eviction] */
	int (*progress)(void *arg, const struct cas_gc_progress *p);
	void *arg;
};

struct cas_gc_result {
	uint64_t before_bytes; /* disk space of blobs */
	uint64_t after_bytes;
	uint64_t target_bytes;
	uint64_t n_chunks;     /* evicted */
	uint64_t n_garbage;    /* blobs and files that nothing used: removed */
	uint64_t pinned_bytes; /* of it, what may not go: cas_blob_pin() */
};

/**
 * [worker] Remove what no image uses, then evict what was used least recently, in the order of its
 * last use: never a chunk that is being read or fetched, never a pinned blob's.
 * @return 0, also where less could be freed than was asked; -ECANCELED; -EIO, -ENOSPC
 */
MUST_CHECK int cas_gc(struct cas *cas, const struct cas_gc_opts *opts,
                      struct cas_gc_result *ret_result, struct err *e);

/**
 * [worker] Something that is no chunk could not be written for want of space: chunks go for it,
 * least recently used first, n_bytes and some more. Fine on any thread; does nothing on those that
 * it would have to wait for.
 * @return true: there is more room than before, worth another try
 */
bool cas_make_room(struct cas *cas, uint64_t n_bytes);

/**
 * [worker] The blob's file is read by others than cas_blob_read() from here on: nothing that is
 * ready is evicted until the last cas_blob_unpin(). What an eviction has begun is done when this
 * returns, so look at the ready bits after it.
 */
void cas_blob_pin(struct cas_blob *blob);
void cas_blob_unpin(struct cas_blob *blob);           /* [any] */
bool cas_blob_is_pinned(const struct cas_blob *blob); /* [any] */
/** [any] Is each chunk that the layout describes, and that is named (NULL: all), ready in the
 * blob's own file? */
bool cas_blob_is_whole(const struct cas_blob *blob, const struct bitmap *named);

/**
 * [worker] The data file of a blob that is here as a whole, for the kernel to read by itself, and
 * the blob is pinned. It can be read for as long as anybody has it open, also when this process is
 * gone: no hole is ever punched into a file that others have open.
 *
 * @param named   the chunks that whoever gets the file may read (the image's own); NULL: all. Not
 *                given where the file has others, or an open image describes others. What images
 *                that are opened later name does come into the file.
 * @param ret_fd  for reading, the caller's
 * @return 0; CAS_MISS some of it is not ready in this file, or not named, or it could not be told
 * later that it is in use; CAS_FULL what is pinned would take more than half of the cache; negative
 */
MUST_CHECK int cas_blob_hand_out(struct cas_blob *blob, const struct bitmap *named, int *ret_fd,
                                 struct err *e);

/** [worker] Pin a blob whose file was handed out by an earlier process, and is in use still.
 * @return false: it is not, and not pinned */
bool cas_blob_pin_held(struct cas_blob *blob);
