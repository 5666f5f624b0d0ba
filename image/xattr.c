/*
 * xattr: what is asked of extended attributes: one by its full name, or all names. Knows no
 * format: attributes come one by one from the format's xattr_next.
 */
#include "bootstrap.h"
#include <errno.h>
#include <inttypes.h>

static int next(const struct image *im, struct xattr_cursor *c, struct xattr *ret_xattr,
                struct err *e)
{
	int r = im->ops->xattr_next(c, ret_xattr, e);
	const struct name *n = &ret_xattr->name;

	if (r <= 0)
		return r;
	/* The suffix may be empty where the prefix is the whole name. */
	if (strlen(ret_xattr->prefix) + n->size_bytes > IMAGE_NAME_MAX ||
	    strlen(ret_xattr->prefix) + n->size_bytes == 0 ||
	    memchr(n->s, '\0', n->size_bytes) != NULL)
		return err_set(e, EUCLEAN, "an extended attribute with a bad name of %zu bytes",
		               n->size_bytes);
	return 1;
}

static bool has_name(const struct xattr *x, const char *name, size_t name_size_bytes)
{
	const size_t prefix = strlen(x->prefix);

	return name_size_bytes == prefix + x->name.size_bytes &&
	       memcmp(name, x->prefix, prefix) == 0 &&
	       memcmp(name + prefix, x->name.s, x->name.size_bytes) == 0;
}

int image_getxattr(const struct image *image, uint64_t node, const char *name,
                   const uint8_t **ret_value, uint32_t *ret_size_bytes, struct err *e)
{
	const size_t name_size_bytes = strlen(name);
	struct xattr_cursor c;
	struct xattr x;
	int r = image->ops->xattrs(image, node, &c, e);

	if (r < 0)
		return r;
	while ((r = next(image, &c, &x, e)) > 0) {
		if (has_name(&x, name, name_size_bytes)) {
			*ret_value = x.value;
			*ret_size_bytes = x.value_size_bytes;
			return 0;
		}
	}
	if (r < 0)
		return err_wrap(e, "node %" PRIu64, node);
	return err_set(e, ENODATA, "node %" PRIu64 " has no such attribute", node);
}

int64_t image_listxattr(const struct image *image, uint64_t node, char *buf, size_t buf_size_bytes,
                        struct err *e)
{
	struct xattr_cursor c;
	struct xattr x;
	int64_t needed = 0;
	int r = image->ops->xattrs(image, node, &c, e);

	if (r < 0)
		return r;
	while ((r = next(image, &c, &x, e)) > 0) {
		const size_t prefix = strlen(x.prefix);
		const size_t size_bytes = prefix + x.name.size_bytes + 1;

		if (range_fits((uint64_t)needed, size_bytes, buf_size_bytes)) {
			memcpy(buf + needed, x.prefix, prefix);
			memcpy(buf + needed + prefix, x.name.s, x.name.size_bytes);
			buf[(size_t)needed + size_bytes - 1] = '\0';
		}
		needed += (int64_t)size_bytes;
	}
	return r < 0 ? err_wrap(e, "node %" PRIu64, node) : needed;
}
