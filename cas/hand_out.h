/*
 * hand_out: is a blob's data file read by others than this process? Private to cas/.
 */
#pragma once
#include "blob.h"

/** [worker] Somebody has it open beside us: no hole may be punched into it. Asked of the kernel;
 * where the file system cannot tell, nobody has: then it was never handed out. */
bool blob_is_held_elsewhere(const struct cas_blob *blob);
