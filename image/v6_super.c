/*
 * v6_super: the superblocks and the places of the tables of a RAFS v6 bootstrap. Knows no inode.
 * Source: docs/rafs.md, "RAFS v6"; the fields: nydus, rafs/src/metadata/layout/v6.rs.
 */
#include "v6.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define SUPER_OFFSET       1024
#define EXT_OFFSET         1152
#define FEATURE_INCOMPAT   0xcU /* files in chunks, a table of devices; no more and no less */
#define DEVICE_SLOT_OFFSET 11
#define BLOB_RECORD_BYTES  256
#define PREFETCH_BYTES     4

struct v6_table {
	const char *what;
	uint64_t offset;
	uint64_t size_bytes;
	uint32_t record_bytes;
	uint32_t align_bytes;
};

enum { TABLE_BLOBS, TABLE_CHUNKS, TABLE_PREFETCH, N_TABLES };

static int check_table(const struct image *im, const struct v6_table *t, struct err *e)
{
	if (t->size_bytes == 0)
		return 0;
	if (t->size_bytes % t->record_bytes != 0 || t->offset % t->align_bytes != 0 ||
	    t->offset < EXT_OFFSET || !range_fits(t->offset, t->size_bytes, im->size_bytes))
		return err_set(e, EUCLEAN,
		               "bootstrap: the %s table of %" PRIu64 " bytes at %" PRIu64
		               " does not fit its %" PRIu64 " bytes",
		               t->what, t->size_bytes, t->offset, im->size_bytes);
	return 0;
}

static bool tables_overlap(const struct v6_table *a, const struct v6_table *b)
{
	return a->size_bytes > 0 && b->size_bytes > 0 && a->offset < b->offset + b->size_bytes &&
	       b->offset < a->offset + a->size_bytes;
}

static int check_tables(const struct image *im, const struct v6_table *tables, struct err *e)
{
	for (int i = 0; i < N_TABLES; i++) {
		int r = check_table(im, &tables[i], e);

		if (r < 0)
			return r;
		for (int k = 0; k < i; k++) {
			if (tables_overlap(&tables[i], &tables[k]))
				return err_set(e, EUCLEAN,
				               "bootstrap: the %s table overlaps the %s table",
				               tables[i].what, tables[k].what);
		}
	}
	if (tables[TABLE_BLOBS].size_bytes / BLOB_RECORD_BYTES > IMAGE_BLOBS_MAX)
		return err_set(e, EUCLEAN, "bootstrap: %" PRIu64 " blobs, at most %d are possible",
		               tables[TABLE_BLOBS].size_bytes / BLOB_RECORD_BYTES, IMAGE_BLOBS_MAX);
	return 0;
}

static void read_tables(const struct image *im, struct v6_table tables[N_TABLES])
{
	const uint8_t *ext = im->data + EXT_OFFSET;

	tables[TABLE_BLOBS] =
		(struct v6_table){ "blob", le64(ext + 8), le32(ext + 16), BLOB_RECORD_BYTES, 4096 };
	tables[TABLE_CHUNKS] = (struct v6_table){ "chunk", le64(ext + 24), le64(ext + 32),
		                                  CHUNK_INFO_BYTES, 4096 };
	tables[TABLE_PREFETCH] =
		(struct v6_table){ "prefetch", le64(ext + 40), le32(ext + 48), PREFETCH_BYTES, 1 };
	if (tables[TABLE_PREFETCH].offset == 0) /* old builders: a size, but no table */
		tables[TABLE_PREFETCH].size_bytes = 0;
}

static int read_super(struct image *im, struct err *e)
{
	const uint8_t *super = im->data + SUPER_OFFSET;
	const uint8_t *ext = im->data + EXT_OFFSET;
	const uint32_t incompat = le32(super + 80);

	if (incompat != FEATURE_INCOMPAT)
		return err_set(
			e, ENOTSUP,
			"bootstrap: EROFS features 0x%x, RAFS v6 has 0x%x: the image needs a "
			"newer shoal",
			incompat, FEATURE_INCOMPAT);
	if (super[13] != 0 || le32(super + 44) != 0 || le16(super + 84) != 0 ||
	    le16(super + 88) != DEVICE_SLOT_OFFSET)
		return err_set(e, EUCLEAN, "bootstrap: not the superblock of a RAFS v6 image");
	im->n_inodes = le64(super + 16);
	im->flags = le64(ext);
	im->chunk_size_bytes = le32(ext + 20);
	im->v6.root_nid = le16(super + 14);
	im->v6.meta_offset = (uint64_t)le32(super + 40) * V6_BLOCK_BYTES;
	if (im->n_inodes == 0 || im->v6.meta_offset >= im->size_bytes)
		return err_set(e, EUCLEAN,
		               "bootstrap: %" PRIu64 " inodes at byte %" PRIu64 " of %" PRIu64,
		               im->n_inodes, im->v6.meta_offset, im->size_bytes);
	return super_check(im, e);
}

static int index_chunk_table(struct image *im, const struct v6_table *t, struct err *e)
{
	const uint32_t n = (uint32_t)(t->size_bytes / CHUNK_INFO_BYTES);
	uint32_t *positions = calloc((size_t)n + 1, sizeof(*positions));
	int r;

	if (positions == NULL)
		return err_set(e, ENOMEM, "no memory for an index of %u chunks", n);
	for (uint32_t i = 0; i < n; i++)
		positions[i] = (uint32_t)((t->offset + (uint64_t)i * CHUNK_INFO_BYTES) / 8);
	im->has_chunk_table = n > 0;
	r = chunk_index_build(im, positions, n, e);
	free(positions);
	return r;
}

int v6_open(struct image *im, struct err *e)
{
	struct v6_table tables[N_TABLES];
	int r;

	im->ops = &v6_ops;
	if (im->size_bytes % V6_BLOCK_BYTES != 0)
		return err_set(e, EUCLEAN,
		               "bootstrap: %" PRIu64 " bytes are no whole number of blocks: it was "
		               "cut off",
		               im->size_bytes);
	r = read_super(im, e);
	if (r < 0)
		return r;
	read_tables(im, tables);
	r = check_tables(im, tables, e);
	if (r < 0)
		return r;
	im->n_blobs = (uint32_t)(tables[TABLE_BLOBS].size_bytes / BLOB_RECORD_BYTES);
	r = index_chunk_table(im, &tables[TABLE_CHUNKS], e);
	if (r == 0)
		r = v6_blob_table_read(im, tables[TABLE_BLOBS].offset, im->n_blobs, e);
	return r;
}

const struct image_ops v6_ops = {
	.attr = v6_attr,
	.lookup = v6_lookup,
	.readdir = v6_readdir,
	.symlink = v6_symlink,
	.xattrs = v6_xattrs,
	.xattr_next = v6_xattr_next,
	.map = v6_map,
};
