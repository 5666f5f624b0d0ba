/*
 * proof: keys, proofs and macs with BLAKE3.
 */
#include "proof.h"
#include "mem.h"
#include <blake3.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#define KEY_CONTEXT   "shoal get key v1"
#define NONCE_CONTEXT "shoal insecure nonce v1"

struct proof_key {
	blake3_hasher hasher;
};

struct proof_key *proof_key_new(void)
{
	struct proof_key *k = xcalloc(1, sizeof(*k));

	blake3_hasher_init_derive_key(&k->hasher, KEY_CONTEXT);
	return k;
}

void proof_key_add(struct proof_key *k, enum digest_alg alg, const uint8_t digest[DIGEST_BYTES],
                   uint32_t plain_size_bytes)
{
	uint8_t record[1 + DIGEST_BYTES + 4];

	record[0] = (uint8_t)alg;
	memcpy(record + 1, digest, DIGEST_BYTES);
	for (unsigned i = 0; i < 4; i++)
		record[1 + DIGEST_BYTES + i] = (uint8_t)(plain_size_bytes >> (8 * i));
	blake3_hasher_update(&k->hasher, record, sizeof(record));
}

void proof_key_end(struct proof_key **k, uint8_t ret_key[PROOF_KEY_BYTES])
{
	blake3_hasher_finalize(&(*k)->hasher, ret_key, PROOF_KEY_BYTES);
	OPENSSL_cleanse(*k, sizeof(**k));
	free(*k);
	*k = NULL;
}

static void start(blake3_hasher *h, const struct proof_binding *b, bool asker_is_here,
                  const uint8_t key[PROOF_KEY_BYTES], char kind)
{
	const uint8_t words[2] = { b->connected == asker_is_here ? 'c' : 'a', (uint8_t)kind };

	blake3_hasher_init_keyed(h, key);
	blake3_hasher_update(h, b->nonce, sizeof(b->nonce));
	blake3_hasher_update(h, words, sizeof(words));
}

void proof_of_get(const struct proof_binding *b, bool asker_is_here,
                  const uint8_t key[PROOF_KEY_BYTES], const struct wire_get *get,
                  uint8_t ret_proof[WIRE_MAC_BYTES])
{
	static const uint8_t no_list[WIRE_ID_BYTES];
	uint8_t bitmap[WIRE_LIST_MAX / 8];
	blake3_hasher h;

	for (size_t i = 0; i < sizeof(bitmap); i++)
		bitmap[i] = (uint8_t)(get->part.set.words[i / 8] >> (8 * (i % 8)));
	start(&h, b, asker_is_here, key, 'G');
	blake3_hasher_update(&h, get->by_names ? no_list : get->part.list.b, WIRE_ID_BYTES);
	blake3_hasher_update(&h, bitmap, sizeof(bitmap));
	if (get->by_names)
		blake3_hasher_update(&h, get->names, (size_t)get->part.set.n * PUBLIC_NAME_BYTES);
	blake3_hasher_finalize(&h, ret_proof, WIRE_MAC_BYTES);
}

void proof_of_grant(const struct proof_binding *b, bool asker_is_here,
                    const uint8_t key[PROOF_KEY_BYTES], const uint8_t proof[WIRE_MAC_BYTES],
                    uint8_t ret_mac[WIRE_MAC_BYTES])
{
	blake3_hasher h;

	start(&h, b, asker_is_here, key, 'R');
	blake3_hasher_update(&h, proof, WIRE_MAC_BYTES);
	blake3_hasher_finalize(&h, ret_mac, WIRE_MAC_BYTES);
}

bool proof_equal(const uint8_t a[WIRE_MAC_BYTES], const uint8_t b[WIRE_MAC_BYTES])
{
	return CRYPTO_memcmp(a, b, WIRE_MAC_BYTES) == 0;
}

void proof_insecure_nonce(const uint8_t hello[WIRE_NONCE_BYTES],
                          const uint8_t hello_ack[WIRE_NONCE_BYTES],
                          uint8_t ret_nonce[WIRE_NONCE_BYTES])
{
	blake3_hasher h;

	blake3_hasher_init_derive_key(&h, NONCE_CONTEXT);
	blake3_hasher_update(&h, hello, WIRE_NONCE_BYTES);
	blake3_hasher_update(&h, hello_ack, WIRE_NONCE_BYTES);
	blake3_hasher_finalize(&h, ret_nonce, WIRE_NONCE_BYTES);
}
