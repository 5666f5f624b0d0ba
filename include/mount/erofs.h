/*
 * erofs: can this kernel mount images by itself, and what is left of such mounts after a crash.
 *
 * A RAFS v6 bootstrap is an EROFS image. The kernel (Linux 6.12 and later) mounts it from the file
 * in the state directory, with the image's blobs as further devices; those are files that the agent
 * serves (image_mount.h). All of it blocks: [worker].
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "log.h"
#include <stdbool.h>

/* How an image is to be mounted. */
enum mount_how {
	HOW_AUTO,  /* by the kernel where the trial at the start worked, else as a tree */
	HOW_TREE,  /* as a tree, by FUSE */
	HOW_EROFS, /* by the kernel where it takes this image, whatever the trial said */
	N_MOUNT_HOWS,
};
extern const char *const mount_how_names[N_MOUNT_HOWS]; /* "auto", "tree", "erofs" */

/** @return false: text is none of the names */
bool mount_how_parse(const char *text, enum mount_how *ret_how);

/**
 * Mount a tiny image from state_dir, where nobody sees it.
 * @return 0 it works; -ENOTSUP with the reason, a clause that can follow "because"
 */
MUST_CHECK int erofs_trial(const char *state_dir, struct err *e);

/**
 * Detach the mounts on top of dir that were made from files below images_dir: their agent is dead.
 * Unlike a dead tree they still answer lookups, so nothing else tells.
 */
void erofs_detach_left(const char *dir, const char *images_dir, struct log *log);
