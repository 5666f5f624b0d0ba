/*
 * layout_merge: two descriptions of one blob. An image may describe a part of a blob only (one that
 * was built on another's chunks), so the second image can know what the first left out.
 * Pure; any thread.
 */
#pragma once
#include "layout.h"
#include <stdbool.h>

/** Can both, of one domain, stand for one data file: same shape, and agreeing wherever both speak?
 * A layout that waits for its digests agrees with one that has them. */
bool layout_compatible(const struct blob_layout *a, const struct blob_layout *b);

/** Does b describe a chunk, or give a digest, that a does not? Both compatible. */
bool layout_says_more(const struct blob_layout *a, const struct blob_layout *b);

/** Do both say the same of how an origin packs the blob, wherever both speak: units, places in the
 * object, compressor, cipher? Nothing vouches for that, so one image's word is not good for another
 * one that says otherwise. And whoever counts units of one may go on with the other. Both
 * compatible, and neither from the database, which does not know it. */
bool layout_same_packing(const struct blob_layout *a, const struct blob_layout *b);

/** What either describes; where both do, the record is a's, with b's digest if only b has one.
 * Only of layouts where each chunk is its own unit. @return NULL: memory is out */
struct blob_layout *layout_union(const struct blob_layout *a, const struct blob_layout *b);

/** Give l the digests that from has and l lacks; trust becomes TRUST_DIGESTS if all are there then.
 * l is not shared with other threads yet. */
void layout_complete(struct blob_layout *l, const struct blob_layout *from);

/** Where the digests of a blob's chunks come from. Blobs of different domains never share a file, a
 * row or a digest: what an image claims is no news of what the whole blob's SHA-256 vouches for,
 * and what was never verified is neither. The domain is the trust that a layout has when it comes
 * in. */
static inline enum layout_trust layout_domain(const struct blob_layout *l)
{
	return l->trust;
}

/** The file name of a layout's blob: variant 0 is the blob id (only where each chunk came with its
 * digest), others have a hash of the layout at the end. ret_key: CAS_KEY_BYTES. */
#define CAS_KEY_BYTES (BLOB_ID_MAX + 16)
void layout_key(const struct blob_layout *l, enum layout_trust domain, unsigned variant,
                char *ret_key);
