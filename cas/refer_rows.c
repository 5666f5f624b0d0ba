/*
 * refer_rows: dedup maps in the database (docs/on-disk.md, "Dedup maps"). Knows rows and runs;
 * knows no files.
 */
#include "layout_code.h"
#include "ready_rows.h"
#include "refer.h"
#include "rows.h"
#include "varint.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUN_MAX_BYTES ((size_t)4 * VARINT_MAX_BYTES)

/* ---- the form of a row ---- */

static bool decode_run(const uint8_t **at, const uint8_t *end, uint32_t from, uint32_t slice_end,
                       struct refer_run *ret_run)
{
	uint64_t gap;
	uint64_t n;
	uint64_t row;
	uint64_t idx;

	if (!varint_get(at, end, &gap) || !varint_get(at, end, &n) || !varint_get(at, end, &row) ||
	    !varint_get(at, end, &idx))
		return false;
	if (gap > slice_end - from || n == 0 || n > slice_end - from - gap || row == 0 ||
	    idx > BLOB_CHUNKS_MAX - n)
		return false;
	*ret_run = (struct refer_run){ .chunk_idx = from + (uint32_t)gap,
		                       .n_chunks = (uint32_t)n,
		                       .owner_row = row,
		                       .owner_idx = (uint32_t)idx };
	return true;
}

static int each_of_slice(uint32_t slice, const uint8_t *bytes, size_t n_bytes,
                         int (*fn)(void *arg, const struct refer_run *run, struct err *e),
                         void *arg, struct err *e)
{
	const uint8_t *at = bytes;
	uint32_t from = slice << REFER_SLICE_BITS;
	const uint32_t slice_end = from + REFER_SLICE_CHUNKS;
	int r = 0;

	while (at != NULL && at < bytes + n_bytes && r == 0) {
		struct refer_run run;

		if (!decode_run(&at, bytes + n_bytes, from, slice_end, &run))
			return err_set(e, EUCLEAN, "CAS database: a dedup map contradicts itself");
		from = run.chunk_idx + run.n_chunks;
		r = fn(arg, &run, e);
	}
	return r;
}

int refer_rows_each(struct db *db, uint64_t row,
                    int (*fn)(void *arg, const struct refer_run *run, struct err *e), void *arg,
                    struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare_parts(db,
	                         "SELECT id, runs FROM refer WHERE id >= ? AND id < ? ORDER BY id",
	                         row, &stmt, e);

	if (r < 0)
		return r;
	while ((r = db_step(stmt, e)) == 1) {
		size_t n_bytes;
		const uint8_t *bytes = db_blob(stmt, 1, &n_bytes);

		r = each_of_slice(part_of_id(db_u64(stmt, 0)), bytes, n_bytes, fn, arg, e);
		if (r != 0)
			return r;
	}
	return r;
}

/* ---- writing ---- */

int refer_rows_store(struct db *db, uint64_t row, uint32_t slice, const struct refer_run *runs,
                     uint32_t n_runs, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const uint64_t id = part_id(row, slice);
	uint32_t from = slice << REFER_SLICE_BITS;
	size_t n_bytes = 0;
	uint8_t *bytes;
	int r;

	if (n_runs == 0)
		return db_run_with(db, "DELETE FROM refer WHERE id = ?", &id, 1, e);
	bytes = malloc(n_runs * RUN_MAX_BYTES); /* n_runs <= REFER_SLICE_CHUNKS */
	if (bytes == NULL)
		return err_set(e, ENOMEM, "dedup map: out of memory");
	for (uint32_t i = 0; i < n_runs; i++) {
		n_bytes += varint_put(bytes + n_bytes, runs[i].chunk_idx - from);
		n_bytes += varint_put(bytes + n_bytes, runs[i].n_chunks);
		n_bytes += varint_put(bytes + n_bytes, runs[i].owner_row);
		n_bytes += varint_put(bytes + n_bytes, runs[i].owner_idx);
		from = runs[i].chunk_idx + runs[i].n_chunks;
	}
	r = db_prepare(db, "INSERT OR REPLACE INTO refer(id, runs) VALUES(?, ?)", &stmt, e);
	if (r == 0) {
		db_bind_u64(stmt, 1, id);
		db_bind_blob(stmt, 2, bytes, n_bytes);
		r = db_run(stmt, e);
	}
	free(bytes);
	return r;
}

int refer_rows_owners(struct db *db, uint64_t row, const uint64_t *owner_rows, uint32_t n_owners,
                      struct err *e)
{
	int r = db_run_with(db, "DELETE FROM refer_owner WHERE blob = ?", &row, 1, e);

	for (uint32_t i = 0; i < n_owners && r == 0; i++) {
		const uint64_t values[] = { owner_rows[i], row };

		r = db_run_with(db, "INSERT OR IGNORE INTO refer_owner(owner, blob) VALUES(?, ?)",
		                values, 2, e);
	}
	return r;
}

int refer_rows_forget(struct db *db, uint64_t row, struct err *e)
{
	const int r = db_run_parts(db, "DELETE FROM refer WHERE id >= ? AND id < ?", row, e);

	return r == 0 ? refer_rows_owners(db, row, NULL, 0, e) : r;
}

int refer_rows_delete(struct db *db, uint64_t row, struct err *e)
{
	const int r = refer_rows_forget(db, row, e);

	return r == 0 ? db_run_with(db, "DELETE FROM refer_owner WHERE owner = ?", &row, 1, e) : r;
}

/* ---- questions ---- */

/* Ready maps of owners, as they come up: one at a time, for runs of one owner stand together. */
struct presence {
	struct db *db;
	struct bitmap *referred;
	uint64_t owner_row;
	struct bitmap *owner_ready;
};

static int load_owner(struct presence *p, uint64_t owner_row, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r;

	bitmap_free(&p->owner_ready);
	p->owner_row = owner_row;
	r = db_prepare(p->db, "SELECT n_chunks FROM blob WHERE id = ? AND dying = 0", &stmt, e);
	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, owner_row);
	r = db_step(stmt, e);
	if (r != 1)
		return r;
	if (db_u64(stmt, 0) <= BLOB_CHUNKS_MAX)
		p->owner_ready = bitmap_new((uint32_t)db_u64(stmt, 0));
	return p->owner_ready == NULL ? err_set(e, ENOMEM, "ready map: out of memory")
	                              : ready_rows_load(p->db, owner_row, p->owner_ready, e);
}

static int note_present(void *arg, const struct refer_run *run, struct err *e)
{
	struct presence *p = arg;
	int r = 0;

	if (run->owner_row != p->owner_row)
		r = load_owner(p, run->owner_row, e);
	for (uint32_t i = 0; r == 0 && p->owner_ready != NULL && i < run->n_chunks; i++)
		if (run->chunk_idx + i < p->referred->n_bits &&
		    run->owner_idx + i < p->owner_ready->n_bits &&
		    bitmap_get(p->owner_ready, run->owner_idx + i))
			(void)bitmap_set(p->referred, run->chunk_idx + i);
	return r;
}

int refer_rows_present(struct db *db, uint64_t row, struct bitmap *ret_referred, struct err *e)
{
	struct presence p = { .db = db, .referred = ret_referred };
	const int r = refer_rows_each(db, row, note_present, &p, e);

	bitmap_free(&p.owner_ready);
	return r;
}
