/*
 * lazy_load: loads of a lazy_world, and what they came to.
 */
#pragma once
#include "lazy_world.h"

#define HOST       "127.0.0.1:5000/"
#define FILE_BLOBS "registry:" HOST "edge" /* of bootstrap files */

struct outcome {
	int r; /* 1: not yet */
	uint32_t n_done;
	struct lazy_image *image;
	struct err err;
};

/* A file that is gone when the test is over. */
struct boot_file {
	char path[64];
	int fd;
};

/** A world for a test: *state; and its end. */
int lazy_set_up(void **state);
int lazy_tear_down(void **state);

/** image_load_opts.done, with an outcome as arg. */
void outcome_set(void *arg, int r, struct lazy_image *image, const struct err *why);

/** Begin to load a reference; nothing has happened yet. */
struct image_load *start(struct world *w, const char *reference, struct outcome *o);

/** All of a load. */
void load(struct world *w, const char *reference, struct outcome *o);

/** It must succeed. @return one reference */
struct lazy_image *load_good(struct world *w, const char *reference);

/** It must fail with -code and say so. */
void load_bad(struct world *w, const char *reference, int code, const char *says);

/** It must succeed; nothing stays in use. */
void load_and_let_go(struct world *w, const char *reference);

/** "app:1" means this digest from now on. */
void set_tag(struct world *w, const char *digest);

/** So often was the registry asked since the world or its loader began. */
void requests_were(const struct world *w, uint32_t heads, uint32_t manifests, uint32_t blobs);

/** The bootstrap of edge:v6, with its chunk table, which has the digests, or without. */
struct boot_file boot_file_new(bool with_table);

/** Close and remove it. */
void boot_file_end(struct boot_file *f);

/** Begin to load a bootstrap file, its blobs at FILE_BLOBS. */
struct image_load *start_file(struct world *w, const char *path, struct outcome *o);
/** ... or elsewhere. */
struct image_load *start_file_with(struct world *w, const char *path, const char *blobs,
                                   struct outcome *o);

/** All of that. */
void load_file(struct world *w, const char *path, struct outcome *o);
