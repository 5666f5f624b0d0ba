/*
 * image_remove: forget an image, and the blobs that no other image uses.
 *
 * Knows the order; blobs are garbage.c's, directories image_dirs.c's.
 */
#include "evict.h"
#include "garbage.h"
#include "gc.h"
#include "hex.h"
#include "image_dirs.h"
#include "image_store.h"
#include "mem.h"
#include "refer.h"
#include "state.h"
#include "stored.h"
#include "unconst.h"
#include <errno.h>
#include <string.h>

#define SQL_ONLY_HERE                                                                              \
	"SELECT key FROM image_blob b JOIN blob ON blob.id = b.blob WHERE b.digest = ?1 AND"       \
	" NOT EXISTS(SELECT 1 FROM image_blob o WHERE o.blob = b.blob AND o.digest != ?1) "        \
	"AND" REFER_SQL_NO_OWNER("b.blob")

#define SQL_PIN "SELECT 1 FROM image_name n JOIN pinned p ON p.name = n.name WHERE n.digest = ?"

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

static int remove_blobs(struct cas *cas, const uint8_t *digest, struct err *e)
{
	AUTO(free_str) char *keys = NULL;
	int r = stored_keys_of(cas->db, SQL_ONLY_HERE, digest, &keys, e);

	for (const char *key = keys; r >= 0 && key != NULL && *key != '\0'; key += strlen(key) + 1)
		r = garbage_remove_blob(cas, key, e);
	return r < 0 ? r : 0;
}

static bool exists(struct db *db, const char *sql, const uint8_t digest[DIGEST_BYTES])
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	struct err e;

	if (db_prepare(db, sql, &stmt, &e) < 0)
		return false;
	db_bind_blob(stmt, 1, digest, DIGEST_BYTES);
	return db_step(stmt, &e) == 1;
}

/* Blobs first: cut off in between, the image is still there to be removed again. */
static int remove_all(struct cas *cas, const char *digest, const uint8_t *bytes, struct err *e)
{
	int r = forget_references(cas->db, bytes, e);

	if (r == 0)
		r = remove_blobs(cas, bytes, e);
	if (r == 0)
		r = forget_rows(cas->db, bytes, e);
	return r == 0 ? image_dirs_retire(cas, digest, e) : r;
}

/* What outlived its image, because others referred to it, or had it open. The image is gone, and
 * nobody finds it to remove it again: what cannot be done now is done by the chores. */
static void remove_others(struct cas *cas)
{
	uint64_t n = 0;
	struct err why;

	if (garbage_blobs(cas, true, &n, &why) == 0)
		return;
	log_warn(cas->log, "an image is removed, but not yet what else nobody uses", "error=%s",
	         LOG_Q(why.msg));
	atomic_store(&cas->evictor.has_garbage, true);
}

static int remove_on_writer(struct cas *cas, void *arg, struct err *e)
{
	const char *digest = arg;
	uint8_t bytes[DIGEST_BYTES];
	int r;

	if (!hex_is_sha256(digest) || !hex_decode(digest, DIGEST_BYTES, bytes))
		return err_set(e, EINVAL, "not a digest: %s", digest);
	if (!exists(cas->db, "SELECT 1 FROM image WHERE digest = ?", bytes) &&
	    !image_store_has(cas, digest))
		return CAS_MISS;
	if (exists(cas->db, SQL_PIN, bytes))
		return err_set(e, EBUSY, "it is pinned (shoal unpin it first)");
	r = remove_all(cas, digest, bytes, e);
	/* On a full disk there is no room even for the rows' removal. */
	if (r == -ENOSPC && evict_give_ballast(cas))
		r = remove_all(cas, digest, bytes, e);
	if (r == 0)
		remove_others(cas);
	return r;
}

int image_store_remove(struct cas *cas, const char *digest, struct err *e)
{
	const int r = writer_do(cas, remove_on_writer, unconst(digest), e);

	return r == -ENOSPC && cas_make_room(cas, 0)
	               ? writer_do(cas, remove_on_writer, unconst(digest), e)
	               : r;
}

static int retire(struct cas *cas, void *arg, struct err *e)
{
	return image_dirs_retire(cas, arg, e);
}

int image_store_retire(struct cas *cas, const char *digest, struct err *e)
{
	if (!hex_is_sha256(digest))
		return err_set(e, EINVAL, "not a digest: %s", digest);
	return writer_do(cas, retire, unconst(digest), e); /* in order with removals */
}
