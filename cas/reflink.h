/*
 * reflink: referred chunks become ready ones that share extents with their owner's. Private to
 * cas/.
 *
 * Where the file system can (XFS, btrfs). A chunk is referred to first: nothing to wait for. Behind
 * that, runs of such chunks that stand alike in both files, in whole blocks, are cloned: no second
 * copy either, and each file owns the bytes, so that it does not matter what becomes of the other.
 * What cannot be cloned stays referred to.
 */
#pragma once
#include "blob.h"

#define REFLINK_RUN_BYTES (UINT64_C(1) << 20) /* at a time; a larger chunk goes alone */

/** [worker] Find out by trial whether it can be done here. */
void reflink_try(struct cas *cas);

/** [worker] The blob may have chunks for it: soon, behind everybody's back. The caller has a
 * reference, or is opening it. */
void reflink_soon(struct cas_blob *blob);

/** [helper, tests] The next run at or behind *at; moves *at behind it.
 * @return how many chunks are ready now; *at is n_chunks when there are no more */
uint32_t reflink_step(struct cas_blob *blob, uint32_t *at);
