/*
 * pinned: which chunks here may not be evicted, because an image is pinned. Private to cas/.
 *
 * The blobs of such an image stay whole, and of the owners that they refer to the chunks that they
 * need. A picture of one moment, for one round of eviction.
 */
#pragma once
#include "bitmap.h"
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

struct cas;

struct pinned_blob {
	char *key;
	bool whole;
	struct bitmap *chunks; /* that stay; NULL where whole */
	uint64_t bytes;        /* of disk space, that those chunks take */
};

struct pinned {
	struct pinned_blob *blobs;
	uint32_t n_blobs;
};

/** [worker] The blobs of pinned images alone, which is quick: what they refer to is not looked for.
 */
MUST_CHECK int pinned_images(struct cas *cas, struct pinned *ret_pinned, struct err *e);
/** [worker] With the chunks of owners. */
MUST_CHECK int pinned_collect(struct cas *cas, struct pinned *ret_pinned, struct err *e);
void pinned_free(struct pinned *p); /* zeroed is fine; for AUTO() */

/** @return NULL: nothing of it is pinned */
const struct pinned_blob *pinned_find(const struct pinned *p, const char *key);
bool pinned_has(const struct pinned_blob *b, uint32_t chunk_idx); /* NULL is fine */

/** [worker] Count what pinned images take, for room and the gauge. */
MUST_CHECK int pinned_measure(struct cas *cas, struct err *e);
