/*
 * device_files: see device_files.h.
 */
#include "device_files.h"
#include "blob_files.h"
#include "gc.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

void device_files_close(struct device_files *files)
{
	while (files->n > 0)
		close_fd(&files->fds[--files->n]);
}

static struct cas_blob *blob_of(const struct lazy_image *image, uint32_t i)
{
	return fetch_blob_cas(image->blobs[i]);
}

/* What the agent serves costs most where it is large. */
static uint32_t smallest(const struct lazy_image *image)
{
	uint32_t least = 0;

	for (uint32_t i = 1; i < image->n_blobs; i++)
		if (cas_blob_layout(blob_of(image, i))->plain_size_bytes <
		    cas_blob_layout(blob_of(image, least))->plain_size_bytes)
			least = i;
	return least;
}

static int open_served(int mount_fd, uint32_t i, int *ret_fd, struct err *e)
{
	char name[BLOB_FILE_NAME_BYTES];

	blob_file_name(i, name);
	*ret_fd = openat(mount_fd, name, O_RDONLY | O_CLOEXEC);
	return *ret_fd >= 0 ? 0 : err_errno(e, errno, "cannot open blob %s for the kernel", name);
}

int device_files_open(const struct lazy_image *image, int mount_fd, struct device_files *files,
                      struct handed_files *handed, struct err *e)
{
	const uint32_t served = smallest(image); /* whether or not it is here as a whole */
	int r = 0;

	assert(image->n_blobs <= IMAGE_BLOBS_MAX);
	for (uint32_t i = 0; i < image->n_blobs && r == 0; i++) {
		int fd = -1;
		struct err ignored = { 0 };

		if (i != served &&
		    cas_blob_hand_out(blob_of(image, i), image->named[i], &fd, &ignored) == 0)
			handed->blobs[handed->n++] = blob_of(image, i);
		else
			r = open_served(mount_fd, i, &fd, e);
		if (r == 0)
			files->fds[files->n++] = fd;
	}
	return r;
}

void handed_files_find(const struct lazy_image *image, struct handed_files *ret_handed)
{
	ret_handed->n = 0;
	for (uint32_t i = 0; i < image->n_blobs; i++)
		if (cas_blob_pin_held(blob_of(image, i)))
			ret_handed->blobs[ret_handed->n++] = blob_of(image, i);
}

void handed_files_release(struct handed_files *handed)
{
	while (handed->n > 0)
		cas_blob_unpin(handed->blobs[--handed->n]);
}
