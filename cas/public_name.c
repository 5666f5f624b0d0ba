/*
 * public_name: see the header. Knows BLAKE3's key derivation; knows nothing of blobs or rows.
 */
#include "public_name.h"
#include "hex.h"
#include "mem.h"
#include <blake3.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT "shoal public name v1" /* part of the peers' protocol and of the database */

#define IMAGE_CONTEXT "shoal image name v1"

struct public_namer {
	blake3_hasher hasher;
};

static struct public_namer *namer_new(const char *context)
{
	struct public_namer *n = xcalloc(1, sizeof(*n));

	blake3_hasher_init_derive_key(&n->hasher, context);
	return n;
}

struct public_namer *public_namer_new(void)
{
	return namer_new(CONTEXT);
}

struct public_namer *public_image_namer_new(void)
{
	return namer_new(IMAGE_CONTEXT);
}

void public_namer_free(struct public_namer **n)
{
	free(*n);
	*n = NULL;
}

void public_name(struct public_namer *n, enum digest_alg alg, const uint8_t digest[DIGEST_BYTES],
                 uint32_t plain_size_bytes, uint8_t ret_name[PUBLIC_NAME_BYTES])
{
	uint8_t input[1 + DIGEST_BYTES + 4];

	input[0] = (uint8_t)alg;
	memcpy(input + 1, digest, DIGEST_BYTES);
	for (unsigned i = 0; i < 4; i++)
		input[1 + DIGEST_BYTES + i] = (uint8_t)(plain_size_bytes >> (8 * i));
	blake3_hasher_reset(&n->hasher);
	blake3_hasher_update(&n->hasher, input, sizeof(input));
	blake3_hasher_finalize(&n->hasher, ret_name, PUBLIC_NAME_BYTES);
}

bool public_image_name(struct public_namer *n, const char *digest,
                       char ret_name[PUBLIC_IMAGE_NAME_BYTES])
{
	uint8_t bytes[DIGEST_BYTES];
	uint8_t name[PUBLIC_NAME_BYTES];

	if (!hex_is_sha256(digest) || !hex_decode(digest, sizeof(bytes), bytes))
		return false;
	blake3_hasher_reset(&n->hasher);
	blake3_hasher_update(&n->hasher, bytes, sizeof(bytes));
	blake3_hasher_finalize(&n->hasher, name, sizeof(name));
	hex_encode(name, sizeof(name), ret_name);
	return true;
}
