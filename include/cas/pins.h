/*
 * pins: images that stay: nothing of them is evicted, and they are not forgotten.
 *
 * A pin is of a name: of the image that it means here, and of the next one when it means another.
 * It may come before its image. Knows names and rows; fetching is somebody else's.
 */
#pragma once
#include "cas.h"

/**
 * [worker] Pin a name, or let it go. What an eviction has begun is done when this returns. Not on
 * the writer's thread.
 *
 * @param name  as image_record has it; at most CAS_ORIGIN_MAX_BYTES with its end
 * @return 0; CAS_MISS it was so already; -ENAMETOOLONG; -EIO, -ENOSPC
 */
MUST_CHECK int pins_set(struct cas *cas, const char *name, bool pinned, struct err *e);

/** [worker] Every pinned name, in order. fn returns 0 to go on. */
MUST_CHECK int pins_list(struct cas *cas, int (*fn)(void *arg, const char *name), void *arg,
                         struct err *e);
