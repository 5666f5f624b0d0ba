/*
 * blob_meta: a blob's chunk index from the bytes of the blob's tail to the local form: decrypt,
 * unpack, check. What its records say is ci.c's.
 * Source: docs/rafs.md, "Chunk index (CI)" and "Packed units".
 */
#include "blob_meta.h"
#include "bootstrap.h"
#include "mem.h"
#include "unpack.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define CI_MAGIC     0xb10bb10bU
#define CI_MAGIC2_AT 4092
#define CI_ALIGN     4096

uint64_t blob_meta_local_size(const struct image_blob *blob)
{
	return align_up(blob->ci_plain_size_bytes, CI_ALIGN) + CI_HEADER_BYTES;
}

static int check_header(const struct image_blob *b, const uint8_t *h, struct err *e)
{
	if (le32(h) != CI_MAGIC || le32(h + CI_MAGIC2_AT) != CI_MAGIC)
		return err_set(e, EUCLEAN, "blob %s: no index header (it begins with %08x)",
		               b->blob_id, le32(h));
	if ((le32(h + 12) != b->n_chunks && !(b->features & BLOB_CHUNK_DICT)) ||
	    le32(h + 8) != (uint32_t)b->ci_compressor || le64(h + 16) != b->ci_offset ||
	    le64(h + 24) != b->ci_packed_size_bytes || le64(h + 32) != b->ci_plain_size_bytes)
		return err_set(e, EUCLEAN,
		               "blob %s: its index is of %u chunks, %" PRIu64
		               " bytes; the bootstrap "
		               "says %u, %" PRIu64,
		               b->blob_id, le32(h + 12), le64(h + 32), b->n_chunks,
		               b->ci_plain_size_bytes);
	return 0;
}

int blob_meta_check(const struct image_blob *blob, const uint8_t *meta, uint64_t size_bytes,
                    struct err *e)
{
	if (size_bytes != blob_meta_local_size(blob))
		return err_set(e, EUCLEAN, "blob %s: its index has %" PRIu64 " bytes, not %" PRIu64,
		               blob->blob_id, size_bytes, blob_meta_local_size(blob));
	return check_header(blob, meta + size_bytes - CI_HEADER_BYTES, e);
}

/* The TOC's digests are of the stored bytes made plain: of index and header each. */
static int check_digest(const struct image_blob *b, const struct toc *toc, const char *name,
                        const uint8_t *plain, uint64_t size_bytes, struct err *e)
{
	const struct toc_entry *entry = toc == NULL ? NULL : toc_find(toc, name);

	if (entry == NULL)
		return 0;
	if (entry->plain_size_bytes != size_bytes ||
	    !digest_matches(DIGEST_SHA256, plain, size_bytes, entry->digest))
		return err_set(e, EBADMSG, "blob %s: %s is not what its table of contents says",
		               b->blob_id, name);
	return 0;
}

static int unpack_into(const struct image_blob *b, const struct blob_cipher *cipher,
                       const uint8_t *packed, uint8_t *meta, struct err *e)
{
	const struct unpack_from ci = {
		.packed = packed,
		.packed_size_bytes = b->ci_packed_size_bytes,
		.compressor = b->ci_compressor,
		.cipher = cipher,
	};
	const struct unpack_from header = {
		.packed = packed + b->ci_packed_size_bytes,
		.packed_size_bytes = CI_HEADER_BYTES,
		.compressor = COMPRESSOR_NONE,
		.cipher = cipher,
	};
	int r = unpack(&ci, meta, b->ci_plain_size_bytes, e);

	if (r == 0)
		r = unpack(&header, meta + blob_meta_local_size(b) - CI_HEADER_BYTES,
		           CI_HEADER_BYTES, e);
	return r < 0 ? err_wrap(e, "blob %s: its index", b->blob_id) : 0;
}

/* NOLINTNEXTLINE(readability-function-size): bytes and their size are two parameters */
int blob_meta_unpack(const struct image_blob *blob, const struct blob_cipher *cipher,
                     const uint8_t *packed, uint64_t packed_size_bytes, const struct toc *toc,
                     uint8_t **ret_meta, struct err *e)
{
	const uint64_t local_size = blob_meta_local_size(blob);
	AUTO(free_bytes) uint8_t *meta = NULL;
	int r;

	if (packed_size_bytes != blob->ci_packed_size_bytes + CI_HEADER_BYTES ||
	    blob->ci_plain_size_bytes > IMAGE_CI_MAX_BYTES)
		return err_set(e, EUCLEAN, "blob %s: %" PRIu64 " bytes of index, not %" PRIu64,
		               blob->blob_id, packed_size_bytes,
		               blob->ci_packed_size_bytes + CI_HEADER_BYTES);
	meta = calloc(1, local_size);
	if (meta == NULL)
		return err_set(e, ENOMEM, "no memory for an index of %" PRIu64 " bytes",
		               local_size);
	r = unpack_into(blob, cipher, packed, meta, e);
	if (r == 0)
		r = blob_meta_check(blob, meta, local_size, e);
	if (r == 0)
		r = check_digest(blob, toc, "blob.meta", meta, blob->ci_plain_size_bytes, e);
	if (r == 0)
		r = check_digest(blob, toc, "blob.meta.header", meta + local_size - CI_HEADER_BYTES,
		                 CI_HEADER_BYTES, e);
	if (r < 0)
		return r;
	*ret_meta = meta;
	meta = NULL;
	return 0;
}
