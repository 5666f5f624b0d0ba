/*
 * remove_tree: what a test made below a directory, and the directory, are gone.
 */
#pragma once
#include <ftw.h>
#include <stdio.h>

static inline int remove_tree_one(const char *path, const struct stat *st, int type,
                                  struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/** Links are removed, not followed. @return 0; -1 something is left, or there was nothing */
static inline int remove_tree(const char *dir)
{
	return nftw(dir, remove_tree_one, 16, FTW_DEPTH | FTW_PHYS);
}
