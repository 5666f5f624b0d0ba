/*
 * db: a connection to the CAS database, statements, and transactions that end themselves.
 *
 * Knows SQLite; knows the tables only as text that others pass. One thread a connection.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "log.h"
#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db {
	sqlite3 *sql;
	int shm_fd; /* of the writer's shared memory; closed last, with it SQLite's locks go. -1 */
	int log_fd; /* of its log, which holds room for small transactions; -1 */
};

struct db_opts {
	const char *path; /* absolute */
	const char *vfs;  /* NULL: SQLite's default */
	struct log *log;
	uint64_t wall_seconds; /* names a database that is moved aside */
};

/**
 * The one connection that writes. Makes the database if there is none; moves one that is corrupt
 * or no database of shoal aside, with a log line, and starts anew.
 * @return 0; -ENOTSUP of a newer shoal; -EROFS, -EPERM, -ENOSPC, -EIO
 */
MUST_CHECK int db_open_writer(const struct db_opts *opts, struct db **ret_db, struct err *e);
MUST_CHECK int db_open_reader(const struct db_opts *opts, struct db **ret_db, struct err *e);
void db_close(struct db **db); /* NULL is fine */

/** [the writer's thread, no transaction open] Put what the log holds into the database file, so
 * that the next transaction is written over it and needs no disk space but for pages that the
 * database never had. @return true: there is room of that kind now */
bool db_reuse_log(struct db *db);

/** What SQLite says, as an errno: -EUCLEAN for a corrupt file. @return -code, *e filled */
int db_err(struct db *db, int sqlite_rc, struct err *e, const char *what);

MUST_CHECK int db_exec(struct db *db, const char *sql, struct err *e);

typedef sqlite3_stmt db_stmt;
MUST_CHECK int db_prepare(struct db *db, const char *sql, db_stmt **ret_stmt, struct err *e);
void db_stmt_close(db_stmt **stmt); /* NULL is fine */

/** @return 1 a row; 0 the end; negative */
MUST_CHECK int db_step(db_stmt *stmt, struct err *e);

/** Step to the end and make ready for the next values. @return 0 or negative */
MUST_CHECK int db_run(db_stmt *stmt, struct err *e);

/** Prepare, bind these numbers from 1 on, run once. @return 0 or negative */
MUST_CHECK int db_run_with(struct db *db, const char *sql, const uint64_t *values, int n_values,
                           struct err *e);

/** Prepare, and take the number in the first row. @return 0; -EUCLEAN: there is none; negative */
MUST_CHECK int db_number(struct db *db, const char *sql, uint64_t *ret_number, struct err *e);

/** Ready for the next values, wherever it is. */
void db_reset(db_stmt *stmt);

/* Values in, from 1. Blobs and text are borrowed until the next db_run() or step to the end. */
void db_bind_u64(db_stmt *stmt, int i, uint64_t value);
void db_bind_blob(db_stmt *stmt, int i, const void *bytes, size_t size_bytes);
void db_bind_text(db_stmt *stmt, int i, const char *text);

/* Values out, from 0. */
uint64_t db_u64(db_stmt *stmt, int i);
/** @return NULL when it is empty or no blob; lives until the next step */
const uint8_t *db_blob(db_stmt *stmt, int i, size_t *ret_size_bytes);
/** Copy text, cut to fit. @return false: it did not fit, or there is none */
bool db_text(db_stmt *stmt, int i, char *ret_text, size_t size_bytes);

/** Step to the end. Of each row the first value, where it is a text that with its end has at most
 * max_bytes: each with a NUL, one after another; an empty one ends them.
 * @param ret_texts  malloc'd, the caller's */
MUST_CHECK int db_texts(db_stmt *stmt, size_t max_bytes, char **ret_texts, struct err *e);

/* How long after a commit a power cut may still undo it. */
enum tx_sync {
	TX_LAZY,   /* until the next synced one: for what can be made or fetched again */
	TX_SYNCED, /* not at all: for whatever clears */
};

struct tx {
	struct db *db; /* NULL: none is open */
};
MUST_CHECK int tx_begin(struct db *db, enum tx_sync sync, struct tx *ret_tx, struct err *e);
/** Of one that only reads: many look-ups in one, each of which would lock the database by itself.
 */
MUST_CHECK int tx_begin_read(struct db *db, struct tx *ret_tx, struct err *e);
MUST_CHECK int tx_commit(struct tx *tx, struct err *e);
void tx_end(struct tx *tx); /* rolls back what was not committed; for AUTO() */

/* ---- connections that read, shared by workers ---- */

#define DB_READERS_MAX 4
struct db_readers;
MUST_CHECK int db_readers_new(const struct db_opts *opts, struct db_readers **ret_r, struct err *e);
void db_readers_free(struct db_readers **r); /* all given back. NULL is fine */

/* A connection in use, given back by AUTO(db_reader_end). */
struct db_reader {
	struct db_readers *from;
	struct db *db;
};
/** Waits while all are in use. */
MUST_CHECK int db_reader_begin(struct db_readers *r, struct db_reader *ret_reader, struct err *e);
void db_reader_end(struct db_reader *reader);
