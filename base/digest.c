/*
 * digest: BLAKE3 and SHA-256 over bytes in memory. Knows nothing of what they name.
 *
 * EVP looks SHA-256 up anew in each call: 0.2 us measured, beside 2.2 us for the hash of 4 KiB. So
 * no handle is kept.
 */
#include "digest.h"
#include "mem.h"
#include <assert.h>
#include <blake3.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static_assert(BLAKE3_OUT_LEN == DIGEST_BYTES, "both digests have 32 bytes");

const char *digest_alg_name(enum digest_alg alg)
{
	assert(alg < N_DIGEST_ALGS);
	return alg == DIGEST_BLAKE3 ? "blake3" : "sha256";
}

void digest_compute(enum digest_alg alg, const void *data, size_t size_bytes,
                    uint8_t ret_digest[DIGEST_BYTES])
{
	assert(alg < N_DIGEST_ALGS);
	if (alg == DIGEST_BLAKE3) {
		blake3_hasher h;

		blake3_hasher_init(&h);
		blake3_hasher_update(&h, data, size_bytes);
		blake3_hasher_finalize(&h, ret_digest, DIGEST_BYTES);
		return;
	}
	if (EVP_Digest(data, size_bytes, ret_digest, NULL, EVP_sha256(), NULL) != 1)
		abort(); /* memory is out, or OpenSSL has no SHA-256 */
}

bool digest_matches(enum digest_alg alg, const void *data, size_t size_bytes,
                    const uint8_t digest[DIGEST_BYTES])
{
	uint8_t computed[DIGEST_BYTES];

	digest_compute(alg, data, size_bytes, computed);
	return memcmp(computed, digest, DIGEST_BYTES) == 0;
}

struct digest_stream {
	enum digest_alg alg;
	EVP_MD_CTX *sha256; /* DIGEST_SHA256 only */
	blake3_hasher blake3;
};

struct digest_stream *digest_stream_new(enum digest_alg alg)
{
	struct digest_stream *d = xcalloc(1, sizeof(*d));

	assert(alg < N_DIGEST_ALGS);
	d->alg = alg;
	if (alg == DIGEST_BLAKE3) {
		blake3_hasher_init(&d->blake3);
		return d;
	}
	d->sha256 = EVP_MD_CTX_new();
	if (d->sha256 == NULL || EVP_DigestInit_ex(d->sha256, EVP_sha256(), NULL) != 1)
		abort();
	return d;
}

void digest_stream_add(struct digest_stream *d, const void *data, size_t size_bytes)
{
	if (d->alg == DIGEST_BLAKE3)
		blake3_hasher_update(&d->blake3, data, size_bytes);
	else if (EVP_DigestUpdate(d->sha256, data, size_bytes) != 1)
		abort();
}

void digest_stream_end(struct digest_stream *d, uint8_t ret_digest[DIGEST_BYTES])
{
	if (d->alg == DIGEST_BLAKE3)
		blake3_hasher_finalize(&d->blake3, ret_digest, DIGEST_BYTES);
	else if (EVP_DigestFinal_ex(d->sha256, ret_digest, NULL) != 1)
		abort();
}

void digest_stream_free(struct digest_stream **d)
{
	if (*d == NULL)
		return;
	EVP_MD_CTX_free((*d)->sha256);
	free(*d);
	*d = NULL;
}
