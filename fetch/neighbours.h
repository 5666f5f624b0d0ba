/*
 * neighbours: keys of an image's metadata at other nodes (meta_source.h).
 */
#pragma once
#include "auto.h"
#include "digest.h"

struct reference;

/* Where there are neighbours to be asked, the registry has a moment to answer. */
#define NEIGHBOURS_AFTER_MS  3000U
#define NEIGHBOURS_WRONG_MAX 8U /* givers of wrong bytes, before it is asked no more */

/** HOST/REPOSITORY@sha256:HEX. @return malloc'd */
char *neighbours_key(const struct reference *ref, const char *digest);

/** For the tail of a blob. @return malloc'd; NULL: origin is no registry */
char *neighbours_tail_key(const char *origin, const char *digest, const char *blob_id);
