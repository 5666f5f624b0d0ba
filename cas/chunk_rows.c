/*
 * chunk_rows: see the header. Knows names and rows; knows no files.
 */
#include "chunk_rows.h"
#include "mem.h"
#include "public_name.h"
#include <stdlib.h>
#include <string.h>

struct named_chunk {
	uint8_t name[PUBLIC_NAME_BYTES];
	uint32_t idx;
};

struct chunk_rows {
	uint64_t blob_row;
	struct blob_layout *layout;
	struct public_namer *namer;
	struct named_chunk *group; /* the group at hand, sorted */
	uint32_t n_group;
	uint32_t n_done;    /* of the group */
	uint32_t group_end; /* first chunk behind the group */
};

struct chunk_rows *chunk_rows_new(uint64_t blob_row, struct blob_layout *layout, uint32_t first)
{
	const uint32_t max =
		layout->n_chunks < CHUNK_ROWS_GROUP ? layout->n_chunks : CHUNK_ROWS_GROUP;
	struct chunk_rows *rows = xcalloc(1, sizeof(*rows));

	rows->blob_row = blob_row;
	rows->layout = layout_ref(layout);
	rows->namer = public_namer_new();
	rows->group = calloc((size_t)max + 1, sizeof(rows->group[0]));
	rows->group_end = first;
	if (rows->group == NULL)
		chunk_rows_free(&rows);
	return rows;
}

void chunk_rows_free(struct chunk_rows **rows)
{
	struct chunk_rows *it = *rows;

	if (it == NULL)
		return;
	layout_unref(&it->layout);
	public_namer_free(&it->namer);
	free(it->group);
	free(it);
	*rows = NULL;
}

static int by_name(const void *a, const void *b)
{
	const struct named_chunk *na = a;
	const struct named_chunk *nb = b;
	const int c = memcmp(na->name, nb->name, sizeof(na->name));

	return c != 0 ? c : (na->idx > nb->idx) - (na->idx < nb->idx);
}

static void next_group(struct chunk_rows *rows)
{
	const struct blob_layout *l = rows->layout;
	const uint32_t first = rows->group_end;
	const uint32_t left = l->n_chunks - first;

	rows->group_end = first + (left < CHUNK_ROWS_GROUP ? left : CHUNK_ROWS_GROUP);
	rows->n_group = 0;
	rows->n_done = 0;
	for (uint32_t i = first; i < rows->group_end; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		struct named_chunk *n = &rows->group[rows->n_group];

		if (c->plain_size_bytes == 0 || !(c->flags & CHUNK_HAS_DIGEST))
			continue;
		public_name(rows->namer, l->digest_alg, c->digest, c->plain_size_bytes, n->name);
		n->idx = i;
		rows->n_group++;
	}
	qsort(rows->group, rows->n_group, sizeof(rows->group[0]), by_name);
}

static int write_some(struct chunk_rows *rows, struct db *db, const char *sql, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const uint32_t left = rows->n_group - rows->n_done;
	const uint32_t end = rows->n_done + (left < CHUNK_ROWS_A_TX ? left : CHUNK_ROWS_A_TX);
	int r = db_prepare(db, sql, &stmt, e);

	for (; rows->n_done < end && r == 0; rows->n_done++) {
		const struct named_chunk *n = &rows->group[rows->n_done];

		db_bind_blob(stmt, 1, n->name, sizeof(n->name));
		db_bind_u64(stmt, 2, rows->blob_row);
		db_bind_u64(stmt, 3, n->idx);
		r = db_run(stmt, e);
	}
	return r;
}

static int note_progress(struct chunk_rows *rows, struct db *db, struct err *e)
{
	const uint64_t values[] = { rows->group_end, rows->blob_row };

	return db_run_with(db, "UPDATE blob SET n_named = ? WHERE id = ?", values, 2, e);
}

int chunk_rows_step(struct chunk_rows *rows, struct db *db, enum chunk_rows_do what, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	const char *sql = what == CHUNK_ROWS_ADD
	                          ? "INSERT OR IGNORE INTO chunk(name, blob, idx) VALUES(?, ?, ?)"
	                          : "DELETE FROM chunk WHERE name = ? AND blob = ? AND idx = ?";
	int r;

	if (rows->n_done == rows->n_group && rows->group_end < rows->layout->n_chunks)
		next_group(rows);
	r = tx_begin(db, TX_LAZY, &tx, e);
	if (r == 0)
		r = write_some(rows, db, sql, e);
	if (r == 0 && what == CHUNK_ROWS_ADD && rows->n_done == rows->n_group)
		r = note_progress(rows, db, e);
	if (r == 0)
		r = tx_commit(&tx, e);
	if (r < 0)
		return r;
	return rows->n_done < rows->n_group || rows->group_end < rows->layout->n_chunks;
}
