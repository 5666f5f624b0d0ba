/*
 * exercise: the walk that fuzzer and mutation test share. Knows the public calls alone.
 */
#include "exercise.h"
#include "bytes.h"
#include "image.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define ENTRIES_MAX  20000 /* in all: a directory can be an entry of itself many times over */
#define DIRS_MAX     2000
#define SEGMENTS_MAX 8

struct walk {
	const struct image *im;
	uint64_t dirs[DIRS_MAX];
	unsigned n_dirs;
	unsigned n_entries;
	unsigned n_corrupt;
	uint32_t sum; /* of bytes that were handed out: a sanitizer sees each of them read */
};

/* Only what the header lists may come back. */
static bool failed(struct walk *w, int64_t r, const struct err *e)
{
	if (r >= 0)
		return false;
	assert(e->code == -r && e->msg[0] != '\0');
	assert(r == -EUCLEAN || r == -ENOENT || r == -ENOTDIR || r == -EINVAL || r == -EISDIR ||
	       r == -ENODATA || r == -ENOTSUP);
	w->n_corrupt += r == -EUCLEAN;
	return true;
}

static void read_bytes(struct walk *w, const uint8_t *p, size_t size_bytes)
{
	for (size_t i = 0; i < size_bytes; i++)
		w->sum += p[i];
}

static void try_xattrs(struct walk *w, uint64_t node)
{
	char names[8192];
	struct err e;
	const int64_t needed = image_listxattr(w->im, node, names, sizeof(names), &e);

	if (failed(w, needed, &e) || (uint64_t)needed > sizeof(names))
		return;
	for (int64_t at = 0; at < needed; at += (int64_t)strlen(names + at) + 1) {
		const uint8_t *value = NULL;
		uint32_t size_bytes = 0;
		int r = image_getxattr(w->im, node, names + at, &value, &size_bytes, &e);

		assert(r == 0);
		read_bytes(w, value, size_bytes);
	}
}

static void check_segments(const struct walk *w, const struct image_segment *s, int n,
                           uint64_t offset, uint64_t end)
{
	struct image_info info;

	image_info(w->im, &info);
	for (int i = 0; i < n; i++) {
		assert(s[i].file_offset == offset);
		assert(s[i].size_bytes > 0 && s[i].size_bytes <= CHUNK_PLAIN_MAX_BYTES);
		offset += s[i].size_bytes;
		assert(offset <= end);
		if (s[i].blob_idx != IMAGE_BLOB_NONE) {
			struct image_blob b;

			assert(s[i].blob_idx < info.n_blobs);
			image_blob(w->im, s[i].blob_idx, &b);
			assert(s[i].chunk_idx < b.n_chunks);
		}
	}
	assert(n == SEGMENTS_MAX || offset == end);
}

static void try_map(struct walk *w, const struct stat *st)
{
	const uint64_t size_bytes = (uint64_t)st->st_size;
	const uint64_t offsets[] = { 0, size_bytes / 2, size_bytes - min_u64(size_bytes, 5000),
		                     size_bytes };
	struct image_segment s[SEGMENTS_MAX];
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
		int n = image_map(w->im, st->st_ino, offsets[i], UINT64_MAX, s, SEGMENTS_MAX, &e);

		if (!failed(w, n, &e))
			check_segments(w, s, n, offsets[i], size_bytes);
		n = image_map(w->im, st->st_ino, offsets[i], 10, s, SEGMENTS_MAX, &e);
		if (!failed(w, n, &e))
			check_segments(w, s, n, offsets[i],
			               offsets[i] + min_u64(10, size_bytes - offsets[i]));
	}
}

static void try_node(struct walk *w, uint64_t node, uint32_t type)
{
	char target[IMAGE_SYMLINK_MAX + 1];
	struct stat st;
	struct err e;

	if (failed(w, image_getattr(w->im, node, &st, &e), &e))
		return;
	assert(type == 0 || (st.st_mode & S_IFMT) == type);
	assert(st.st_ino == node && st.st_size >= 0);
	if (!failed(w, image_readlink(w->im, node, target, &e), &e)) {
		assert(S_ISLNK(st.st_mode));
		assert(target[0] != '\0' && strlen(target) == (size_t)st.st_size);
	}
	try_xattrs(w, node);
	if (S_ISREG(st.st_mode))
		try_map(w, &st);
}

static void try_lookup(struct walk *w, uint64_t dir, const struct image_dirent *d)
{
	uint64_t node = 0;
	struct err e;

	/* Unsorted names may not be found, and one name may stand there twice. */
	if (!failed(w, image_lookup(w->im, dir, d->name, d->name_size_bytes, &node, &e), &e))
		assert(node != 0);
}

static void try_entry(struct walk *w, uint64_t dir, const struct image_dirent *d)
{
	const bool dots = d->name[0] == '.' && (d->name_size_bytes == 1 ||
	                                        (d->name_size_bytes == 2 && d->name[1] == '.'));

	assert(d->name_size_bytes > 0 && d->name_size_bytes <= IMAGE_NAME_MAX);
	assert(memchr(d->name, '/', d->name_size_bytes) == NULL);
	assert(memchr(d->name, '\0', d->name_size_bytes) == NULL);
	try_lookup(w, dir, d);
	if (dots)
		return;
	try_node(w, d->node, d->type);
	if (d->type != S_IFDIR)
		return;
	assert(d->node != IMAGE_ROOT);
	if (w->n_dirs < DIRS_MAX)
		w->dirs[w->n_dirs++] = d->node;
}

static void try_dir(struct walk *w, uint64_t dir)
{
	struct image_dirent d;
	uint64_t cookie = 0;
	struct err e;
	int r;

	while (w->n_entries++ < ENTRIES_MAX &&
	       (r = image_readdir(w->im, dir, cookie, &d, &e)) != 0) {
		if (failed(w, r, &e))
			break;
		assert(d.next_cookie > cookie);
		cookie = d.next_cookie;
		try_entry(w, dir, &d);
	}
	/* Cookies come from outside. */
	for (unsigned i = 1; i < 64; i += 7)
		(void)failed(w, image_readdir(w->im, dir, UINT64_C(3) << i, &d, &e), &e);
}

static void try_layouts(struct walk *w)
{
	struct image_info info;

	image_info(w->im, &info);
	for (uint32_t i = 0; i < info.n_blobs && i < 8; i++) {
		AUTO(layout_unref) struct blob_layout *l = NULL;
		struct err e;

		if (failed(w, image_layout(w->im, i, NULL, 0, NULL, &l, &e), &e))
			continue;
		assert(layout_check(l, &e) == 0);
	}
}

unsigned exercise_image(const uint8_t *data, size_t size_bytes)
{
	const struct image_opts opts = { data, size_bytes, 1 };
	struct walk w = { 0 };
	struct image *im = NULL;
	unsigned n_corrupt;
	struct err e;

	if (failed(&w, image_open(&opts, &im, &e), &e))
		return w.n_corrupt;
	w.im = im;
	w.dirs[w.n_dirs++] = IMAGE_ROOT;
	for (unsigned i = 0; i < w.n_dirs; i++)
		try_dir(&w, w.dirs[i]);
	try_layouts(&w);
	n_corrupt = w.n_corrupt;
	/* Ids that nobody gave out: what lies there need be no inode, and that is no fault. */
	for (uint64_t bad = 0; bad < 64; bad += 3)
		try_node(&w, UINT64_C(1) << bad, 0);
	image_close(&im);
	return n_corrupt;
}
