/*
 * mounts: the listed mounts, from the wish to the tree that can be read and back.
 *
 * Knows records, images and trees. Knows nothing of HTTP. All of it on the loop thread; what
 * blocks runs on the pool. A listed mount has a record on disk and comes back at the next start.
 */
#pragma once
#include "fetch.h"
#include "fuse_pool.h"
#include "image_mount.h"
#include "lazy_image.h"
#include "mount_record.h"
#include "registry.h"

struct mounts;
struct mount_op;

/* Where one mount stands. */
enum mount_state {
	MOUNT_CHECK,  /* a worker looks at the directory */
	MOUNT_LOAD,   /* the image's metadata comes */
	MOUNT_ATTACH, /* the tree is being mounted */
	MOUNT_SAVE,   /* a worker writes the record */
	MOUNT_UP,     /* it can be read */
	MOUNT_STOP,   /* being unmounted */
	MOUNT_UNLIST, /* a worker removes the record */
	MOUNT_UNDO,   /* failed half way: what was done is being taken back */
	MOUNT_DOWN,   /* listed, but not mounted: why says the reason */
	MOUNT_GONE,   /* about to be freed */
	N_MOUNT_STATES,
};

/* What others may look at. */
struct mounted {
	struct mount_record rec;
	enum mount_state state;
	struct lazy_image *image; /* NULL where it is not known */
	struct err why;           /* MOUNT_DOWN */
	bool auth_file_gone;
	bool hidden; /* MOUNT_UP, but its directory was unmounted, and perhaps mounted again: an
	                overlay or an open file holds it. Not found by its directory; gone when
	                that lets go */
	bool erofs;  /* MOUNT_UP: it is the kernel that reads the tree */
	const char *no_erofs; /* ... and why not, where it should; else "". Borrowed */
	struct mounted *prev, *next;
};

struct mounts_opts {
	const char *state_dir;  /* copied */
	struct loop *loop;      /* borrowed, all of them */
	struct pool *pool;      /* readers' workers, for the trees */
	struct pool *disk_pool; /* what blocks and nobody reads from */
	struct fetch *fetch;
	struct registry *registry;
	struct image_loader *loader;
	struct fuse_pool *fuse_pool;
	const char *keeper_socket; /* who keeps what is mounted; NULL: nobody */
	enum mount_how how;        /* unless the record says */
	struct err no_erofs; /* why the trial of the kernel's EROFS failed; code 0: it did not */
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	/* [worker] A record could not be written, the disk is full: true: there is room now. NULL:
	 * nobody can make any. */
	bool (*make_room)(void *arg);
	void *make_room_arg;
	/* [loop] A mount came up that a keeper could hold, but none took it. NULL: nobody cares */
	void (*unkept)(void *arg);
	void *unkept_arg;
	/* Once, after mounts_restored(): each restored mount is up, or known not to come up yet. */
	void (*settled)(void *arg);
	void *settled_arg;
};

struct mounts *mounts_new(const struct mounts_opts *opts); /* never NULL */
void mounts_free(struct mounts **mounts);                  /* after mounts_stop(); NULL is fine */

#define MOUNT_WAS_THERE 1

/* r: 0 and the mount; MOUNT_WAS_THERE the same; -EBUSY another image is there; -EALREADY not now;
 * -ENOENT, -EACCES ... with *why. */
typedef void mounts_added_fn(void *arg, int r, const struct mounted *m, const struct err *why);

/**
 * Mount and list. The same image where it is mounted already: done(MOUNT_WAS_THERE) after a look at
 * the registry; of what the record says beside the image prefetch and auth_file alone count then.
 * done: once, not from inside. The record is copied, as what is given: credentials (rec->given), or
 * NULL.
 * @param replace  the same image takes on what else this record says; another one takes its place,
 *   and who uses the old one goes on with it. If the new one cannot be loaded, all stays as it was;
 *   what fails later, or is cancelled, brings the old image back
 */
struct mount_op *mounts_add(struct mounts *mounts, const struct mount_record *rec,
                            const struct credentials *given, bool replace, mounts_added_fn *done,
                            void *arg);
/** The asker lost interest: done will not follow, and the mount is taken back. */
void mounts_cancel(struct mount_op *op);

/** Other credentials for what is mounted, or on its way up. @return 0; -ENOENT */
MUST_CHECK int mounts_give(struct mounts *mounts, const char *dir, const struct credentials *given,
                           struct err *e);

/** Unmount and take off the list, also on its way up. done: once, perhaps from inside: 0; -ENOENT;
 * -EBUSY it is in use; -EALREADY not now.
 * @param detach  even then: who uses it gets errors */
void mounts_remove(struct mounts *mounts, const char *dir, bool detach,
                   void (*done)(void *arg, int r, const struct err *why), void *arg);

/** How images are mounted from now on, unless the record says. */
void mounts_set_how(struct mounts *mounts, enum mount_how how);

/** Mount again what a record says: at the start.
 * @param kept  what an earlier agent left of it, moved; or NULL */
void mounts_restore(struct mounts *mounts, const struct mount_record *rec, struct kept *kept);
/** That were all. settled() follows, not from inside. */
void mounts_restored(struct mounts *mounts);
/** Is no restored mount on its first way up any more? */
bool mounts_are_settled(const struct mounts *mounts);

/** Take all down for the end of the agent; the records stay. Busy ones are detached. done once,
 * not from inside. */
void mounts_stop(struct mounts *mounts, void (*done)(void *arg), void *arg);

/** What a keeper needs to hold all mounts, to be closed; *ret_kept malloc'd. @return how many */
uint32_t mounts_kept(const struct mounts *mounts, struct kept **ret_kept);
/** A keeper was given this one. */
enum keep_outcome mounts_set_kept(struct mounts *mounts, const struct kept *kept);

const struct mounted *mounts_first(const struct mounts *mounts); /* on with ->next; NULL: none */
const struct mounted *mounts_find(const struct mounts *mounts, const char *dir);
const struct mounted *mounts_of_image(const struct mounts *mounts,
                                      const char *digest); /* one; NULL: none */
const char *mount_state_name(enum mount_state state);

/** How many there are, hidden ones and those that are down, too. */
uint32_t mounts_count(const struct mounts *mounts);

/** [loop] Brings shoal_mounts up to date. */
void mounts_show(const struct mounts *mounts);

/** [loop] What the kernel asked of this mount and was not answered yet: as image_mount_asked().
 */
uint32_t mounts_asked(const struct mounted *m, struct fuse_asked *ret_asked);

/** The mount with the longest directory that path lies in. @param ret_rest  behind it: "" or "/..."
 */
const struct mounted *mounts_resolve(const struct mounts *mounts, const char *path,
                                     const char **ret_rest);
