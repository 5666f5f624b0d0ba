/*
 * db: thin wrappers around SQLite that speak errno and struct err.
 *
 * Knows no table. Opening, with all its checks, is db_open.c.
 */
#include "db.h"
#include "mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int errno_of(int sqlite_rc)
{
	static const struct {
		int rc;
		int code;
	} map[] = {
		{ SQLITE_CORRUPT, EUCLEAN }, { SQLITE_NOTADB, EUCLEAN }, { SQLITE_FORMAT, EUCLEAN },
		{ SQLITE_FULL, ENOSPC },     { SQLITE_READONLY, EROFS }, { SQLITE_NOMEM, ENOMEM },
		{ SQLITE_BUSY, EBUSY },      { SQLITE_PERM, EPERM },     { SQLITE_TOOBIG, EFBIG },
	};

	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (map[i].rc == (sqlite_rc & 0xff))
			return map[i].code;
	return EIO;
}

int db_err(struct db *db, int sqlite_rc, struct err *e, const char *what)
{
	int code = errno_of(sqlite_rc);
	const int sys = sqlite3_system_errno(db->sql);

	if (code == EIO && err_is_no_space(sys))
		code = ENOSPC;
	else if (code == EIO && (sys == EPERM || sys == EACCES))
		code = EPERM; /* EACCES says that a registry refuses: see err_errno() */
	else if (code == EIO && sys == EROFS)
		code = EROFS;
	return err_set(e, code, "CAS database: %s: %s", what, sqlite3_errmsg(db->sql));
}

bool db_reuse_log(struct db *db)
{
	int n_frames = 0;

	return sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_RESTART, &n_frames,
	                                 NULL) == SQLITE_OK &&
	       n_frames > 0;
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
	const int rc = sqlite3_exec(db->sql, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : db_err(db, rc, e, sql);
}

int db_prepare(struct db *db, const char *sql, db_stmt **ret_stmt, struct err *e)
{
	const int rc = sqlite3_prepare_v2(db->sql, sql, -1, ret_stmt, NULL);

	return rc == SQLITE_OK ? 0 : db_err(db, rc, e, sql);
}

void db_stmt_close(db_stmt **stmt)
{
	(void)sqlite3_finalize(*stmt); /* repeats the error of the last step, which was told then */
	*stmt = NULL;
}

int db_step(db_stmt *stmt, struct err *e)
{
	struct db db = { .sql = sqlite3_db_handle(stmt) };
	const int rc = sqlite3_step(stmt);

	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : db_err(&db, rc, e, sqlite3_sql(stmt));
}

int db_run(db_stmt *stmt, struct err *e)
{
	int r;

	do
		r = db_step(stmt, e);
	while (r == 1);
	(void)sqlite3_reset(stmt); /* repeats the error of the step */
	return r;
}

int db_number(struct db *db, const char *sql, uint64_t *ret_number, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db, sql, &stmt, e);

	if (r == 0)
		r = db_step(stmt, e);
	if (r == 1)
		*ret_number = db_u64(stmt, 0);
	return r == 0 ? err_set(e, EUCLEAN, "CAS database: %s says nothing", sql) : r < 0 ? r : 0;
}

int db_run_with(struct db *db, const char *sql, const uint64_t *values, int n_values, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r = db_prepare(db, sql, &stmt, e);

	if (r < 0)
		return r;
	for (int i = 0; i < n_values; i++)
		db_bind_u64(stmt, i + 1, values[i]);
	return db_run(stmt, e);
}

void db_reset(db_stmt *stmt)
{
	(void)sqlite3_reset(stmt); /* repeats the error of the step */
}

void db_bind_u64(db_stmt *stmt, int i, uint64_t value)
{
	(void)sqlite3_bind_int64(stmt, i, (sqlite3_int64)value); /* fails on wrong i alone */
}

void db_bind_blob(db_stmt *stmt, int i, const void *bytes, size_t size_bytes)
{
	(void)sqlite3_bind_blob64(stmt, i, size_bytes > 0 ? bytes : "", size_bytes, SQLITE_STATIC);
}

void db_bind_text(db_stmt *stmt, int i, const char *text)
{
	(void)sqlite3_bind_text(stmt, i, text, -1, SQLITE_STATIC);
}

uint64_t db_u64(db_stmt *stmt, int i)
{
	return (uint64_t)sqlite3_column_int64(stmt, i);
}

const uint8_t *db_blob(db_stmt *stmt, int i, size_t *ret_size_bytes)
{
	const uint8_t *bytes = sqlite3_column_blob(stmt, i);

	*ret_size_bytes = bytes == NULL ? 0 : (size_t)sqlite3_column_bytes(stmt, i);
	return bytes;
}

bool db_text(db_stmt *stmt, int i, char *ret_text, size_t size_bytes)
{
	const unsigned char *text = sqlite3_column_text(stmt, i);
	const int n = snprintf(ret_text, size_bytes, "%s", text == NULL ? "" : (const char *)text);

	return text != NULL && n >= 0 && (size_t)n < size_bytes;
}

int db_texts(db_stmt *stmt, size_t max_bytes, char **ret_texts, struct err *e)
{
	AUTO(free_str) char *texts = xcalloc(1, 1);
	size_t n_bytes = 0;
	int r;

	while ((r = db_step(stmt, e)) == 1) {
		const char *text = (const char *)sqlite3_column_text(stmt, 0);
		const size_t n = text == NULL ? 0 : strlen(text) + 1;

		if (n < 2 || n > max_bytes)
			continue;
		texts = xrealloc(texts, n_bytes + n + 1, 1);
		memcpy(texts + n_bytes, text, n);
		n_bytes += n;
		texts[n_bytes] = '\0';
	}
	if (r < 0)
		return r;
	*ret_texts = texts;
	texts = NULL;
	return 0;
}

int tx_begin(struct db *db, enum tx_sync sync, struct tx *ret_tx, struct err *e)
{
	int r = db_exec(
		db, sync == TX_SYNCED ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", e);

	if (r == 0)
		r = db_exec(db, "BEGIN IMMEDIATE", e);
	if (r == 0)
		ret_tx->db = db;
	return r;
}

int tx_begin_read(struct db *db, struct tx *ret_tx, struct err *e)
{
	const int r = db_exec(db, "BEGIN", e);

	if (r == 0)
		ret_tx->db = db;
	return r;
}

int tx_commit(struct tx *tx, struct err *e)
{
	const int r = db_exec(tx->db, "COMMIT", e);

	if (r == 0)
		tx->db = NULL;
	return r;
}

void tx_end(struct tx *tx)
{
	/* The error that led here was told already; some of them roll back by themselves. */
	if (tx->db != NULL && sqlite3_get_autocommit(tx->db->sql) == 0)
		(void)sqlite3_exec(tx->db->sql, "ROLLBACK", NULL, NULL, NULL);
	tx->db = NULL;
}
