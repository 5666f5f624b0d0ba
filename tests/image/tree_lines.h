/*
 * tree_lines: an image's tree as lines in the form of the expected lists:
 *   type mode uid gid size mtime_ns hard-link-group rdev what xattrs path
 * what is the SHA-256 of a symlink's target; files have "-" there: their bytes are elsewhere.
 */
#pragma once
#include "image.h"
#include <stddef.h>

struct tree_lines {
	struct tree_line *lines; /* sorted by path */
	size_t n;
	size_t n_room;
	struct link_group *groups;
	size_t n_groups;
};

struct tree_line {
	char *path; /* raw bytes, "/" is the root */
	char *text;
};

/** @return 0; what image_* returned */
int tree_lines_read(const struct image *im, struct tree_lines *ret_lines, struct err *e);
void tree_lines_free(struct tree_lines *t);
