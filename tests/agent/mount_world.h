/*
 * mount_world: what mounts.c sees in a test: an image loader, trees, prefetches and registries
 * that do what they are told, in place of fetch/ and mount/. The disk is real, in a temporary
 * directory; the pool is fake_pool.
 */
#pragma once
#include "mounts.h"
#include <stdbool.h>

#define WORLD_OPS_MAX  8
#define DEVICE_COVERED 4711 /* it is to be seen, and covered a moment later */
#define DIGEST_A       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B       "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

struct image_load {
	struct image_loader *loader;
	char reference[256]; /* or the bootstrap's path */
	bool offline_ok;
	struct image_load_opts opts;
	struct image_load *next;
};

struct image_mount {
	struct fuse_pool *pool;
	struct image_mount_opts opts;
	bool kept;
	uint64_t device; /* 0: another is to be seen on its directory. DEVICE_COVERED */
	void (*done)(void *arg, int r, struct image_mount *mount, const struct err *why);
	void *arg;
	void (*stopped)(void *arg, int r, const struct err *why);
	void *stopped_arg;
	struct image_mount *next_stopping;
};

struct image_loader {
	struct image_load *loads; /* the newest first */
	uint32_t n_started, n_cancelled, n_images;
	uint32_t n_reads_begun;
};

struct fuse_pool {
	struct image_mount *starting; /* the one that waits */
	struct image_mount *up;       /* the last that came up */
	struct image_mount *stopping; /* the newest first */
	uint32_t n_trees;             /* alive */
	uint32_t n_lazy, n_left, n_adopted;
};

struct fetch_prefetch {
	struct fetch *fetch;
	struct fetch_prefetch_opts opts;
};

struct fetch {
	uint32_t n_prefetches; /* running */
	uint32_t n_started;
};

struct hint {
	char text[256]; /* "HOST REPOSITORY SCHEME AUTH-FILE" */
	char owner[256];
};

struct registry {
	char given[512]; /* "HOST REPOSITORY OWNER USER" while it is there */
	char gifts[512]; /* each "OWNER=USER " ever; a user "-" for none */
	struct hint hints[WORLD_OPS_MAX];
	uint32_t n_hints; /* in the order in which they were said */
	char hinted[256]; /* the last of those that are not forgotten; else "" */
	char owner[256];  /* who said that */
};

struct world {
	char state_dir[64];
	char dir[80]; /* a directory that can be mounted on */
	struct loop *loop;
	struct pool *pool;
	struct image_loader loader;
	struct fuse_pool fuse_pool;
	struct fetch fetch;
	struct registry registry;
	struct mounts *mounts;
	const struct credentials *given; /* with the next mounts_add(); or NULL */
	bool replace;                    /* with the next mounts_add() */
	bool detach;                     /* with the next mounts_remove() */
	bool with_keeper; /* at the next restart: each listed mount was left to one */
	/* What the last mounts_add() and mounts_remove() said. */
	uint32_t n_added, n_removed, n_stopped, n_settled;
	int added, removed;
	struct err why;
};

int world_setup(void **state); /* *state: struct world */
int world_teardown(void **state);
/** A new struct mounts over the same state directory, with what is listed: as after a restart. */
void world_restart(struct world *w);
/** Before that the one mount is stopped, well. */
void world_stop_and_restart(struct world *w);
void world_settle(struct world *w); /* the pool and the loop, until both are still */

struct mount_op *world_add(struct world *w, const char *reference, const char *dir);
struct mount_op *world_add_record(struct world *w, const struct mount_record *rec);
void world_remove(struct world *w, const char *dir);
void world_stop(struct world *w);

/** The load that waits ends: r 0 with an image of that digest, else with an error. */
void world_load_done(struct world *w, int r, const char *digest);
/** The same, and what follows from that has not begun. */
void world_load_ends(struct world *w, int r, const char *digest);
/** The tree that waits is up, or not. */
void world_tree_done(struct world *w, int r);
/** It is up, and what follows from that has not begun. */
void world_tree_up(struct world *w);
/** The tree that is being stopped is gone, or -EBUSY. */
void world_stop_done(struct world *w, int r);
/** All three, well: from mounts_add() to the reply. */
void world_bring_up(struct world *w, const char *digest);

enum mount_state state_of(const struct world *w); /* of the mount at w->dir; MOUNT_GONE: none */
uint32_t n_listed(const struct world *w);         /* on disk */
