/*
 * fuzz_blob_meta: any bytes as a blob's chunk index, packed and in its local form.
 *
 * The first 32 bytes are what the bootstrap would say of the blob: features, number of chunks,
 * compressors and cipher, unpacked size of index and of blob; the rest is the index.
 */
#include "blob_meta.h"
#include "bootstrap.h"
#include "fuzz.h"
#include <assert.h>
#include <stdlib.h>

#define HEAD_BYTES  32
#define CHUNKS_MAX  100000
#define CI_FUZZ_MAX (UINT64_C(1) << 20)

static void read_head(const uint8_t *p, uint64_t rest_bytes, struct blob_entry *b)
{
	memset(b->pub.blob_id, 'a', BLOB_ID_MAX);
	b->pub.features = le32(p);
	b->pub.n_chunks = le32(p + 4) % CHUNKS_MAX;
	b->pub.compressor = (enum compressor)(p[8] % N_COMPRESSORS);
	b->pub.ci_compressor = (enum compressor)(p[9] % N_COMPRESSORS);
	b->cipher.on = p[10] & 1;
	b->pub.ci_plain_size_bytes = le64(p + 16) % CI_FUZZ_MAX;
	b->pub.plain_size_bytes = le64(p + 24) % BLOB_PLAIN_MAX_BYTES;
	b->pub.ci_packed_size_bytes = rest_bytes - CI_HEADER_BYTES;
	b->pub.needs_meta = true;
}

static void try_layout(const struct blob_entry *b, const uint8_t *meta, uint64_t size_bytes)
{
	AUTO(layout_unref) struct blob_layout *l = NULL;
	struct blob_entry entry = *b;
	const struct image im = { .n_blobs = 1, .blobs = &entry };
	uint32_t first[2] = { 0 };
	uint32_t positions[1] = { 0 };
	struct image copy = im;
	struct err e;

	copy.chunks.first = first;
	copy.chunks.positions = positions;
	if (image_layout(&copy, 0, meta, size_bytes, NULL, &l, &e) == 0)
		assert(layout_check(l, &e) == 0);
}

/* The local form: what its header says is what the bootstrap says, so that records are reached. */
static void try_local(const struct blob_entry *b, const uint8_t *meta, uint64_t size_bytes)
{
	const uint8_t *header = meta + size_bytes - CI_HEADER_BYTES;
	struct blob_entry entry = *b;

	entry.pub.ci_offset = le64(header + 16);
	entry.pub.ci_packed_size_bytes = le64(header + 24);
	entry.pub.ci_plain_size_bytes = le64(header + 32);
	entry.pub.ci_compressor = (enum compressor)le32(header + 8);
	if (entry.pub.ci_plain_size_bytes <= CI_FUZZ_MAX)
		try_layout(&entry, meta, size_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct blob_entry b = { 0 };
	uint8_t *meta = NULL;
	struct err e;

	if (size_bytes < HEAD_BYTES + CI_HEADER_BYTES)
		return 0;
	read_head(data, size_bytes - HEAD_BYTES, &b);
	try_local(&b, data + HEAD_BYTES, size_bytes - HEAD_BYTES);
	if (blob_meta_unpack(&b.pub, &b.cipher, data + HEAD_BYTES, size_bytes - HEAD_BYTES, NULL,
	                     &meta, &e) == 0)
		try_layout(&b, meta, blob_meta_local_size(&b.pub));
	free(meta);
	return 0;
}
