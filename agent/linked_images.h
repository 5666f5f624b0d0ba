/*
 * linked_images: lets go of images whose owner has let go of them.
 *
 * An image that was mounted from a bootstrap file on others' behalf stays when it is unmounted: it
 * may be wanted again. Its owner's garbage collection removes the bootstrap, and the names under
 * which the blobs are shown (blob_links.h): then the space is to be free. Looked at every few
 * seconds. All on the loop thread.
 */
#pragma once
#include "cas.h"
#include "mounts.h"

struct linked_images;

struct linked_images_opts {
	const char *state_dir; /* borrowed, all of them */
	struct loop *loop;
	struct pool *desk;
	struct cas *cas;
	struct mounts *mounts;
	struct image_loader *loader;
	struct log *log;
};

struct linked_images *linked_images_new(const struct linked_images_opts *opts); /* never NULL */
/** When the loop does not run any more, and the loader still is there. NULL is fine. */
void linked_images_stop(struct linked_images *images);
/** When neither loop nor pools run any more. NULL is fine. */
void linked_images_free(struct linked_images **images);

/** [worker] Remember that this file has another name. */
void linked_file_mark(const char *path);
