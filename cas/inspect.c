/*
 * inspect: what the node has, for people: blobs, where a digest is known.
 *
 * Reads the database and, of blobs that are open, their maps; changes nothing.
 */
#include "data_file.h"
#include "mem.h"
#include "ready_rows.h"
#include "refer.h"
#include "rows.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void count(const struct blob_layout *l, const struct bitmap *ready,
                  struct cas_blob_info *info)
{
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		const uint32_t size = l->chunks[i].plain_size_bytes;

		if (size == 0)
			continue;
		info->n_chunks++;
		if (i >= ready->n_bits || !bitmap_get(ready, i))
			continue;
		info->n_ready++;
		info->ready_bytes += size;
	}
}

/* What stands with owners. The database knows it: it was flushed just now. */
static int count_referred(struct db *db, const struct stored_blob *s, const struct bitmap *ready,
                          struct cas_blob_info *info, struct err *e)
{
	AUTO(bitmap_free) struct bitmap *referred = bitmap_new(s->layout->n_chunks);
	int r;

	if (referred == NULL)
		return err_set(e, ENOMEM, "dedup map of %s: out of memory", s->key);
	r = refer_rows_present(db, s->row, referred, e);
	for (uint32_t i = bitmap_next_set(referred, 0); r == 0 && i < referred->n_bits;
	     i = bitmap_next_set(referred, i + 1))
		info->n_referred += s->layout->chunks[i].plain_size_bytes > 0 &&
		                    (i >= ready->n_bits || !bitmap_get(ready, i));
	return r;
}

static int count_ready(struct cas *cas, struct db *db, const struct stored_blob *s,
                       struct cas_blob_info *info, struct err *e)
{
	struct cas_blob *open = blob_table_find(cas, s->key);
	AUTO(bitmap_free) struct bitmap *stored = NULL;
	int r = 0;

	info->open = open != NULL;
	if (open != NULL) {
		count(s->layout, open->ready, info);
		r = count_referred(db, s, open->ready, info, e);
		cas_blob_release(&open);
		return r;
	}
	stored = bitmap_new(s->layout->n_chunks);
	if (stored == NULL)
		return err_set(e, ENOMEM, "ready map of %s: out of memory", s->key);
	r = ready_rows_load(db, s->row, stored, e);
	if (r == 0)
		count(s->layout, stored, info);
	return r == 0 ? count_referred(db, s, stored, info, e) : r;
}

static int describe(struct cas *cas, const char *key, struct cas_blob_info *ret_info, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	struct cas_blob_info info = { .open = false };
	struct cas_origin *found = NULL;
	char name[DATA_FILE_NAME_BYTES];
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = stored_blob_find(reader.db, key, &s, e);
	if (r == 0)
		r = stored_origins(reader.db, s.row, &found, &info.n_origins, e);
	if (r != 0)
		return r;
	if (found != NULL)
		memcpy(info.origins, found, info.n_origins * sizeof(found[0]));
	free(found);
	memcpy(info.key, s.key, sizeof(info.key));
	memcpy(info.blob_id, s.layout->blob_id, sizeof(info.blob_id));
	info.plain_size_bytes = s.layout->plain_size_bytes;
	data_file_name(key, name);
	info.disk_bytes = measure_name(cas->blobs_fd, name);
	r = count_ready(cas, reader.db, &s, &info, e);
	if (r == 0)
		*ret_info = info;
	return r;
}

static int all_keys(struct cas *cas, char **ret_keys, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	const int r = db_reader_begin(cas->readers, &reader, e);

	return r == 0 ? stored_keys(reader.db, ret_keys, e) : r;
}

int cas_blobs(struct cas *cas, int (*fn)(void *arg, const struct cas_blob_info *info), void *arg,
              struct err *e)
{
	AUTO(free_str) char *keys = NULL;
	struct cas_blob_info *info = NULL;
	int r = cas_flush(cas, e); /* blobs opened just now get their rows before it */

	if (r == 0)
		r = all_keys(cas, &keys, e);
	if (r < 0)
		return r;
	info = xcalloc(1, sizeof(*info));
	for (const char *key = keys; r >= 0 && key != NULL && *key != '\0';
	     key += strlen(key) + 1) {
		r = stored_pass_over(cas->log, key, describe(cas, key, info, e), e);
		if (r == 0 && fn(arg, info) != 0)
			break;
	}
	free(info);
	return r < 0 ? r : 0;
}

/* A digest that is looked for in the digests of every layout: full digests have no index. */
struct search {
	struct cas *cas;
	struct db *db;
	const uint8_t *digest;
	int (*fn)(void *arg, const struct cas_chunk_place *place);
	void *arg;
	bool stop;
};

static int tell_place(struct search *search, const struct stored_blob *s,
                      const struct bitmap *ready, const struct bitmap *referred, uint32_t idx)
{
	struct cas_blob *open = blob_table_find(search->cas, s->key);
	const struct chunk_rec *c = &s->layout->chunks[idx];
	struct cas_chunk_place place = {
		.chunk_idx = idx,
		.plain_size_bytes = c->plain_size_bytes,
		.plain_offset = c->plain_offset,
		.ready = open != NULL ? cas_blob_is_ready(open, idx) : bitmap_get(ready, idx),
	};

	place.referred = !place.ready && bitmap_get(referred, idx);
	memcpy(place.key, s->key, sizeof(place.key));
	cas_blob_release(&open);
	return search->fn(search->arg, &place);
}

static int search_blob(struct search *search, const char *key, struct err *e)
{
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	AUTO(bitmap_free) struct bitmap *ready = NULL;
	AUTO(bitmap_free) struct bitmap *referred = NULL;
	int r = stored_blob_find(search->db, key, &s, e);

	if (r != 0)
		return r < 0 ? r : 0;
	ready = bitmap_new(s.layout->n_chunks);
	referred = bitmap_new(s.layout->n_chunks);
	if (ready == NULL || referred == NULL)
		return err_set(e, ENOMEM, "ready map of %s: out of memory", key);
	r = ready_rows_load(search->db, s.row, ready, e);
	if (r == 0)
		r = refer_rows_present(search->db, s.row, referred, e);
	for (uint32_t i = 0; i < s.layout->n_chunks && r == 0 && !search->stop; i++) {
		const struct chunk_rec *c = &s.layout->chunks[i];

		if ((c->flags & CHUNK_HAS_DIGEST) &&
		    memcmp(c->digest, search->digest, DIGEST_BYTES) == 0)
			search->stop = tell_place(search, &s, ready, referred, i) != 0;
	}
	return r;
}

int cas_chunk_find(struct cas *cas, const uint8_t digest[DIGEST_BYTES],
                   int (*fn)(void *arg, const struct cas_chunk_place *place), void *arg,
                   struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(free_str) char *keys = NULL;
	struct search search = { .cas = cas, .digest = digest, .fn = fn, .arg = arg };
	int r = cas_flush(cas, e);

	if (r == 0)
		r = db_reader_begin(cas->readers, &reader, e);
	if (r == 0)
		r = stored_keys(reader.db, &keys, e);
	search.db = reader.db;
	for (const char *key = keys; r >= 0 && key != NULL && *key != '\0' && !search.stop;
	     key += strlen(key) + 1)
		r = stored_pass_over(cas->log, key, search_blob(&search, key, e), e);
	return r < 0 ? r : 0;
}
