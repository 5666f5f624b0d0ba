/*
 * image_walk: from a path inside an image to its node. Pure; any thread.
 */
#pragma once
#include "image.h"

/**
 * @param path  "" or "/a/b": below the root, without "." and ".."; symbolic links are not followed
 * @return 0; -ENOENT (also a file or a symbolic link on the way); -EUCLEAN
 */
MUST_CHECK int image_walk(const struct image *image, const char *path, uint64_t *ret_node,
                          struct err *e);
