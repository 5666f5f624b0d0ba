/*
 * meta_steps: what a meta_load does on a worker: unpack what came, check it, keep it.
 *
 * No network, no loop. [worker] all.
 */
#pragma once
#include "blob_meta.h"
#include "buffer.h"
#include "cas.h"
#include "meta_load.h"

/** Parse the TOC, which the bootstrap vouches for. @return 0; -EUCLEAN; -EBADMSG */
MUST_CHECK int check_toc(const struct image_blob *blob, const struct buffer *tail,
                         uint64_t object_size_bytes, struct toc *ret_toc, struct err *e);

struct unpack_extras {
	struct cas *cas;
	struct log *log;
	const char *image_digest; /* borrowed, as all here */
	const struct image_blob *blob;
	const struct blob_cipher *cipher;
	const struct toc *toc;                 /* NULL: nobody vouches for one */
	const struct toc_entry *digests_entry; /* NULL: no digests were fetched */
	const struct buffer *ci;               /* empty: not fetched */
	const struct buffer *digests;
	const struct buffer *toc_bytes; /* with toc: what it was made of */
	uint64_t object_size_bytes;
	bool is_whole; /* all that any node needs of this blob's tail is here: keep it for them */
	struct blob_extras ret_extras;
};
/** @return 0; -EUCLEAN; -EBADMSG; -ENOMEM. A full disk is logged, not an error: memory serves */
MUST_CHECK int unpack_extras(struct unpack_extras *u, struct err *e);

void blob_extras_clear(struct blob_extras *extras); /* all zero is fine */
