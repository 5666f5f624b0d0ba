/*
 * image_mount: an image's file tree, mounted on a directory, in one of two ways.
 *
 * As a tree: a FUSE mount (libfuse3, low level), allow_other, default_permissions, OPEN and OPENDIR
 * answered ENOSYS, READDIRPLUS, long time-outs (the content cannot change), on a /dev/fuse
 * descriptor of our own. Source: Linux fuse.h; facts in docs/performance.md on the switches.
 * By the kernel: its EROFS mounts the bootstrap (erofs.h) and reads the blobs from files that a
 * FUSE mount which nobody sees serves (blob_files.h).
 * Both are read-only, nosuid and nodev on the mount itself.
 */
#pragma once
#include "clock.h"
#include "erofs.h"
#include "fuse_asked.h"
#include "fuse_pool.h"
#include "keeper.h"
#include "lazy_image.h"
#include "metrics.h"
#include <stdbool.h>

struct image_mount;

struct image_mount_opts {
	const char *dir;          /* absolute, an existing directory; copied */
	struct lazy_image *image; /* a reference is taken */
	enum mount_how how;
	const struct err *no_erofs;  /* why the trial failed, code 0: it did not; copied */
	struct fuse_pool *fuse_pool; /* borrowed, all of them */
	struct fetch *fetch;
	struct loop *loop;
	struct pool *pool;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	/* Socket of a keeper that holds the mount's connection, so that it outlives this process;
	 * or NULL. */
	const char *keeper_socket;
	struct kept *kept; /* what an earlier process left there: it is taken on, instead of a new
	                    * mount. NULL: none. Moved, also on failure */
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

/** [loop] Does a keeper hold it? */
bool image_mount_is_kept(const struct image_mount *mount);

/** [loop] It could be kept, but there was no keeper that took it. */
bool image_mount_waits_for_keeper(const struct image_mount *mount);

/** [loop] What another keeper needs to hold it, also if none does. @return false: it cannot be
 * kept. ret_kept: to be closed */
bool image_mount_copy_kept(const struct image_mount *mount, struct kept *ret_kept);

/** [loop] A keeper was given that copy, or no longer has one. @return false: it must let go, the
 * mount is at its end */
bool image_mount_set_kept(struct image_mount *mount, bool is_there);

/**
 * [loop] As image_mount_stop(), but nothing is unmounted and nobody gets an error: readers wait for
 * the process that takes the mount on. Only while image_mount_is_kept(). done(0) once, not from
 * inside.
 */
void image_mount_leave(struct image_mount *mount,
                       void (*done)(void *arg, int r, const struct err *why), void *arg);

/** Is it the kernel that reads the tree? @param ret_why  where it should have been, but is not: one
 * clause why; else "". Borrowed. */
bool image_mount_is_erofs(const struct image_mount *mount, const char **ret_why);

/**
 * [loop] The requests of the kernel that are not answered yet: those that wait longest first, then
 * those that a thread is at. None while it is on its way up or down.
 * @param ret_asked  room for ASKED_MAX
 * @return how many
 */
#define ASKED_MAX 256U
uint32_t image_mount_asked(const struct image_mount *mount, struct fuse_asked *ret_asked);

/** Its device number: what stat(2) says of its directory. */
uint64_t image_mount_device(const struct image_mount *mount);
/** [worker] Is this what is to be seen at dir? It may have been unmounted while an overlay holds
 * it: then its connection lives on. */
bool image_mount_is_seen(const char *dir, uint64_t device);
/** [worker] Take it off its directory: who uses it goes on. @return 0; -EBUSY something else is
 * there
 */
MUST_CHECK int image_mount_detach(const char *dir, uint64_t device, struct err *e);
/** [loop] From here on it ends with this process: another mount on its directory is about to be
 * kept in its place. */
void image_mount_unkeep(struct image_mount *mount);
