/*
 * lazy_image_impl: what the loader does with finished images.
 */
#pragma once
#include "lazy_image.h"

struct image_loader {
	struct image_loader_opts opts;
	struct lazy_image *images; /* in use, one a digest */
	struct flight *flights;    /* under way: image_loader.c */
	struct flight *ended;      /* to be freed */
	uint64_t n_removals;       /* that have ended: image_load_bar() */
	bool is_telling;           /* somebody is told of an image, in done() */
	uint32_t n_out;            /* opts.n_out */
};

/** A new image, with one reference: list it. */
void lazy_image_adopt(struct image_loader *loader, struct lazy_image *image);

/** NULL: not in use now. */
struct lazy_image *lazy_image_find(const struct image_loader *loader, const char *digest);

/** Its files were removed, whoever has it in use. */
void lazy_image_removed(struct image_loader *loader, const char *digest);

/** Remember where its blobs can be had. */
void lazy_image_add_origin(struct lazy_image *image, const char *origin);

/** Write it into the database under a name, soon; nobody waits. */
void lazy_image_record(const struct lazy_image *image, const char *name, bool anonymous);

/** ... and where a tag led to it by way of an index, under that one's digest: what an index is for
 * this machine is known here next time, too. index_digest: "" there was none */
void lazy_image_record_index(const struct lazy_image *image, const struct reference *ref,
                             const char *index_digest, bool anonymous);
