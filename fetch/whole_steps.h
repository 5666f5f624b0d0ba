/*
 * whole_steps: what a whole_blob does on a worker: a nameless file that is filled and hashed, and
 * its chunks taken apart.
 *
 * No network, no loop. [worker] all.
 */
#pragma once
#include "buffer.h"
#include "cas.h"
#include <stdatomic.h>

struct whole_file {
	int fd;          /* -1: not open */
	struct cas *cas; /* gives up chunks for it */
	uint64_t size_bytes;
	struct digest_stream *hash;
};

/** In dir, without a name: gone when it is closed, also after a crash. */
MUST_CHECK int whole_file_open(const char *dir, struct cas *cas, struct whole_file *ret_file,
                               struct err *e);
/** Chunks are evicted for it where the disk is full. @return 0; -ENOSPC, -EDQUOT, -EIO */
MUST_CHECK int whole_file_append(struct whole_file *file, const struct buffer *bytes,
                                 struct err *e);
void whole_file_close(struct whole_file *file); /* any thread; fd -1 is fine */

struct whole_unpack {
	struct cas *cas;
	struct whole_file *file;    /* complete */
	struct blob_layout *layout; /* gets the digests */
	const atomic_bool *stop;    /* set: nobody wants it any more */
	struct cas_blob *ret_blob;  /* one reference */
};
/** Hold it against its id, give every chunk its digest, put every chunk into the cache.
 * @return 0; -EBADMSG; -ECANCELED; -ENOMEM, -EIO, -ENOSPC */
MUST_CHECK int whole_unpack(struct whole_unpack *u, struct err *e);
