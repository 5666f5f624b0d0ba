/* digest_count: see digest_count.h. */
#include "digest_count.h"
#include "digest.h"
#include <stdatomic.h>

static atomic_uint n_calls;

unsigned digest_count(void)
{
	return atomic_load(&n_calls);
}

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c): the linker wants these names */
bool __real_digest_matches(enum digest_alg alg, const void *data, size_t size_bytes,
                           const uint8_t digest[DIGEST_BYTES]);
bool __wrap_digest_matches(enum digest_alg alg, const void *data, size_t size_bytes,
                           const uint8_t digest[DIGEST_BYTES]);

bool __wrap_digest_matches(enum digest_alg alg, const void *data, size_t size_bytes,
                           const uint8_t digest[DIGEST_BYTES])
{
	atomic_fetch_add(&n_calls, 1);
	return __real_digest_matches(alg, data, size_bytes, digest);
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c) */
