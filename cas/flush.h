/*
 * flush: carry ready bits to the database, data first. [writer]
 */
#pragma once
#include "blob.h"

/** All open blobs: snapshot, sync their files, one transaction. What fails stays dirty. */
MUST_CHECK int flush_all(struct cas *cas, struct err *e);

/** The same for one blob that nobody holds any more; a failure is logged: its bits are lost. */
void flush_one(struct cas_blob *blob);
