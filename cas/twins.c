/*
 * twins: see the header. Knows the tables chunk, blob and origin; changes nothing.
 */
#include "twins.h"
#include "mem.h"
#include "public_name.h"
#include "state.h"
#include "stored.h"
#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 64U /* blobs with one name that are looked at */
#define ROWS_MAX   256U

struct row {
	uint64_t id;
	uint32_t room;
	struct cas_twin_blob blob;
};

struct search {
	const struct cas_blob *blob;
	bool is_cut;
	uint32_t n_rows;
	struct row rows[ROWS_MAX];
};

static void blob_clear(struct cas_twin_blob *b)
{
	free(b->twins);
	free(b->origins);
	*b = (struct cas_twin_blob){ .n_twins = 0 };
}

void cas_twins_clear(struct cas_twins *twins)
{
	for (uint32_t i = 0; i < twins->n_blobs; i++)
		blob_clear(&twins->blobs[i]);
	free(twins->blobs);
	*twins = (struct cas_twins){ .n_blobs = 0 };
}

static void search_free(struct search **search)
{
	for (uint32_t i = 0; i < (*search)->n_rows; i++)
		blob_clear(&(*search)->rows[i].blob);
	free(*search);
	*search = NULL;
}

/* NULL: there are too many already. */
static struct row *row_of(struct search *s, uint64_t id)
{
	for (uint32_t i = 0; i < s->n_rows; i++)
		if (s->rows[i].id == id)
			return &s->rows[i];
	if (s->n_rows == ROWS_MAX)
		return NULL;
	s->rows[s->n_rows].id = id;
	return &s->rows[s->n_rows++];
}

static void note_twin(struct row *row, uint32_t chunk_idx, uint32_t their_idx)
{
	struct cas_twin_blob *b = &row->blob;

	/* Where a chunk stands twice there, once is enough. */
	if (b->n_twins > 0 && b->twins[b->n_twins - 1].chunk_idx == chunk_idx)
		return;
	if (b->n_twins == row->room) {
		row->room = row->room == 0 ? 16 : row->room * 2; /* <= the chunks of the blob */
		b->twins = xrealloc(b->twins, row->room, sizeof(*b->twins));
	}
	b->twins[b->n_twins++] =
		(struct cas_twin){ .chunk_idx = chunk_idx, .their_idx = their_idx };
}

static int look_up(struct search *s, db_stmt *stmt, uint32_t chunk_idx,
                   const uint8_t name[PUBLIC_NAME_BYTES], struct err *e)
{
	uint32_t n = 0;
	int r;

	db_bind_blob(stmt, 1, name, PUBLIC_NAME_BYTES);
	while ((r = db_step(stmt, e)) == 1) {
		struct row *row = n++ < PLACES_MAX ? row_of(s, db_u64(stmt, 0)) : NULL;

		if (row != NULL)
			note_twin(row, chunk_idx, (uint32_t)db_u64(stmt, 1));
		else
			s->is_cut = true;
	}
	db_reset(stmt);
	return r;
}

static int look_up_all(struct search *s, struct db *db, const uint32_t *chunks, uint32_t n_chunks,
                       struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const struct blob_layout *l = blob_layout(s->blob);
	struct public_namer *namer;
	/* What is dying, has no origin, or is the blob itself must not use up the limit. */
	int r = db_prepare(db,
	                   "SELECT blob, min(idx) FROM chunk WHERE name = ? AND blob <> ?"
	                   " AND EXISTS(SELECT 1 FROM blob WHERE id = chunk.blob AND dying = 0)"
	                   " AND EXISTS(SELECT 1 FROM blob_origin WHERE blob = chunk.blob)"
	                   " GROUP BY blob LIMIT ?",
	                   &stmt, e);

	if (r < 0)
		return r;
	db_bind_u64(stmt, 2, s->blob->row);
	db_bind_u64(stmt, 3, PLACES_MAX + 1); /* one more tells that there are more */
	namer = public_namer_new();
	for (uint32_t i = 0; i < n_chunks && r == 0; i++) {
		const struct chunk_rec *c = &l->chunks[chunks[i]];
		uint8_t name[PUBLIC_NAME_BYTES];

		if (c->plain_size_bytes == 0 || !(c->flags & CHUNK_HAS_DIGEST))
			continue;
		public_name(namer, l->digest_alg, c->digest, c->plain_size_bytes, name);
		r = look_up(s, stmt, chunks[i], name, e);
	}
	public_namer_free(&namer);
	return r;
}

/* @return 0, also where it is no more: then it has no origins */
static int read_row(struct row *row, struct db *db, struct err *e)
{
	struct cas_twin_blob *b = &row->blob;
	int r = stored_key(db, row->id, b->key, e);

	if (r == 0)
		r = stored_origins(db, row->id, &b->origins, &b->n_origins, e);
	return r < 0 ? r : 0;
}

static int by_twins(const void *a, const void *b)
{
	const struct row *x = a;
	const struct row *y = b;

	if (x->blob.n_twins != y->blob.n_twins)
		return x->blob.n_twins > y->blob.n_twins ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

/* The best of them move over. */
static int choose(struct search *s, struct db *db, struct cas_twins *twins, struct err *e)
{
	int r = 0;

	qsort(s->rows, s->n_rows, sizeof(s->rows[0]), by_twins);
	twins->blobs = xcalloc(CAS_TWIN_BLOBS_MAX, sizeof(*twins->blobs));
	twins->is_cut = s->is_cut || s->n_rows > CAS_TWIN_BLOBS_MAX;
	for (uint32_t i = 0; i < s->n_rows && twins->n_blobs < CAS_TWIN_BLOBS_MAX && r == 0; i++) {
		r = read_row(&s->rows[i], db, e);
		if (r < 0 || s->rows[i].blob.n_origins == 0)
			continue;
		twins->blobs[twins->n_blobs++] = s->rows[i].blob;
		s->rows[i].blob = (struct cas_twin_blob){ .n_twins = 0 };
	}
	return r;
}

int cas_twins_find(struct cas *cas, const struct cas_blob *blob, const uint32_t *chunks,
                   uint32_t n_chunks, struct cas_twins *ret_twins, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(cas_twins_clear) struct cas_twins twins = { .n_blobs = 0 };
	AUTO(search_free) struct search *s = xcalloc(1, sizeof(*s));
	int r = db_reader_begin(cas->readers, &reader, e);

	s->blob = blob;
	if (r == 0)
		r = look_up_all(s, reader.db, chunks, n_chunks, e);
	if (r == 0)
		r = choose(s, reader.db, &twins, e);
	if (r < 0)
		return r;
	*ret_twins = twins;
	twins = (struct cas_twins){ .n_blobs = 0 };
	return 0;
}
