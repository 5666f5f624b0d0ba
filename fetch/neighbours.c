/*
 * neighbours: see the header.
 */
#include "neighbours.h"
#include "clock.h"
#include "mem.h"
#include "reference.h"

#define AFTER_MS  3000U
#define DOUBLINGS 8U /* longer than any load may take */

uint64_t neighbours_due_ns(uint64_t now_ns, uint32_t n_rounds)
{
	const uint32_t n = n_rounds < DOUBLINGS ? n_rounds : DOUBLINGS;

	return now_ns + ((uint64_t)AFTER_MS << n) * NS_PER_MS;
}

char *neighbours_key(const struct reference *ref, const char *digest)
{
	return xasprintf("%s/%s@sha256:%s", ref->host, ref->repository, digest);
}

char *neighbours_tail_key(const char *origin, const char *digest, const char *blob_id)
{
	const char *at = registry_of_origin(origin);

	return at != NULL ? xasprintf("%s@sha256:%s/%s", at, digest, blob_id) : NULL;
}
