/*
 * hand_out: is a blob's data file read by others than this process? Private to cas/.
 */
#pragma once
#include "blob.h"

/** Once, before any file is touched: does the kernel tell who has a file of blobs/ open? */
void hand_out_try(struct cas *cas);

/** [worker] Somebody has it open beside us: nothing may go from it. Asked of the kernel. What it
 * does not answer counts as yes; only where it never could (hand_out_try()), nobody has: then it
 * was never handed out. */
bool blob_is_held_elsewhere(const struct cas_blob *blob);

/** [worker] The same of a file in blobs/, by a descriptor for writing. Nobody else has it, and who
 * opens it now waits, until fd is closed, which must be soon. */
bool file_is_held_elsewhere(const struct cas *cas, int fd);
