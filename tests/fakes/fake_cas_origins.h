/*
 * fake_cas_origins: a cas_blob that has a key and origins and nothing else.
 */
#pragma once
#include "cas.h"

struct cas_blob {
	char key[BLOB_ID_MAX + 16];
	uint32_t n_origins;
	struct cas_origin origins[CAS_ORIGINS_MAX];
};

void fake_cas_add_origin(struct cas_blob *blob, const char *origin);
