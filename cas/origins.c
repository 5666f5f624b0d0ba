/*
 * origins: where a blob can be fetched, in memory and in the database. Knows text; knows no
 * network.
 */
#include "mem.h"
#include "register.h"
#include "state.h"
#include "unconst.h"
#include <stdlib.h>
#include <string.h>

struct origin_note {
	struct job job;
	struct cas_blob *blob; /* a reference */
	struct cas_origin origin;
};

static int run_with(struct db *db, const char *sql, const struct origin_note *note, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const int r = db_prepare(db, sql, &stmt, e);

	if (r < 0)
		return r;
	db_bind_text(stmt, 1, note->origin.text);
	if (sqlite3_bind_parameter_count(stmt) > 1)
		db_bind_u64(stmt, 2, note->blob->row);
	return db_run(stmt, e);
}

/* As remember() does it: of too many, the oldest go. */
static int trim(struct db *db, uint64_t row, struct err *e)
{
	const uint64_t values[] = { row, CAS_ORIGINS_MAX };

	return db_run_with(db,
	                   "DELETE FROM blob_origin WHERE blob = ?1 AND origin NOT IN"
	                   " (SELECT origin FROM blob_origin WHERE blob = ?1"
	                   " ORDER BY seq DESC LIMIT ?2)",
	                   values, 2, e);
}

static int write_origin(const struct origin_note *note, struct err *e)
{
	struct db *db = note->blob->cas->db;
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = note->blob->row != 0 ? 0 : register_row(note->blob, e);

	if (r == 0)
		r = tx_begin(db, TX_LAZY, &tx, e);
	if (r == 0)
		r = run_with(db, "INSERT OR IGNORE INTO origin(text) VALUES(?1)", note, e);
	if (r == 0)
		r = run_with(db,
		             "INSERT OR REPLACE INTO blob_origin(blob, origin, seq)"
		             " SELECT ?2, id, (SELECT IFNULL(MAX(seq), 0) + 1 FROM blob_origin"
		             " WHERE blob = ?2) FROM origin WHERE text = ?1",
		             note, e);
	if (r == 0)
		r = trim(db, note->blob->row, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

static void note_work(struct job *job)
{
	struct origin_note *note = container_of(job, struct origin_note, job);
	struct err e;

	if (write_origin(note, &e) < 0)
		log_warn(note->blob->cas->log, "origin not recorded", "blob=%s origin=%s why=%s",
		         note->blob->key, LOG_Q(note->origin.text), LOG_Q(e.msg));
	cas_blob_release(&note->blob);
	free(note);
}

/* "http://user:password@host/": whoever passes that has made a mistake; it goes no further. */
static bool holds_user_info(const char *origin)
{
	const char *authority = strstr(origin, "://");
	size_t n;

	if (authority == NULL)
		return false;
	authority += 3;
	n = strcspn(authority, "/?#");
	return memchr(authority, '@', n) != NULL;
}

/* With blob->mutex held. The one that was told last is the one that somebody mounts from now: of
 * too many, the one goes that was not told for longest. @return is there anything to write? */
static bool remember(struct cas_blob *blob, const char *origin)
{
	uint32_t at = 0;

	while (at < blob->n_origins && strcmp(blob->origins[at].text, origin) != 0)
		at++;
	if (at < blob->n_origins && blob->n_origins < CAS_ORIGINS_MAX)
		return false; /* there is room: their order matters to nobody */
	if (at < blob->n_origins) {
		const struct cas_origin told = blob->origins[at];
		const uint32_t n_behind = blob->n_origins - at - 1;

		memmove(&blob->origins[at], &blob->origins[at + 1],
		        n_behind * sizeof(*blob->origins));
		blob->origins[blob->n_origins - 1] = told;
		return n_behind > 0;
	}
	if (blob->n_origins == CAS_ORIGINS_MAX)
		memmove(blob->origins, blob->origins + 1,
		        --blob->n_origins * sizeof(*blob->origins));
	else
		blob->origins =
			xrealloc(blob->origins, blob->n_origins + 1, sizeof(*blob->origins));
	memset(&blob->origins[blob->n_origins], 0, sizeof(*blob->origins));
	memcpy(blob->origins[blob->n_origins++].text, origin, strlen(origin) + 1);
	return true;
}

void cas_blob_add_origin(struct cas_blob *blob, const char *origin)
{
	struct origin_note *note = NULL;
	bool is_new;

	if (strlen(origin) >= CAS_ORIGIN_MAX_BYTES || holds_user_info(origin)) {
		log_warn(blob->cas->log, "origin not recorded: too long, or with user info in it",
		         "blob=%s", blob->key);
		return;
	}
	(void)pthread_mutex_lock(&blob->mutex);
	is_new = remember(blob, origin);
	(void)pthread_mutex_unlock(&blob->mutex);
	if (!is_new)
		return;
	note = xcalloc(1, sizeof(*note));
	note->blob = cas_blob_ref(blob);
	memcpy(note->origin.text, origin, strlen(origin) + 1);
	note->job = (struct job){ .work = note_work };
	writer_submit(blob->cas, &note->job);
}

uint32_t cas_blob_origins(const struct cas_blob *blob, struct cas_origin *ret_origins, uint32_t max)
{
	pthread_mutex_t *mutex = unconst(&blob->mutex);
	uint32_t n;

	(void)pthread_mutex_lock(mutex);
	n = blob->n_origins < max ? blob->n_origins : max;
	if (n > 0)
		memcpy(ret_origins, blob->origins, n * sizeof(*ret_origins));
	(void)pthread_mutex_unlock(mutex);
	return n;
}
