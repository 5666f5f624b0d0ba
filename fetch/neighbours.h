/*
 * neighbours: keys of an image's metadata at other nodes (meta_source.h).
 */
#pragma once
#include "auto.h"
#include "digest.h"
#include <stdint.h>

struct reference;

#define NEIGHBOURS_WRONG_MAX 8U /* givers of wrong bytes, before it is asked no more */

/** Where there are neighbours to be asked, the registry has a moment to answer; after each round in
 * vain a longer one. Who has it may have been away for that round: it is started anew, or stood
 * still. @return when they are asked next */
uint64_t neighbours_due_ns(uint64_t now_ns, uint32_t n_rounds);

/** HOST/REPOSITORY@sha256:HEX. @return malloc'd */
char *neighbours_key(const struct reference *ref, const char *digest);

/** For the tail of a blob. @return malloc'd; NULL: origin is no registry */
char *neighbours_tail_key(const char *origin, const char *digest, const char *blob_id);
