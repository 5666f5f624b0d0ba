/*
 * image_dirs: see the header. Knows names; knows nothing of what an image is.
 */
#include "image_dirs.h"
#include "mem.h"
#include "state.h"
#include "unconst.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool image_file_name_ok(const char *name)
{
	const size_t n = strlen(name);

	return n > 0 && n <= 200 && name[0] != '.' && strchr(name, '/') == NULL;
}

/* The names of a directory, one call each, "." and ".." left out. */
static int each_name(int at_fd, const char *name,
                     int (*fn)(void *arg, int dir_fd, const char *entry), void *arg)
{
	const int fd = openat(at_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	int r = 0;

	if (dir == NULL) {
		r = -errno;
		if (fd >= 0)
			(void)close(fd);
		return r;
	}
	while ((entry = readdir(dir)) != NULL) { /* NOLINT(concurrency-mt-unsafe): our own stream */
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && r == 0)
			r = fn(arg, dirfd(dir), entry->d_name);
	}
	(void)closedir(dir);
	return r;
}

static int unlink_file(void *arg, int dir_fd, const char *entry)
{
	const struct disk *d = arg;

	return d->unlink(d, dir_fd, entry, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

int image_dirs_remove(struct cas *cas, const char *name, struct err *e)
{
	const struct disk *d = cas->disk;
	int r = each_name(cas->images_fd, name, unlink_file, unconst(d));

	if (r == 0 && d->unlink(d, cas->images_fd, name, AT_REMOVEDIR) != 0)
		r = -errno;
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_errno(e, -r, "cannot remove images/%s", name) : 0;
}

int image_dirs_retire(struct cas *cas, const char *digest, struct err *e)
{
	const struct disk *d = cas->disk;
	AUTO(free_str) char *gone = xasprintf(IMAGE_GONE_PREFIX "%s", digest);
	int r = image_dirs_remove(cas, gone, e); /* left by a crash */

	if (r < 0)
		return r;
	if (d->rename(d, cas->images_fd, digest, cas->images_fd, gone) != 0)
		return errno == ENOENT ? 0 : err_errno(e, errno, "cannot remove images/%s", digest);
	return image_dirs_remove(cas, gone, e);
}

static int sweep_one(void *arg, int dir_fd, const char *entry)
{
	struct cas *cas = arg;
	struct err e;

	(void)dir_fd;
	if (strncmp(entry, IMAGE_DRAFT_PREFIX, sizeof(IMAGE_DRAFT_PREFIX) - 1) != 0 &&
	    strncmp(entry, IMAGE_GONE_PREFIX, sizeof(IMAGE_GONE_PREFIX) - 1) != 0)
		return 0;
	if (image_dirs_remove(cas, entry, &e) < 0)
		log_warn(cas->log, "left over from a crash", "why=%s", LOG_Q(e.msg));
	return 0;
}

void image_dirs_sweep(struct cas *cas)
{
	if (each_name(cas->images_fd, ".", sweep_one, cas) < 0)
		log_warn(cas->log, "cannot list the images directory", "%s", "");
}
