/*
 * layout: the words of a blob's chunks and units, and whether they make sense together.
 *
 * Knows no bytes and no files: where a layout comes from is image's, where its chunks are is cas's.
 */
#include "layout.h"
#include "bytes.h"
#include "err.h"
#include "hex.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const compressor_names[N_COMPRESSORS] = {
	[COMPRESSOR_NONE] = "none",
	[COMPRESSOR_LZ4_BLOCK] = "lz4_block",
	[COMPRESSOR_GZIP] = "gzip",
	[COMPRESSOR_ZSTD] = "zstd",
};

const char *compressor_name(enum compressor c)
{
	assert(c < N_COMPRESSORS);
	return compressor_names[c];
}

struct blob_layout *layout_new(uint32_t n_chunks)
{
	struct blob_layout *l = NULL;

	if (n_chunks <= BLOB_CHUNKS_MAX)
		l = calloc(1, sizeof(*l));
	if (l == NULL)
		return NULL;
	atomic_init(&l->refs, 1);
	l->n_chunks = n_chunks;
	l->n_units = n_chunks;
	l->chunks = calloc((size_t)n_chunks + 1, sizeof(l->chunks[0]));
	if (l->chunks == NULL)
		layout_unref(&l);
	return l;
}

struct blob_layout *layout_ref(struct blob_layout *l)
{
	(void)atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void layout_unref(struct blob_layout **l)
{
	struct blob_layout *gone = *l;

	*l = NULL;
	if (gone == NULL || atomic_fetch_sub_explicit(&gone->refs, 1, memory_order_acq_rel) != 1)
		return;
	explicit_bzero(&gone->cipher, sizeof(gone->cipher));
	free(gone->chunks);
	free(gone->units);
	free(gone->members);
	free(gone->zran_dicts);
	free(gone);
}

uint32_t layout_unit_of(const struct blob_layout *l, uint32_t chunk_idx)
{
	assert(chunk_idx < l->n_chunks);
	return l->units == NULL ? chunk_idx : (uint32_t)(l->chunks[chunk_idx].place >> 32);
}

static void unit_of_chunk(const struct chunk_rec *c, uint32_t chunk_idx, struct unit_rec *ret_unit)
{
	*ret_unit = (struct unit_rec){
		.packed_offset = c->place,
		.packed_size_bytes = c->packed_size_bytes,
		.plain_size_bytes = c->plain_size_bytes,
		.first_member = chunk_idx,
		.n_members = 1,
		.kind = UNIT_CHUNK,
		.compressed = (c->flags & CHUNK_COMPRESSED) != 0,
		.encrypted = (c->flags & CHUNK_ENCRYPTED) != 0,
	};
}

bool layout_unit(const struct blob_layout *l, uint32_t unit_idx, struct unit_rec *ret_unit)
{
	assert(unit_idx < l->n_units);
	if (l->units != NULL) {
		if (l->units[unit_idx].n_members == 0)
			return false;
		*ret_unit = l->units[unit_idx];
		return true;
	}
	if (l->chunks[unit_idx].plain_size_bytes == 0)
		return false;
	unit_of_chunk(&l->chunks[unit_idx], unit_idx, ret_unit);
	return true;
}

uint32_t layout_member(const struct blob_layout *l, const struct unit_rec *unit, uint32_t i)
{
	assert(i < unit->n_members);
	return l->units == NULL ? unit->first_member : l->members[unit->first_member + i];
}

uint32_t layout_offset_in_unit(const struct blob_layout *l, uint32_t chunk_idx)
{
	assert(chunk_idx < l->n_chunks);
	return l->units == NULL ? 0 : (uint32_t)l->chunks[chunk_idx].place;
}

uint64_t layout_share_bytes(const struct blob_layout *l, uint32_t chunk_idx)
{
	const uint32_t plain_bytes = l->chunks[chunk_idx].plain_size_bytes;
	struct unit_rec u;

	if (plain_bytes == 0 || !layout_unit(l, layout_unit_of(l, chunk_idx), &u) ||
	    u.plain_size_bytes == 0)
		return 0;
	return (uint64_t)u.packed_size_bytes * plain_bytes / u.plain_size_bytes;
}

void layout_set_digest(struct blob_layout *l, uint32_t chunk_idx,
                       const uint8_t digest[DIGEST_BYTES])
{
	assert(chunk_idx < l->n_chunks);
	memcpy(l->chunks[chunk_idx].digest, digest, DIGEST_BYTES);
	l->chunks[chunk_idx].flags |= CHUNK_HAS_DIGEST;
}

static bool chunks_equal(const struct chunk_rec *a, const struct chunk_rec *b)
{
	const bool has_digest = (a->flags & CHUNK_HAS_DIGEST) != 0;

	/* One with a digest and one without do not agree: the digest is the word of an image that
	 * the other image has no reason to believe. */
	return a->plain_offset == b->plain_offset && a->plain_size_bytes == b->plain_size_bytes &&
	       has_digest == ((b->flags & CHUNK_HAS_DIGEST) != 0) &&
	       (!has_digest || memcmp(a->digest, b->digest, DIGEST_BYTES) == 0);
}

/* The chunk as l describes it; NULL: it does not. */
static const struct chunk_rec *described(const struct blob_layout *l, uint32_t chunk_idx)
{
	if (chunk_idx >= l->n_chunks || l->chunks[chunk_idx].plain_size_bytes == 0)
		return NULL;
	return &l->chunks[chunk_idx];
}

bool layout_agrees(const struct blob_layout *a, const struct blob_layout *b)
{
	const uint32_t n_chunks = a->n_chunks > b->n_chunks ? a->n_chunks : b->n_chunks;
	uint64_t end = 0; /* of the chunks so far, of both */

	if (a->digest_alg != b->digest_alg)
		return false;
	for (uint32_t i = 0; i < n_chunks; i++) {
		const struct chunk_rec *in_a = described(a, i);
		const struct chunk_rec *in_b = described(b, i);
		const struct chunk_rec *c = in_a != NULL ? in_a : in_b;

		if (in_a != NULL && in_b != NULL && !chunks_equal(in_a, in_b))
			return false;
		if (c == NULL)
			continue;
		/* Chunks that only one describes must not lie over the other's in the shared file.
		 */
		if (c->plain_offset < end)
			return false;
		end = c->plain_offset + c->plain_size_bytes;
	}
	return true;
}
