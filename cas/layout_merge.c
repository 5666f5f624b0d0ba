/*
 * layout_merge: see the header. Knows layouts; knows no files and no database.
 */
#include "layout_merge.h"
#include "hex.h"
#include "layout_code.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_HASH_BYTES 4
#define PACKING_FLAGS  ((uint32_t)(CHUNK_COMPRESSED | CHUNK_ENCRYPTED))

static bool is_bare(const struct blob_layout *l)
{
	return l->trust == TRUST_WHOLE_BLOB && !layout_has_digests(l);
}

static bool same_places(const struct blob_layout *a, const struct blob_layout *b)
{
	for (uint32_t i = 0; i < a->n_chunks; i++)
		if (a->chunks[i].plain_size_bytes != b->chunks[i].plain_size_bytes ||
		    (a->chunks[i].plain_size_bytes > 0 &&
		     a->chunks[i].plain_offset != b->chunks[i].plain_offset))
			return false;
	return true;
}

bool layout_compatible(const struct blob_layout *a, const struct blob_layout *b)
{
	if (a->n_chunks != b->n_chunks || a->plain_size_bytes != b->plain_size_bytes)
		return false;
	if (is_bare(a) || is_bare(b))
		return a->digest_alg == b->digest_alg && same_places(a, b);
	return layout_agrees(a, b);
}

static bool is_described(const struct chunk_rec *c)
{
	return c->plain_size_bytes > 0;
}

bool layout_says_more(const struct blob_layout *a, const struct blob_layout *b)
{
	for (uint32_t i = 0; i < b->n_chunks; i++) {
		const struct chunk_rec *ca = &a->chunks[i];
		const struct chunk_rec *cb = &b->chunks[i];

		if (is_described(cb) && !is_described(ca))
			return true;
		if (is_described(cb) && (cb->flags & ~ca->flags & CHUNK_HAS_DIGEST))
			return true;
	}
	return false;
}

static bool same_cipher(const struct blob_cipher *a, const struct blob_cipher *b)
{
	return a->on == b->on && (!a->on || (memcmp(a->key, b->key, sizeof(a->key)) == 0 &&
	                                     memcmp(a->iv, b->iv, sizeof(a->iv)) == 0));
}

/* How a chunk is packed that is its own unit. */
static bool packed_alike(const struct chunk_rec *a, const struct chunk_rec *b)
{
	return a->place == b->place && a->packed_size_bytes == b->packed_size_bytes &&
	       ((a->flags ^ b->flags) & PACKING_FLAGS) == 0;
}

static bool units_alike(const struct unit_rec *a, const struct unit_rec *b)
{
	return a->packed_offset == b->packed_offset &&
	       a->packed_size_bytes == b->packed_size_bytes &&
	       a->plain_size_bytes == b->plain_size_bytes && a->kind == b->kind &&
	       a->compressed == b->compressed && a->encrypted == b->encrypted &&
	       a->zran.dict_offset == b->zran.dict_offset &&
	       a->zran.dict_size_bytes == b->zran.dict_size_bytes &&
	       a->zran.prev_byte == b->zran.prev_byte && a->zran.n_bits == b->zran.n_bits;
}

static bool same_units(const struct blob_layout *a, const struct blob_layout *b)
{
	if (a->n_units != b->n_units || (a->units == NULL) != (b->units == NULL) ||
	    a->zran_dicts_size_bytes != b->zran_dicts_size_bytes)
		return false;
	for (uint32_t i = 0; a->units != NULL && i < a->n_units; i++)
		if (!units_alike(&a->units[i], &b->units[i]))
			return false;
	return a->zran_dicts_size_bytes == 0 ||
	       memcmp(a->zran_dicts, b->zran_dicts, a->zran_dicts_size_bytes) == 0;
}

bool layout_same_packing(const struct blob_layout *a, const struct blob_layout *b)
{
	if (a->compressor != b->compressor || !same_cipher(&a->cipher, &b->cipher) ||
	    !same_units(a, b))
		return false;
	for (uint32_t i = 0; i < a->n_chunks; i++)
		if (is_described(&a->chunks[i]) && is_described(&b->chunks[i]) &&
		    !packed_alike(&a->chunks[i], &b->chunks[i]))
			return false;
	return true;
}

static void take_digest(struct chunk_rec *to, const struct chunk_rec *from)
{
	if ((to->flags & CHUNK_HAS_DIGEST) || !(from->flags & CHUNK_HAS_DIGEST))
		return;
	memcpy(to->digest, from->digest, DIGEST_BYTES);
	to->flags |= CHUNK_HAS_DIGEST;
}

void layout_complete(struct blob_layout *l, const struct blob_layout *from)
{
	for (uint32_t i = 0; i < l->n_chunks && i < from->n_chunks; i++)
		if (is_described(&l->chunks[i]) && is_described(&from->chunks[i]))
			take_digest(&l->chunks[i], &from->chunks[i]);
	if (l->trust == TRUST_WHOLE_BLOB && layout_has_digests(l))
		l->trust = TRUST_DIGESTS;
}

struct blob_layout *layout_union(const struct blob_layout *a, const struct blob_layout *b)
{
	struct blob_layout *u = layout_new(a->n_chunks);

	if (u == NULL)
		return NULL;
	memcpy(u->blob_id, a->blob_id, sizeof(u->blob_id));
	u->digest_alg = a->digest_alg;
	u->compressor = a->compressor;
	u->trust = a->trust;
	u->cipher = a->cipher;
	u->plain_size_bytes = a->plain_size_bytes;
	u->packed_size_bytes =
		a->packed_size_bytes != 0 ? a->packed_size_bytes : b->packed_size_bytes;
	u->packed_data_end = a->packed_data_end;
	for (uint32_t i = 0; i < a->n_chunks; i++) {
		u->chunks[i] = is_described(&a->chunks[i]) ? a->chunks[i] : b->chunks[i];
		if (is_described(&b->chunks[i]))
			take_digest(&u->chunks[i], &b->chunks[i]);
	}
	if (u->trust == TRUST_WHOLE_BLOB && layout_has_digests(u))
		u->trust = TRUST_DIGESTS;
	return u;
}

/* Not all of it: enough that the layouts of two images seldom have the same, and nobody's by
 * chance.
 */
static void hash_packing(struct digest_stream *d, const struct blob_layout *l)
{
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		const uint32_t flags = c->flags & PACKING_FLAGS;

		digest_stream_add(d, &c->place, sizeof(c->place));
		digest_stream_add(d, &c->packed_size_bytes, sizeof(c->packed_size_bytes));
		digest_stream_add(d, &flags, sizeof(flags));
	}
	for (uint32_t i = 0; l->units != NULL && i < l->n_units; i++) {
		const struct unit_rec *u = &l->units[i];

		digest_stream_add(d, &u->packed_offset, sizeof(u->packed_offset));
		digest_stream_add(d, &u->packed_size_bytes, sizeof(u->packed_size_bytes));
		digest_stream_add(d, &u->plain_size_bytes, sizeof(u->plain_size_bytes));
	}
}

/* Everything by which two layouts can disagree. Variant 1 leaves the packing out, as it is in
 * caches of before packing counted: it is taken by others of the same places and digests then. */
static void hash_layout(const struct blob_layout *l, enum layout_trust domain, unsigned variant,
                        uint8_t ret_hash[DIGEST_BYTES])
{
	struct digest_stream *d = digest_stream_new(DIGEST_BLAKE3);
	char head[128];
	const int n = snprintf(head, sizeof(head), "%u %u %u %" PRIu32 " %" PRIu64, variant,
	                       (unsigned)l->digest_alg, (unsigned)domain, l->n_chunks,
	                       l->plain_size_bytes);

	digest_stream_add(d, head, (size_t)n);
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		const struct chunk_rec *c = &l->chunks[i];

		digest_stream_add(d, &c->plain_offset, sizeof(c->plain_offset));
		digest_stream_add(d, &c->plain_size_bytes, sizeof(c->plain_size_bytes));
		if (domain == TRUST_DIGESTS)
			digest_stream_add(d, c->digest, DIGEST_BYTES);
	}
	if (variant > 1)
		hash_packing(d, l);
	digest_stream_end(d, ret_hash);
	digest_stream_free(&d);
}

void layout_key(const struct blob_layout *l, enum layout_trust domain, unsigned variant,
                char *ret_key)
{
	uint8_t hash[DIGEST_BYTES];
	char text[2 * KEY_HASH_BYTES + 1];

	if (variant == 0) {
		(void)snprintf(ret_key, CAS_KEY_BYTES, "%s", l->blob_id);
		return;
	}
	hash_layout(l, domain, variant, hash);
	hex_encode(hash, KEY_HASH_BYTES, text);
	(void)snprintf(ret_key, CAS_KEY_BYTES, "%s-%s", l->blob_id, text);
}
