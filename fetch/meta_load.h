/*
 * meta_load: what a blob's layout needs beside the bootstrap, from the end of the blob at its
 * origin: its chunk index (blob meta) and, where the image has no chunk table, its chunk digests.
 *
 * Where the bootstrap vouches for the blob's TOC, everything is held against that. What came is
 * kept in the image's directory. All on the loop thread.
 */
#pragma once
#include "lazy_image.h"

struct meta_load;

/* malloc'd, the receiver's; NULL: not asked for, or (digests) not to be had. */
struct blob_extras {
	uint8_t *meta; /* local form */
	uint64_t meta_size_bytes;
	uint8_t *digests; /* n_chunks * 32 bytes */
};

struct meta_load_opts {
	const struct image_loader_opts *env; /* copied */
	const struct image *image;           /* borrowed until meta_load_start() returns */
	uint32_t blob_idx;
	const char *origin;       /* copied */
	const char *image_digest; /* copied: where to keep it */
	bool wants_meta;
	bool wants_digests; /* only where the bootstrap vouches for the TOC */
	uint64_t deadline_ns;
	/* [loop] Exactly once, last, not from inside meta_load_start(). */
	void (*done)(void *arg, int r, struct blob_extras *extras, const struct err *why);
	void *arg;
};

/** @return 0: done() follows; -errno: it does not */
MUST_CHECK int meta_load_start(const struct meta_load_opts *opts, struct meta_load **ret_load,
                               struct err *e);
void meta_load_cancel(struct meta_load *load);
