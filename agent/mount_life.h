/*
 * mount_life: the life of one mount (mounts.c keeps the list of them). Private to the two.
 */
#pragma once
#include "blob_links.h"
#include "mounts.h"

/* What a worker does for a mount; the life waits. */
struct mount_chore {
	struct job job;
	struct mount_record rec; /* a copy: the worker sees nothing else of the mount */
	const char *state_dir;
	struct log *log;
	struct kept *kept; /* ours: to be let go, also by the keeper at keeper_socket */
	uint64_t replaced; /* the device of what is to go from the directory first; 0: nothing is */
	const char *keeper_socket;
	struct blob_links links;      /* to be made; freed by the worker */
	bool (*make_room)(void *arg); /* mounts_opts */
	void *make_room_arg;
	bool auth_file_gone;
	bool detached;  /* the result: what was to go is gone */
	bool restoring; /* its record is there already */
	int result;
	struct err err;
};

struct mount_life {
	struct mounted pub;
	struct mounts *mounts;
	struct mount_chore chore;
	struct image_load *load;
	struct image_mount *tree;
	struct fetch_prefetch *prefetch;
	struct kept *kept;   /* what an earlier agent left, until the image is loaded; or NULL */
	struct mount_op *op; /* who waits for it to come up; or NULL */
	struct timer retry;
	uint64_t retry_ms;
	bool listed;    /* there is a record on disk */
	bool restoring; /* on its first way up after a start */
	bool by_digest; /* the image is loaded by digest: its tag has moved */
	bool auth_added;
	bool was_given;           /* credentials came with the wish, or while it is renewed ... */
	struct credentials given; /* ... these, until the registry has them, and the record */
	bool abandoned;           /* take it back as soon as that is possible */
	bool unlist;              /* its record goes, too, once it is unmounted */
	bool detach;              /* unmount it even if it is in use */
	bool adopting;            /* on its way up from what an earlier agent left */
	bool left;                /* in use at the agent's end: the keeper has it */
	bool renewing;            /* mounted, and its record is being written again */
	bool ended;               /* the kernel ended it, perhaps at a bad moment */
	uint64_t replaces;        /* for the chore that comes first; else 0 */
	struct mount_record *before; /* what it is in place of, until it is up; or NULL ... */
	bool gone_before;            /* ... and the auth file of that was */
	void (*removed)(void *arg, int r, const struct err *why); /* who waits for it to go */
	void *removed_arg;
};

struct mounts {
	struct mounts_opts opts;
	char *state_dir;
	struct mounted *list;
	struct mount_op *ops;
	uint64_t n_wishes; /* ever */
	bool restored;     /* all of the list are known */
	bool settled;      /* and that was told */
	struct loop_call restored_call;
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct loop_call stopped_call;
};

/* What is to be in place of what is mounted. */
struct mount_wish {
	struct mount_record rec;
	struct mount_record way; /* rec of another directory: how the registry is reached until it
	                          * is known whether it works */
	bool has_credentials;
	struct credentials given;
};

struct mount_op {
	struct mounts *mounts;
	struct mount_life *life; /* NULL: a look whether the same image is there */
	struct image_load *load;
	char *dir;
	struct job look; /* is the same image still to be seen there? */
	uint64_t device;
	bool is_seen;
	struct err no_auth_file;  /* the wish's cannot be read; else 0 */
	bool also_prefetch;       /* the rest of what is there is wished for */
	bool is_other;            /* than the image that is mounted */
	struct lazy_image *image; /* what the wish means, so that it is here when it is mounted */
	struct mount_wish *wish;  /* NULL: nothing is to be replaced */
	bool same_alone; /* ... where another image is there; and nothing is mounted anew */
	mounts_added_fn *done;
	void *arg;
	struct mount_op *prev, *next;
};

static inline struct mount_life *life_of(struct mounted *m)
{
	return container_of(m, struct mount_life, pub);
}

/* What a load has of a record, but for the image's name. Borrowed texts. */
static inline struct image_load_opts mount_load_opts(const struct mount_record *rec)
{
	return (struct image_load_opts){ .bootstrap_path = rec->bootstrap,
		                         .blobs_origin = rec->blobs,
		                         .metas_dir = rec->links_dir,
		                         .timeout_ms = rec->load_timeout_ms };
}

/** Credentials for its registry, in place of earlier ones. Copied. */
void mount_life_give(struct mount_life *life, const struct credentials *given);
/** From MOUNT_DOWN (or new): on the way up. */
void mount_life_start(struct mount_life *life);
/** Nobody wants it any more: back from wherever it is. listed: the record stays. */
void mount_life_abandon(struct mount_life *life);
/** Unless it is on that way already, or its record is being written again: unmount and unlist, or
 * back from the way up; then tell removed. Who waits for it to come up is told that it was
 * cancelled. */
void mount_life_remove(struct mount_life *life);
/** From MOUNT_UP, when its record was replaced: tell the registry and write it; then life->op is
 * over.
 * @param given  NULL: none */
void mount_life_renew(struct mount_life *life, const struct credentials *given);
/** From MOUNT_UP: its record says prefetch from now on, and it begins; then life->op is over. */
void mount_life_prefetch(struct mount_life *life);
/** From MOUNT_UP: unmount, keep the record. */
void mount_life_leave(struct mount_life *life);
void mount_life_free(struct mount_life *life);

/** [mounts.c] The operation that waited is over. Frees it. */
void mount_op_end(struct mount_op *op, int r, const struct mounted *m, const struct err *why);
/** [mounts.c] What a mount said to its registry is forgotten, unless another one says the same. */
void mounts_forget_auth(struct mounts *mounts, const struct mounted *m);
/** [mounts.c] m lives on as long as somebody uses it, and its directory gets a mount by this
 * record; op ends when that is up. @return the new one's life, to be started */
struct mount_life *mounts_hide(struct mount_op *op, struct mounted *m,
                               const struct mount_record *rec);

/** [mount_load.c] From MOUNT_LOAD: 0, with life->pub.image; or -errno. Its last act: life may be
 * gone. */
void mount_life_loaded(struct mount_life *life, int r, const struct err *why);

/* ---- mount_load.c ---- */

/** Begin; mount_life_loaded() follows, not from inside, unless life->load is cancelled. @return 0;
 * -errno with life->pub.why */
MUST_CHECK int mount_load_start(struct mount_life *life);

/* ---- mount_prefetch.c ---- */

/** From MOUNT_UP: if its record says so, and none runs. */
void mount_prefetch_start(struct mount_life *life);
void mount_prefetch_stop(struct mount_life *life);

/* ---- mount_replace.c ---- */

struct mount_wish *mount_wish_new(struct mounts *mounts, const struct mount_record *rec,
                                  const struct credentials *given);
/** What was said of a mount that is there and can be so at once: its auth file, and prefetch
 * beside it. Its rec is what was said, until mount_wish_look_again(). @return NULL: nothing */
struct mount_wish *mount_wish_of_same(struct mounts *mounts, const struct mounted *m,
                                      const struct mount_record *said);
/** The image is here. Such a wish becomes m's record as it is by now, but for what was said; or
 * NULL, with op->also_prefetch, where that cannot be so any more: credentials were given, say. */
void mount_wish_look_again(struct mount_op *op, const struct mounted *m);
void mount_wish_free(struct mounts *mounts, struct mount_wish **wish); /* NULL is fine */
/** The image is loaded, and m was looked at: op->is_other, op->is_seen; it was not where nothing is
 * to be replaced (op->wish). Ends op, sooner or later. */
void mount_replace(struct mount_op *op, struct mounted *m);
/** [mount_life.c] It is up: what was there before is not needed again. */
void mount_replace_done(struct mount_life *life);
/** [mount_life.c] Its new record could not be written: it has the old one again, and is to say
 * that to its registry. */
void mount_replace_undo(struct mount_life *life);
/** [mount_life.c] It failed. @return true: it is to be mounted again by the record of what was
 * there before */
bool mount_replace_fall_back(struct mount_life *life);

/** [mounts.c] One of the restored is up or down: perhaps it was the last. */
void mounts_look(struct mounts *mounts);
/** [mounts.c] This one is gone or down: off the list if gone, and perhaps all have stopped now. */
void mounts_settle(struct mounts *mounts, struct mount_life *life);
