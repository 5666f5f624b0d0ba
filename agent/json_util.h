/*
 * json_util: what jansson lacks for hostile texts: caps, text that may not be UTF-8, whole-file
 * I/O.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void json_drop(json_t **json); /* json_decref() for AUTO(); NULL is fine */

/** A string; bytes that are not UTF-8 become U+FFFD, so that a name from an image cannot make a
 * document fail. NULL: null. */
json_t *json_words(const char *text);

/** Parse one object: duplicate keys and anything behind it are refused. @return 0; -EINVAL and
 * where, with nothing of the text: it may hold a secret */
MUST_CHECK int json_parse_object(const char *text, size_t size_bytes, json_t **ret_object,
                                 struct err *e);

/** Are all keys of the object among these? @return 0; -EINVAL naming the first that is not */
MUST_CHECK int json_check_keys(const json_t *object, const char *const *keys, size_t n_keys,
                               struct err *e);

/**
 * A text member. @param ret_text  points into the object; NULL where it is absent or null
 * @return 0; -EINVAL it is no string, empty, too long, or holds control characters
 */
#define JSON_TEXT_MAX_BYTES 4096
MUST_CHECK int json_get_text(const json_t *object, const char *key, const char **ret_text,
                             struct err *e);
/** The same of a password or token, which may be longer, and perhaps empty. */
#define JSON_SECRET_MAX_BYTES 65536
MUST_CHECK int json_get_secret(const json_t *object, const char *key, bool may_be_empty,
                               const char **ret_text, struct err *e);

/** A boolean member, false where it is absent. @return 0; -EINVAL */
MUST_CHECK int json_get_bool(const json_t *object, const char *key, bool *ret_on, struct err *e);

/** Members for those who read our own documents: 0, "" or NULL where there is none. */
uint64_t json_u64(const json_t *object, const char *key);
const char *json_str(const json_t *object, const char *key);

/** Members of documents that we make. A text as json_words() makes it; NULL: the member is left
 * out. */
void json_set_u64(json_t *object, const char *key, uint64_t n);
void json_set_text(json_t *object, const char *key, const char *text);
