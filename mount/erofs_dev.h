/*
 * erofs_dev: mounts of the kernel's EROFS over files (private to mount).
 *
 * By fsopen, fsconfig, fsmount and move_mount: mount(2) cuts its options at a page, mount(8) makes
 * loop devices. All of it blocks: [worker].
 */
#pragma once
#include "erofs.h"
#include <stdint.h>

struct erofs_mount_opts {
	const char
		*bootstrap; /* path of the metadata file: what /proc/mounts shows as the source */
	const int *device_fds; /* the blobs' files, in the order of the image's device table */
	uint32_t n_devices;
	const char *dir; /* NULL: nowhere, only to see whether it works */
};

/** Read-only, nosuid, nodev. The kernel keeps the files open by itself.
 * @return 0; -errno with what the kernel says */
MUST_CHECK int erofs_dev_mount(const struct erofs_mount_opts *opts, struct err *e);
