/*
 * neighbours: see the header.
 */
#include "neighbours.h"
#include "mem.h"
#include "reference.h"
#include <string.h>

char *neighbours_key(const struct reference *ref, const char *digest)
{
	return xasprintf("%s/%s@sha256:%s", ref->host, ref->repository, digest);
}

char *neighbours_tail_key(const char *origin, const char *digest, const char *blob_id)
{
	static const char prefix[] = "registry:";

	if (strncmp(origin, prefix, strlen(prefix)) != 0)
		return NULL;
	return xasprintf("%s@sha256:%s/%s", origin + strlen(prefix), digest, blob_id);
}
