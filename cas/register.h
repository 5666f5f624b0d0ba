/*
 * register: give an open blob its rows: blob and layout at once, then a row a chunk, in small
 * transactions between which ready maps and everything else go first.
 */
#pragma once
#include "blob.h"
#include "db.h"

/** [any] Queue all of it. */
void register_start(struct cas_blob *blob);

/** [writer] The blob's row and layout alone; fine when they are there. */
MUST_CHECK int register_row(struct cas_blob *blob, struct err *e);
