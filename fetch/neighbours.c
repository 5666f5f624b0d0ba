/*
 * neighbours: see the header.
 */
#include "neighbours.h"
#include "mem.h"
#include "reference.h"

char *neighbours_key(const struct reference *ref, const char *digest)
{
	return xasprintf("%s/%s@sha256:%s", ref->host, ref->repository, digest);
}

char *neighbours_tail_key(const char *origin, const char *digest, const char *blob_id)
{
	const char *at = registry_of_origin(origin);

	return at != NULL ? xasprintf("%s@sha256:%s/%s", at, digest, blob_id) : NULL;
}
