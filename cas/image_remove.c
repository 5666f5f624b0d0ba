/*
 * image_remove: forget an image, and the blobs that no other image uses.
 *
 * Rows go before files: at every moment the database says no more than is there. Knows the order;
 * rows are register.c's, files image_dirs.c's.
 */
#include "data_file.h"
#include "hex.h"
#include "image_dirs.h"
#include "image_store.h"
#include "mem.h"
#include "refer.h"
#include "register.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <string.h>

#define SQL_ONLY_HERE                                                                              \
	"SELECT key FROM image_blob b JOIN blob ON blob.id = b.blob WHERE b.digest = ?1 AND"       \
	" NOT EXISTS(SELECT 1 FROM image_blob o WHERE o.blob = b.blob AND o.digest != ?1) "        \
	"AND" REFER_SQL_NO_OWNER("b.blob")

#define SQL_THEIR_OWNERS                                                                           \
	"SELECT DISTINCT key FROM image_blob b JOIN refer_owner o ON o.blob = b.blob"              \
	" JOIN blob ON blob.id = o.owner WHERE b.digest = ?1"
#define SQL_IS_ORPHAN                                                                              \
	"SELECT 1 FROM blob WHERE key = ?1"                                                        \
	" AND NOT EXISTS(SELECT 1 FROM image_blob b WHERE b.blob = blob.id)"                       \
	" AND" REFER_SQL_NO_OWNER("blob.id")

static int run_for(struct db *db, const char *sql, const uint8_t digest[DIGEST_BYTES],
                   struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r = db_prepare(db, sql, &stmt, e);

	if (r < 0)
		return r;
	db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	return db_run(stmt, e);
}

static int forget_rows(struct db *db, const uint8_t digest[DIGEST_BYTES], struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = tx_begin(db, TX_SYNCED, &tx, e);

	if (r == 0)
		r = run_for(db, "DELETE FROM image_name WHERE digest = ?", digest, e);
	if (r == 0)
		r = run_for(db, "DELETE FROM image_blob WHERE digest = ?", digest, e);
	if (r == 0)
		r = run_for(db, "DELETE FROM image WHERE digest = ?", digest, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

static int unlink_data(struct cas *cas, const char *key, struct err *e)
{
	char name[DATA_FILE_NAME_BYTES];

	data_file_name(key, name);
	if (cas->disk->unlink(cas->disk, cas->blobs_fd, name, 0) != 0 && errno != ENOENT)
		return err_errno(e, errno, "cannot remove blobs/%s", name);
	return 0;
}

/* A blob that somebody has open stays: its image was mounted again meanwhile. */
static int remove_blob(struct cas *cas, const char *key, struct err *e)
{
	struct cas_blob *placeholder = blob_table_reserve(cas, key);
	int r;

	if (placeholder == NULL)
		return 0;
	r = unregister_rows(cas, key, e);
	if (r >= 0)
		r = unlink_data(cas, key, e); /* also where there was no row */
	blob_table_opened(placeholder, GET_PASSIVE, false);
	return r;
}

/* What only this image uses: it needs no other blob's chunks any more. */
static int forget_references(struct db *db, const uint8_t digest[DIGEST_BYTES], struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db,
	                   "SELECT b.blob FROM image_blob b WHERE b.digest = ?1 AND NOT EXISTS("
	                   "SELECT 1 FROM image_blob o WHERE o.blob = b.blob AND o.digest != ?1)",
	                   &stmt, e);

	if (r < 0)
		return r;
	db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	while ((r = db_step(stmt, e)) == 1) {
		r = refer_rows_forget(db, db_u64(stmt, 0), e);
		if (r < 0)
			break;
	}
	return r;
}

static int is_orphan(struct db *db, const char *key, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r = db_prepare(db, SQL_IS_ORPHAN, &stmt, e);

	if (r < 0)
		return r;
	db_bind_text(stmt, 1, key);
	return db_step(stmt, e);
}

/* Those of the keys that no image uses and nobody refers to. */
static int remove_orphans(struct cas *cas, const char *keys, struct err *e)
{
	int r = 0;

	for (const char *key = keys; r == 0 && *key != '\0'; key += strlen(key) + 1) {
		r = is_orphan(cas->db, key, e);
		if (r == 1)
			r = remove_blob(cas, key, e);
	}
	return r;
}

static int remove_blobs(struct cas *cas, const uint8_t *digest, struct err *e)
{
	AUTO(free_str) char *keys = NULL;
	int r = stored_keys_of(cas->db, SQL_ONLY_HERE, digest, &keys, e);

	for (const char *key = keys; r == 0 && key != NULL && *key != '\0'; key += strlen(key) + 1)
		r = remove_blob(cas, key, e);
	return r;
}

static bool exists(struct db *db, const uint8_t digest[DIGEST_BYTES])
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	struct err e;

	if (db_prepare(db, "SELECT 1 FROM image WHERE digest = ?", &stmt, &e) < 0)
		return false;
	db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	return db_step(stmt, &e) == 1;
}

int image_store_remove(struct cas *cas, const char *digest, struct err *e)
{
	AUTO(free_str) char *owners = NULL;
	uint8_t bytes[DIGEST_BYTES];
	int r;

	if (!hex_is_sha256(digest) || !hex_decode(digest, DIGEST_BYTES, bytes))
		return err_set(e, EINVAL, "not a digest: %s", digest);
	if (!exists(cas->db, bytes) && !image_store_has(cas, digest))
		return CAS_MISS;
	/* Blobs first: cut off in between, the image is still there to be removed again. */
	r = stored_keys_of(cas->db, SQL_THEIR_OWNERS, bytes, &owners, e);
	if (r == 0)
		r = forget_references(cas->db, bytes, e);
	if (r == 0)
		r = remove_blobs(cas, bytes, e);
	if (r == 0)
		r = forget_rows(cas->db, bytes, e);
	/* Those that outlived their images, because others referred to them. */
	if (r == 0)
		r = remove_orphans(cas, owners, e);
	return r == 0 ? image_dirs_retire(cas, digest, e) : r;
}
