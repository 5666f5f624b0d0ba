/*
 * device_files: the files that the kernel's EROFS gets as the blobs of an image (private to mount).
 *
 * A blob that is here as a whole is given as its own data file: its bytes then pass one page cache
 * instead of two, and not the agent. All others are files of our FUSE connection (blob_files.h),
 * and one always is: the connection lives as long as the kernel has it open, which is how the end
 * of the mount is known, and what a keeper keeps.
 */
#pragma once
#include "cas.h"
#include "err.h"
#include "lazy_image.h"
#include <stdint.h>

/* Blobs whose data files the kernel reads: pinned. Zeroed: none. */
struct handed_files {
	uint32_t n;
	struct cas_blob *blobs[IMAGE_BLOBS_MAX]; /* borrowed from the image */
};

struct device_files {
	uint32_t n;
	int fds[IMAGE_BLOBS_MAX];
};
void device_files_close(struct device_files *files);

/**
 * [worker] One for each blob of the image, in their order.
 *
 * @param mount_fd  of the FUSE mount
 * @param files     zeroed; to be closed, also on failure
 * @param handed    zeroed; to be released when the kernel's mount is gone, also on failure
 */
MUST_CHECK int device_files_open(const struct lazy_image *image, int mount_fd,
                                 struct device_files *files, struct handed_files *handed,
                                 struct err *e);

/** [worker] What an earlier process handed out of the image, and is in use still. */
void handed_files_find(const struct lazy_image *image, struct handed_files *ret_handed);

void handed_files_release(struct handed_files *handed);
