/*
 * ca_bundle: several files of CA certificates as one, for libcurl, which takes one.
 *
 * Knows files. Does not know what is in a certificate. It is read as often as it is needed, as
 * libcurl does with a single one: files change.
 */
#pragma once
#include <stddef.h>

#define CA_BUNDLE_MAX_BYTES (4U << 20)

/**
 * @param paths  one a line
 * @param ret_bad  malloc'd, where NULL is returned: the first that cannot be read, or has no
 *   certificate, or is too much
 * @return malloc'd, in PEM; or NULL
 */
char *ca_bundle_read(const char *paths, size_t *ret_size_bytes, char **ret_bad);
