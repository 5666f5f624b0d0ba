/*
 * blob_entry: the rules that hold for a blob and for a superblock of either format. Knows features
 * and sizes; nothing of where a format writes them.
 * Source: docs/rafs.md, "Which format" and "RAFS v6".
 */
#include "bootstrap.h"
#include "hex.h"
#include <errno.h>
#include <inttypes.h>

#define CHUNK_SIZE_MIN_BYTES 4096

static bool one_bit_of(uint64_t flags, uint64_t mask)
{
	const uint64_t set = flags & mask;

	return set != 0 && (set & (set - 1)) == 0;
}

int super_check(const struct image *im, struct err *e)
{
	const uint32_t chunk = im->chunk_size_bytes;

	if (im->flags & ~SUPER_KNOWN)
		return err_set(e, ENOTSUP,
		               "bootstrap: unknown flags 0x%" PRIx64
		               ": the image needs a newer shoal",
		               im->flags & ~SUPER_KNOWN);
	if (!one_bit_of(im->flags, SUPER_COMPRESSOR_NONE | SUPER_COMPRESSOR_LZ4 |
	                                   SUPER_COMPRESSOR_GZIP | SUPER_COMPRESSOR_ZSTD) ||
	    !one_bit_of(im->flags, SUPER_DIGEST_BLAKE3 | SUPER_DIGEST_SHA256))
		return err_set(e, EUCLEAN,
		               "bootstrap: flags 0x%" PRIx64
		               " name not one compressor and one digest",
		               im->flags);
	if (chunk < CHUNK_SIZE_MIN_BYTES || chunk > CHUNK_PLAIN_MAX_BYTES ||
	    (chunk & (chunk - 1)) != 0)
		return err_set(e, EUCLEAN, "bootstrap: a chunk size of %u bytes", chunk);
	return 0;
}

enum compressor super_compressor(uint64_t flags)
{
	if (flags & SUPER_COMPRESSOR_LZ4)
		return COMPRESSOR_LZ4_BLOCK;
	if (flags & SUPER_COMPRESSOR_GZIP)
		return COMPRESSOR_GZIP;
	return (flags & SUPER_COMPRESSOR_ZSTD) != 0 ? COMPRESSOR_ZSTD : COMPRESSOR_NONE;
}

enum digest_alg super_digest_alg(uint64_t flags)
{
	return (flags & SUPER_DIGEST_SHA256) != 0 ? DIGEST_SHA256 : DIGEST_BLAKE3;
}

bool blob_id_set(char ret_id[BLOB_ID_MAX + 1], const uint8_t *text, size_t size_bytes)
{
	if (size_bytes == 0 || size_bytes > BLOB_ID_MAX)
		return false;
	for (size_t i = 0; i < size_bytes; i++) {
		if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '/')
			return false;
	}
	memcpy(ret_id, text, size_bytes);
	ret_id[size_bytes] = '\0';
	return strcmp(ret_id, ".") != 0 && strcmp(ret_id, "..") != 0;
}

static int check_kind(const struct image_blob *b, struct err *e)
{
	const bool stargz = b->compressor == COMPRESSOR_GZIP && !(b->features & BLOB_CI_V2);

	if (b->features & BLOB_TARFS)
		return err_set(e, ENOTSUP, "blob %s is a plain tar layer (tarfs)", b->blob_id);
	if (b->features & BLOB_EXTERNAL)
		return err_set(e, ENOTSUP,
		               "blob %s is kept by an external backend, not by a registry",
		               b->blob_id);
	if (stargz && b->n_chunks > 0)
		return err_set(e, ENOTSUP,
		               "blob %s is an eStargz layer: build the image with "
		               "'nydusify convert' instead",
		               b->blob_id);
	if (b->features & BLOB_INLINED_FS_META && !(b->features & BLOB_SEPARATE) &&
	    strspn(b->blob_id, "x") == BLOB_ID_MAX)
		return err_set(e, ENOTSUP,
		               "this is the bootstrap of one layer, whose blob has no name yet: "
		               "make one of all layers with 'nydus-image merge'");
	if (b->features & (BLOB_ZRAN | BLOB_BATCH | BLOB_ENCRYPTED) && !(b->features & BLOB_CI_V2))
		return err_set(e, EUCLEAN,
		               "blob %s: features 0x%x need version 2 of the chunk index",
		               b->blob_id, b->features);
	return 0;
}

static bool sizes_are_sound(const struct image_blob *b)
{
	return b->n_chunks <= BLOB_CHUNKS_MAX && b->plain_size_bytes <= BLOB_PLAIN_MAX_BYTES &&
	       b->packed_size_bytes <= BLOB_PACKED_MAX_BYTES &&
	       b->meta_blob_size_bytes <= BLOB_PACKED_MAX_BYTES;
}

int blob_entry_check(const struct image *im, uint32_t blob_idx, struct err *e)
{
	const struct image_blob *b = &im->blobs[blob_idx].pub;

	if ((uint32_t)b->compressor >= N_COMPRESSORS ||
	    (uint32_t)b->ci_compressor >= N_COMPRESSORS || (uint32_t)b->digest_alg >= N_DIGEST_ALGS)
		return err_set(e, ENOTSUP,
		               "blob %s: compressor %u, of its index %u, digest %u: the "
		               "image needs a newer shoal",
		               b->blob_id, b->compressor, b->ci_compressor, b->digest_alg);
	if (!sizes_are_sound(b))
		return err_set(e, EUCLEAN,
		               "blob %s: %u chunks, %" PRIu64 " bytes, %" PRIu64
		               " unpacked: too large",
		               b->blob_id, b->n_chunks, b->packed_size_bytes, b->plain_size_bytes);
	for (uint32_t i = 0; i < blob_idx; i++) {
		if (strcmp(im->blobs[i].pub.blob_id, b->blob_id) == 0)
			return err_set(e, EUCLEAN, "bootstrap: blob %s stands there twice",
			               b->blob_id);
	}
	return check_kind(b, e);
}

void blob_entry_needs(const struct image *im, struct blob_entry *b)
{
	struct image_blob *pub = &b->pub;

	pub->needs_meta = !im->has_chunk_table || pub->features & (BLOB_ZRAN | BLOB_BATCH);
	/* A TOC that nobody vouches for comes from whom it should bear witness against. */
	pub->needs_digests =
		!im->has_chunk_table && pub->features & BLOB_INLINED_DIGESTS && pub->toc_vouched;
}
