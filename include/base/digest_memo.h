/*
 * digest_memo: bytes that had their digest before are known again by a MAC, which is cheaper.
 *
 * For what is read again and again from where it may rot. At first the digest is computed; when the
 * same digest is asked for a second time, a MAC is computed as well and kept, and from then on it
 * alone: GMAC (NIST SP 800-38D) over the digest and the bytes, 64 bits of it, with a key that is
 * made here and never leaves. Who does not know the key cannot make other bytes with that MAC: of
 * 16 MiB they have it once in 2^44. Measured, of 26 KB: 0.15 s a GB, BLAKE3 0.29, SHA-256 without
 * instructions of its own 2.6.
 *
 * Bounded: DIGEST_MEMO_MAX digests, 16 bytes each; what has no place takes that of another. Any
 * thread, no lock.
 */
#pragma once
#include "digest.h"

#define DIGEST_MEMO_MAX (1U << 14)

struct digest_memo;
struct digest_memo *digest_memo_new(void);     /* never NULL */
void digest_memo_free(struct digest_memo **m); /* NULL is fine */

/** As digest_matches(). */
bool digest_memo_matches(struct digest_memo *m, enum digest_alg alg, const void *data,
                         size_t size_bytes, const uint8_t digest[DIGEST_BYTES]);
