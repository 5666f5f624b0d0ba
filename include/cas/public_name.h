/*
 * public_name: what other agents see of a chunk, and the key under which the database finds it.
 *
 * The first 16 bytes of BLAKE3 in its key derivation mode, context "shoal public name v1", over
 * algorithm (1 byte), digest (32 bytes), plain size (4 bytes, little-endian). It tells nobody the
 * digest, and confirms it only to those who know it. Pure; any thread.
 */
#pragma once
#include "digest.h"
#include <stdbool.h>
#include <stdint.h>

#define PUBLIC_NAME_BYTES 16

struct public_namer; /* holds the context's key, so that each name costs one compression */
struct public_namer *public_namer_new(void);     /* never NULL; one thread at a time */
void public_namer_free(struct public_namer **n); /* NULL is fine */

void public_name(struct public_namer *n, enum digest_alg alg, const uint8_t digest[DIGEST_BYTES],
                 uint32_t plain_size_bytes, uint8_t ret_name[PUBLIC_NAME_BYTES]);

/* Of an image, by the same means: context "shoal image name v1", over the digest of its manifest.
 * As text: hex. */
#define PUBLIC_IMAGE_NAME_BYTES (2 * PUBLIC_NAME_BYTES + 1)

struct public_namer *public_image_namer_new(void); /* likewise; of public_image_name() alone */
/** @param digest  hex of a SHA-256. @return false: it is not */
bool public_image_name(struct public_namer *n, const char *digest,
                       char ret_name[PUBLIC_IMAGE_NAME_BYTES]);
