/*
 * pull: from a reference to images/<manifest digest>/: the manifest, checked, and what the
 * bootstrap layer holds.
 *
 * Knows the registry and the image store. Does not know blobs and layouts: assemble.h.
 * All on the loop thread.
 */
#pragma once
#include "lazy_image.h"

struct pull;

/* Positive outcome of a pull: another load is bringing this very image; wait for that one. */
enum { PULL_ELSEWHERE = 1 };

enum pulled_from { PULLED_FROM_DISK, PULLED_FROM_REGISTRY, PULLED_FROM_OTHERS };

struct pulled {
	char digest[DIGEST_TEXT_BYTES];     /* of the manifest: the name of the image's directory */
	char top_digest[DIGEST_TEXT_BYTES]; /* what the tag meant: that, or an index. "": not asked
	                                     */
	bool anonymous;                     /* the registry gives it without credentials */
	enum pulled_from from;
};

struct pull_opts {
	const struct image_loader_opts *env; /* copied */
	const struct reference *ref;         /* copied */
	bool offline_ok;
	uint64_t deadline_ns;
	/* [loop] The image is not here and is about to be fetched: may this pull do it? Not called
	 * after the end. */
	bool (*claim)(void *arg, const char *digest);
	/* [loop] Exactly once, last, not from inside pull_start(): 0 or PULL_ELSEWHERE (both with
	 * *got); -errno as image_load_opts.done. The pull is gone then. */
	void (*done)(void *arg, int r, const struct pulled *got, const struct err *why);
	void *arg;
};

struct pull *pull_start(const struct pull_opts *opts);
void pull_cancel(struct pull *pull); /* done will not follow */
