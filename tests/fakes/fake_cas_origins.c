/*
 * fake_cas_origins: linked in place of cas where only a blob's origins matter.
 */
#include "fake_cas_origins.h"
#include <assert.h>
#include <stdio.h>

void fake_cas_add_origin(struct cas_blob *blob, const char *origin)
{
	assert(blob->n_origins < CAS_ORIGINS_MAX);
	(void)snprintf(blob->origins[blob->n_origins++].text, CAS_ORIGIN_MAX_BYTES, "%s", origin);
}

uint32_t cas_blob_origins(const struct cas_blob *blob, struct cas_origin *ret_origins, uint32_t max)
{
	uint32_t n = 0;

	for (; n < blob->n_origins && n < max; n++)
		ret_origins[n] = blob->origins[n];
	return n;
}

const char *cas_blob_key(const struct cas_blob *blob)
{
	return blob->key;
}
