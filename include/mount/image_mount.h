/*
 * image_mount: an image's file tree as a FUSE mount (libfuse3, low level).
 *
 * Read-only, allow_other, default_permissions, nosuid and nodev on the mount itself, OPEN and
 * OPENDIR answered ENOSYS, READDIRPLUS, long time-outs (the content cannot change). Mounted with
 * mount(2) on a /dev/fuse descriptor of our own. Source: Linux fuse.h; facts in docs/performance.md
 * on the switches.
 */
#pragma once
#include "clock.h"
#include "fuse_pool.h"
#include "lazy_image.h"
#include "metrics.h"

struct image_mount;

struct image_mount_opts {
	const char *dir;             /* absolute, an existing directory; copied */
	struct lazy_image *image;    /* a reference is taken */
	struct fuse_pool *fuse_pool; /* borrowed, all of them */
	struct fetch *fetch;
	struct loop *loop;
	struct pool *pool;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	/* [loop] Once, when the mount ended by itself (umount(8), abort): free it with
	 * image_mount_stop(). */
	void (*ended)(void *arg, struct image_mount *mount);
	void *arg;
};

/** [loop] Mount on the pool, then tell. done once, not from inside: 0 and the mount: dir can be
 * read; or -EBUSY, -ENOENT, -ENOTDIR, -EPERM, ... with *why. */
MUST_CHECK int image_mount_start(const struct image_mount_opts *opts,
                                 void (*done)(void *arg, int r, struct image_mount *mount,
                                              const struct err *why),
                                 void *arg, struct err *e);

/**
 * [loop] Unmount, end readers in flight (they get EIO), free. done once, not from inside:
 * 0; -EBUSY it is in use and lazy is false: still mounted.
 * @param lazy  detach even if files are open (MNT_DETACH)
 */
void image_mount_stop(struct image_mount *mount, bool lazy,
                      void (*done)(void *arg, int r, const struct err *why), void *arg);

const char *image_mount_dir(const struct image_mount *mount);
struct lazy_image *image_mount_image(const struct image_mount *mount);
