/*
 * verify_refs: the dedup map of a registered blob, as the database has it, held against the owners
 * that it names. Private to cas/.
 *
 * A reference whose owner does not have the chunk, or is gone, is no fault: it says that the chunk
 * is not here (docs/on-disk.md, "Dedup maps"). One to a chunk with another digest is: whoever loads
 * the map leaves it out, so the chunk is absent.
 */
#pragma once
#include "cas.h"

struct refs_seen {
	uint64_t n_dead;     /* the owner does not have the chunk, or is gone */
	uint64_t n_needless; /* the blob has it itself, too */
};

/** [worker] @param fault  one call each. @return 0, also where it is registered no more; negative
 */
MUST_CHECK int verify_refs(struct cas *cas, const char *key,
                           void (*fault)(void *arg, const struct cas_fault *f), void *arg,
                           struct refs_seen *seen, struct err *e);
