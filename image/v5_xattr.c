/*
 * v5_xattr: the extended attributes behind a RAFS v5 inode: pairs of full name and value. What is
 * asked of them is xattr.c's.
 * Source: docs/rafs.md, "RAFS v5".
 */
#include "v5.h"
#include <errno.h>

#define PAIR_HEAD_BYTES 4

int v5_xattrs(const struct image *im, uint64_t node, struct xattr_cursor *ret_cursor, struct err *e)
{
	struct v5_inode inode = { 0 };
	int r = v5_inode_get(im, node, &inode, e);
	const uint8_t *p = im->data;

	if (r < 0)
		return r;
	*ret_cursor = (struct xattr_cursor){ p, p };
	if (im->flags & SUPER_XATTRS) {
		p += inode.xattr_offset;
		*ret_cursor = (struct xattr_cursor){ p, p + inode.xattr_size_bytes };
	}
	return 0;
}

int v5_xattr_next(struct xattr_cursor *c, struct xattr *ret_xattr, struct err *e)
{
	const uint64_t left = (uint64_t)(c->end - c->p);
	const uint8_t *pair = c->p + PAIR_HEAD_BYTES;
	uint32_t pair_bytes;
	size_t name_bytes;

	if (left <= PAIR_HEAD_BYTES)
		return 0;
	pair_bytes = le32(c->p);
	if (pair_bytes > left - PAIR_HEAD_BYTES)
		return err_set(e, EUCLEAN, "an extended attribute of %u bytes, where %u are left",
		               pair_bytes, (unsigned)left);
	name_bytes = strnlen((const char *)pair, pair_bytes);
	if (name_bytes == pair_bytes)
		return err_set(e, EUCLEAN, "an extended attribute whose name has no end");
	*ret_xattr = (struct xattr){
		.prefix = "",
		.name = { (const char *)pair, name_bytes },
		.value = pair + name_bytes + 1,
		.value_size_bytes = (uint32_t)(pair_bytes - name_bytes - 1),
	};
	c->p = pair + pair_bytes;
	return 1;
}
