/*
 * twins: chunks of the same name in other registered blobs, ready here or not: where else their
 * bytes could be had. Knows names and origins' texts, but not whether an origin answers.
 */
#pragma once
#include "cas.h"

#define CAS_TWIN_BLOBS_MAX 32U

struct cas_twin {
	uint32_t chunk_idx; /* of the blob that asks */
	uint32_t their_idx; /* of the other; its layout's: what is stored may be the union of
	                       several */
};

/* A registered blob, open or not, that describes some of the chunks and has an origin. */
struct cas_twin_blob {
	char key[BLOB_ID_MAX + 16];
	uint32_t n_twins;
	struct cas_twin *twins; /* in order of chunk_idx */
	uint32_t n_origins;     /* > 0 */
	struct cas_origin *origins;
};

struct cas_twins {
	uint32_t n_blobs;
	struct cas_twin_blob *blobs; /* those with the most twins first */
	bool is_cut;                 /* there are more than were looked at, or fit in here */
};

/**
 * [worker] Ask the database for chunks of a blob; names are believed: whoever takes bytes from
 * there hashes them.
 *
 * @param chunks  < n_chunks of the layout; those without a digest are left out
 * @param ret_twins  ended by cas_twins_clear(); n_blobs 0: nobody else has any
 */
MUST_CHECK int cas_twins_find(struct cas *cas, const struct cas_blob *blob, const uint32_t *chunks,
                              uint32_t n_chunks, struct cas_twins *ret_twins, struct err *e);
void cas_twins_clear(struct cas_twins *twins); /* all zero is fine */
