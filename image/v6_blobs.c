/*
 * v6_blobs: the blob table of a RAFS v6 bootstrap. Knows the record's form and what it says of a
 * blob; reads no chunk.
 * Source: docs/rafs.md, "RAFS v6", "Blob table".
 */
#include "blob_meta.h"
#include "hex.h"
#include "v6.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BLOB_RECORD_BYTES  256
#define CI_V1_RECORD_BYTES 16
#define CI_V2_RECORD_BYTES 24
#define CIPHER_NONE        0
#define CIPHER_AES_128_XTS 1
#define META_DIGEST_OFFSET 168
#define META_SIZE_OFFSET   200
#define CIPHER_IV_SIZE     16

static void read_record(const uint8_t *p, struct image_blob *b)
{
	b->n_chunks = le32(p + 72);
	b->compressor = (enum compressor)le32(p + 76);
	b->digest_alg = (enum digest_alg)le32(p + 80);
	b->features = le32(p + 84);
	b->packed_size_bytes = le64(p + 88);
	b->plain_size_bytes = le64(p + 96);
	b->toc_size_bytes = le32(p + 104);
	b->ci_compressor = (enum compressor)le32(p + 108);
	b->ci_offset = le64(p + 112);
	b->ci_packed_size_bytes = le64(p + 120);
	b->ci_plain_size_bytes = le64(p + 128);
	memcpy(b->toc_digest, p + 136, DIGEST_BYTES);
	for (int i = 0; i < DIGEST_BYTES; i++)
		b->toc_vouched |= b->toc_digest[i] != 0;
}

/* Where CI and TOC stand: in the blob itself, or in an object of their own. */
static int read_meta_object(const uint8_t *p, struct image_blob *b, bool encrypted, struct err *e)
{
	if (!(b->features & BLOB_SEPARATE)) {
		memcpy(b->meta_blob_id, b->blob_id, sizeof(b->meta_blob_id));
		b->meta_blob_size_bytes = b->packed_size_bytes;
		return 0;
	}
	if (encrypted) /* one field would have to hold the key and the object's name */
		return err_set(e, EUCLEAN, "blob %s: encrypted, with its index in another object",
		               b->blob_id);
	if (b->features & BLOB_INLINED_FS_META)
		return 0; /* named after a file that shoal has never seen */
	hex_encode(p + META_DIGEST_OFFSET, DIGEST_BYTES, b->meta_blob_id);
	b->meta_blob_size_bytes = le64(p + META_SIZE_OFFSET);
	return 0;
}

static int read_cipher(const uint8_t *p, struct blob_entry *b, struct err *e)
{
	const uint32_t cipher = le32(p + 216);

	if (cipher > CIPHER_AES_128_XTS)
		return err_set(
			e, ENOTSUP,
			"blob %s: cipher %u: the image needs a newer shoal (1 is AES-128-XTS)",
			b->pub.blob_id, cipher);
	if ((cipher == CIPHER_AES_128_XTS) != ((b->pub.features & BLOB_ENCRYPTED) != 0))
		return err_set(e, EUCLEAN, "blob %s: cipher %u, but features 0x%x", b->pub.blob_id,
		               cipher, b->pub.features);
	if (cipher == CIPHER_NONE)
		return 0;
	b->cipher.on = true;
	memcpy(b->cipher.key, p + META_DIGEST_OFFSET, sizeof(b->cipher.key));
	memcpy(b->cipher.iv, p + META_SIZE_OFFSET, CIPHER_IV_SIZE);
	return 0;
}

static int check_ci(const struct image_blob *b, struct err *e)
{
	const bool v2 = b->features & BLOB_CI_V2;
	const uint64_t records =
		(uint64_t)b->n_chunks * (v2 ? CI_V2_RECORD_BYTES : CI_V1_RECORD_BYTES);
	const bool exact = !(b->features & (BLOB_BATCH | BLOB_ZRAN | BLOB_ENCRYPTED));
	bool sound = b->ci_plain_size_bytes <= IMAGE_CI_MAX_BYTES &&
	             b->ci_packed_size_bytes <= b->ci_plain_size_bytes;

	if (!(b->features & BLOB_CHUNK_DICT))
		sound = sound && (exact ? b->ci_plain_size_bytes == records
		                        : b->ci_plain_size_bytes >= records);
	if (b->meta_blob_size_bytes > 0)
		sound = sound && range_fits(b->ci_offset, b->ci_packed_size_bytes + CI_HEADER_BYTES,
		                            b->meta_blob_size_bytes);
	if (b->toc_size_bytes > TOC_MAX_BYTES || !sound)
		return err_set(e, EUCLEAN,
		               "blob %s: an index of %" PRIu64 " bytes (%" PRIu64
		               " unpacked) at %" PRIu64 " for %u chunks",
		               b->blob_id, b->ci_packed_size_bytes, b->ci_plain_size_bytes,
		               b->ci_offset, b->n_chunks);
	return 0;
}

/* Chunk data ends where the tail's parts begin. */
static uint64_t packed_data_end(const struct image_blob *b)
{
	const uint64_t header = b->features & BLOB_HAS_TAR_HEADER ? TAR_HEADER_BYTES : 0;

	if (b->features & BLOB_SEPARATE || !(b->features & BLOB_CAP_TAR_TOC))
		return b->packed_size_bytes;
	return b->ci_offset > header ? b->ci_offset - header : 0;
}

static int blob_read(struct image *im, uint32_t blob_idx, const uint8_t *p, struct err *e)
{
	struct blob_entry *b = &im->blobs[blob_idx];
	int r;

	if (!blob_id_set(b->pub.blob_id, p, strnlen((const char *)p, BLOB_ID_MAX)))
		return err_set(e, EUCLEAN, "bootstrap: blob %u has no usable name", blob_idx);
	if (le32(p + 64) != blob_idx || le32(p + 68) != im->chunk_size_bytes)
		return err_set(
			e, EUCLEAN,
			"blob %s: index %u at place %u, chunks of %u bytes in an image of %u",
			b->pub.blob_id, le32(p + 64), blob_idx, le32(p + 68), im->chunk_size_bytes);
	read_record(p, &b->pub);
	if (b->pub.features & BLOB_INCOMPATIBLE_BITS & ~BLOB_INCOMPATIBLE_KNOWN ||
	    b->pub.features & 0x80000000U)
		return err_set(e, ENOTSUP,
		               "blob %s: unknown features 0x%x: the image needs a newer shoal",
		               b->pub.blob_id, b->pub.features);
	r = blob_entry_check(im, blob_idx, e);
	if (r == 0 && !(b->pub.features & BLOB_ALIGNED))
		r = err_set(e, EUCLEAN, "blob %s: its chunks are not aligned to blocks",
		            b->pub.blob_id);
	if (r == 0)
		r = read_cipher(p, b, e);
	if (r == 0)
		r = read_meta_object(p, &b->pub, b->cipher.on, e);
	if (r == 0)
		r = check_ci(&b->pub, e);
	b->packed_data_end = packed_data_end(&b->pub);
	blob_entry_needs(im, b);
	return r;
}

int v6_blob_table_read(struct image *im, uint64_t offset, uint32_t n_blobs, struct err *e)
{
	im->blobs = calloc((size_t)n_blobs + 1, sizeof(*im->blobs));
	if (im->blobs == NULL)
		return err_set(e, ENOMEM, "no memory for %u blobs", n_blobs);
	for (uint32_t i = 0; i < n_blobs; i++) {
		int r = blob_read(im, i, im->data + offset + (uint64_t)i * BLOB_RECORD_BYTES, e);

		if (r < 0)
			return r;
	}
	return 0;
}
