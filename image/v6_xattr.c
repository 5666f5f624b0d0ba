/*
 * v6_xattr: the extended attributes that stand behind a RAFS v6 inode. Knows the entries' form;
 * what is asked of them is xattr.c's.
 * Source: docs/rafs.md, "RAFS v6"; the entries: Linux fs/erofs/erofs_fs.h.
 */
#include "v6.h"
#include <errno.h>
#include <inttypes.h>

#define XATTR_HEADER_BYTES 12
#define ENTRY_BYTES        4

int v6_xattrs(const struct image *im, uint64_t node, struct xattr_cursor *ret_cursor, struct err *e)
{
	struct v6_inode inode = { 0 };
	int r = v6_inode_get(im, node, &inode, e);
	const uint8_t *p = im->data;

	if (r < 0)
		return r;
	*ret_cursor = (struct xattr_cursor){ p, p };
	if (inode.xattr_size_bytes == 0 || !(im->flags & SUPER_XATTRS))
		return 0;
	p += inode.xattr_offset;
	if (p[4] != 0)
		return err_set(e, EUCLEAN, "inode %" PRIu64 ": %u shared attributes, RAFS has none",
		               inode.nid, p[4]);
	*ret_cursor = (struct xattr_cursor){ p + XATTR_HEADER_BYTES, p + inode.xattr_size_bytes };
	return 0;
}

static const char *prefix_of(uint8_t index)
{
	static const char *const prefixes[] = {
		NULL,
		"user.",
		"system.posix_acl_access",
		"system.posix_acl_default",
		"trusted.",
		NULL,
		"security.",
	};

	return index < ARRAY_LEN(prefixes) ? prefixes[index] : NULL;
}

int v6_xattr_next(struct xattr_cursor *c, struct xattr *ret_xattr, struct err *e)
{
	const uint64_t left = (uint64_t)(c->end - c->p);
	struct xattr x;
	uint64_t used;

	if (left < ENTRY_BYTES)
		return 0;
	x.prefix = prefix_of(c->p[1]);
	x.name = (struct name){ (const char *)c->p + ENTRY_BYTES, c->p[0] };
	x.value_size_bytes = le16(c->p + 2);
	x.value = c->p + ENTRY_BYTES + x.name.size_bytes;
	used = align_up(ENTRY_BYTES + x.name.size_bytes + x.value_size_bytes, ENTRY_BYTES);
	if (x.prefix == NULL || used > left)
		return err_set(
			e, EUCLEAN,
			"a bad extended attribute (index %u, %zu bytes of name, %u of value)",
			c->p[1], x.name.size_bytes, x.value_size_bytes);
	c->p += used;
	*ret_xattr = x;
	return 1;
}
