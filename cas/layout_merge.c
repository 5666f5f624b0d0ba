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

bool layout_same_units(const struct blob_layout *a, const struct blob_layout *b)
{
	if (a->n_units != b->n_units || (a->units == NULL) != (b->units == NULL))
		return false;
	if (a->units == NULL)
		return true;
	for (uint32_t i = 0; i < a->n_units; i++) {
		const struct unit_rec *ua = &a->units[i];
		const struct unit_rec *ub = &b->units[i];

		if (ua->packed_offset != ub->packed_offset ||
		    ua->packed_size_bytes != ub->packed_size_bytes ||
		    ua->plain_size_bytes != ub->plain_size_bytes || ua->kind != ub->kind)
			return false;
	}
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

/* Everything by which two layouts can disagree. */
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
