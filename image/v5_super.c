/*
 * v5_super: the superblock of a RAFS v5 bootstrap and the one walk over its inode table that finds
 * all chunk records. Time linear in the size of the bootstrap, but for sorting the chunks of old
 * ones. Source: docs/rafs.md, "RAFS v5"; the fields: nydus, rafs/src/metadata/layout/v5.rs.
 */
#include "v5.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define PREFETCH_BYTES      4
#define TABLE_ENTRY_BYTES   4
#define RECORD_UNIT_BYTES   8
#define POSITIONS_MIN_COUNT 1024

static bool table_fits(const struct image *im, uint64_t offset, uint64_t size_bytes)
{
	return size_bytes == 0 ||
	       (offset >= V5_SUPER_BYTES && range_fits(offset, size_bytes, im->size_bytes));
}

static int read_super(struct image *im, struct err *e)
{
	const uint8_t *p = im->data;
	uint64_t prefetch_offset;
	uint32_t n_prefetch;

	if (im->size_bytes < V5_SUPER_BYTES || le32(p + 8) != V5_SUPER_BYTES)
		return err_set(e, EUCLEAN,
		               "bootstrap: a superblock of %u bytes in a file of %" PRIu64,
		               le32(p + 8), im->size_bytes);
	im->chunk_size_bytes = le32(p + 12);
	im->flags = le64(p + 16);
	im->n_inodes = le64(p + 24);
	prefetch_offset = le64(p + 40);
	n_prefetch = le32(p + 60);
	im->v5.inode_table_offset = le64(p + 32);
	im->v5.n_entries = le32(p + 56);
	if (!table_fits(im, im->v5.inode_table_offset,
	                (uint64_t)im->v5.n_entries * TABLE_ENTRY_BYTES) ||
	    !table_fits(im, prefetch_offset, (uint64_t)n_prefetch * PREFETCH_BYTES) ||
	    im->v5.n_entries == 0)
		return err_set(e, EUCLEAN,
		               "bootstrap: %u inodes at %" PRIu64
		               ", %u prefetch entries at %" PRIu64 " do not fit its %" PRIu64
		               " bytes",
		               im->v5.n_entries, im->v5.inode_table_offset, n_prefetch,
		               prefetch_offset, im->size_bytes);
	return super_check(im, e);
}

struct positions {
	uint32_t *at; /* of chunk records: byte offset / 8 */
	uint32_t n;
	uint32_t n_room;
};

/* Each record takes 80 bytes of its own, so more of them than fit side by side are overlaps. */
static int positions_reserve(const struct image *im, struct positions *p, uint32_t n_more,
                             struct err *e)
{
	const uint64_t limit = im->size_bytes / CHUNK_INFO_BYTES;
	const uint64_t wanted = (uint64_t)p->n + n_more;
	uint64_t n_room = max_u64(p->n_room, POSITIONS_MIN_COUNT);
	uint32_t *at;

	if (wanted > limit)
		return err_set(e, EUCLEAN, "bootstrap: inodes overlap: more chunks than fit");
	if (wanted <= p->n_room)
		return 0;
	while (n_room < wanted)
		n_room *= 2;
	at = realloc(p->at, n_room * sizeof(*at));
	if (at == NULL)
		return err_set(e, ENOMEM, "no memory for an index of %" PRIu64 " chunks", n_room);
	p->at = at;
	p->n_room = (uint32_t)n_room;
	return 0;
}

static int add_chunks(const struct image *im, const struct v5_inode *inode, struct positions *p,
                      struct err *e)
{
	int r = positions_reserve(im, p, inode->n_chunks, e);

	if (r < 0 || p->at == NULL)
		return r;
	for (uint32_t i = 0; i < inode->n_chunks; i++) {
		const uint64_t offset = inode->chunk_offset + (uint64_t)i * CHUNK_INFO_BYTES;

		if (!(le32(im->data + offset + 36) & CHUNK_INFO_HOLE))
			p->at[p->n++] = (uint32_t)(offset / RECORD_UNIT_BYTES);
	}
	return 0;
}

static int scan_inodes(struct image *im, struct positions *p, struct err *e)
{
	struct v5_inode inode = { 0 };

	im->v5.names_sorted = true;
	for (uint32_t pos = 1; pos <= im->v5.n_entries; pos++) {
		const struct v5_inode before = inode;
		int r = v5_inode_load(im, pos, &inode, e);

		if (r == 0 && inode.ino == pos) /* a hard link's records are those of its target */
			r = add_chunks(im, &inode, p, e);
		if (r < 0)
			return r;
		if (pos > 1 && before.parent == inode.parent &&
		    name_compare(&before.name, &inode.name) >= 0)
			im->v5.names_sorted = false;
	}
	return 0;
}

/* Look at every inode once: chunk index, order of names. */
static int v5_scan(struct image *im, struct err *e)
{
	struct positions p = { 0 };
	int r = scan_inodes(im, &p, e);

	im->has_chunk_table = true;
	if (r == 0)
		r = chunk_index_build(im, p.at, p.n, e);
	free(p.at);
	return r;
}

int v5_open(struct image *im, struct err *e)
{
	int r;

	im->ops = &v5_ops;
	r = read_super(im, e);
	if (r == 0)
		r = v5_blob_table_read(im, e);
	if (r == 0)
		r = v5_scan(im, e);
	if (r == 0)
		r = v5_blobs_complete(im, e);
	return r;
}

const struct image_ops v5_ops = {
	.attr = v5_attr,
	.lookup = v5_lookup,
	.readdir = v5_readdir,
	.symlink = v5_symlink,
	.xattrs = v5_xattrs,
	.xattr_next = v5_xattr_next,
	.map = v5_map,
};
