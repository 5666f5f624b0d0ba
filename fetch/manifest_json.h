/*
 * manifest_json: what manifest.c and manifest_index.c both need of descriptors.
 */
#pragma once
#include "manifest.h"
#include <jansson.h>
#include <stdbool.h>

/** A member that is a string, else "". Borrowed from the JSON. */
const char *json_text(const json_t *object, const char *key);

/** An annotation of a descriptor or manifest, else "". Borrowed. */
const char *json_annotation(const json_t *object, const char *name);

/** Digest and size of a descriptor. what: for the message. @return 0; -EUCLEAN; -EMSGSIZE; -ENOTSUP
 */
MUST_CHECK int descriptor_parse(const json_t *descriptor, const char *what, uint64_t max_bytes,
                                struct manifest *ret_manifest, struct err *e);

/** Choose from an index's "manifests". @return 0; -EUCLEAN; -ENOTSUP nothing for this platform */
MUST_CHECK int manifest_index_choose(const json_t *entries, const struct platform *platform,
                                     struct manifest *ret_manifest, struct err *e);
