/*
 * dir: see dir.h.
 */
#include "dir.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static bool is_name(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int walk(DIR *dir, dir_fn *fn, void *arg)
{
	const struct dirent *entry;
	int r = 0;

	while (r == 0) {
		errno = 0;
		entry = readdir(dir); /* NOLINT(concurrency-mt-unsafe): our own stream */
		if (entry == NULL)
			return -errno;
		if (is_name(entry))
			r = fn(arg, dirfd(dir), entry);
	}
	return r;
}

int dir_each(int at_fd, const char *name, int flags, dir_fn *fn, void *arg)
{
	const int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	int r;

	if (dir == NULL) {
		r = -errno;
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	r = walk(dir, fn, arg);
	(void)closedir(dir);
	return r;
}
