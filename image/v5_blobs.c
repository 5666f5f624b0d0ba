/*
 * v5_blobs: the blob tables of a RAFS v5 bootstrap: ids in one, counts and sizes in the extended
 * one, which old images lack. Reads no inode.
 * Source: docs/rafs.md, "RAFS v5".
 */
#include "v5.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BLOB_HEAD_BYTES  8 /* two readahead hints before each id */
#define EXT_RECORD_BYTES 64
#define UNREADABLE       (BLOB_ZRAN | BLOB_BATCH | BLOB_ENCRYPTED | BLOB_SEPARATE)

/* The table is filled up to a multiple of 8. */
static bool is_padding(const uint8_t *p, uint32_t size_bytes)
{
	for (uint32_t i = 0; i < size_bytes; i++) {
		if (p[i] != 0)
			return false;
	}
	return size_bytes < BLOB_HEAD_BYTES;
}

static int read_ids(struct image *im, const uint8_t *p, uint32_t size_bytes, struct err *e)
{
	uint32_t at = 0;

	while (at < size_bytes && !is_padding(p + at, size_bytes - at)) {
		const char *id = (const char *)p + at + BLOB_HEAD_BYTES;
		struct image_blob *b = &im->blobs[im->n_blobs].pub;
		size_t id_bytes;

		if (size_bytes - at <= BLOB_HEAD_BYTES || im->n_blobs == IMAGE_BLOBS_MAX)
			return err_set(e, EUCLEAN, "bootstrap: a blob table of %u bytes, bad at %u",
			               size_bytes, at);
		id_bytes = strnlen(id, size_bytes - at - BLOB_HEAD_BYTES);
		if (!blob_id_set(b->blob_id, (const uint8_t *)id, id_bytes))
			return err_set(e, EUCLEAN, "bootstrap: blob %u has no usable name",
			               im->n_blobs);
		memcpy(b->meta_blob_id, b->blob_id, sizeof(b->meta_blob_id));
		b->compressor = super_compressor(im->flags);
		b->digest_alg = super_digest_alg(im->flags);
		im->n_blobs++;
		at += (uint32_t)(BLOB_HEAD_BYTES + id_bytes + 1);
	}
	return 0;
}

static int read_ext_record(const uint8_t *p, struct blob_entry *b, struct err *e)
{
	const uint32_t features = le32(p + 4);
	uint64_t data_end;

	b->pub.n_chunks = le32(p);
	/* Unknown bits mean nothing in this format: writers left them to chance. */
	b->pub.features = features & ~(BLOB_INCOMPATIBLE_BITS & ~BLOB_INCOMPATIBLE_KNOWN);
	b->pub.plain_size_bytes = le64(p + 8);
	b->pub.packed_size_bytes = le64(p + 16);
	data_end = b->pub.packed_size_bytes;
	if (features & UNREADABLE)
		return err_set(e, ENOTSUP, "blob %s: features 0x%x, which RAFS v5 cannot have",
		               b->pub.blob_id, features);
	if (features & BLOB_CAP_TAR_TOC && features & BLOB_HAS_TAR_HEADER) {
		data_end -= min_u64(data_end, TAR_HEADER_BYTES);
		b->pub.packed_size_bytes = 0; /* the parts behind it are not counted */
	}
	b->packed_data_end = data_end;
	return 0;
}

int v5_blob_table_read(struct image *im, struct err *e)
{
	const uint64_t offset = le64(im->data + 48);
	const uint32_t size_bytes = le32(im->data + 64);
	const uint32_t n_ext = le32(im->data + 68);
	const uint64_t ext_offset = le64(im->data + 72);
	int r;

	if (!range_fits(offset, size_bytes, im->size_bytes) ||
	    !range_fits(ext_offset, (uint64_t)n_ext * EXT_RECORD_BYTES, im->size_bytes))
		return err_set(e, EUCLEAN, "bootstrap: the blob tables lie outside of it");
	im->blobs = calloc(IMAGE_BLOBS_MAX, sizeof(*im->blobs));
	if (im->blobs == NULL)
		return err_set(e, ENOMEM, "no memory for the blob table");
	r = read_ids(im, im->data + offset, size_bytes, e);
	if (r == 0 && n_ext != 0 && n_ext != im->n_blobs)
		r = err_set(e, EUCLEAN, "bootstrap: %u blobs, but sizes of %u", im->n_blobs, n_ext);
	for (uint32_t i = 0; r == 0 && i < n_ext; i++)
		r = read_ext_record(im->data + ext_offset + (uint64_t)i * EXT_RECORD_BYTES,
		                    &im->blobs[i], e);
	return r;
}

/* Without the extended table, a blob is as large as its chunks say. */
static void measure(const struct image *im, uint32_t blob_idx, struct blob_entry *b)
{
	const uint32_t n = chunk_index_count(im, blob_idx);

	for (uint32_t i = 0; i < n; i++) {
		struct chunk_info c;

		chunk_index_get(im, blob_idx, i, &c);
		if (c.chunk_idx >= BLOB_CHUNKS_MAX || c.plain_offset > BLOB_PLAIN_MAX_BYTES ||
		    c.packed_offset > BLOB_PACKED_MAX_BYTES)
			continue; /* the layout will say what is wrong */
		b->pub.n_chunks = (uint32_t)max_u64(b->pub.n_chunks, c.chunk_idx + 1U);
		b->pub.plain_size_bytes =
			max_u64(b->pub.plain_size_bytes, c.plain_offset + c.plain_size_bytes);
		b->packed_data_end =
			max_u64(b->packed_data_end, c.packed_offset + c.packed_size_bytes);
	}
}

int v5_blobs_complete(struct image *im, struct err *e)
{
	const bool measured = le32(im->data + 68) == 0;
	/* Builders began to write the table on the same day as the numbers of chunks. */
	int r = measured ? chunk_index_number(im, e) : 0;

	for (uint32_t i = 0; r == 0 && i < im->n_blobs; i++) {
		if (measured)
			measure(im, i, &im->blobs[i]);
		r = blob_entry_check(im, i, e);
		blob_entry_needs(im, &im->blobs[i]);
	}
	return r;
}
