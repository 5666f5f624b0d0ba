/*
 * db_open: make, recognise and open the CAS database; move one that cannot be used aside.
 *
 * Knows the schema (docs/on-disk.md explains each column) and the pragmas; knows no blob.
 */
#include "clock.h"
#include "db.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define APPLICATION_ID  1936224097 /* "shoa" */
#define SCHEMA_VERSION  3
#define BUSY_TIMEOUT_MS 5000
#define ASIDE_TRIES     100
#define SHM_BYTES       131072U /* what a log of 16,000 pages needs; most are of 1,000 */
#define LOG_BYTES       262144U /* transactions that clear take a few pages each */
#define LOG_DISK_PART   64U     /* no more than this part of the file system is held so */

#define SCHEMA_REFER /* since version 2 */                                                         \
	"CREATE TABLE refer(id INTEGER PRIMARY KEY, runs BLOB NOT NULL);"                          \
	"CREATE TABLE refer_owner(owner INTEGER NOT NULL, blob INTEGER NOT NULL,"                  \
	" PRIMARY KEY(owner, blob)) WITHOUT ROWID;"                                                \
	"CREATE INDEX refer_owner_blob ON refer_owner(blob);"

#define SCHEMA_PINNED /* since version 3 */                                                        \
	"CREATE TABLE pinned(name TEXT PRIMARY KEY) WITHOUT ROWID;"

static const char schema[] =
	"CREATE TABLE origin(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);"
	"CREATE TABLE blob(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, blob_id TEXT NOT NULL,"
	" digest_alg INTEGER NOT NULL, trust INTEGER NOT NULL, n_chunks INTEGER NOT NULL,"
	" plain_size INTEGER NOT NULL, packed_size INTEGER NOT NULL, n_named INTEGER NOT NULL,"
	" file_id BLOB NOT NULL, file_dev INTEGER NOT NULL, file_fs INTEGER NOT NULL,"
	" file_ino INTEGER NOT NULL, file_btime_ns INTEGER NOT NULL, file_size INTEGER NOT NULL,"
	" dying INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE blob_origin(blob INTEGER NOT NULL REFERENCES blob(id),"
	" origin INTEGER NOT NULL REFERENCES origin(id), seq INTEGER NOT NULL,"
	" PRIMARY KEY(blob, origin)) WITHOUT ROWID;"
	"CREATE TABLE layout(id INTEGER PRIMARY KEY, places BLOB NOT NULL, digests BLOB NOT NULL);"
	"CREATE TABLE chunk(name BLOB NOT NULL, blob INTEGER NOT NULL, idx INTEGER NOT NULL,"
	" PRIMARY KEY(name, blob, idx)) WITHOUT ROWID;"
	"CREATE TABLE ready(id INTEGER PRIMARY KEY, bits BLOB NOT NULL);" SCHEMA_REFER
	"CREATE TABLE used(blob INTEGER PRIMARY KEY, at_s INTEGER NOT NULL);"
	"CREATE TABLE image(digest BLOB PRIMARY KEY, anonymous INTEGER NOT NULL,"
	" added_s INTEGER NOT NULL, used_s INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE image_name(name TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX image_name_digest ON image_name(digest);"
	"CREATE TABLE image_blob(digest BLOB NOT NULL, blob INTEGER NOT NULL,"
	" PRIMARY KEY(digest, blob)) WITHOUT ROWID;"
	"CREATE INDEX image_blob_blob ON image_blob(blob);" SCHEMA_PINNED;

static const char check_each[] = /* of chunk and layout only that they are there: the time to
                                  * check them grows with the cache */
	"SELECT 'ok', count(*) FROM (SELECT name, blob, idx FROM chunk LIMIT 1);"
	"SELECT 'ok', count(*) FROM (SELECT id, places, digests FROM layout LIMIT 1);"
	"PRAGMA quick_check(origin); PRAGMA quick_check(blob); PRAGMA quick_check(blob_origin);"
	"PRAGMA quick_check(refer); PRAGMA quick_check(refer_owner); PRAGMA quick_check(used);"
	"PRAGMA quick_check(ready); PRAGMA quick_check(image); PRAGMA quick_check(image_name);"
	"PRAGMA quick_check(image_blob); PRAGMA quick_check(pinned)";

void db_close(struct db **db)
{
	if (*db == NULL)
		return;
	(void)sqlite3_close_v2((*db)->sql);
	close_fd(&(*db)->shm_fd);
	close_fd(&(*db)->log_fd);
	free(*db);
	*db = NULL;
}

static int connect_to(const struct db_opts *opts, int flags, struct db **ret_db, struct err *e)
{
	AUTO(db_close) struct db *db = xcalloc(1, sizeof(*db));
	int rc;

	db->shm_fd = -1;
	db->log_fd = -1;
	rc = sqlite3_open_v2(opts->path, &db->sql, flags | SQLITE_OPEN_NOMUTEX, opts->vfs);
	if (rc != SQLITE_OK)
		return db->sql == NULL ? err_set(e, ENOMEM, "CAS database: out of memory")
		                       : db_err(db, rc, e, opts->path);
	(void)sqlite3_busy_timeout(db->sql, BUSY_TIMEOUT_MS);
	(void)sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(db->sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	*ret_db = db;
	db = NULL;
	return 0;
}

static int create(struct db *db, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	AUTO(free_str)
	char *sql = xasprintf("%s PRAGMA application_id=%d; PRAGMA user_version=%d", schema,
	                      APPLICATION_ID, SCHEMA_VERSION);
	int r = tx_begin(db, TX_SYNCED, &tx, e);

	if (r == 0)
		r = db_exec(db, sql, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

/* Tables that came later. */
static int upgrade(struct db *db, uint64_t version, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = tx_begin(db, TX_SYNCED, &tx, e);

	if (r == 0 && version < 2)
		r = db_exec(db, SCHEMA_REFER, e);
	if (r == 0)
		r = db_exec(db, SCHEMA_PINNED " PRAGMA user_version=3", e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

/* Every table of ours is there and its pages hang together? */
static int check_tables(struct db *db, struct err *e)
{
	for (const char *sql = check_each; sql != NULL && *sql != '\0';) {
		AUTO(db_stmt_close) db_stmt *stmt = NULL;
		char said[128];
		const int rc = sqlite3_prepare_v2(db->sql, sql, -1, &stmt, &sql);

		if (rc != SQLITE_OK)
			return err_set(e, EUCLEAN, "a table is missing: %s",
			               sqlite3_errmsg(db->sql));
		if (stmt == NULL)
			break;
		const int r = db_step(stmt, e);

		if (r < 0)
			return r;
		if (r == 0 || !db_text(stmt, 0, said, sizeof(said)) || strcmp(said, "ok") != 0)
			return err_set(e, EUCLEAN, "%s", r == 0 ? "no answer" : said);
	}
	return 0;
}

/* Is it ours, and of this version? A database without any table is new. */
static int recognise(struct db *db, struct err *e)
{
	uint64_t app = 0;
	uint64_t version = 0;
	uint64_t n_tables = 0;
	int r = db_number(db, "PRAGMA application_id", &app, e);

	if (r == 0)
		r = db_number(db, "PRAGMA user_version", &version, e);
	if (r == 0)
		r = db_number(db, "SELECT count(*) FROM sqlite_schema", &n_tables, e);
	if (r < 0)
		return r;
	if (app == 0 && version == 0 && n_tables == 0)
		return create(db, e);
	if (app != APPLICATION_ID)
		return err_set(e, EUCLEAN, "it is not a database of shoal (application id %llu)",
		               (unsigned long long)app);
	if (version > SCHEMA_VERSION)
		return err_set(e, ENOTSUP,
		               "the database is of a newer shoal (schema %llu, this one knows %d): "
		               "use that version, or another state_dir",
		               (unsigned long long)version, SCHEMA_VERSION);
	if (version == 1 || version == 2) {
		r = upgrade(db, version, e);
		version = SCHEMA_VERSION;
	}
	if (r < 0)
		return r;
	if (version != SCHEMA_VERSION)
		return err_set(e, EUCLEAN, "unknown schema %llu", (unsigned long long)version);
	return check_tables(db, e);
}

/* SQLite would make it for everybody to read; its log and shared memory take the file's mode. */
static int make_file(const char *path, struct err *e)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(e, errno, "cannot make or open it");
	(void)close(fd);
	return 0;
}

/* SQLite writes one byte into each 4 KiB of its shared memory, and then maps it: where blocks of
 * the file system are smaller, what it stores there later is a SIGBUS on a full disk. */
static void hold_shared_memory(struct db *db, const struct db_opts *opts)
{
	AUTO(free_str) char *path = xasprintf("%s-shm", opts->path);

	db->shm_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (db->shm_fd >= 0 && fallocate(db->shm_fd, FALLOC_FL_KEEP_SIZE, 0, SHM_BYTES) != 0 &&
	    errno != EOPNOTSUPP)
		log_warn(opts->log, "no room is held for the CAS database's shared memory",
		         "path=%s bytes=%u why=%s", LOG_Q(path), SHM_BYTES,
		         LOG_Q(strerrordesc_np(errno)));
}

/* Others may fill the disk at any moment, also what the ballast has just given up: what makes room
 * finds its own here. The log is never made smaller while it is open, and others' locks are none of
 * its file's. A very small file system is not made smaller. */
static void hold_log(struct db *db, const struct db_opts *opts)
{
	AUTO(free_str) char *path = xasprintf("%s-wal", opts->path);
	struct statvfs fs;

	db->log_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (db->log_fd >= 0 && fstatvfs(db->log_fd, &fs) == 0 &&
	    (uint64_t)fs.f_blocks * fs.f_frsize >= (uint64_t)LOG_BYTES * LOG_DISK_PART)
		(void)fallocate(db->log_fd, FALLOC_FL_KEEP_SIZE, 0, LOG_BYTES);
}

static int open_once(const struct db_opts *opts, struct db **ret_db, struct err *e)
{
	AUTO(db_close) struct db *db = NULL;
	int r = make_file(opts->path, e);

	if (r == 0)
		r = connect_to(opts, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db, e);

	if (r == 0)
		r = db_exec(db, "PRAGMA journal_mode=WAL", e);
	if (r == 0)
		r = db_exec(db, "PRAGMA cell_size_check=ON; PRAGMA cache_size=-8192", e);
	if (r == 0)
		r = recognise(db, e);
	if (r < 0)
		return r;
	assert(db != NULL);
	hold_shared_memory(db, opts);
	hold_log(db, opts);
	*ret_db = db;
	db = NULL;
	return 0;
}

/* The log and the shared memory go along, under the names that SQLite expects beside the file. */
static int move_aside(const struct db_opts *opts, char **ret_aside, struct err *e)
{
	static const char *const tails[] = { "", "-wal", "-shm" };
	AUTO(free_str) char *aside = NULL;
	int r = -1;

	for (int i = 0; i < ASIDE_TRIES && r != 0; i++) {
		free_str(&aside);
		aside = i == 0 ? xasprintf("%s.bad-%llu", opts->path,
		                           (unsigned long long)opts->wall_seconds)
		               : xasprintf("%s.bad-%llu.%d", opts->path,
		                           (unsigned long long)opts->wall_seconds, i);
		r = access(aside, F_OK) == 0 ? -1 : 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(tails) && r == 0; i++) {
		AUTO(free_str) char *from = xasprintf("%s%s", opts->path, tails[i]);
		AUTO(free_str) char *to = xasprintf("%s%s", aside, tails[i]);

		if (rename(from, to) != 0 && errno != ENOENT)
			r = err_errno(e, errno, "cannot move %s aside", from);
	}
	if (r == -1)
		return err_set(e, EEXIST, "cannot move %s aside: too many are there", opts->path);
	if (r < 0)
		return r;
	*ret_aside = aside;
	aside = NULL;
	return 0;
}

int db_open_writer(const struct db_opts *opts, struct db **ret_db, struct err *e)
{
	AUTO(free_str) char *aside = NULL;
	struct err why;
	int r = open_once(opts, ret_db, e);

	if (r != -EUCLEAN)
		return r;
	why = *e;
	r = move_aside(opts, &aside, e);
	if (r < 0)
		return r;
	log_error(opts->log, "the CAS database cannot be used: moved aside, the cache starts cold",
	          "moved_to=%s why=%s", LOG_Q(aside), LOG_Q(why.msg));
	return open_once(opts, ret_db, e);
}

int db_open_reader(const struct db_opts *opts, struct db **ret_db, struct err *e)
{
	AUTO(db_close) struct db *db = NULL;
	int r = connect_to(opts, SQLITE_OPEN_READONLY, &db, e);

	if (r == 0)
		r = db_exec(db, "PRAGMA query_only=1; PRAGMA cell_size_check=ON", e);
	if (r < 0)
		return r;
	*ret_db = db;
	db = NULL;
	return 0;
}
