/*
 * digest: BLAKE3 and SHA-256, the two digests that name chunks, blobs and manifests.
 *
 * BLAKE3: the reference C implementation with its assembly, unkeyed, 32 bytes of output.
 * SHA-256: OpenSSL EVP. Pure functions; any thread.
 */
#pragma once
#include "auto.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES      32
#define DIGEST_TEXT_BYTES (2 * DIGEST_BYTES + 1) /* hexadecimal, with the NUL */

enum digest_alg {
	DIGEST_BLAKE3,
	DIGEST_SHA256,
	N_DIGEST_ALGS
}; /* the codes of a RAFS blob table */

/** "blake3" or "sha256". */
const char *digest_alg_name(enum digest_alg alg);

/** Hash data at once. */
void digest_compute(enum digest_alg alg, const void *data, size_t size_bytes,
                    uint8_t ret_digest[DIGEST_BYTES]);

/** Does data have this digest? */
bool digest_matches(enum digest_alg alg, const void *data, size_t size_bytes,
                    const uint8_t digest[DIGEST_BYTES]);

/* A digest of bytes that come piece by piece. */
struct digest_stream;
struct digest_stream *digest_stream_new(enum digest_alg alg); /* never NULL */
void digest_stream_add(struct digest_stream *d, const void *data, size_t size_bytes);
void digest_stream_end(struct digest_stream *d, uint8_t ret_digest[DIGEST_BYTES]); /* once */
void digest_stream_free(struct digest_stream **d); /* NULL is fine */
