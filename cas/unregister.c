/*
 * unregister: see the header. The rows that are dying are the list of what is to be done: after a
 * crash it goes on from them. Knows rows; knows no files.
 */
#include "unregister.h"
#include "chunk_rows.h"
#include "ready_rows.h"
#include "refer.h"
#include "rows.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define N_FIRST_BYTES 256U

/* What a dying row has for a key: no blob can have it, for it is no file name. */
#define SQL_DYING_KEY "'/' || id"

/* ---- at once ---- */

static int row_of(struct db *db, const char *key, uint64_t *ret_row, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db, "SELECT id FROM blob WHERE key = ? AND dying = 0", &stmt, e);

	if (r < 0)
		return r;
	db_bind_text(stmt, 1, key);
	r = db_step(stmt, e);
	if (r == 1)
		*ret_row = db_u64(stmt, 0);
	return r == 1 ? 0 : r < 0 ? r : CAS_MISS;
}

static int mark_dying(struct db *db, uint64_t row, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = tx_begin(db, TX_SYNCED, &tx, e);

	if (r == 0)
		r = ready_rows_delete(db, row, e);
	if (r == 0)
		r = refer_rows_delete(db, row, e);
	if (r == 0)
		r = db_run_with(db, "DELETE FROM image_blob WHERE blob = ?", &row, 1, e);
	if (r == 0)
		r = db_run_with(db,
		                "UPDATE blob SET dying = 1, n_named = 0, key = " SQL_DYING_KEY
		                " WHERE id = ?",
		                &row, 1, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

/* ---- behind it ---- */

static int next_dying(struct db *db, uint64_t *ret_row, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db, "SELECT id FROM blob WHERE dying = 1 LIMIT 1", &stmt, e);

	if (r == 0)
		r = db_step(stmt, e);
	if (r < 0)
		return r;
	*ret_row = r == 1 ? db_u64(stmt, 0) : 0;
	return 0;
}

/* Its layout says which names its chunks have. Without one, all names are looked through. */
static void begin(struct cas *cas, uint64_t row)
{
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	char key[CAS_KEY_BYTES];
	struct err e;

	(void)snprintf(key, sizeof(key), "/%" PRIu64, row);
	cas->removal.row = row;
	cas->removal.next_byte = 0;
	if (stored_blob_find(cas->db, key, &s, &e) == 0)
		cas->removal.rows = chunk_rows_new(row, s.layout, 0);
}

/* Chunk rows of one first byte. @return as chunk_rows_step() */
static int delete_by_byte(struct db *db, struct removal *rm, struct err *e)
{
	const uint8_t bytes[] = { (uint8_t)rm->next_byte, (uint8_t)(rm->next_byte + 1) };
	AUTO(tx_end) struct tx tx = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = tx_begin(db, TX_LAZY, &tx, e);

	if (r == 0)
		r = db_prepare(
			db,
			rm->next_byte + 1 < N_FIRST_BYTES
				? "DELETE FROM chunk WHERE blob = ? AND name >= ? AND name < ?"
				: "DELETE FROM chunk WHERE blob = ? AND name >= ?",
			&stmt, e);
	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, rm->row);
	db_bind_blob(stmt, 2, &bytes[0], 1);
	if (rm->next_byte + 1 < N_FIRST_BYTES)
		db_bind_blob(stmt, 3, &bytes[1], 1);
	r = db_run(stmt, e);
	if (r == 0)
		r = tx_commit(&tx, e);
	return r < 0 ? r : ++rm->next_byte < N_FIRST_BYTES;
}

/* The rest at once: by now nothing names the row. */
static int delete_last_rows(struct db *db, uint64_t row, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = tx_begin(db, TX_LAZY, &tx, e);

	if (r == 0)
		r = db_run_parts(db, "DELETE FROM layout WHERE id >= ? AND id < ?", row, e);
	if (r == 0)
		r = db_run_with(db, "DELETE FROM blob_origin WHERE blob = ?", &row, 1, e);
	if (r == 0)
		r = db_run_with(db, "DELETE FROM used WHERE blob = ?", &row, 1, e);
	if (r == 0)
		r = db_run_with(db, "DELETE FROM blob WHERE id = ?", &row, 1, e);
	/* With the last of all that go, once: it looks at every row. */
	if (r == 0)
		r = db_exec(
			db,
			"DELETE FROM origin WHERE NOT EXISTS(SELECT 1 FROM blob WHERE dying = 1)"
			" AND id NOT IN (SELECT origin FROM blob_origin)",
			e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

/* @return 1 there is more; 0 nothing is dying; negative */
static int step(struct cas *cas, struct err *e)
{
	struct removal *rm = &cas->removal;
	uint64_t row = 0;
	int r;

	if (rm->row == 0) {
		r = next_dying(cas->db, &row, e);
		if (r < 0 || row == 0)
			return r;
		begin(cas, row);
	}
	r = rm->rows != NULL ? chunk_rows_step(rm->rows, cas->db, CHUNK_ROWS_DELETE, e)
	                     : delete_by_byte(cas->db, rm, e);
	if (r != 0)
		return r;
	r = delete_last_rows(cas->db, rm->row, e);
	chunk_rows_free(&rm->rows);
	rm->row = 0;
	return r < 0 ? r : 1;
}

static void go_on(struct job *job);

static void submit(struct cas *cas)
{
	cas->removal.job = (struct job){ .work = go_on, .prio = JOB_PREFETCH };
	pool_submit(cas->writer, &cas->removal.job);
}

static void go_on(struct job *job)
{
	struct cas *cas = container_of(job, struct cas, removal.job);
	struct removal *rm = &cas->removal;
	struct err e = { .code = 0 };
	const int r = atomic_load(&cas->closing) ? 0 : step(cas, &e);

	if (r == 1) {
		submit(cas);
		return;
	}
	if (r < 0) {
		log_warn(cas->log, "rows of removed blobs stay in the database for now", "why=%s",
		         LOG_Q(e.msg));
		atomic_store(&rm->stopped, true);
	}
	chunk_rows_free(&rm->rows);
	rm->row = 0;
	rm->queued = false;
}

static void go_on_soon(struct cas *cas)
{
	if (cas->removal.queued)
		return;
	cas->removal.queued = true;
	submit(cas);
}

static int retry(struct cas *cas, void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	go_on_soon(cas);
	return 0;
}

void unregister_retry(struct cas *cas)
{
	struct err e;

	if (atomic_exchange(&cas->removal.stopped, false) && writer_do(cas, retry, NULL, &e) < 0)
		atomic_store(&cas->removal.stopped, true);
}

int unregister_blob(struct cas *cas, const char *key, struct err *e)
{
	uint64_t row = 0;
	int r = row_of(cas->db, key, &row, e);

	if (r == 0)
		r = mark_dying(cas->db, row, e);
	if (r == 0)
		go_on_soon(cas);
	return r;
}

int unregister_resume(struct cas *cas, struct err *e)
{
	uint64_t row = 0;
	int r = next_dying(cas->db, &row, e);

	if (r < 0 || row == 0)
		return r;
	/* Rows that an earlier version left kept their keys. */
	r = db_exec(cas->db, "UPDATE blob SET key = " SQL_DYING_KEY " WHERE dying = 1", e);
	if (r == 0)
		go_on_soon(cas);
	return r;
}
