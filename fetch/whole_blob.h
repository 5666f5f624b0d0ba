/*
 * whole_blob: a blob whose chunks nobody gives digests for. All of it is fetched, its SHA-256 held
 * against its id, and from then on every chunk has the digest that was computed here.
 *
 * All on the loop thread.
 */
#pragma once
#include "lazy_image.h"

struct whole_blob;

struct whole_blob_opts {
	const struct image_loader_opts *env; /* copied */
	struct blob_layout *layout; /* TRUST_WHOLE_BLOB, nobody else's; a reference is taken */
	const char *origin;         /* copied */
	/* [loop] Exactly once, last, not from inside whole_blob_start(): 0 and one reference of the
	 * blob for the receiver, complete but for what the disk did not take; -EBADMSG it is not
	 * what its id says; as origin_read_opts.end; -ENOSPC, -EIO the disk. */
	void (*done)(void *arg, int r, struct cas_blob *blob, const struct err *why);
	void *arg;
};

struct whole_blob *whole_blob_start(const struct whole_blob_opts *opts);
void whole_blob_cancel(struct whole_blob *w); /* done will not follow */
