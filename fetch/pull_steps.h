/*
 * pull_steps: what a pull does on a worker: look on disk, check and parse, unpack and keep.
 *
 * Each is one call on one struct; no network, no loop. [worker] all.
 */
#pragma once
#include "buffer.h"
#include "cas.h"
#include "manifest.h"
#include "reference.h"

/* What is here of an image? */
struct look {
	struct cas *cas;
	const struct reference *ref; /* borrowed */
	const char *digest;          /* of the manifest or index that is wanted, "" for the tag's */
	char ret_digest[DIGEST_TEXT_BYTES]; /* of the image's directory; "": not known */
	bool ret_is_here;                   /* the directory is; else the name is known alone */
	bool ret_anonymous;
};
MUST_CHECK int look_here(struct look *look, struct err *e);

/* A manifest that came from a registry or a neighbour. */
struct check {
	struct cas *cas;
	const struct buffer *manifest; /* borrowed */
	const char *digest;            /* it must have this one; "" any */
	const char *told_digest;       /* what the registry said it is: the same; "" nothing */
	char ret_digest[DIGEST_TEXT_BYTES];
	bool ret_is_here; /* the image's directory exists: no need to go on */
	struct manifest ret_manifest;
};
/** @return 0; -EBADMSG a digest does not match; as manifest_parse() */
MUST_CHECK int check_manifest(struct check *check, struct err *e);

/* A bootstrap layer that came from a registry or a neighbour. */
struct keep {
	struct cas *cas;
	const struct reference *ref; /* borrowed, as all here */
	const char *digest;          /* of the manifest */
	bool anonymous;
	const struct buffer *index; /* that led to the manifest; empty: none did */
	const struct buffer *manifest;
	const struct buffer *layer;
	const char *layer_digest;
};
/** @return 0; -EBADMSG; -EUCLEAN; -ENOTSUP; -ENOSPC, -EIO */
MUST_CHECK int keep_image(const struct keep *keep, struct err *e);

/* A bootstrap that lies in a file of this machine. */
struct adopt {
	struct cas *cas;
	const char *path;
	const char *blobs_origin;
	char ret_digest[DIGEST_TEXT_BYTES]; /* of the bootstrap */
	bool ret_anonymous;                 /* as it is recorded here */
};
/** [any] May this be one? NULL is not there. @return 0; -EINVAL; -ENAMETOOLONG */
MUST_CHECK int adopt_check(const char *path, const char *blobs_origin, struct err *e);
/** Read it, check it, copy it into the image store. @return 0; -ENOENT, -EACCES; as keep_image() */
MUST_CHECK int adopt_bootstrap(struct adopt *adopt, struct err *e);
