/*
 * pinned: see the header.
 *
 * What stands in the database counts, and the references in memory that it does not have yet. Knows
 * names, rows and references; chooses nothing.
 */
#include "pinned.h"
#include "data_file.h"
#include "mem.h"
#include "refer.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SQL_KEYS                                                                                   \
	"SELECT DISTINCT key FROM pinned p JOIN image_name n ON n.name = p.name"                   \
	" JOIN image_blob b ON b.digest = n.digest JOIN blob ON blob.id = b.blob WHERE dying = 0"

void pinned_free(struct pinned *p)
{
	for (uint32_t i = 0; i < p->n_blobs; i++) {
		free(p->blobs[i].key);
		bitmap_free(&p->blobs[i].chunks);
	}
	free(p->blobs);
	*p = (struct pinned){ .n_blobs = 0 };
}

static struct pinned_blob *find(const struct pinned *p, const char *key)
{
	for (uint32_t i = 0; i < p->n_blobs; i++)
		if (strcmp(p->blobs[i].key, key) == 0)
			return &p->blobs[i];
	return NULL;
}

const struct pinned_blob *pinned_find(const struct pinned *p, const char *key)
{
	return find(p, key);
}

bool pinned_has(const struct pinned_blob *b, uint32_t chunk_idx)
{
	return b != NULL && (b->whole || (b->chunks != NULL && chunk_idx < b->chunks->n_bits &&
	                                  bitmap_get(b->chunks, chunk_idx)));
}

static struct pinned_blob *add(struct pinned *p, const char *key)
{
	p->blobs = xrealloc(p->blobs, p->n_blobs + 1, sizeof(p->blobs[0]));
	p->blobs[p->n_blobs] = (struct pinned_blob){ .key = xstrdup(key) };
	return &p->blobs[p->n_blobs++];
}

/* ---- owners' chunks ---- */

/* run: of an owner that has so many chunks; their sizes are those of who refers */
static int add_run(struct pinned *p, const char *owner_key, uint32_t owner_n_chunks,
                   const struct refer_run *run, const struct blob_layout *layout, struct err *e)
{
	struct pinned_blob *b = find(p, owner_key);

	if (b == NULL)
		b = add(p, owner_key);
	if (b->whole)
		return 0;
	if (b->chunks == NULL)
		b->chunks = bitmap_new(owner_n_chunks);
	if (b->chunks == NULL)
		return err_set(e, ENOMEM, "what is pinned: out of memory");
	for (uint32_t i = 0; i < run->n_chunks; i++) {
		const uint32_t idx = run->chunk_idx + i;
		const uint32_t owner_idx = run->owner_idx + i;

		if (idx < layout->n_chunks && owner_idx < b->chunks->n_bits &&
		    bitmap_set(b->chunks, owner_idx))
			b->bytes += data_file_takes(&layout->chunks[idx]);
	}
	return 0;
}

/* What the blob of a pinned image refers to, as its rows say it. */
struct rows_walk {
	struct db *db;
	struct pinned *pinned;
	const struct blob_layout *layout; /* of who refers */
	uint64_t owner_row;               /* the last one, with its key and size; 0: none */
	char owner_key[CAS_KEY_BYTES];
	uint32_t owner_n_chunks;
};

static int look_up_owner(struct rows_walk *w, uint64_t row, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(w->db, "SELECT key, n_chunks FROM blob WHERE id = ? AND dying = 0",
	                   &stmt, e);

	w->owner_row = row;
	w->owner_n_chunks = 0;
	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, row);
	r = db_step(stmt, e);
	if (r == 1 && db_text(stmt, 0, w->owner_key, sizeof(w->owner_key)) &&
	    db_u64(stmt, 1) <= BLOB_CHUNKS_MAX)
		w->owner_n_chunks = (uint32_t)db_u64(stmt, 1);
	return r < 0 ? r : 0;
}

static int note_run(void *arg, const struct refer_run *run, struct err *e)
{
	struct rows_walk *w = arg;
	const int r = run->owner_row != w->owner_row ? look_up_owner(w, run->owner_row, e) : 0;

	if (r < 0 || w->owner_n_chunks == 0)
		return r;
	return add_run(w->pinned, w->owner_key, w->owner_n_chunks, run, w->layout, e);
}

static int add_from_rows(struct cas *cas, struct pinned *p, const char *key, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(stored_blob_fini) struct stored_blob stored = { .layout = NULL };
	struct rows_walk walk = { .pinned = p };
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = stored_blob_find(reader.db, key, &stored, e);
	walk.db = reader.db;
	walk.layout = stored.layout;
	if (r == 0)
		r = refer_rows_each(reader.db, stored.row, note_run, &walk, e);
	r = stored_pass_over(cas->log, key, r, e);
	return r == CAS_MISS ? 0 : r;
}

static int add_from_memory(struct cas *cas, struct pinned *p, const char *key, struct err *e)
{
	AUTO(cas_blob_release) struct cas_blob *blob = blob_table_find(cas, key);
	const struct blob_layout *layout = blob != NULL ? blob_layout(blob) : NULL;
	int r = 0;

	for (uint32_t i = 0; r == 0 && blob != NULL && i < layout->n_chunks; i++) {
		struct refer_run one = { .chunk_idx = i, .n_chunks = 1 };
		struct cas_blob *owner;

		if (refer_get(blob, i, &owner, &one.owner_idx))
			r = add_run(p, owner->key, owner->ready->n_bits, &one, layout, e);
	}
	return r;
}

int pinned_images(struct cas *cas, struct pinned *ret_pinned, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(free_str) char *keys = NULL;
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = stored_keys_of(reader.db, SQL_KEYS, NULL, &keys, e);
	if (r < 0)
		return r;
	*ret_pinned = (struct pinned){ .n_blobs = 0 };
	for (const char *key = keys; key != NULL && *key != '\0'; key += strlen(key) + 1)
		add(ret_pinned, key)->whole = true;
	return 0;
}

int pinned_collect(struct cas *cas, struct pinned *ret_pinned, struct err *e)
{
	AUTO(pinned_free) struct pinned p = { .n_blobs = 0 };
	int r = pinned_images(cas, &p, e);
	const uint32_t n_of_images = p.n_blobs; /* behind them come owners */

	for (uint32_t i = 0; r == 0 && i < n_of_images; i++) {
		const char *key = p.blobs[i].key;

		r = add_from_rows(cas, &p, key, e);
		if (r == 0)
			r = add_from_memory(cas, &p, key, e);
	}
	if (r < 0)
		return r;
	*ret_pinned = p;
	p = (struct pinned){ .n_blobs = 0 };
	return 0;
}

int pinned_measure(struct cas *cas, struct err *e)
{
	AUTO(pinned_free) struct pinned p = { .n_blobs = 0 };
	const int r = pinned_collect(cas, &p, e);
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < p.n_blobs; i++) {
		char name[DATA_FILE_NAME_BYTES];

		data_file_name(p.blobs[i].key, name);
		bytes += p.blobs[i].whole ? measure_name(cas->blobs_fd, name) : p.blobs[i].bytes;
	}
	if (r == 0)
		room_pinned(&cas->room, bytes);
	return r;
}
