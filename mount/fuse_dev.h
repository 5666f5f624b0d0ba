/*
 * fuse_dev: what a FUSE mount asks of the kernel besides requests: mount(2), umount2(2), and the
 * switches in /sys.
 *
 * All of it blocks: [worker].
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "log.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * Is dir absolute and a directory? A dead mount on it (its daemon was killed) is detached first.
 * @return 0; -EINVAL, -ENOENT, -ENOTDIR, ...
 */
MUST_CHECK int fuse_dev_check_dir(const char *dir, struct log *log, struct err *e);

/**
 * Open /dev/fuse and mount it on dir: read-only, nosuid, nodev, for all users.
 * @param ret_fd  non-blocking; owned by the caller. Somebody must serve it before dir is touched
 */
MUST_CHECK int fuse_dev_mount(const char *dir, uint32_t max_read_bytes, int *ret_fd, struct err *e);

/**
 * The same, mounted nowhere: only who holds ret_mount_fd, or a file opened through it, gets there.
 * For the agent alone: of the kernel's ways in, none checks permissions. Root is a directory.
 * @param ret_mount_fd  owned by the caller; the file system lives until it and all files are closed
 */
MUST_CHECK int fuse_dev_mount_nowhere(uint32_t max_read_bytes, int *ret_fd, int *ret_mount_fd,
                                      struct err *e);

/** The device number of what is mounted at dir: waits until the mount is served. */
MUST_CHECK int fuse_dev_number(const char *dir, dev_t *ret_dev, struct err *e);

/**
 * Unmount dev from dir. @param lazy  detach even when files are open
 * @return 0; -EBUSY in use, or something else is mounted over it; -EINVAL, -EPERM ...
 */
MUST_CHECK int fuse_dev_umount(const char *dir, dev_t dev, bool lazy, struct err *e);

/** Detach whatever is mounted last on dir: a mount of ours that did not come up. */
void fuse_dev_detach(const char *dir, struct log *log);

/** How far ahead the kernel reads in this mount. Where /sys refuses, the kernel's 128 KiB stay. */
void fuse_dev_set_read_ahead(dev_t dev, uint32_t kib, struct log *log);
