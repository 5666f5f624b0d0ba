/*
 * v6_dir: directories of a RAFS v6 bootstrap: blocks of entries in byte order of their names.
 *
 * Each block is checked when it is used. An entry is handed out only if its inode has the type that
 * the entry says and, if it is a directory, names this one as its "..": so no directory can stand
 * in two places, and none can contain itself. Knows no chunk.
 * Source: docs/rafs.md, "RAFS v6", "Directories".
 */
#include "v6.h"
#include <errno.h>
#include <inttypes.h>

#define DIRENT_BYTES 12
#define COOKIE_BITS  12 /* a cookie is block << 12 | entry: no block holds 4096 entries */

struct v6_block {
	const uint8_t *p;
	uint32_t size_bytes;
	uint32_t n_entries;
};

struct v6_dirent {
	uint64_t nid;
	struct name name;
	uint32_t type; /* S_IF... */
};

static uint64_t n_blocks(const struct v6_inode *dir)
{
	return (dir->attr.size_bytes + V6_BLOCK_BYTES - 1) / V6_BLOCK_BYTES;
}

static int block_open(const struct image *im, const struct v6_inode *dir, uint64_t idx,
                      struct v6_block *ret_block, struct err *e)
{
	struct v6_block b = { 0 };
	uint32_t names;

	b.p = v6_flat_block(im, dir, idx, &b.size_bytes);
	names = b.size_bytes < DIRENT_BYTES ? 0 : le16(b.p + 8);
	if (names == 0 || names % DIRENT_BYTES != 0 || names >= b.size_bytes)
		return err_set(e, EUCLEAN,
		               "directory %" PRIu64 ": block %" PRIu64
		               " of %u bytes has its names at %u",
		               dir->nid, idx, b.size_bytes, names);
	b.n_entries = names / DIRENT_BYTES;
	*ret_block = b;
	return 0;
}

static uint32_t type_of(uint8_t code)
{
	static const uint32_t types[] = { 0,       S_IFREG, S_IFDIR,  S_IFCHR,
		                          S_IFBLK, S_IFIFO, S_IFSOCK, S_IFLNK };

	return code < ARRAY_LEN(types) ? types[code] : 0;
}

static int block_entry(const struct v6_inode *dir, const struct v6_block *b, uint32_t i,
                       struct v6_dirent *ret_entry, struct err *e)
{
	const uint8_t *p = b->p + (size_t)i * DIRENT_BYTES;
	const uint32_t start = le16(p + 8);
	const bool last = i + 1 == b->n_entries;
	uint32_t end = last ? b->size_bytes : le16(p + DIRENT_BYTES + 8);

	if (start < b->n_entries * DIRENT_BYTES || end <= start || end > b->size_bytes)
		return err_set(e, EUCLEAN, "directory %" PRIu64 ": a name at %u to %u of %u",
		               dir->nid, start, end, b->size_bytes);
	if (last) /* the rest of the block may be padding */
		end = start + (uint32_t)strnlen((const char *)b->p + start, end - start);
	*ret_entry = (struct v6_dirent){
		.nid = le64(p),
		.name = { (const char *)b->p + start, end - start },
		.type = type_of(p[10]),
	};
	if (!name_is_sound(&ret_entry->name) || ret_entry->type == 0)
		return err_set(e, EUCLEAN,
		               "directory %" PRIu64 ": a bad entry (type %u, %zu bytes)", dir->nid,
		               p[10], ret_entry->name.size_bytes);
	return 0;
}

/* The last block whose first name is not behind name. */
static int find_block(const struct image *im, const struct v6_inode *dir, const struct name *name,
                      struct v6_block *ret_block, struct err *e)
{
	uint64_t low = 0;
	uint64_t high = n_blocks(dir);

	while (high - low > 1) {
		const uint64_t mid = low + (high - low) / 2;
		struct v6_dirent first = { 0 };
		int r = block_open(im, dir, mid, ret_block, e);

		if (r == 0)
			r = block_entry(dir, ret_block, 0, &first, e);
		if (r < 0)
			return r;
		if (name_compare(&first.name, name) <= 0)
			low = mid;
		else
			high = mid;
	}
	return block_open(im, dir, low, ret_block, e);
}

/* @return 0; -ENOENT; -EUCLEAN */
static int find_entry(const struct image *im, const struct v6_inode *dir, const struct name *name,
                      struct v6_dirent *ret_entry, struct err *e)
{
	struct v6_block b = { 0 };
	uint32_t low = 0;
	uint32_t high;
	int r = find_block(im, dir, name, &b, e);

	if (r < 0)
		return r;
	high = b.n_entries;
	while (low < high) {
		const uint32_t mid = low + (high - low) / 2;
		int order;

		r = block_entry(dir, &b, mid, ret_entry, e);
		if (r < 0)
			return r;
		order = name_compare(name, &ret_entry->name);
		if (order == 0)
			return 0;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return err_set(e, ENOENT, "no such entry in directory %" PRIu64, dir->nid);
}

/* A directory has one place in the tree: the one that its ".." names. */
static int check_parent(const struct image *im, const struct v6_inode *dir,
                        const struct v6_inode *child, struct err *e)
{
	const struct name dotdot = { "..", 2 };
	struct v6_dirent up = { 0 };
	int r = find_entry(im, child, &dotdot, &up, e);

	if (r == -EUCLEAN)
		return r;
	if (r < 0 || up.nid != dir->nid || child->nid == im->v6.root_nid)
		return err_set(e, EUCLEAN,
		               "directory %" PRIu64 " stands in directory %" PRIu64
		               ", which it does not call \"..\"",
		               child->nid, dir->nid);
	return 0;
}

static int check_entry(const struct image *im, const struct v6_inode *dir,
                       const struct v6_dirent *entry, struct err *e)
{
	struct v6_inode child = { 0 };
	int r = v6_inode_load(im, entry->nid, &child, e);

	if (r < 0)
		return r;
	if ((child.attr.mode & S_IFMT) != entry->type)
		return err_set(e, EUCLEAN,
		               "directory %" PRIu64 ": inode %" PRIu64
		               " has mode 0%o, its entry says 0%o",
		               dir->nid, child.nid, child.attr.mode, entry->type);
	if (entry->type != S_IFDIR)
		return 0;
	if (!name_is_dots(&entry->name))
		return check_parent(im, dir, &child, e);
	if (entry->name.size_bytes == 1 && child.nid != dir->nid)
		return err_set(e, EUCLEAN, "directory %" PRIu64 " is not its own \".\"", dir->nid);
	return 0;
}

static int dir_get(const struct image *im, uint64_t node, struct v6_inode *ret_dir, struct err *e)
{
	int r = v6_inode_get(im, node, ret_dir, e);

	if (r == 0 && !S_ISDIR(ret_dir->attr.mode))
		r = err_set(e, ENOTDIR, "inode %" PRIu64 " is no directory", ret_dir->nid);
	return r;
}

int v6_lookup(const struct image *im, uint64_t dir_node, const struct name *name,
              uint64_t *ret_node, struct err *e)
{
	struct v6_inode dir = { 0 };
	struct v6_dirent entry = { 0 };
	int r = dir_get(im, dir_node, &dir, e);

	if (r == 0)
		r = find_entry(im, &dir, name, &entry, e);
	if (r == 0)
		r = check_entry(im, &dir, &entry, e);
	if (r == 0)
		*ret_node = v6_node(im, entry.nid);
	return r;
}

int v6_readdir(const struct image *im, uint64_t dir_node, uint64_t cookie,
               struct image_dirent *ret_entry, struct err *e)
{
	const uint32_t i = cookie & (BIT(COOKIE_BITS) - 1);
	uint64_t block_idx = cookie >> COOKIE_BITS;
	struct v6_inode dir = { 0 };
	struct v6_block b = { 0 };
	struct v6_dirent entry = { 0 };
	int r = dir_get(im, dir_node, &dir, e);

	if (r < 0)
		return r;
	if (block_idx >= n_blocks(&dir))
		return 0;
	r = block_open(im, &dir, block_idx, &b, e);
	if (r == 0 &&
	    i >= b.n_entries) /* no cookie of ours: a block's end is the next one's start */
		return 0;
	if (r == 0)
		r = block_entry(&dir, &b, i, &entry, e);
	if (r == 0)
		r = check_entry(im, &dir, &entry, e);
	if (r < 0)
		return r;
	if (i + 1 == b.n_entries)
		block_idx++;
	*ret_entry = (struct image_dirent){
		.node = v6_node(im, entry.nid),
		.name = entry.name.s,
		.name_size_bytes = (uint32_t)entry.name.size_bytes,
		.type = entry.type,
		.next_cookie = block_idx << COOKIE_BITS | (i + 1 == b.n_entries ? 0 : i + 1),
	};
	return 1;
}
