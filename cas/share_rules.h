/*
 * share_rules: what the rest of cas tells the sharing of chunks. Private to cas/.
 */
#pragma once
#include "blob.h"

/** [worker] A blob is open, or knows more chunks than before: others can find its chunks, and those
 * that others have are its candidates (active: with its dedup map). Once for each opening; what is
 * known already costs a look.
 */
void share_joined(struct cas_blob *blob, bool active);

/** [any] A chunk became present here: other open blobs can have it, too. */
void share_arrived(struct cas_blob *blob, uint32_t chunk_idx);

/** [writer] Nobody uses or holds the blob: used ones that may want chunks of it hold it from here
 * on, or what is here would be fetched again. */
void share_closing(struct cas_blob *blob);

/** [any] A chunk is ready no longer. */
void share_went(struct cas_blob *blob, uint32_t chunk_idx);
