/*
 * dir: the names of a directory. A disk that fails in the middle of them is an error and not the
 * end: what was not told would be taken for what is not there.
 */
#pragma once
#include "auto.h"
#include <dirent.h>

/** One name. @return 0: on to the next; else no other follows */
typedef int dir_fn(void *arg, int dir_fd, const struct dirent *entry);

/**
 * [any] Each name of a directory, in no order; "." and ".." are left out.
 *
 * @param flags  of openat(2), beside those to read: O_NOFOLLOW, or 0
 * @return 0; what fn said; -errno of openat(2) and readdir(3)
 */
MUST_CHECK int dir_each(int at_fd, const char *name, int flags, dir_fn *fn, void *arg);
