/*
 * v6_inode: one RAFS v6 inode, checked whole before anybody uses it: where its attributes, its
 * extended attributes, its blocks or chunk addresses stand. Knows no directory and no chunk.
 * Source: docs/rafs.md, "RAFS v6", "Inodes"; the fields: Linux fs/erofs/erofs_fs.h.
 */
#include "v6.h"
#include <errno.h>
#include <inttypes.h>

#define NID_UNIT_BYTES      32
#define COMPACT_BYTES       32
#define EXTENDED_BYTES      64
#define FORMAT_EXTENDED     1
#define XATTR_HEADER_BYTES  12
#define XATTR_UNIT_BYTES    4
#define CHUNK_ADDRESS_BYTES 8
#define CHUNK_FORMAT_8BYTES 0x20
#define NS_PER_SECOND       1000000000U

/* Node ids: the root is IMAGE_ROOT, every other nid moves up by 2 and so never meets 0 or 1. */
#define NODE_OFFSET 2

/* @return false: no such node */
static bool v6_nid(const struct image *im, uint64_t node, uint64_t *ret_nid)
{
	if (node == IMAGE_ROOT) {
		*ret_nid = im->v6.root_nid;
		return true;
	}
	if (node < NODE_OFFSET || node - NODE_OFFSET == im->v6.root_nid)
		return false;
	*ret_nid = node - NODE_OFFSET;
	return *ret_nid < (im->size_bytes - im->v6.meta_offset) / NID_UNIT_BYTES;
}

uint64_t v6_node(const struct image *im, uint64_t nid)
{
	return nid == im->v6.root_nid ? IMAGE_ROOT : nid + NODE_OFFSET;
}

static void read_compact(const struct image *im, const uint8_t *p, struct v6_inode *inode)
{
	inode->attr.nlink = le16(p + 6);
	inode->attr.size_bytes = le32(p + 8);
	inode->i_u = le32(p + 16);
	inode->attr.uid = le16(p + 24);
	inode->attr.gid = le16(p + 26);
	inode->attr.mtime_s = im->mount_time_s; /* the form has no room for a time */
}

static void read_extended(const uint8_t *p, struct v6_inode *inode)
{
	inode->attr.size_bytes = le64(p + 8);
	inode->i_u = le32(p + 16);
	inode->attr.uid = le32(p + 24);
	inode->attr.gid = le32(p + 28);
	inode->attr.mtime_s = le64(p + 32);
	inode->attr.mtime_ns = le32(p + 40);
	inode->attr.nlink = le32(p + 44);
}

static bool flat_fits(const struct image *im, const struct v6_inode *inode)
{
	const uint64_t size_bytes = inode->attr.size_bytes;
	const uint64_t tail = size_bytes % V6_BLOCK_BYTES;
	const uint64_t start = (uint64_t)inode->i_u * V6_BLOCK_BYTES;

	if (inode->data == V6_FLAT_PLAIN)
		return range_fits(start, size_bytes, im->size_bytes);
	return range_fits(inode->tail_offset, tail, im->size_bytes) &&
	       (size_bytes == tail || range_fits(start, size_bytes - tail, im->size_bytes));
}

static bool chunks_fit(const struct image *im, const struct v6_inode *inode)
{
	const uint64_t size_bytes = inode->attr.size_bytes;
	const uint64_t n =
		size_bytes / im->chunk_size_bytes + (size_bytes % im->chunk_size_bytes != 0);

	/* The bits of i_u that tell a chunk size are a hint for kernels and say nothing here. */
	return (n == 0 || inode->i_u & CHUNK_FORMAT_8BYTES) &&
	       n <= im->size_bytes / CHUNK_ADDRESS_BYTES &&
	       range_fits(inode->chunk_offset, n * CHUNK_ADDRESS_BYTES, im->size_bytes);
}

static bool data_is_sound(const struct image *im, const struct v6_inode *inode)
{
	const uint64_t size_bytes = inode->attr.size_bytes;
	const bool flat = inode->data == V6_FLAT_PLAIN || inode->data == V6_FLAT_INLINE;

	if (size_bytes > INT64_MAX || inode->attr.mtime_ns >= NS_PER_SECOND)
		return false;
	switch (inode->attr.mode & S_IFMT) {
	case S_IFREG:
		return inode->data == V6_CHUNK_BASED && chunks_fit(im, inode);
	case S_IFDIR:
		return flat && size_bytes > 0 && flat_fits(im, inode);
	case S_IFLNK:
		return flat && size_bytes > 0 && size_bytes <= IMAGE_SYMLINK_MAX &&
		       flat_fits(im, inode);
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return inode->data == V6_FLAT_PLAIN;
	default:
		return false;
	}
}

/* Attributes, chunk addresses and tail follow the inode; any of them may be cut off by the end. */
static bool read_places(const struct image *im, uint64_t end_of_inode, uint16_t xattr_units,
                        struct v6_inode *inode)
{
	if (xattr_units > 0)
		inode->xattr_size_bytes =
			XATTR_HEADER_BYTES + XATTR_UNIT_BYTES * (xattr_units - 1U);
	inode->xattr_offset = end_of_inode;
	inode->tail_offset = end_of_inode + inode->xattr_size_bytes;
	inode->chunk_offset = align_up(inode->tail_offset, CHUNK_ADDRESS_BYTES);
	return inode->tail_offset <= im->size_bytes;
}

int v6_inode_load(const struct image *im, uint64_t nid, struct v6_inode *ret_inode, struct err *e)
{
	const uint64_t room = im->size_bytes - im->v6.meta_offset;
	uint64_t offset;
	const uint8_t *p;
	uint16_t format;
	uint32_t inode_bytes;

	if (nid >= room / NID_UNIT_BYTES)
		return err_set(e, EUCLEAN, "inode %" PRIu64 " lies outside of the bootstrap", nid);
	offset = im->v6.meta_offset + nid * NID_UNIT_BYTES;
	p = im->data + offset;
	format = le16(p);
	inode_bytes = format & FORMAT_EXTENDED ? EXTENDED_BYTES : COMPACT_BYTES;
	if (format & ~0xfU || !range_fits(offset, inode_bytes, im->size_bytes))
		return err_set(e, EUCLEAN, "inode %" PRIu64 ": format 0x%x", nid, format);
	*ret_inode = (struct v6_inode){ .nid = nid, .data = (enum v6_data)(format >> 1) };
	ret_inode->attr.node = v6_node(im, nid);
	ret_inode->attr.mode = le16(p + 4);
	if (format & FORMAT_EXTENDED)
		read_extended(p, ret_inode);
	else
		read_compact(im, p, ret_inode);
	ret_inode->attr.rdev = ret_inode->i_u;
	if (!read_places(im, offset + inode_bytes, le16(p + 2), ret_inode) ||
	    !data_is_sound(im, ret_inode))
		return err_set(e, EUCLEAN,
		               "inode %" PRIu64 ": mode 0%o, form 0x%x, %" PRIu64
		               " bytes: what it claims is not there",
		               nid, ret_inode->attr.mode, format, ret_inode->attr.size_bytes);
	return 0;
}

int v6_inode_get(const struct image *im, uint64_t node, struct v6_inode *ret_inode, struct err *e)
{
	uint64_t nid;

	if (!v6_nid(im, node, &nid))
		return err_set(e, ENOENT, "no node %" PRIu64, node);
	return v6_inode_load(im, nid, ret_inode, e);
}

int v6_attr(const struct image *im, uint64_t node, struct node_attr *ret_attr, struct err *e)
{
	struct v6_inode inode = { 0 };
	int r = v6_inode_get(im, node, &inode, e);

	if (r == 0)
		*ret_attr = inode.attr;
	return r;
}

const uint8_t *v6_flat_block(const struct image *im, const struct v6_inode *inode, uint64_t idx,
                             uint32_t *ret_size_bytes)
{
	const uint64_t left = inode->attr.size_bytes - idx * V6_BLOCK_BYTES;

	*ret_size_bytes = (uint32_t)min_u64(left, V6_BLOCK_BYTES);
	if (inode->data == V6_FLAT_INLINE && left < V6_BLOCK_BYTES)
		return im->data + inode->tail_offset;
	return im->data + ((uint64_t)inode->i_u + idx) * V6_BLOCK_BYTES;
}

int v6_symlink(const struct image *im, uint64_t node, struct name *ret_target, struct err *e)
{
	struct v6_inode inode = { 0 };
	uint32_t size_bytes;
	int r = v6_inode_get(im, node, &inode, e);

	if (r < 0)
		return r;
	if (!S_ISLNK(inode.attr.mode))
		return err_set(e, EINVAL, "inode %" PRIu64 " is no symlink", inode.nid);
	ret_target->s = (const char *)v6_flat_block(im, &inode, 0, &size_bytes);
	ret_target->size_bytes = size_bytes;
	return 0;
}
