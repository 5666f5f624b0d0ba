/*
 * assemble: from images/<digest>/ to a lazy_image: its tree open, its blobs open in the cache.
 *
 * Knows where the blobs can be had, for what must be fetched of them before the first read. Does
 * not know how the image came here: pull.h. All on the loop thread.
 */
#pragma once
#include "lazy_image.h"

struct assemble;

struct assemble_opts {
	const struct image_loader_opts *env; /* copied, as all here */
	const char *digest;                  /* of the image's directory */
	const char *name;
	const char *origin;         /* of the blobs, origin.h */
	const char *bootstrap_path; /* of a file; else NULL: beside it, and in ... */
	const char *metas_dir;      /* ... here, blobs' chunk indexes may lie; or NULL */
	uint64_t deadline_ns;
	/* [loop] Exactly once, last, not from inside assemble_start(): 0 and the image with one
	 * reference; -errno. */
	void (*done)(void *arg, int r, struct lazy_image *image, const struct err *why);
	void *arg;
};

struct assemble *assemble_start(const struct assemble_opts *opts);
void assemble_cancel(struct assemble *op); /* done will not follow */
