/*
 * v5_inode: one RAFS v5 inode and what stands behind it, checked whole before anybody uses it.
 * Source: docs/rafs.md, "RAFS v5"; the fields: nydus, rafs/src/metadata/layout/v5.rs.
 */
#include "v5.h"
#include <errno.h>
#include <inttypes.h>

#define INODE_BYTES       128
#define INODE_HAS_XATTR   4
#define TAIL_ALIGN_BYTES  8
#define XATTR_HEAD_BYTES  8
#define TABLE_ENTRY_BYTES 4
#define TABLE_UNIT_BYTES  8
#define NS_PER_SECOND     1000000000U

/* The parts behind an inode, read one after the other. */
struct tail {
	const struct image *im;
	uint64_t at;
	bool sound;
};

/* Take size_bytes and the padding behind them. */
static uint64_t take(struct tail *t, uint64_t size_bytes)
{
	const uint64_t at = t->at;

	t->sound = t->sound && range_fits(at, size_bytes, t->im->size_bytes);
	if (t->sound)
		t->at = min_u64(align_up(at + size_bytes, TAIL_ALIGN_BYTES), t->im->size_bytes);
	return at;
}

static struct name take_name(struct tail *t, uint32_t size_bytes)
{
	const uint64_t at = take(t, size_bytes);

	return (struct name){ (const char *)t->im->data + at, size_bytes };
}

static void take_xattrs(struct tail *t, struct v5_inode *inode)
{
	const uint64_t head = take(t, XATTR_HEAD_BYTES);

	if (!t->sound)
		return;
	inode->xattr_size_bytes = le64(t->im->data + head);
	inode->xattr_offset = take(t, inode->xattr_size_bytes);
}

static void read_attr(const uint8_t *p, struct v5_inode *inode)
{
	inode->parent = le64(p + 32);
	inode->ino = le64(p + 40);
	inode->attr = (struct node_attr){
		.node = inode->ino,
		.uid = le32(p + 48),
		.gid = le32(p + 52),
		.mode = le32(p + 60),
		.size_bytes = le64(p + 64),
		.nlink = le32(p + 88),
		.rdev = le32(p + 104),
		.mtime_ns = le32(p + 108),
		.mtime_s = le64(p + 112),
	};
}

static bool read_tail(const struct image *im, const uint8_t *p, struct v5_inode *inode)
{
	struct tail t = { im, (uint64_t)(p - im->data) + INODE_BYTES, true };
	const uint32_t count = le32(p + 96);
	const uint32_t mode = inode->attr.mode;

	inode->name = take_name(&t, le16(p + 100));
	if (S_ISLNK(mode)) {
		inode->symlink = take_name(&t, le16(p + 102));
		inode->attr.size_bytes = inode->symlink.size_bytes;
	}
	if (le64(p + 80) & INODE_HAS_XATTR)
		take_xattrs(&t, inode);
	if (S_ISDIR(mode)) {
		inode->first_child = le32(p + 92);
		inode->n_children = count;
	}
	if (S_ISREG(mode)) {
		inode->n_chunks = count;
		inode->chunk_offset = take(&t, (uint64_t)count * CHUNK_INFO_BYTES);
	}
	return t.sound;
}

static bool attr_is_sound(const struct image *im, const struct v5_inode *inode, uint64_t pos)
{
	const struct node_attr *a = &inode->attr;

	if (a->size_bytes > INT64_MAX || a->mtime_ns >= NS_PER_SECOND || inode->ino == 0 ||
	    inode->ino > im->v5.n_entries)
		return false;
	if (pos != IMAGE_ROOT && (!name_is_sound(&inode->name) || name_is_dots(&inode->name)))
		return false;
	switch (a->mode & S_IFMT) {
	case S_IFREG:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return true;
	case S_IFDIR: /* one place in the tree each, and children in the table, never the root */
		return inode->ino == pos &&
		       (inode->n_children == 0 ||
		        (inode->first_child > IMAGE_ROOT &&
		         range_fits(inode->first_child - 1U, inode->n_children, im->v5.n_entries)));
	default:
		return false;
	}
}

int v5_inode_load(const struct image *im, uint64_t pos, struct v5_inode *ret_inode, struct err *e)
{
	const uint8_t *entry = im->data + im->v5.inode_table_offset + (pos - 1) * TABLE_ENTRY_BYTES;
	const uint64_t offset = (uint64_t)le32(entry) * TABLE_UNIT_BYTES;

	if (offset < V5_SUPER_BYTES || !range_fits(offset, INODE_BYTES, im->size_bytes))
		return err_set(e, EUCLEAN, "inode %" PRIu64 " lies outside of the bootstrap", pos);
	*ret_inode = (struct v5_inode){ 0 };
	read_attr(im->data + offset, ret_inode);
	if (!read_tail(im, im->data + offset, ret_inode) || !attr_is_sound(im, ret_inode, pos))
		return err_set(e, EUCLEAN,
		               "inode %" PRIu64 " (number %" PRIu64 "): mode 0%o, %" PRIu64
		               " bytes: what it claims is not there",
		               pos, ret_inode->ino, ret_inode->attr.mode,
		               ret_inode->attr.size_bytes);
	return 0;
}

int v5_inode_get(const struct image *im, uint64_t node, struct v5_inode *ret_inode, struct err *e)
{
	int r;

	if (node == 0 || node > im->v5.n_entries)
		return err_set(e, ENOENT, "no node %" PRIu64, node);
	r = v5_inode_load(im, node, ret_inode, e);
	if (r == 0 && ret_inode->ino != node) /* the place of a hard link, not of an inode */
		r = err_set(e, ENOENT, "no node %" PRIu64, node);
	return r;
}

int v5_attr(const struct image *im, uint64_t node, struct node_attr *ret_attr, struct err *e)
{
	struct v5_inode inode = { 0 };
	int r = v5_inode_get(im, node, &inode, e);

	if (r == 0)
		*ret_attr = inode.attr;
	return r;
}

int v5_symlink(const struct image *im, uint64_t node, struct name *ret_target, struct err *e)
{
	struct v5_inode inode = { 0 };
	int r = v5_inode_get(im, node, &inode, e);

	if (r == 0 && !S_ISLNK(inode.attr.mode))
		r = err_set(e, EINVAL, "inode %" PRIu64 " is no symlink", node);
	if (r == 0)
		*ret_target = inode.symlink;
	return r;
}
