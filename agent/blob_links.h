/*
 * blob_links: the files of an image's blobs under the names that nydus gives them, in a directory
 * of others: hard links, so that its owner counts the disk space and nothing is kept twice.
 *
 * Whoever removes a link there takes nothing from us. Where a link cannot be made (another file
 * system) an empty file stands for it.
 */
#pragma once
#include "err.h"
#include "layout.h"
#include "log.h"

struct lazy_image;

#define BLOB_LINK_KEY_BYTES (BLOB_ID_MAX + 16)
struct blob_link {
	char key[BLOB_LINK_KEY_BYTES]; /* of the file: blobs/KEY.blob.data */
	char blob_id[BLOB_ID_MAX + 1];
};

struct blob_links {
	uint32_t n;
	struct blob_link *links; /* malloc'd */
};

/** [loop] */
void blob_links_of(const struct lazy_image *image, struct blob_links *ret_links);
void blob_links_free(struct blob_links *links); /* zeroed is fine */

/** [worker] Make them. What fails is logged: a mount works without. */
void blob_links_make(const struct blob_links *links, const char *state_dir, const char *links_dir,
                     struct log *log);
