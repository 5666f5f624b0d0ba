/*
 * fake_tree_image: see fake_tree_image.h. One table of nodes; /dir is made up from numbers.
 */
#include "fake_tree_image.h"
#include "bytes.h"
#include "mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT = 1, HELLO, BIG, ZEROS, LINK, XATTRS, DIR_NODE, BROKEN, UNMAPPED, OPAQUE, HIDDEN };
#define DIR_FIRST_NODE 1000U

static const struct {
	const char *name;
	uint64_t node, parent;
	mode_t mode;
	uint64_t size_bytes;
} nodes[] = {
	{ "", ROOT, ROOT, S_IFDIR | 0755, 4096 },
	{ "hello", HELLO, ROOT, S_IFREG | 0644, sizeof(FAKE_HELLO) - 1 },
	{ "big", BIG, ROOT, S_IFREG | 0755, FAKE_BIG_BYTES },
	{ "zeros", ZEROS, ROOT, S_IFREG | 0644, FAKE_ZEROS_BYTES },
	{ "link", LINK, ROOT, S_IFLNK | 0777, 5 },
	{ "xattrs", XATTRS, ROOT, S_IFREG | 0644, 0 },
	{ "dir", DIR_NODE, ROOT, S_IFDIR | 0755, 4096 },
	{ "broken", BROKEN, ROOT, S_IFREG | 0644, 0 },
	{ "unmapped", UNMAPPED, ROOT, S_IFREG | 0644, 8192 },
	{ "opaque", OPAQUE, ROOT, S_IFDIR | 0755, 4096 },
	{ "hidden", HIDDEN, OPAQUE, S_IFREG | 0644, 0 },
};

static const struct {
	uint64_t node;
	const char *name, *value;
} xattrs[] = {
	{ XATTRS, "user.colour", "blue" },
	{ XATTRS, "user.empty", "" },
	{ XATTRS, "trusted.shoal", "root only" },
	{ OPAQUE, "trusted.overlay.opaque", "y" },
};

static bool in_dir(uint64_t node)
{
	return node >= DIR_FIRST_NODE && node < DIR_FIRST_NODE + FAKE_DIR_ENTRIES;
}

void fake_tree_image_init(struct image *image, struct fake_counts *counts, struct lazy_image *lazy)
{
	static struct fetch_blob *blobs[1];
	static struct bitmap *named[1];

	blobs[0] = (struct fetch_blob *)image; /* never looked into */
	*image = (struct image){ .flags = 0x20, .counts = counts };
	*lazy = (struct lazy_image){
		.image = image, .n_blobs = 1, .blobs = blobs, .named = named, .refs = 1
	};
	(void)snprintf(lazy->name, sizeof(lazy->name), "registry.test/fake:1");
}

struct lazy_image *lazy_image_ref(struct lazy_image *image)
{
	image->refs++;
	return image;
}

char *lazy_image_bootstrap_path(const struct lazy_image *image)
{
	return xasprintf("/%s/image.boot", image->digest);
}

void lazy_image_release(struct lazy_image **image)
{
	if (*image != NULL)
		(*image)->refs--;
	*image = NULL;
}

void image_info(const struct image *image, struct image_info *ret_info)
{
	*ret_info = (struct image_info){ .format = IMAGE_RAFS_V6,
		                         .n_inodes = FAKE_DIR_ENTRIES + ARRAY_LEN(nodes),
		                         .n_blobs = 1,
		                         .plain_bytes = FAKE_BIG_BYTES + FAKE_CHUNK_BYTES,
		                         .flags = image->flags };
}

int image_getattr(const struct image *image, uint64_t node, struct stat *ret_st, struct err *e)
{
	(void)image;
	*ret_st = (struct stat){ .st_ino = node, .st_nlink = 1, .st_mtim = { 1234, 5678 } };
	if (in_dir(node)) {
		ret_st->st_mode = S_IFREG | 0644;
		return 0;
	}
	if (node == BROKEN)
		return err_set(e, EUCLEAN, "inode %d is broken", BROKEN);
	if (node < 1 || node > ARRAY_LEN(nodes))
		return err_set(e, ENOENT, "no such node");
	ret_st->st_mode = nodes[node - 1].mode;
	ret_st->st_size = (off_t)nodes[node - 1].size_bytes;
	return 0;
}

int image_lookup(const struct image *image, uint64_t dir, const char *name, size_t name_size_bytes,
                 uint64_t *ret_node, struct err *e)
{
	unsigned i;

	atomic_fetch_add(&image->counts->n_lookups, 1);
	if (dir == DIR_NODE && name_size_bytes == 5 && name[0] == 'e') {
		*ret_node = DIR_FIRST_NODE + strtoul(name + 1, NULL, 10);
		return in_dir(*ret_node) ? 0 : -ENOENT;
	}
	for (i = 1; i < ARRAY_LEN(nodes); i++) {
		if (nodes[i].parent == dir && strcmp(nodes[i].name, name) == 0) {
			*ret_node = nodes[i].node;
			return 0;
		}
	}
	return err_set(e, ENOENT, "no such name");
}

static int dirent(struct image_dirent *d, uint64_t node, const char *name, uint32_t type,
                  uint64_t next_cookie)
{
	*d = (struct image_dirent){ .node = node,
		                    .name = name,
		                    .name_size_bytes = (uint32_t)strlen(name),
		                    .type = type,
		                    .next_cookie = next_cookie };
	return 1;
}

int image_readdir(const struct image *image, uint64_t dir, uint64_t cookie,
                  struct image_dirent *ret_entry, struct err *e)
{
	static _Thread_local char name[16];

	(void)image;
	if (dir < 1 || dir > ARRAY_LEN(nodes) || !S_ISDIR(nodes[dir - 1].mode))
		return err_set(e, ENOTDIR, "no directory");
	if (cookie < 2)
		return dirent(ret_entry, dir, cookie == 0 ? "." : "..", S_IFDIR, cookie + 1);
	if (dir == DIR_NODE) {
		if (cookie - 2 >= FAKE_DIR_ENTRIES)
			return 0;
		(void)snprintf(name, sizeof(name), "e%04u", (unsigned)(cookie - 2));
		return dirent(ret_entry, DIR_FIRST_NODE + cookie - 2, name, S_IFREG, cookie + 1);
	}
	for (uint64_t i = cookie - 1; i < ARRAY_LEN(nodes); i++) {
		if (nodes[i].parent == dir)
			return dirent(ret_entry, nodes[i].node, nodes[i].name,
			              nodes[i].mode & S_IFMT, i + 2);
	}
	return 0;
}

int image_readlink(const struct image *image, uint64_t node, char ret_target[IMAGE_SYMLINK_MAX + 1],
                   struct err *e)
{
	(void)image;
	if (node != LINK)
		return err_set(e, EINVAL, "no link");
	(void)snprintf(ret_target, IMAGE_SYMLINK_MAX + 1, "hello");
	return 0;
}

int image_getxattr(const struct image *image, uint64_t node, const char *name,
                   const uint8_t **ret_value, uint32_t *ret_size_bytes, struct err *e)
{
	atomic_fetch_add(&image->counts->n_xattr_asked, 1);
	for (size_t i = 0; i < ARRAY_LEN(xattrs); i++) {
		if (xattrs[i].node == node && strcmp(xattrs[i].name, name) == 0) {
			*ret_value = (const uint8_t *)xattrs[i].value;
			*ret_size_bytes = (uint32_t)strlen(xattrs[i].value);
			return 0;
		}
	}
	return err_set(e, ENODATA, "no such xattr");
}

int64_t image_listxattr(const struct image *image, uint64_t node, char *buf, size_t buf_size_bytes,
                        struct err *e)
{
	size_t size_bytes = 0;

	(void)image;
	(void)e;
	for (size_t i = 0; i < ARRAY_LEN(xattrs); i++) {
		const size_t n = strlen(xattrs[i].name) + 1;

		if (xattrs[i].node != node)
			continue;
		if (size_bytes + n <= buf_size_bytes)
			memcpy(buf + size_bytes, xattrs[i].name, n);
		size_bytes += n;
	}
	return (int64_t)size_bytes;
}

/* NOLINTNEXTLINE(readability-function-size): image.h has it so */
int image_map(const struct image *image, uint64_t node, uint64_t offset, uint64_t size_bytes,
              struct image_segment *ret_segments, uint32_t max_segments, struct err *e)
{
	const uint64_t end = node <= ARRAY_LEN(nodes) && node > 0 ? nodes[node - 1].size_bytes : 0;
	uint32_t n = 0;

	(void)image;
	if (node == UNMAPPED)
		return err_set(e, EUCLEAN, "node %d has no chunks", UNMAPPED);
	if (offset >= end)
		return 0;
	size_bytes = min_u64(size_bytes, end - offset);
	while (size_bytes > 0 && n < max_segments) {
		struct image_segment *s = &ret_segments[n++];

		*s = (struct image_segment){
			.file_offset = offset,
			.blob_idx = node == ZEROS ? IMAGE_BLOB_NONE : 0,
			.chunk_idx = node == BIG ? (uint32_t)(offset / FAKE_CHUNK_BYTES)
			                         : FAKE_HELLO_CHUNK,
			.chunk_offset = (uint32_t)(offset % FAKE_CHUNK_BYTES),
		};
		s->size_bytes = (uint32_t)min_u64(size_bytes, FAKE_CHUNK_BYTES - s->chunk_offset);
		offset += s->size_bytes;
		size_bytes -= s->size_bytes;
	}
	return (int)n;
}

bool image_segment_fits(const struct image_segment *seg, const struct blob_layout *layout)
{
	(void)layout;
	return seg->chunk_idx <= FAKE_HELLO_CHUNK;
}
