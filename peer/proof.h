/*
 * proof: who asks for chunks shows that it knows their digests, and so does who answers.
 *
 *   key   = BLAKE3 derive-key "shoal get key v1" of, for each asked chunk in order of position:
 *           algorithm (1 byte), digest (32), plain size (4, little-endian)
 *   proof = BLAKE3 keyed with key, of: nonce (32), role of the asker (1: 'c' connected, 'a'
 *           accepted), 'G', list id (16) and bitmap (32) -- or, by names, 16 zero bytes, the bitmap
 *           and the names (16 each)
 *   mac   = BLAKE3 keyed with key, of: nonce (32), role of the asker (1), 'R', proof (32)
 *
 * nonce: TLS exporter "EXPORTER-shoal-peer-v1" (32 bytes); with insecure BLAKE3 derive-key "shoal
 * insecure nonce v1" of the nonce of HELLO and that of HELLO_ACK. So a proof is worth nothing on
 * another connection, and neither tells the digests to who does not know them. Pure; any thread.
 */
#pragma once
#include "digest.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#define PROOF_KEY_BYTES 32

/* Digests of the chunks in order of position, one after the other. */
struct proof_key;
struct proof_key *proof_key_new(void); /* never NULL */
void proof_key_add(struct proof_key *k, enum digest_alg alg, const uint8_t digest[DIGEST_BYTES],
                   uint32_t plain_size_bytes);
void proof_key_end(struct proof_key **k, uint8_t ret_key[PROOF_KEY_BYTES]); /* frees it */

/* The connection as a proof sees it: conn_binding(). */
struct proof_binding {
	uint8_t nonce[WIRE_NONCE_BYTES];
	bool connected; /* this side connected (else it accepted) */
};

/** The proof of get, asked by this side (by_asker_here) or by the other. get->proof is not read. */
void proof_of_get(const struct proof_binding *b, bool asker_is_here,
                  const uint8_t key[PROOF_KEY_BYTES], const struct wire_get *get,
                  uint8_t ret_proof[WIRE_MAC_BYTES]);

/** The mac of the GRANT that answers a GET with this proof. */
void proof_of_grant(const struct proof_binding *b, bool asker_is_here,
                    const uint8_t key[PROOF_KEY_BYTES], const uint8_t proof[WIRE_MAC_BYTES],
                    uint8_t ret_mac[WIRE_MAC_BYTES]);

/** Compare in constant time. */
bool proof_equal(const uint8_t a[WIRE_MAC_BYTES], const uint8_t b[WIRE_MAC_BYTES]);

/** The nonce of a connection without TLS. */
void proof_insecure_nonce(const uint8_t hello[WIRE_NONCE_BYTES],
                          const uint8_t hello_ack[WIRE_NONCE_BYTES],
                          uint8_t ret_nonce[WIRE_NONCE_BYTES]);
