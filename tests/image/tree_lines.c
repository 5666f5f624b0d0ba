/*
 * tree_lines: walk an image through its public calls, as a tool would walk a mount of it, and write
 * each entry down the way tests/manifest.py does.
 */
#include "tree_lines.h"
#include "digest.h"
#include "hex.h"
#include "mem.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

struct link_group {
	uint64_t node;
	char *first_path; /* escaped */
};

#define UTF8_BAD UINT32_MAX

/* How many bytes a code point has that begins with this one; 0: none does. */
static size_t utf8_size(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc0 || first > 0xf4)
		return 0;
	return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static bool utf8_is_sound(uint32_t code, size_t size_bytes)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };

	return code >= least[size_bytes] && code <= 0x10ffff && (code < 0xd800 || code >= 0xe000);
}

/* One code point at s. @return its bytes; 1 with UTF8_BAD for a byte that is none */
static size_t utf8_next(const unsigned char *s, uint32_t *ret_code)
{
	const size_t n = utf8_size(s[0]);
	uint32_t code = n <= 1 ? s[0] : s[0] & (0x7fU >> n);

	*ret_code = UTF8_BAD;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 1;
		code = code << 6 | (s[i] & 0x3fU);
	}
	if (n == 0 || !utf8_is_sound(code, n))
		return 1;
	*ret_code = code;
	return n;
}

static void put_escaped(FILE *f, const unsigned char *s, size_t *at)
{
	uint32_t code = 0;
	const size_t n = utf8_next(s + *at, &code);

	if (code == UTF8_BAD)
		(void)fprintf(f, "\\\\x%02x", s[*at]);
	else if (code == '\\')
		(void)fputs("\\\\", f);
	else if (code == '\n' || code == '\t' || code == '\r')
		(void)fprintf(f, "\\%c", code == '\n' ? 'n' : code == '\t' ? 't' : 'r');
	else if (code >= ' ' && code < 0x7f)
		(void)fputc((int)code, f);
	else
		(void)fprintf(f,
		              code < 0x100      ? "\\x%02x"
		              : code < 0x10000U ? "\\u%04x"
		                                : "\\U%08x",
		              code);
	*at += n;
}

/* Plain ASCII stays as it is; anything else as Python's unicode_escape has it. malloc'd */
static char *escaped(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	bool plain = true;
	char *out = NULL;
	size_t size_bytes;
	FILE *f;

	for (size_t i = 0; s[i] != 0; i++)
		plain = plain && s[i] > ' ' && s[i] < 0x80 && s[i] != '\\';
	if (plain)
		return xstrdup(text);
	f = open_memstream(&out, &size_bytes);
	assert(f != NULL);
	for (size_t at = 0; s[at] != 0;)
		put_escaped(f, s, &at);
	(void)fclose(f);
	return out;
}

static const char *group_of(struct tree_lines *t, const struct stat *st, const char *path)
{
	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return "-";
	for (size_t i = 0; i < t->n_groups; i++) {
		if (t->groups[i].node == st->st_ino)
			return t->groups[i].first_path;
	}
	t->groups = xrealloc(t->groups, t->n_groups + 1, sizeof(*t->groups));
	t->groups[t->n_groups] = (struct link_group){ st->st_ino, escaped(path) };
	return t->groups[t->n_groups++].first_path;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int put_xattr(FILE *f, const struct image *im, uint64_t node, const char *name,
                     struct err *e)
{
	AUTO(free_str) char *shown = escaped(name);
	const uint8_t *value = NULL;
	uint32_t size_bytes = 0;
	int r = image_getxattr(im, node, name, &value, &size_bytes, e);

	(void)fprintf(f, "%s=", shown);
	for (uint32_t i = 0; r == 0 && i < size_bytes; i++)
		(void)fprintf(f, "%02x", value[i]);
	return r;
}

static int put_xattrs(FILE *f, const struct image *im, uint64_t node, struct err *e)
{
	char names[65536];
	char *sorted[4096];
	size_t n = 0;
	const int64_t size_bytes = image_listxattr(im, node, names, sizeof(names), e);

	if (size_bytes <= 0) {
		(void)fputc('-', f);
		return (int)size_bytes;
	}
	for (int64_t at = 0; at < size_bytes && n < ARRAY_LEN(sorted);) {
		sorted[n] = names + at;
		at += (int64_t)strlen(sorted[n++]) + 1;
	}
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (size_t i = 0; i < n; i++) {
		int r;

		if (i > 0)
			(void)fputc(',', f);
		r = put_xattr(f, im, node, sorted[i], e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int put_what(FILE *f, const struct image *im, const struct stat *st, struct err *e)
{
	char target[IMAGE_SYMLINK_MAX + 1];
	char text[DIGEST_TEXT_BYTES];
	uint8_t digest[DIGEST_BYTES];
	int r;

	if (!S_ISLNK(st->st_mode)) {
		(void)fputs("- ", f);
		return 0;
	}
	r = image_readlink(im, st->st_ino, target, e);
	if (r < 0)
		return r;
	digest_compute(DIGEST_SHA256, target, strlen(target), digest);
	hex_encode(digest, DIGEST_BYTES, text);
	(void)fprintf(f, "%s ", text);
	return 0;
}

static char type_letter(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	case S_IFIFO:
		return 'p';
	default:
		return 's';
	}
}

static void put_stat(FILE *f, struct tree_lines *t, const struct stat *st, const char *path)
{
	(void)fprintf(f, "%c %04o %u %u ", type_letter(st->st_mode), st->st_mode & 07777U,
	              st->st_uid, st->st_gid);
	if (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))
		(void)fprintf(f, "%lld ", (long long)st->st_size);
	else
		(void)fputs("- ", f);
	if (strcmp(path, "/") == 0)
		(void)fputs("- ", f);
	else
		(void)fprintf(f, "%lld ",
		              (long long)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec);
	(void)fprintf(f, "%s ", group_of(t, st, path));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		(void)fprintf(f, "%u:%u ", major(st->st_rdev), minor(st->st_rdev));
	else
		(void)fputs("- ", f);
}

static int add_entry(const struct image *im, struct tree_lines *t, uint64_t node, const char *path,
                     struct err *e)
{
	AUTO(free_str) char *shown = escaped(path);
	struct tree_line line = { xstrdup(path), NULL };
	struct stat st = { 0 };
	size_t size_bytes;
	FILE *f = open_memstream(&line.text, &size_bytes);
	int r = image_getattr(im, node, &st, e);

	assert(f != NULL);
	if (r == 0) {
		put_stat(f, t, &st, path);
		r = put_what(f, im, &st, e);
	}
	if (r == 0)
		r = put_xattrs(f, im, node, e);
	(void)fprintf(f, " %s", shown);
	(void)fclose(f);
	if (t->n == t->n_room) {
		t->n_room = t->n_room * 2 + 256;
		t->lines = xrealloc(t->lines, t->n_room, sizeof(*t->lines));
	}
	t->lines[t->n++] = line;
	return r;
}

static bool is_dots(const struct image_dirent *d)
{
	return d->name[0] == '.' &&
	       (d->name_size_bytes == 1 || (d->name_size_bytes == 2 && d->name[1] == '.'));
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the trees of the tests */
static int walk(const struct image *im, struct tree_lines *t, uint64_t dir, const char *path,
                struct err *e)
{
	struct image_dirent d = { 0 };
	uint64_t cookie = 0;
	int r;

	while ((r = image_readdir(im, dir, cookie, &d, e)) > 0) {
		AUTO(free_str) char *child = NULL;

		cookie = d.next_cookie;
		if (is_dots(&d))
			continue;
		child = xasprintf("%s/%.*s", path, (int)d.name_size_bytes, d.name);
		r = add_entry(im, t, d.node, child, e);
		if (r == 0 && d.type == S_IFDIR)
			r = walk(im, t, d.node, child, e);
		if (r < 0)
			return r;
	}
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct tree_line *)a)->path, ((const struct tree_line *)b)->path);
}

int tree_lines_read(const struct image *im, struct tree_lines *ret_lines, struct err *e)
{
	int r;

	*ret_lines = (struct tree_lines){ 0 };
	r = add_entry(im, ret_lines, IMAGE_ROOT, "/", e);
	if (r == 0)
		r = walk(im, ret_lines, IMAGE_ROOT, "", e);
	qsort(ret_lines->lines, ret_lines->n, sizeof(*ret_lines->lines), by_path);
	return r;
}

void tree_lines_free(struct tree_lines *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->lines[i].path);
		free(t->lines[i].text);
	}
	for (size_t i = 0; i < t->n_groups; i++)
		free(t->groups[i].first_path);
	free(t->lines);
	free(t->groups);
	*t = (struct tree_lines){ 0 };
}
