/*
 * pins: see the header. Names stand in the table `pinned`; what follows from them is pinned.c's.
 */
#include "pins.h"
#include "mem.h"
#include "pinned.h"
#include "state.h"
#include <errno.h>
#include <string.h>

struct change {
	const char *name;
	bool pinned;
	bool changed;
};

static int write_row(struct cas *cas, struct change *c, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = tx_begin(cas->db, TX_SYNCED, &tx, e);

	if (r == 0)
		r = db_prepare(cas->db,
		               c->pinned ? "INSERT OR IGNORE INTO pinned(name) VALUES(?)"
		                         : "DELETE FROM pinned WHERE name = ?",
		               &stmt, e);
	if (r < 0)
		return r;
	db_bind_text(stmt, 1, c->name);
	r = db_run(stmt, e);
	c->changed = r == 0 && sqlite3_changes(cas->db->sql) > 0;
	return r == 0 ? tx_commit(&tx, e) : r;
}

static int write_on_writer(struct cas *cas, void *arg, struct err *e)
{
	const int r = write_row(cas, arg, e);

	return r == -ENOSPC && evict_give_ballast(cas) ? write_row(cas, arg, e) : r;
}

/* Behind the round of eviction that runs, which does not know of it. */
static int measure_again(struct cas *cas, void *arg, struct err *e)
{
	(void)arg;
	return pinned_measure(cas, e);
}

int pins_set(struct cas *cas, const char *name, bool pinned, struct err *e)
{
	struct change c = { .name = name, .pinned = pinned };
	int r;

	if (strlen(name) >= CAS_ORIGIN_MAX_BYTES)
		return err_set(e, ENAMETOOLONG, "the name of the image is too long");
	r = writer_do(cas, write_on_writer, &c, e);
	if (r == 0)
		r = queue_do(cas, cas->evictor.pool, measure_again, NULL, e);
	if (r < 0)
		return err_wrap(e, "%s %s", pinned ? "pinning" : "unpinning", name);
	return c.changed ? 0 : CAS_MISS;
}

/* All of them first: whoever is told may take long, or ask again. */
static int read_names(struct cas *cas, char **ret_names, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = db_prepare(reader.db, "SELECT name FROM pinned ORDER BY name", &stmt, e);
	return r == 0 ? db_texts(stmt, CAS_ORIGIN_MAX_BYTES, ret_names, e) : r;
}

int pins_list(struct cas *cas, int (*fn)(void *arg, const char *name), void *arg, struct err *e)
{
	AUTO(free_str) char *names = NULL;
	const int r = read_names(cas, &names, e);

	for (const char *n = names; r == 0 && n != NULL && *n != '\0'; n += strlen(n) + 1)
		if (fn(arg, n) != 0)
			break;
	return r;
}
