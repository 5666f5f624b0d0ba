/*
 * names: see the header.
 */
#include "names.h"
#include "digest.h"
#include <assert.h>

static void hash_of(uint32_t kind, uint64_t number, uint8_t ret_digest[DIGEST_BYTES])
{
	const uint64_t words[2] = { kind, number };

	digest_compute(DIGEST_BLAKE3, words, sizeof(words), ret_digest);
}

struct wire_id test_id(uint32_t kind, uint64_t number)
{
	uint8_t digest[DIGEST_BYTES];
	struct wire_id id;

	hash_of(kind, number, digest);
	memcpy(id.b, digest, sizeof(id.b));
	return id;
}

struct blob_layout *test_layout(uint32_t n_chunks, uint32_t plain_bytes, uint64_t seed)
{
	struct blob_layout *l = layout_new(n_chunks);

	assert(l != NULL);
	memcpy(l->blob_id, "blob", 5);
	l->digest_alg = DIGEST_BLAKE3;
	l->compressor = COMPRESSOR_ZSTD;
	l->plain_size_bytes = (uint64_t)n_chunks * plain_bytes;
	l->packed_size_bytes = l->packed_data_end = l->plain_size_bytes / 2;
	for (uint32_t i = 0; i < n_chunks; i++) {
		l->chunks[i] = (struct chunk_rec){
			.plain_offset = (uint64_t)i * plain_bytes,
			.place = (uint64_t)i * (plain_bytes / 2),
			.plain_size_bytes = plain_bytes,
			.packed_size_bytes = plain_bytes / 2,
			.flags = CHUNK_COMPRESSED | CHUNK_HAS_DIGEST,
		};
		hash_of(1, seed + i, l->chunks[i].digest);
	}
	return l;
}

void test_layout_change(struct blob_layout *l, uint32_t chunk_idx, uint64_t seed)
{
	hash_of(2, seed, l->chunks[chunk_idx].digest);
}

void test_layout_hole(struct blob_layout *l, uint32_t chunk_idx)
{
	l->chunks[chunk_idx].plain_size_bytes = 0;
}

struct wire_set test_range(uint32_t n, uint32_t first, uint32_t count)
{
	struct wire_set s = set_none(n);

	for (uint32_t i = first; i < first + count; i++)
		wire_set_add(&s, i);
	return s;
}
