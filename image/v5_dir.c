/*
 * v5_dir: directories of a RAFS v5 bootstrap: runs of the inode table.
 *
 * A child is handed out only if its inode names the directory as its parent; a hard link only if
 * the inode that it stands for has its type. So no directory can stand in two places, and none can
 * contain itself. Knows no chunk.
 * Source: docs/rafs.md, "RAFS v5".
 */
#include "v5.h"
#include <errno.h>
#include <inttypes.h>

/* Cookies: 0 is ".", 1 is "..", then the children. */
#define COOKIE_DOTDOT      1
#define COOKIE_FIRST_CHILD 2

static int child_load(const struct image *im, const struct v5_inode *dir, uint32_t i,
                      struct v5_inode *ret_child, struct err *e)
{
	int r = v5_inode_load(im, (uint64_t)dir->first_child + i, ret_child, e);

	if (r == 0 && ret_child->parent != dir->ino)
		r = err_set(e, EUCLEAN,
		            "directory %" PRIu64 ": its child %u has %" PRIu64 " for its parent",
		            dir->ino, i, ret_child->parent);
	return r;
}

/* A hard link stands for an inode at another place of the table: that one must be there. */
static int check_link(const struct image *im, const struct v5_inode *dir, uint32_t i,
                      const struct v5_inode *child, struct err *e)
{
	struct v5_inode target = { 0 };
	int r;

	if (child->ino == (uint64_t)dir->first_child + i)
		return 0;
	r = v5_inode_load(im, child->ino, &target, e);
	if (r < 0)
		return r;
	if (target.ino != child->ino || (target.attr.mode & S_IFMT) != (child->attr.mode & S_IFMT))
		return err_set(e, EUCLEAN,
		               "directory %" PRIu64 ": child %u is a hard link to inode %" PRIu64
		               ", which is none or of another type",
		               dir->ino, i, child->ino);
	return 0;
}

static int find_sorted(const struct image *im, const struct v5_inode *dir, const struct name *name,
                       uint32_t *ret_i, struct err *e)
{
	uint32_t low = 0;
	uint32_t high = dir->n_children;

	while (low < high) {
		const uint32_t mid = low + (high - low) / 2;
		struct v5_inode child = { 0 };
		int order;
		int r = child_load(im, dir, mid, &child, e);

		if (r < 0)
			return r;
		order = name_compare(name, &child.name);
		if (order == 0) {
			*ret_i = mid;
			return 0;
		}
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return err_set(e, ENOENT, "no such entry in directory %" PRIu64, dir->ino);
}

static int find_linear(const struct image *im, const struct v5_inode *dir, const struct name *name,
                       uint32_t *ret_i, struct err *e)
{
	for (uint32_t i = 0; i < dir->n_children; i++) {
		struct v5_inode child = { 0 };
		int r = child_load(im, dir, i, &child, e);

		if (r < 0)
			return r;
		if (name_compare(name, &child.name) == 0) {
			*ret_i = i;
			return 0;
		}
	}
	return err_set(e, ENOENT, "no such entry in directory %" PRIu64, dir->ino);
}

static int dir_get(const struct image *im, uint64_t node, struct v5_inode *ret_dir, struct err *e)
{
	int r = v5_inode_get(im, node, ret_dir, e);

	if (r == 0 && !S_ISDIR(ret_dir->attr.mode))
		r = err_set(e, ENOTDIR, "inode %" PRIu64 " is no directory", node);
	return r;
}

static uint64_t parent_of(const struct v5_inode *dir)
{
	return dir->ino == IMAGE_ROOT ? IMAGE_ROOT : dir->parent;
}

int v5_lookup(const struct image *im, uint64_t dir_node, const struct name *name,
              uint64_t *ret_node, struct err *e)
{
	struct v5_inode dir = { 0 };
	struct v5_inode child = { 0 };
	uint32_t i = 0;
	int r = dir_get(im, dir_node, &dir, e);

	if (r < 0)
		return r;
	if (name->size_bytes == 1 && name->s[0] == '.') {
		*ret_node = dir.ino;
		return 0;
	}
	if (name->size_bytes == 2 && memcmp(name->s, "..", 2) == 0) {
		*ret_node = parent_of(&dir);
		return 0;
	}
	r = im->v5.names_sorted ? find_sorted(im, &dir, name, &i, e)
	                        : find_linear(im, &dir, name, &i, e);
	if (r == 0)
		r = child_load(im, &dir, i, &child, e);
	if (r == 0)
		r = check_link(im, &dir, i, &child, e);
	if (r == 0)
		*ret_node = child.ino;
	return r;
}

int v5_readdir(const struct image *im, uint64_t dir_node, uint64_t cookie,
               struct image_dirent *ret_entry, struct err *e)
{
	struct v5_inode dir = { 0 };
	struct v5_inode child = { 0 };
	int r = dir_get(im, dir_node, &dir, e);

	if (r < 0)
		return r;
	if (cookie < COOKIE_FIRST_CHILD) {
		*ret_entry = (struct image_dirent){
			.node = cookie < COOKIE_DOTDOT ? dir.ino : parent_of(&dir),
			.name = "..",
			.name_size_bytes = (uint32_t)cookie + 1,
			.type = S_IFDIR,
			.next_cookie = cookie + 1,
		};
		return 1;
	}
	if (cookie - COOKIE_FIRST_CHILD >= dir.n_children)
		return 0;
	r = child_load(im, &dir, (uint32_t)(cookie - COOKIE_FIRST_CHILD), &child, e);
	if (r == 0)
		r = check_link(im, &dir, (uint32_t)(cookie - COOKIE_FIRST_CHILD), &child, e);
	if (r < 0)
		return r;
	*ret_entry = (struct image_dirent){
		.node = child.ino,
		.name = child.name.s,
		.name_size_bytes = (uint32_t)child.name.size_bytes,
		.type = child.attr.mode & S_IFMT,
		.next_cookie = cookie + 1,
	};
	return 1;
}
