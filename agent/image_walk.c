/*
 * image_walk: one look-up a part of the path. Asks the image, never the mount: a look at our own
 * file system from inside the agent could wait for ourselves.
 */
#include "image_walk.h"
#include <errno.h>
#include <string.h>

int image_walk(const struct image *image, const char *path, uint64_t *ret_node, struct err *e)
{
	const char *const begin = path;
	uint64_t node = IMAGE_ROOT;

	while (*path == '/') {
		const size_t n = strcspn(path + 1, "/");
		int r;

		if (n == 0) {
			path++;
			continue;
		}
		if (n > IMAGE_NAME_MAX)
			return err_set(
				e, ENOENT,
				"a part of the path is too long (names have at most 255 bytes)");
		r = image_lookup(image, node, path + 1, n, &node, e);
		if (r == -ENOTDIR)
			return err_set(e, ENOENT,
			               "%.*s is no directory of the image (see ls -l; links on the "
			               "way are not followed)",
			               (int)(path - begin), begin);
		if (r == -ENOENT)
			return err_set(e, ENOENT, "the image has no such file (see ls)");
		if (r < 0)
			return r;
		path += 1 + n;
	}
	*ret_node = node;
	return 0;
}
