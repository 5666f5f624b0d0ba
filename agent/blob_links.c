/*
 * blob_links: see blob_links.h. Knows names and files, not what they hold.
 */
#include "blob_links.h"
#include "auto.h"
#include "cas.h"
#include "lazy_image.h"
#include "linked_images.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void blob_links_of(const struct lazy_image *image, struct blob_links *ret_links)
{
	ret_links->n = image->n_blobs;
	ret_links->links = xcalloc(image->n_blobs + (size_t)1, sizeof(*ret_links->links));
	for (uint32_t i = 0; i < image->n_blobs; i++) {
		const struct cas_blob *blob = fetch_blob_cas(image->blobs[i]);
		struct blob_link *link = &ret_links->links[i];

		(void)snprintf(link->key, sizeof(link->key), "%s", cas_blob_key(blob));
		(void)snprintf(link->blob_id, sizeof(link->blob_id), "%s",
		               cas_blob_layout(blob)->blob_id);
	}
}

void blob_links_free(struct blob_links *links)
{
	free(links->links);
	*links = (struct blob_links){ 0 };
}

/* @return 1: it is the same file already */
static int is_there(int dir_fd, const char *name, const char *path)
{
	struct stat own;
	struct stat there;

	return stat(path, &own) == 0 && fstatat(dir_fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

/* Another file system, or one without links: its name alone. */
static int mark(int dir_fd, const char *name)
{
	AUTO(close_fd) int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd >= 0 ? 0 : -errno;
}

static int make(int dir_fd, const char *name, const char *path)
{
	if (is_there(dir_fd, name, path))
		return 0;
	/* An older file of this blob: of an agent that is gone, or evicted since. */
	if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
		return -errno;
	if (linkat(AT_FDCWD, path, dir_fd, name, 0) == 0) {
		linked_file_mark(path);
		return 0;
	}
	if (errno == EEXIST)
		return 0;
	return mark(dir_fd, name);
}

void blob_links_make(const struct blob_links *links, const char *state_dir, const char *links_dir,
                     struct log *log)
{
	AUTO(close_fd) int fd = open(links_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		log_warn(log, "blobs cannot be shown there", "dir=%s error=%s", LOG_Q(links_dir),
		         LOG_Q(strerrordesc_np(errno)));
		return;
	}
	for (uint32_t i = 0; i < links->n; i++) {
		const struct blob_link *link = &links->links[i];
		AUTO(free_str) char *name = xasprintf("%s.blob.data", link->blob_id);
		AUTO(free_str)
		char *path = xasprintf("%s/blobs/%s.blob.data", state_dir, link->key);
		const int r = make(fd, name, path);

		if (r < 0)
			log_warn(log, "a blob cannot be shown there", "dir=%s blob=%s error=%s",
			         LOG_Q(links_dir), link->blob_id, LOG_Q(strerrordesc_np(-r)));
	}
}
