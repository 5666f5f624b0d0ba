/*
 * assemble_steps: what an assemble does on a worker: open the bootstrap, read what is here of the
 * blobs' indexes, make layouts, open the blobs' cache files.
 *
 * No network, no loop. [worker] all but assembly_clear().
 */
#pragma once
#include "bitmap.h"
#include "cas.h"
#include "image.h"
#include "image_store.h"
#include "meta_load.h"

/* One blob of the image. */
struct part {
	struct image_blob info;
	struct image_file meta_file, digests_file; /* what is kept here */
	struct blob_extras extras;                 /* what was fetched now */
	bool wants_meta, wants_digests;            /* neither here nor fetched yet */
	struct bitmap *named;                      /* chunks that the image describes; NULL: all */
	struct cas_blob *blob;
	struct blob_layout *whole; /* it must be fetched whole; blob is NULL until then */
};

#define METAS_DIRS_MAX 2

struct assembly {
	struct cas *cas;
	struct log *log;
	const char *digest;                     /* borrowed: of the image's directory */
	const char *metas_dirs[METAS_DIRS_MAX]; /* borrowed: where indexes may lie that are not kept
	                                         * here; or NULL */
	bool allow_unverified;
	bool only_looks; /* what is no good stays: nobody brings it anew now */
	struct image_file bootstrap;
	struct image *image;
	uint32_t n_parts;
	struct part *parts;
	uint32_t n_unverified;
};

/** Map and open the bootstrap; of each part, info, files and what it wants.
 * @return 0; -ESTALE it was no good, and the image's directory is gone: bring it anew; -ENOMEM;
 * with only_looks as image_open() and image_store_map() */
MUST_CHECK int assembly_open(struct assembly *a, struct err *e);

/** The layout of one part, whatever it wants: with what is here. @return as image_layout() */
MUST_CHECK int assembly_layout(const struct assembly *a, uint32_t i,
                               struct blob_layout **ret_layout, struct err *e);

/** Of each part, blob or whole. @return 0; -EUCLEAN; -ENODATA; -ENOTSUP a blob without digests
 * that cannot be checked at all; as cas_blob_open() */
MUST_CHECK int assembly_layouts(struct assembly *a, struct err *e);

void assembly_clear(struct assembly *a); /* any thread; all zero is fine */
