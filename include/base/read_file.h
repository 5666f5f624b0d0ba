/*
 * read_file: a file as a whole. Nothing but a regular one: a fifo would hold who reads it for ever.
 *
 * Does not know what is in it; that may be a secret.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stddef.h>

/**
 * [worker] Read a file of at most max_bytes.
 *
 * @param flags  of open(2), beside those to read: O_NOFOLLOW, or 0
 * @param ret_text  malloc'd, with a NUL behind its last byte
 * @return 0; -EINVAL not a regular file, or a larger one; -ENOMEM; what open(2) and read(2) say
 */
MUST_CHECK int read_file(const char *path, int flags, size_t max_bytes, char **ret_text,
                         size_t *ret_size_bytes, struct err *e);
