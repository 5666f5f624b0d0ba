/*
 * image_dirs: directories of images: removing whole ones, and what a crash left half done.
 */
#pragma once
#include "cas.h"

#define IMAGE_DRAFT_PREFIX ".draft-"
#define IMAGE_GONE_PREFIX  ".gone-"

/** [worker] Remove drafts and half-removed images. Failures are logged. */
void image_dirs_sweep(struct cas *cas);

/** [worker] Remove a directory of plain files under images/. Missing is fine. */
MUST_CHECK int image_dirs_remove(struct cas *cas, const char *name, struct err *e);

/** [worker] Take an image's directory away, whole (a rename), then remove it. Missing is fine. */
MUST_CHECK int image_dirs_retire(struct cas *cas, const char *digest, struct err *e);

/** A plain file name, not hidden? */
bool image_file_name_ok(const char *name);
