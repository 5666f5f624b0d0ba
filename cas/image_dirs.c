/*
 * image_dirs: see the header. Knows names; knows nothing of what an image is.
 */
#include "image_dirs.h"
#include "dir.h"
#include "mem.h"
#include "state.h"
#include "unconst.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool image_file_name_ok(const char *name)
{
	const size_t n = strlen(name);

	return n > 0 && n <= 200 && name[0] != '.' && strchr(name, '/') == NULL;
}

static int unlink_file(void *arg, int dir_fd, const struct dirent *entry)
{
	const struct disk *d = arg;

	return d->unlink(d, dir_fd, entry->d_name, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

int image_dirs_remove(struct cas *cas, const char *name, struct err *e)
{
	const struct disk *d = cas->disk;
	int r = dir_each(cas->images_fd, name, O_NOFOLLOW, unlink_file, unconst(d));

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

static int sweep_one(void *arg, int dir_fd, const struct dirent *entry)
{
	struct cas *cas = arg;
	const char *name = entry->d_name;
	struct err e;

	(void)dir_fd;
	if (strncmp(name, IMAGE_DRAFT_PREFIX, sizeof(IMAGE_DRAFT_PREFIX) - 1) != 0 &&
	    strncmp(name, IMAGE_GONE_PREFIX, sizeof(IMAGE_GONE_PREFIX) - 1) != 0)
		return 0;
	if (image_dirs_remove(cas, name, &e) < 0)
		log_warn(cas->log, "left over from a crash", "why=%s", LOG_Q(e.msg));
	return 0;
}

void image_dirs_sweep(struct cas *cas)
{
	if (dir_each(cas->images_fd, ".", 0, sweep_one, cas) < 0)
		log_warn(cas->log, "cannot list the images directory", "%s", "");
}
