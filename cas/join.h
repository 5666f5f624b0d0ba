/*
 * join: which chunks of a blob do others have that are not open? One pass over the database when a
 * blob is opened, in order of name, so that the read path never asks it. Private to cas/.
 *
 * Blobs that have some are held open from then on; in memory their chunks are found like anybody's
 * (share.h). A pass that takes longer than JOIN_WAIT_MS goes on behind the opening; with
 * cas_join_behind() all of it does.
 */
#pragma once
#include "blob.h"

#define JOIN_WAIT_MS 300U

/** [worker] The blob is active. Errors are logged: then it shares less. */
void join_blob(struct cas_blob *blob);
