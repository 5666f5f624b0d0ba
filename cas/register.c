/*
 * register: rows for blobs. Knows the tables blob, layout and chunk; knows no data files but by
 * their identity, which it records.
 *
 * A blob can be described by several images, each knowing a part: what is stored is the union.
 */
#include "register.h"
#include "chunk_rows.h"
#include "layout_code.h"
#include "mem.h"
#include "rows.h"
#include "state.h"
#include "stored.h"
#include "unregister.h"
#include <errno.h>
#include <stdlib.h>

struct registration {
	struct job job;
	struct cas_blob *blob; /* a reference */
	struct chunk_rows *rows;
	uint32_t turn;
};

static int write_parts(struct db *db, uint64_t row, const struct blob_layout *l, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	struct layout_part *part = xcalloc(1, sizeof(*part));
	const bool with_digests = layout_has_digests(l);
	int r = db_prepare(db, "INSERT OR REPLACE INTO layout(id, places, digests) VALUES(?, ?, ?)",
	                   &stmt, e);

	for (uint32_t i = 0; i < layout_n_parts(l->n_chunks) && r == 0; i++) {
		layout_part_encode(l, i, with_digests, part);
		db_bind_u64(stmt, 1, part_id(row, i));
		db_bind_blob(stmt, 2, part->places, part->places_size_bytes);
		db_bind_blob(stmt, 3, part->digests, part->digests_size_bytes);
		r = db_run(stmt, e);
	}
	free(part);
	return r;
}

static int write_blob(struct cas_blob *blob, const struct blob_layout *l, uint32_t n_named,
                      uint64_t *ret_row, struct err *e)
{
	const struct file_identity *id = &blob->identity;
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(blob->cas->db,
	                   "INSERT INTO blob(key, blob_id, digest_alg, trust, n_chunks, plain_size,"
	                   " packed_size, n_named, file_id, file_dev, file_fs, file_ino,"
	                   " file_btime_ns, file_size) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
	                   " ON CONFLICT(key) DO UPDATE SET trust = excluded.trust,"
	                   " packed_size = max(packed_size, excluded.packed_size),"
	                   " n_named = excluded.n_named, file_id = excluded.file_id,"
	                   " file_dev = excluded.file_dev, file_fs = excluded.file_fs,"
	                   " file_ino = excluded.file_ino, file_btime_ns = excluded.file_btime_ns,"
	                   " file_size = excluded.file_size RETURNING id",
	                   &stmt, e);

	if (r < 0)
		return r;
	db_bind_text(stmt, 1, blob->key);
	db_bind_text(stmt, 2, l->blob_id);
	db_bind_u64(stmt, 3, (uint64_t)l->digest_alg);
	db_bind_u64(stmt, 4, (uint64_t)blob->domain);
	db_bind_u64(stmt, 5, l->n_chunks);
	db_bind_u64(stmt, 6, l->plain_size_bytes);
	db_bind_u64(stmt, 7, l->packed_size_bytes);
	db_bind_u64(stmt, 8, n_named);
	db_bind_blob(stmt, 9, id->id, sizeof(id->id));
	db_bind_u64(stmt, 10, id->dev);
	db_bind_u64(stmt, 11, id->fs_id);
	db_bind_u64(stmt, 12, id->ino);
	db_bind_u64(stmt, 13, id->btime_ns);
	db_bind_u64(stmt, 14, id->size_bytes);
	r = db_step(stmt, e);
	if (r == 1) {
		*ret_row = db_u64(stmt, 0);
		r = db_run(stmt, e);
	}
	return r;
}

/* The layout to store, of what is stored and what the blob knows; *ret_more: it is news. */
static int merge(const struct cas_blob *blob, const struct stored_blob *stored,
                 struct blob_layout **ret_layout, bool *ret_more, struct err *e)
{
	struct blob_layout *mine = blob_layout(blob);

	*ret_more = stored->layout == NULL || layout_says_more(stored->layout, mine);
	if (stored->layout == NULL || !layout_says_more(mine, stored->layout))
		*ret_layout = layout_ref(mine);
	else
		*ret_layout = layout_union(mine, stored->layout);
	return *ret_layout == NULL ? err_set(e, ENOMEM, "layout of %s: out of memory", blob->key)
	                           : 0;
}

/* Row and parts. ret_layout: a reference of what is stored then; chunk rows from ret_first on. */
static int write_row(struct cas_blob *blob, struct blob_layout **ret_layout, uint32_t *ret_first,
                     struct err *e)
{
	struct db *db = blob->cas->db;
	AUTO(stored_blob_fini) struct stored_blob stored = { .row = 0 };
	AUTO(layout_unref) struct blob_layout *l = NULL;
	AUTO(tx_end) struct tx tx = { .db = NULL };
	uint64_t row = 0;
	bool more = true;
	int r = stored_blob_find(db, blob->key, &stored, e);

	if (r == -EUCLEAN) /* of no use to anybody; stored is as it was */
		r = unregister_blob(blob->cas, blob->key, e);
	if (r >= 0)
		r = merge(blob, &stored, &l, &more, e);
	if (r == 0)
		r = tx_begin(db, TX_LAZY, &tx, e);
	if (r == 0)
		r = write_blob(blob, l, more ? 0 : stored.n_named, &row, e);
	if (r == 0 && more)
		r = write_parts(db, row, l, e);
	if (r == 0)
		r = tx_commit(&tx, e);
	if (r < 0)
		return r;
	blob->row = row;
	*ret_first = more ? 0 : stored.n_named;
	*ret_layout = l;
	l = NULL;
	return 0;
}

int register_row(struct cas_blob *blob, struct err *e)
{
	AUTO(layout_unref) struct blob_layout *l = NULL;
	uint32_t first;

	return write_row(blob, &l, &first, e);
}

static void registration_free(struct registration *reg)
{
	chunk_rows_free(&reg->rows);
	cas_blob_release(&reg->blob);
	free(reg);
}

/* One transaction of chunk rows, then to the end of the queue: ready maps go first. */
static void name_work(struct job *job)
{
	struct registration *reg = container_of(job, struct registration, job);
	struct cas *cas = reg->blob->cas;
	struct err e;
	int r = 0;

	/* A later registration has the larger layout; after the next start it goes on from here. */
	if (reg->turn == reg->blob->register_turn && !atomic_load(&cas->closing))
		r = chunk_rows_step(reg->rows, cas->db, CHUNK_ROWS_ADD, &e);
	if (r < 0)
		log_warn(cas->log,
		         "chunks of a blob are not registered: not found for other images",
		         "blob=%s why=%s", reg->blob->key, LOG_Q(e.msg));
	if (r == 1) {
		reg->job = (struct job){ .work = name_work, .prio = JOB_PREFETCH };
		pool_submit(cas->writer, &reg->job);
	} else {
		registration_free(reg);
	}
}

static void register_work(struct job *job)
{
	struct registration *reg = container_of(job, struct registration, job);
	struct cas_blob *blob = reg->blob;
	AUTO(layout_unref) struct blob_layout *l = NULL;
	struct err e;
	uint32_t first = 0;
	const int r = write_row(blob, &l, &first, &e);

	if (r < 0)
		log_warn(blob->cas->log,
		         "blob is not registered: after a restart it is fetched again",
		         "blob=%s why=%s", blob->key, LOG_Q(e.msg));
	if (r == 0 && first < l->n_chunks)
		reg->rows = chunk_rows_new(blob->row, l, first);
	if (reg->rows == NULL) {
		registration_free(reg);
		return;
	}
	reg->turn = ++blob->register_turn;
	reg->job = (struct job){ .work = name_work, .prio = JOB_PREFETCH };
	pool_submit(blob->cas->writer, &reg->job);
}

void register_start(struct cas_blob *blob)
{
	struct registration *reg = xcalloc(1, sizeof(*reg));

	reg->blob = cas_blob_ref(blob);
	reg->job = (struct job){ .work = register_work };
	writer_submit(blob->cas, &reg->job);
}
