/*
 * share_map: which open blobs have a chunk of this name, in memory alone. Private to cas/.
 *
 * An entry a chunk: 32 bytes, with its bucket 48. Many short locks, by the first byte of the name;
 * none is held across I/O. A blob's entries leave before it is freed, so whoever holds a name's
 * lock may look at the blobs of its entries.
 */
#pragma once
#include "err.h"
#include "public_name.h"
#include <stdbool.h>
#include <stdint.h>

struct cas_blob;
struct share_map;
struct share_entry;

struct share_map *share_map_new(void);     /* never NULL */
void share_map_free(struct share_map **m); /* all blobs have been removed. NULL is fine */

/**
 * [worker] Put in every chunk of the blob that has a digest and is not in yet. Of chunks that stand
 * twice in one blob the first counts.
 * @return 0; -ENOMEM some or all are left out
 */
MUST_CHECK int share_map_add(struct share_map *m, struct cas_blob *blob, struct err *e);

/** Take all of them out, free blob->entries. */
void share_map_remove(struct share_map *m, struct cas_blob *blob);

/** [any] fn for every open blob's chunk of this name, until it returns false. The name's lock is
 * held: fn may take the table's mutex, no other lock, and must not block. */
void share_map_each(struct share_map *m, const uint8_t name[PUBLIC_NAME_BYTES],
                    bool (*fn)(void *arg, struct cas_blob *blob, uint32_t chunk_idx), void *arg);

/** [any] The name of a chunk of an open blob. @return false: nobody finds it by one */
bool share_map_name(const struct cas_blob *blob, uint32_t chunk_idx,
                    uint8_t ret_name[PUBLIC_NAME_BYTES]);

/** [any] share_map_each() for that name, where there is one. */
void share_map_each_of(struct share_map *m, const struct cas_blob *blob, uint32_t chunk_idx,
                       bool (*fn)(void *arg, struct cas_blob *blob, uint32_t chunk_idx), void *arg);
