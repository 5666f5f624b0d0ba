/*
 * blob_layout: the layout of one blob, from the bootstrap's chunk records, from the blob's own
 * chunk index, or from both held against each other. Knows no tree.
 *
 * The chunk records are believed first: the bootstrap is what was verified. The index adds what
 * they cannot say (units of several chunks), and stands alone where there are none.
 * Source: docs/rafs.md, "Chunk records" and "Chunk index (CI)".
 */
#include "bootstrap.h"
#include "ci.h"
#include "ci_units.h"
#include "hex.h"
#include <errno.h>
#include <inttypes.h>

static uint32_t table_flags(uint32_t flags)
{
	return CHUNK_HAS_DIGEST | (flags & CHUNK_INFO_COMPRESSED ? CHUNK_COMPRESSED : 0U) |
	       (flags & CHUNK_INFO_ENCRYPTED ? CHUNK_ENCRYPTED : 0U);
}

static bool chunks_agree(const struct chunk_rec *a, const struct chunk_rec *b)
{
	return a->plain_offset == b->plain_offset && a->plain_size_bytes == b->plain_size_bytes &&
	       a->place == b->place && a->packed_size_bytes == b->packed_size_bytes &&
	       a->flags == b->flags && memcmp(a->digest, b->digest, DIGEST_BYTES) == 0;
}

/* Records may repeat a chunk (v5 has one for each file that uses it), but not differ. */
static int add_record(const struct chunk_info *info, struct blob_layout *l, struct err *e)
{
	struct chunk_rec c = {
		.plain_offset = info->plain_offset,
		.place = info->packed_offset,
		.plain_size_bytes = info->plain_size_bytes,
		.packed_size_bytes = info->packed_size_bytes,
		.flags = table_flags(info->flags),
	};
	struct chunk_rec *known;

	if (info->chunk_idx >= l->n_chunks || info->plain_size_bytes == 0)
		return err_set(e, EUCLEAN, "blob %s: a chunk record of %u bytes, number %u of %u",
		               l->blob_id, info->plain_size_bytes, info->chunk_idx, l->n_chunks);
	memcpy(c.digest, info->digest, DIGEST_BYTES);
	known = &l->chunks[info->chunk_idx];
	if (known->plain_size_bytes != 0 && !chunks_agree(known, &c))
		return err_set(e, EUCLEAN, "blob %s: two chunk records of chunk %u that differ",
		               l->blob_id, info->chunk_idx);
	*known = c;
	return 0;
}

static int add_table(const struct image *im, uint32_t blob_idx, struct blob_layout *l,
                     struct err *e)
{
	const uint32_t n = chunk_index_count(im, blob_idx);

	for (uint32_t i = 0; i < n; i++) {
		struct chunk_info info;
		int r;

		chunk_index_get(im, blob_idx, i, &info);
		r = add_record(&info, l, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of a batch's members the table does not know where the batch stands: builders leave 0 there. */
static bool ci_agrees(const struct ci_record *c, const struct chunk_rec *t)
{
	if (t->plain_offset != c->plain_offset || t->plain_size_bytes != c->plain_size_bytes)
		return false;
	return c->flags & CI_BATCH ||
	       (t->place == c->packed_offset && t->packed_size_bytes == c->packed_size_bytes);
}

static int check_against_table(const struct ci_record *c, uint32_t i, const struct blob_layout *l,
                               struct err *e)
{
	const struct chunk_rec *t = &l->chunks[i];

	if (ci_agrees(c, t))
		return 0;
	return err_set(
		e, EUCLEAN,
		"blob %s: chunk %u is %u bytes at %" PRIu64 ", packed %u at %" PRIu64
		" by the bootstrap; %u at %" PRIu64 ", %u at %" PRIu64 " by the blob's own index",
		l->blob_id, i, t->plain_size_bytes, t->plain_offset, t->packed_size_bytes, t->place,
		c->plain_size_bytes, c->plain_offset, c->packed_size_bytes, c->packed_offset);
}

static void set_from_ci(const struct ci_record *c, struct chunk_rec *ret_chunk)
{
	*ret_chunk = (struct chunk_rec){
		.plain_offset = c->plain_offset,
		.place = c->packed_offset,
		.plain_size_bytes = c->plain_size_bytes,
		.packed_size_bytes = c->packed_size_bytes,
		.flags = (c->flags & CI_COMPRESSED ? (uint32_t)CHUNK_COMPRESSED : 0) |
		         (c->flags & CI_ENCRYPTED ? (uint32_t)CHUNK_ENCRYPTED : 0),
	};
}

/* Hold the index against the table; where there is no table, take the chunks from the index. A
 * chunk that the table leaves out is used by no file and has no digest: it stays a hole. */
static int add_ci(const struct image *im, const struct ci *ci, struct blob_layout *l, struct err *e)
{
	for (uint32_t i = 0; i < ci->n_records; i++) {
		struct ci_record c;
		int r = ci_record(ci, i, &c, e);

		if (r == 0 && !im->has_chunk_table)
			set_from_ci(&c, &l->chunks[i]);
		else if (r == 0 && l->chunks[i].plain_size_bytes != 0)
			r = check_against_table(&c, i, l, e);
		if (r < 0)
			return r;
	}
	if (ci->n_contexts > 0 || ci->blob->features & (BLOB_ZRAN | BLOB_BATCH))
		return ci_units_build(ci, l, e);
	return 0;
}

static int add_meta(const struct image *im, uint32_t blob_idx, const uint8_t *meta,
                    uint64_t meta_size_bytes, struct blob_layout *l, struct err *e)
{
	struct ci ci;
	int r;

	if (!im->blobs[blob_idx].pub.needs_meta)
		return 0;
	if (meta == NULL)
		return err_set(e, ENODATA, "blob %s: its chunk index is needed", l->blob_id);
	r = ci_open(&im->blobs[blob_idx].pub, meta, meta_size_bytes, &ci, e);
	if (r == 0)
		r = add_ci(im, &ci, l, e);
	return r;
}

static void set_trust(const struct image *im, const uint8_t *digests, struct blob_layout *l)
{
	if (im->has_chunk_table) {
		l->trust = TRUST_DIGESTS;
		return;
	}
	if (digests == NULL) {
		l->trust = hex_is_sha256(l->blob_id) ? TRUST_WHOLE_BLOB : TRUST_NONE;
		return;
	}
	l->trust = TRUST_DIGESTS;
	for (uint32_t i = 0; i < l->n_chunks; i++)
		layout_set_digest(l, i, digests + (size_t)i * DIGEST_BYTES);
}

/* NOLINTNEXTLINE(readability-function-size): bytes and their sizes are two parameters each */
int image_layout(const struct image *image, uint32_t blob_idx, const uint8_t *meta,
                 uint64_t meta_size_bytes, const uint8_t *digests, struct blob_layout **ret_layout,
                 struct err *e)
{
	const struct blob_entry *b = &image->blobs[blob_idx];
	AUTO(layout_unref) struct blob_layout *l = layout_new(b->pub.n_chunks);
	int r;

	if (l == NULL)
		return err_set(e, ENOMEM, "no memory for %u chunks of blob %s", b->pub.n_chunks,
		               b->pub.blob_id);
	memcpy(l->blob_id, b->pub.blob_id, sizeof(l->blob_id));
	l->digest_alg = b->pub.digest_alg;
	l->compressor = b->pub.compressor;
	l->cipher = b->cipher;
	l->plain_size_bytes = b->pub.plain_size_bytes;
	l->packed_size_bytes = b->pub.packed_size_bytes;
	l->packed_data_end = b->packed_data_end;
	r = add_table(image, blob_idx, l, e);
	if (r == 0)
		r = add_meta(image, blob_idx, meta, meta_size_bytes, l, e);
	if (r == 0) {
		set_trust(image, digests, l);
		r = layout_check(l, e);
	}
	if (r < 0)
		return r;
	*ret_layout = l;
	l = NULL;
	return 0;
}
