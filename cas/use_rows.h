/*
 * use_rows: when each blob was used last, in the database: the order of eviction over restarts.
 * Written a minute late, and when a blob is closed; what a crash loses of it costs nothing but
 * order. Within a blob the order is not kept.
 */
#pragma once
#include "blob.h"

/** [cas_open(), when the writer runs] The clock goes on behind what stands here. */
MUST_CHECK int use_rows_start_clock(struct cas *cas, struct err *e);

/** [writer] Of one blob; a failure is logged. */
void use_rows_store(struct cas_blob *blob);

/** [worker] Of all that are open. */
MUST_CHECK int use_rows_store_all(struct cas *cas, struct err *e);
