/*
 * db_readers: a few read-only connections that workers take and give back.
 *
 * Knows how many and who waits; knows no table.
 */
#include "db.h"
#include "mem.h"
#include <pthread.h>
#include <stdlib.h>

struct db_readers {
	struct db_opts opts;
	char *path;
	pthread_mutex_t mutex; /* guards the two fields below; never held across SQLite */
	pthread_cond_t given_back;
	struct db *idle[DB_READERS_MAX];
	uint32_t n_idle;
	uint32_t n_in_use;
};

int db_readers_new(const struct db_opts *opts, struct db_readers **ret_r, struct err *e)
{
	struct db_readers *r = xcalloc(1, sizeof(*r));

	(void)e;
	r->opts = *opts;
	r->path = xstrdup(opts->path);
	r->opts.path = r->path;
	(void)pthread_mutex_init(&r->mutex, NULL);
	(void)pthread_cond_init(&r->given_back, NULL);
	*ret_r = r;
	return 0;
}

void db_readers_free(struct db_readers **r)
{
	struct db_readers *it = *r;

	if (it == NULL)
		return;
	for (uint32_t i = 0; i < it->n_idle; i++)
		db_close(&it->idle[i]);
	(void)pthread_cond_destroy(&it->given_back);
	(void)pthread_mutex_destroy(&it->mutex);
	free(it->path);
	free(it);
	*r = NULL;
}

static void give_back(struct db_readers *r, struct db *db)
{
	(void)pthread_mutex_lock(&r->mutex);
	if (db != NULL)
		r->idle[r->n_idle++] = db;
	r->n_in_use--;
	(void)pthread_cond_signal(&r->given_back);
	(void)pthread_mutex_unlock(&r->mutex);
}

int db_reader_begin(struct db_readers *r, struct db_reader *ret_reader, struct err *e)
{
	struct db *db = NULL;
	int rc = 0;

	(void)pthread_mutex_lock(&r->mutex);
	while (r->n_in_use == DB_READERS_MAX)
		(void)pthread_cond_wait(&r->given_back, &r->mutex);
	r->n_in_use++;
	if (r->n_idle > 0)
		db = r->idle[--r->n_idle];
	(void)pthread_mutex_unlock(&r->mutex);
	if (db == NULL)
		rc = db_open_reader(&r->opts, &db, e);
	if (rc < 0) {
		give_back(r, NULL);
		return rc;
	}
	*ret_reader = (struct db_reader){ .from = r, .db = db };
	return 0;
}

void db_reader_end(struct db_reader *reader)
{
	if (reader->from != NULL)
		give_back(reader->from, reader->db);
	reader->from = NULL;
	reader->db = NULL;
}
