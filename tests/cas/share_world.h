/*
 * share_world: blobs whose chunks are the same, for the tests of sharing.
 */
#pragma once
#include "fixture.h"
#include "public_name.h"
#include "share.h"

#define OTHER_ID "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define THIRD_ID "2123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define N        8U

struct cas_blob *open_reversed(struct fixture *f, const char *id, uint32_t seed);
void name_of(const struct cas_blob *blob, uint32_t idx, uint8_t ret_name[PUBLIC_NAME_BYTES]);
bool holds(struct cas_blob *blob, uint32_t idx, uint32_t seed, uint32_t sample);
void spoil(struct fixture *f, const char *key, uint64_t offset);
bool is_open(struct fixture *f, const char *key);
/** Wait for it. The last holder of a blob may be a join that runs behind: in vain, ctest's time-out
 * ends it. */
void all_are_closed(struct fixture *f);
int64_t failures(const struct fixture *f, const char *source);
int share_setup(void **state);
