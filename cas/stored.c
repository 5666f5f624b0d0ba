/*
 * stored: read blob rows back into layouts. Knows the tables blob, layout, origin; writes nothing.
 */
#include "stored.h"
#include "layout_code.h"
#include "mem.h"
#include "rows.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char select_blob[] =
	"SELECT id, blob_id, digest_alg, trust, n_chunks, plain_size, packed_size, n_named,"
	" file_id, file_dev, file_fs, file_ino, file_btime_ns, file_size, key,"
	" coalesce((SELECT at_s FROM used WHERE used.blob = blob.id), 0)"
	" FROM blob WHERE key = ?";

void stored_blob_fini(struct stored_blob *s)
{
	layout_unref(&s->layout);
}

static int read_layout_head(db_stmt *stmt, struct blob_layout **ret_layout, struct err *e)
{
	const uint64_t n_chunks = db_u64(stmt, 4);
	AUTO(layout_unref) struct blob_layout *l = NULL;

	if (n_chunks > BLOB_CHUNKS_MAX || db_u64(stmt, 2) >= N_DIGEST_ALGS ||
	    db_u64(stmt, 3) > TRUST_NONE || db_u64(stmt, 5) > BLOB_PLAIN_MAX_BYTES)
		return err_set(e, EUCLEAN, "CAS database: a blob's row is out of range");
	l = layout_new((uint32_t)n_chunks);
	if (l == NULL)
		return err_set(e, ENOMEM, "layout of %u chunks: out of memory", (unsigned)n_chunks);
	if (!db_text(stmt, 1, l->blob_id, sizeof(l->blob_id)))
		return err_set(e, EUCLEAN, "CAS database: a blob's id is too long");
	l->digest_alg = (enum digest_alg)db_u64(stmt, 2);
	l->trust = (enum layout_trust)db_u64(stmt, 3);
	l->plain_size_bytes = db_u64(stmt, 5);
	l->packed_size_bytes = db_u64(stmt, 6);
	*ret_layout = l;
	l = NULL;
	return 0;
}

static void read_identity(db_stmt *stmt, struct file_identity *ret_identity)
{
	size_t n;
	const uint8_t *id = db_blob(stmt, 8, &n);

	*ret_identity = (struct file_identity){
		.dev = db_u64(stmt, 9),
		.fs_id = db_u64(stmt, 10),
		.ino = db_u64(stmt, 11),
		.btime_ns = db_u64(stmt, 12),
		.size_bytes = db_u64(stmt, 13),
	};
	if (id != NULL && n == sizeof(ret_identity->id))
		memcpy(ret_identity->id, id, n);
}

static int read_parts(struct db *db, uint64_t row, struct blob_layout *l, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	uint32_t n_parts = 0;
	int r = db_prepare_parts(
		db, "SELECT places, digests FROM layout WHERE id >= ? AND id < ? ORDER BY id", row,
		&stmt, e);

	if (r < 0)
		return r;
	while ((r = db_step(stmt, e)) == 1) {
		struct layout_part_bytes part;

		part.places = db_blob(stmt, 0, &part.places_size_bytes);
		part.digests = db_blob(stmt, 1, &part.digests_size_bytes);
		if (n_parts >= layout_n_parts(l->n_chunks))
			break;
		r = layout_part_decode(l, n_parts++, &part, e);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (r == 1 || n_parts != layout_n_parts(l->n_chunks))
		return err_set(e, EUCLEAN, "CAS database: layout of %s has other parts",
		               l->blob_id);
	return 0;
}

int stored_blob_find(struct db *db, const char *key, struct stored_blob *ret_stored, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	int r = db_prepare(db, select_blob, &stmt, e);

	if (r < 0)
		return r;
	db_bind_text(stmt, 1, key);
	r = db_step(stmt, e);
	if (r <= 0)
		return r < 0 ? r : CAS_MISS;
	s.row = db_u64(stmt, 0);
	s.n_named = (uint32_t)db_u64(stmt, 7);
	s.used_s = db_u64(stmt, 15);
	read_identity(stmt, &s.identity);
	if (!db_text(stmt, 14, s.key, sizeof(s.key)))
		return err_set(e, EUCLEAN, "CAS database: a blob's key is too long");
	r = read_layout_head(stmt, &s.layout, e);
	if (r == 0)
		r = read_parts(db, s.row, s.layout, e);
	if (r < 0)
		return r;
	*ret_stored = s;
	s.layout = NULL;
	return 0;
}

int stored_key(struct db *db, uint64_t row, char ret_key[CAS_KEY_BYTES], struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db, "SELECT key FROM blob WHERE id = ? AND dying = 0", &stmt, e);

	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, row);
	r = db_step(stmt, e);
	if (r < 0)
		return r;
	return r == 1 && db_text(stmt, 0, ret_key, CAS_KEY_BYTES) ? 0 : CAS_MISS;
}

int stored_pass_over(struct log *log, const char *key, int r, const struct err *e)
{
	if (r != -EUCLEAN)
		return r;
	log_warn(log, "a blob is left out: its rows or its file are no good", "blob=%s why=%s", key,
	         LOG_Q(e->msg));
	return CAS_MISS;
}

int stored_layout(struct db_readers *readers, const char *key, struct blob_layout **ret_layout,
                  struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	int r = db_reader_begin(readers, &reader, e);

	if (r == 0)
		r = stored_blob_find(reader.db, key, &s, e);
	if (r != 0)
		return r;
	*ret_layout = s.layout;
	s.layout = NULL;
	return 0;
}

int stored_origins(struct db *db, uint64_t row, struct cas_origin **ret_origins, uint32_t *ret_n,
                   struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	struct cas_origin *origins = NULL;
	uint32_t n = 0;
	int r = db_prepare(db,
	                   "SELECT text FROM blob_origin JOIN origin ON origin.id = origin"
	                   " WHERE blob = ? ORDER BY seq LIMIT ?",
	                   &stmt, e);

	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, row);
	db_bind_u64(stmt, 2, CAS_ORIGINS_MAX);
	while ((r = db_step(stmt, e)) == 1) {
		origins = xrealloc(origins, n + 1, sizeof(*origins));
		if (db_text(stmt, 0, origins[n].text, sizeof(origins[n].text)))
			n++;
	}
	if (r < 0) {
		free(origins);
		return r;
	}
	*ret_origins = origins;
	*ret_n = n;
	return 0;
}

int stored_keys_of(struct db *db, const char *sql, const uint8_t *digest, char **ret_keys,
                   struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r = db_prepare(db, sql, &stmt, e);

	if (r < 0)
		return r;
	if (digest != NULL)
		db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	return db_texts(stmt, CAS_KEY_BYTES, ret_keys, e);
}

int stored_keys(struct db *db, char **ret_keys, struct err *e)
{
	return stored_keys_of(db, "SELECT key FROM blob WHERE dying = 0 ORDER BY key", NULL,
	                      ret_keys, e);
}
