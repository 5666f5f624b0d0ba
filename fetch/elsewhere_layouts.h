/*
 * elsewhere_layouts: how blobs that are in no use are packed, for a while.
 *
 * Read from the images in the state directory; a few are kept until nobody has asked for them for
 * half a minute. What another image may tell better is read again, whoever asks: after half a
 * minute where some chunks are not described, after three seconds where no image tells.
 */
#pragma once
#include "cas.h"

struct elsewhere_layouts;
struct elsewhere_layouts *elsewhere_layouts_new(struct loop *loop, const struct clock *clock);
void elsewhere_layouts_free(struct elsewhere_layouts **l); /* NULL is fine */

/** [loop] @param ret_layout  a reference, the caller's; NULL: no image here tells.
 * @return false: it must be read */
bool elsewhere_layouts_find(struct elsewhere_layouts *l, const char *key,
                            struct blob_layout **ret_layout);
/** [loop] What was read. @param layout  borrowed; NULL likewise */
void elsewhere_layouts_add(struct elsewhere_layouts *l, const char *key,
                           struct blob_layout *layout);

/** [worker] Read it: of the images that use the blob, the one that describes most of it.
 * @return 0; CAS_MISS no image here tells; negative */
MUST_CHECK int elsewhere_layout_read(struct cas *cas, struct log *log, const char *key,
                                     struct blob_layout **ret_layout, struct err *e);
