/*
 * image_store: what the database remembers of images: names, and which blobs they use; and
 * forgetting them. Knows rows; the files are image_draft.c's.
 */
#include "image_store.h"
#include "hex.h"
#include "mem.h"
#include "register.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQL_RECORD                                                                                 \
	"SELECT n.digest, n.name, i.anonymous, i.added_s, i.used_s,"                               \
	" EXISTS(SELECT 1 FROM image_name m JOIN pinned p ON p.name = m.name"                      \
	" WHERE m.digest = n.digest)"                                                              \
	" FROM image_name n JOIN image i ON i.digest = n.digest"

static int parse_digest(const char *text, uint8_t ret_digest[DIGEST_BYTES], struct err *e)
{
	if (!hex_is_sha256(text) || !hex_decode(text, DIGEST_BYTES, ret_digest))
		return err_set(e, EINVAL, "not a digest: %s", text);
	return 0;
}

static int write_image(struct db *db, const struct image_record *rec,
                       const uint8_t digest[DIGEST_BYTES], struct err *e)
{
	AUTO(db_stmt_close) db_stmt *image = NULL;
	AUTO(db_stmt_close) db_stmt *name = NULL;
	int r = db_prepare(
		db,
		"INSERT INTO image(digest, anonymous, added_s, used_s) VALUES(?, ?, ?, ?)"
		" ON CONFLICT(digest) DO UPDATE SET used_s = excluded.used_s,"
		" anonymous = excluded.anonymous",
		&image, e);

	if (r == 0)
		r = db_prepare(db, "INSERT OR REPLACE INTO image_name(name, digest) VALUES(?, ?)",
		               &name, e);
	if (r < 0)
		return r;
	db_bind_blob(image, 1, digest, DIGEST_BYTES);
	db_bind_u64(image, 2, rec->anonymous);
	db_bind_u64(image, 3, rec->added_s);
	db_bind_u64(image, 4, rec->used_s);
	db_bind_text(name, 1, rec->name);
	db_bind_blob(name, 2, digest, DIGEST_BYTES);
	r = db_run(image, e);
	return r == 0 ? db_run(name, e) : r;
}

/* The blob's row is there: its registration was queued when it was opened. Where that failed (disk
 * full), try again: an image must not lose its blobs. */
static int ensure_row(struct cas *cas, const char *key, struct err *e)
{
	AUTO(cas_blob_release) struct cas_blob *blob = blob_table_find(cas, key);

	return blob != NULL && blob->row == 0 ? register_row(blob, e) : 0;
}

static int write_blob_use(struct db *db, const uint8_t digest[DIGEST_BYTES], const char *key,
                          struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db,
	                   "INSERT OR IGNORE INTO image_blob(digest, blob)"
	                   " SELECT ?1, id FROM blob WHERE key = ?2 AND dying = 0",
	                   &stmt, e);

	if (r < 0)
		return r;
	db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	db_bind_text(stmt, 2, key);
	return db_run(stmt, e);
}

static int record(struct cas *cas, const struct image_record *rec, const char *const *blob_keys,
                  uint32_t n_blobs, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	uint8_t digest[DIGEST_BYTES];
	int r = parse_digest(rec->digest, digest, e);

	for (uint32_t i = 0; i < n_blobs && r == 0; i++)
		r = ensure_row(cas, blob_keys[i], e);
	if (r == 0)
		r = tx_begin(cas->db, TX_LAZY, &tx, e);
	if (r == 0)
		r = write_image(cas->db, rec, digest, e);
	for (uint32_t i = 0; i < n_blobs && r == 0; i++)
		r = write_blob_use(cas->db, digest, blob_keys[i], e);
	if (r == 0)
		r = tx_commit(&tx, e);
	return r;
}

int image_store_record(struct cas *cas, const struct image_record *rec,
                       const char *const *blob_keys, uint32_t n_blobs, struct err *e)
{
	int r = record(cas, rec, blob_keys, n_blobs, e);

	if (r == -ENOSPC && evict_give_ballast(cas))
		r = record(cas, rec, blob_keys, n_blobs, e);
	return r < 0 ? err_wrap(e, "recording image %s", rec->name) : 0;
}

static void reached(struct job *job)
{
	(void)job;
}

void image_store_behind(struct cas *cas, struct job *job)
{
	job->work = reached;
	writer_submit(cas, job);
}

static bool read_record(db_stmt *stmt, struct image_record *ret_rec)
{
	size_t n;
	const uint8_t *digest = db_blob(stmt, 0, &n);

	memset(ret_rec, 0, sizeof(*ret_rec));
	if (digest == NULL || n != DIGEST_BYTES ||
	    !db_text(stmt, 1, ret_rec->name, sizeof(ret_rec->name)))
		return false;
	hex_encode(digest, DIGEST_BYTES, ret_rec->digest);
	ret_rec->anonymous = db_u64(stmt, 2) != 0;
	ret_rec->added_s = db_u64(stmt, 3);
	ret_rec->used_s = db_u64(stmt, 4);
	ret_rec->pinned = db_u64(stmt, 5) != 0;
	return true;
}

/* The first row by name, or by digest where name is NULL. */
static int read_one(struct cas *cas, const char *name, const uint8_t digest[DIGEST_BYTES],
                    struct image_record *ret_rec, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = db_prepare(reader.db,
		               name != NULL ? SQL_RECORD " WHERE n.name = ?"
		                            : SQL_RECORD " WHERE n.digest = ? ORDER BY n.name",
		               &stmt, e);
	if (r < 0)
		return r;
	if (name != NULL)
		db_bind_text(stmt, 1, name);
	else
		db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	r = db_step(stmt, e);
	if (r < 0)
		return r;
	return r == 1 && read_record(stmt, ret_rec) ? 0 : CAS_MISS;
}

int image_store_by_name(struct cas *cas, const char *name, struct image_record *ret_rec,
                        struct err *e)
{
	return read_one(cas, name, NULL, ret_rec, e);
}

int image_store_by_digest(struct cas *cas, const char *digest, struct image_record *ret_rec,
                          struct err *e)
{
	uint8_t bytes[DIGEST_BYTES];
	const int r = parse_digest(digest, bytes, e);

	return r < 0 ? r : read_one(cas, NULL, bytes, ret_rec, e);
}

/* All of them first: whoever is told may take long, or ask again. */
static int read_records(struct cas *cas, struct image_record **ret_recs, uint32_t *ret_n,
                        struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	struct image_record *recs = NULL;
	uint32_t n = 0;
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = db_prepare(reader.db, SQL_RECORD " ORDER BY n.name", &stmt, e);
	while (r == 0 && (r = db_step(stmt, e)) == 1) {
		recs = xrealloc(recs, n + 1, sizeof(*recs));
		n += read_record(stmt, &recs[n]);
		r = 0;
		if (n == UINT32_MAX)
			break;
	}
	*ret_recs = recs;
	*ret_n = n;
	return r;
}

int image_store_list(struct cas *cas, int (*fn)(void *arg, const struct image_record *rec),
                     void *arg, struct err *e)
{
	struct image_record *recs = NULL;
	uint32_t n = 0;
	const int r = read_records(cas, &recs, &n, e);

	for (uint32_t i = 0; i < n && r == 0; i++)
		if (fn(arg, &recs[i]) != 0)
			break;
	free(recs);
	return r;
}

int image_store_blobs(struct cas *cas, const char *digest,
                      int (*fn)(void *arg, const char *blob_key), void *arg, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(free_str) char *keys = NULL;
	uint8_t bytes[DIGEST_BYTES];
	int r = parse_digest(digest, bytes, e);

	if (r == 0)
		r = db_reader_begin(cas->readers, &reader, e);
	if (r == 0)
		r = stored_keys_of(reader.db,
		                   "SELECT key FROM image_blob JOIN blob ON blob.id = blob"
		                   " WHERE digest = ? ORDER BY key",
		                   bytes, &keys, e);
	db_reader_end(&reader);
	for (const char *key = keys; r == 0 && key != NULL && *key != '\0'; key += strlen(key) + 1)
		if (fn(arg, key) != 0)
			break;
	return r;
}

#define USERS_MAX 16 /* of one blob */

static int read_users(struct cas *cas, const char *blob_key,
                      char ret_digests[USERS_MAX][DIGEST_TEXT_BYTES], uint32_t *ret_n,
                      struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	uint32_t n = 0;
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = db_prepare(reader.db,
		               "SELECT i.digest FROM blob JOIN image_blob u ON u.blob = blob.id"
		               " JOIN image i ON i.digest = u.digest WHERE key = ?"
		               " ORDER BY i.used_s DESC",
		               &stmt, e);
	if (r < 0)
		return r;
	db_bind_text(stmt, 1, blob_key);
	while (n < USERS_MAX && (r = db_step(stmt, e)) == 1) {
		size_t n_bytes;
		const uint8_t *digest = db_blob(stmt, 0, &n_bytes);

		if (digest != NULL && n_bytes == DIGEST_BYTES)
			hex_encode(digest, DIGEST_BYTES, ret_digests[n++]);
	}
	*ret_n = n;
	return r < 0 ? r : 0;
}

int image_store_users(struct cas *cas, const char *blob_key,
                      int (*fn)(void *arg, const char *digest), void *arg, struct err *e)
{
	char digests[USERS_MAX][DIGEST_TEXT_BYTES];
	uint32_t n = 0;
	const int r = read_users(cas, blob_key, digests, &n, e);

	for (uint32_t i = 0; r == 0 && i < n; i++)
		if (fn(arg, digests[i]) != 0)
			break;
	return r;
}
