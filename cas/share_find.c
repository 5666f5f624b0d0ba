/*
 * share_find: chunks by name in everything that is registered, open or not.
 *
 * Knows the tables chunk, blob and ready; changes nothing but which blobs are open.
 */
#include "mem.h"
#include "ready_rows.h"
#include "rows.h"
#include "share.h"
#include "state.h"
#include "stored.h"
#include <string.h>

#define FOUND_MAX 16U /* places of one name that are tried */

struct place {
	char key[CAS_KEY_BYTES];
	uint32_t idx;
};

/* Rows whose chunk the database says is ready. @return how many; negative */
static int ready_places(struct db *db, const uint8_t name[PUBLIC_NAME_BYTES],
                        struct place places[FOUND_MAX], struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	uint32_t n = 0;
	int r = db_prepare(db,
	                   "SELECT key, idx, bits FROM chunk JOIN blob ON blob.id = chunk.blob"
	                   " JOIN ready ON ready.id = (blob << 12) + (idx >> 15)"
	                   " WHERE name = ? AND dying = 0",
	                   &stmt, e);

	if (r < 0)
		return r;
	db_bind_blob(stmt, 1, name, PUBLIC_NAME_BYTES);
	while (n < FOUND_MAX && (r = db_step(stmt, e)) == 1) {
		size_t n_bytes;
		const uint8_t *bits = db_blob(stmt, 2, &n_bytes);
		const uint32_t idx = (uint32_t)db_u64(stmt, 1);
		const uint32_t in_slice = idx % READY_SLICE_BITS;

		if (in_slice / 8 >= n_bytes || !(bits[in_slice / 8] >> (in_slice % 8) & 1))
			continue;
		places[n].idx = idx;
		n += db_text(stmt, 0, places[n].key, sizeof(places[n].key));
	}
	return r < 0 ? r : (int)n;
}

_Static_assert(READY_SLICE_BITS == 1U << 15 && PART_BITS == 12, "as the query above has them");

int cas_find_ready(struct cas *cas, const uint8_t name[PUBLIC_NAME_BYTES],
                   struct cas_blob **ret_blob, uint32_t *ret_idx, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	struct place places[FOUND_MAX] = { { .idx = 0 } };
	int n;

	if (cas_find_open(cas, name, ret_blob, ret_idx) == 0)
		return 0;
	n = db_reader_begin(cas->readers, &reader, e);
	if (n == 0)
		n = ready_places(reader.db, name, places, e);
	db_reader_end(&reader); /* opening may wait for the writer */
	for (int i = 0; i < n; i++) {
		AUTO(cas_blob_release) struct cas_blob *blob = NULL;
		int r = blob_open_registered(cas, places[i].key, NULL, NULL, &blob, e);

		r = stored_pass_over(cas->log, places[i].key, r, e);
		if (r < 0)
			return r;
		if (r != 0 || places[i].idx >= blob->ready->n_bits ||
		    !bitmap_get(blob->ready, places[i].idx))
			continue;
		kept_note(&cas->kept, blob, clock_now_ns(cas->clock));
		*ret_blob = blob;
		*ret_idx = places[i].idx;
		blob = NULL;
		return 0;
	}
	return n < 0 ? n : CAS_MISS;
}
