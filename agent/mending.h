/*
 * mending: what is missing of a blob whose data file the kernel reads is fetched at once.
 *
 * Such a file was whole when it was handed out. If a chunk of it is taken back since (`shoal
 * verify` found wrong bytes), no reader comes by to fetch it: the kernel does not ask.
 */
#pragma once
#include "cas.h"
#include "fetch.h"
#include "log.h"
#include "loop.h"
#include "mounts.h"

struct mending;
struct mending_opts {
	struct loop *loop; /* borrowed, all of them */
	struct fetch *fetch;
	struct mounts *mounts;
	struct log *log;
};

struct mending *mending_new(const struct mending_opts *opts); /* never NULL */

/** [any] A chunk of this blob is gone. Does not block. */
void mending_blob_lost(struct mending *mending, const struct cas_blob *blob);

/** [loop] No more of it: what is under way is cancelled. */
void mending_stop(struct mending *mending);
void mending_free(struct mending **mending); /* NULL is fine */
