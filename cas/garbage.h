/*
 * garbage: what nothing uses: blobs without an image, data files without a row.
 */
#pragma once
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

struct cas;

/** [writer] Forget one blob: its row is dying (synced), then the file goes; other rows follow. One
 * that somebody has open stays for now, and goes when it is closed. @return 0; 1 it stays; negative
 */
MUST_CHECK int garbage_remove_blob(struct cas *cas, const char *key, struct err *e);

/** [writer, no transaction open] Blobs that no image uses. remove: false, only count. On a full
 * disk the ballast goes for them. */
MUST_CHECK int garbage_blobs(struct cas *cas, bool remove, uint64_t *ret_n, struct err *e);
