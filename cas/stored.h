/*
 * stored: what the database says of one blob. Any connection.
 */
#pragma once
#include "blob.h"
#include "db.h"

struct stored_blob {
	uint64_t row;
	char key[CAS_KEY_BYTES];
	struct blob_layout *layout; /* places and digests only: nothing of the origin's packing */
	struct file_identity identity;
	uint32_t n_named; /* chunks that have their row in the chunk table */
	uint64_t used_s;  /* when it was used last; 0: not known */
};
void stored_blob_fini(struct stored_blob *s); /* zeroed is fine; for AUTO() */

/** @return 0; CAS_MISS not registered; -EUCLEAN the rows contradict each other */
MUST_CHECK int stored_blob_find(struct db *db, const char *key, struct stored_blob *ret_stored,
                                struct err *e);

/** The key of a row. @return 0; CAS_MISS no such row, or it is dying; negative */
MUST_CHECK int stored_key(struct db *db, uint64_t row, char ret_key[CAS_KEY_BYTES], struct err *e);

/** For a loop over blobs, none of which ends it by being rotten, or by a file that cannot be
 * opened: r is what came of this one.
 * @return r; CAS_MISS instead of -EUCLEAN, which is said in the log */
int stored_pass_over(struct log *log, const char *key, int r, const struct err *e);

/** The layout alone, of all that any image described. @return as above */
MUST_CHECK int stored_layout(struct db_readers *readers, const char *key,
                             struct blob_layout **ret_layout, struct err *e);

/** The origins of a blob in order of recording; at most CAS_ORIGINS_MAX.
 * @param ret_origins  a new array, NULL for none; the caller's */
MUST_CHECK int stored_origins(struct db *db, uint64_t row, struct cas_origin **ret_origins,
                              uint32_t *ret_n, struct err *e);

/** Every key, in order, each with a NUL, one after another; an empty one ends them. */
MUST_CHECK int stored_keys(struct db *db, char **ret_keys, struct err *e);

/** The keys that sql names, in the same form. digest: its one parameter, or NULL for none. */
MUST_CHECK int stored_keys_of(struct db *db, const char *sql, const uint8_t *digest,
                              char **ret_keys, struct err *e);
