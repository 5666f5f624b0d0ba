/*
 * lazy_store: the disk half of the fakes: image store and blob cache, in memory.
 */
#include "gc.h"
#include "image_store.h"
#include "lazy_world.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct image_draft {
	struct cas *cas;
};

static struct store_file *find(struct cas *cas, const char *digest, const char *name)
{
	for (size_t i = 0; i < WORLD_FILES_MAX; i++) {
		struct store_file *f = &cas->files[i];

		if (f->used && !f->draft && strcmp(f->digest, digest) == 0 &&
		    (name == NULL || strcmp(f->name, name) == 0))
			return f;
	}
	return NULL;
}

static struct store_file *put(struct cas *cas, const char *digest, const char *name,
                              const void *data, uint64_t size_bytes)
{
	for (size_t i = 0; i < WORLD_FILES_MAX; i++) {
		struct store_file *f = &cas->files[i];

		if (f->used)
			continue;
		free(f->data);
		*f = (struct store_file){ .size_bytes = size_bytes, .used = true };
		(void)snprintf(f->digest, sizeof(f->digest), "%s", digest);
		(void)snprintf(f->name, sizeof(f->name), "%s", name);
		f->data = xcalloc(1, size_bytes + 1);
		memcpy(f->data, data, size_bytes);
		return f;
	}
	abort();
}

int image_draft_begin(struct cas *cas, struct image_draft **ret_draft, struct err *e)
{
	(void)e;
	*ret_draft = xcalloc(1, sizeof(**ret_draft));
	(*ret_draft)->cas = cas;
	return 0;
}

int image_draft_put(struct image_draft *draft, const char *name, const void *data,
                    uint64_t size_bytes, struct err *e)
{
	if (draft->cas->full)
		return err_set(e, ENOSPC, "the fake disk is full");
	put(draft->cas, "", name, data, size_bytes)->draft = true;
	return 0;
}

static void end_draft(struct image_draft **draft, const char *digest)
{
	struct cas *cas = (*draft)->cas;
	const bool is_here = digest == NULL || find(cas, digest, NULL) != NULL;

	for (size_t i = 0; i < WORLD_FILES_MAX; i++) {
		struct store_file *f = &cas->files[i];

		if (!f->used || !f->draft)
			continue;
		f->draft = false;
		f->used = !is_here;
		if (!is_here)
			(void)snprintf(f->digest, sizeof(f->digest), "%s", digest);
	}
	free(*draft);
	*draft = NULL;
}

int image_draft_commit(struct image_draft **draft, const char *digest, struct err *e)
{
	(void)e;
	end_draft(draft, digest);
	return 0;
}

void image_draft_drop(struct image_draft **draft)
{
	if (*draft != NULL)
		end_draft(draft, NULL);
}

bool image_store_has(struct cas *cas, const char *digest)
{
	return find(cas, digest, NULL) != NULL;
}

int image_store_map(struct cas *cas, const char *digest, const char *name, uint64_t max_bytes,
                    struct image_file *ret_file, struct err *e)
{
	const struct store_file *f = find(cas, digest, name);
	uint8_t *copy = NULL;

	if (f == NULL || f->size_bytes > max_bytes)
		return err_set(e, ENOENT, "no file %s", name);
	copy = xcalloc(1, f->size_bytes + 1);
	memcpy(copy, f->data, f->size_bytes);
	*ret_file = (struct image_file){ .data = copy, .size_bytes = f->size_bytes };
	return 0;
}

void image_file_unmap(struct image_file *file)
{
	union {
		const uint8_t *borrowed;
		uint8_t *ours;
	} data = { .borrowed = file->data };

	free(data.ours);
	*file = (struct image_file){ .data = NULL };
}

int image_store_add(struct cas *cas, const char *digest, const char *name, const void *data,
                    uint64_t size_bytes, struct err *e)
{
	if (cas->full)
		return err_set(e, ENOSPC, "the fake disk is full");
	(void)put(cas, digest, name, data, size_bytes);
	return 0;
}

int image_store_hint(struct cas *cas, const char *digest, const char *name, const void *data,
                     uint64_t size_bytes, struct err *e)
{
	struct store_file *before = find(cas, digest, name);

	if (before != NULL)
		before->used = false;
	return image_store_add(cas, digest, name, data, size_bytes, e);
}

int image_store_retire(struct cas *cas, const char *digest, struct err *e)
{
	struct store_file *f;

	(void)e;
	while ((f = find(cas, digest, NULL)) != NULL)
		f->used = false;
	return 0;
}

int image_store_record(struct cas *cas, const struct image_record *rec,
                       const char *const *blob_keys, uint32_t n_blobs, struct err *e)
{
	uint32_t i = 0;

	(void)e;
	for (uint32_t k = 0; k < n_blobs; k++)
		assert(blob_keys[k][0] != '\0');
	while (i < cas->n_records && strcmp(cas->records[i].name, rec->name) != 0)
		i++;
	assert(i < ARRAY_LEN(cas->records));
	cas->records[i] = *rec;
	if (i == cas->n_records)
		cas->n_records++;
	for (i = 0; i < cas->n_records; i++) { /* whatever it is called */
		if (strcmp(cas->records[i].digest, rec->digest) == 0)
			cas->records[i].anonymous = rec->anonymous;
	}
	return 0;
}

int image_store_by_name(struct cas *cas, const char *name, struct image_record *ret_rec,
                        struct err *e)
{
	(void)e;
	for (uint32_t i = 0; i < cas->n_records; i++) {
		if (strcmp(cas->records[i].name, name) == 0) {
			*ret_rec = cas->records[i];
			return 0;
		}
	}
	return CAS_MISS;
}

int image_store_by_digest(struct cas *cas, const char *digest, struct image_record *ret_rec,
                          struct err *e)
{
	(void)e;
	for (uint32_t i = 0; i < cas->n_records; i++) {
		if (strcmp(cas->records[i].digest, digest) == 0) {
			*ret_rec = cas->records[i];
			return 0;
		}
	}
	return CAS_MISS;
}

int image_store_list(struct cas *cas, int (*fn)(void *arg, const struct image_record *rec),
                     void *arg, struct err *e)
{
	(void)e;
	for (uint32_t i = 0; i < cas->n_records; i++) {
		if (fn(arg, &cas->records[i]) != 0)
			break;
	}
	return 0;
}

bool world_has_file(struct world *w, const char *digest, const char *name)
{
	return find(&w->cas, digest, name) != NULL;
}

void world_drop_file(struct world *w, const char *digest, const char *name)
{
	struct store_file *f = find(&w->cas, digest, name);

	assert(f != NULL);
	f->used = false;
}

void world_drop_image(struct world *w, const char *digest)
{
	struct store_file *f;

	while ((f = find(&w->cas, digest, NULL)) != NULL)
		f->used = false;
}

/* ---- blobs ---- */

static bool has_digests(const struct blob_layout *l)
{
	for (uint32_t i = 0; i < l->n_chunks; i++)
		if (l->chunks[i].plain_size_bytes > 0 && !(l->chunks[i].flags & CHUNK_HAS_DIGEST))
			return false;
	return true;
}

int cas_blob_open(struct cas *cas, struct blob_layout *layout, struct cas_blob **ret_blob,
                  struct err *e)
{
	(void)e;
	if (layout->trust == TRUST_WHOLE_BLOB && has_digests(layout))
		layout->trust = TRUST_DIGESTS;
	for (size_t i = 0; i < WORLD_BLOBS_MAX; i++) {
		struct cas_blob *b = &cas->blobs[i];

		if (b->refs > 0)
			continue;
		*b = (struct cas_blob){ .layout = layout_ref(layout), .refs = 1 };
		*ret_blob = b;
		return 0;
	}
	abort();
}

void cas_blob_release(struct cas_blob **blob)
{
	struct cas_blob *b = *blob;

	*blob = NULL;
	if (b == NULL)
		return;
	assert(b->refs > 0);
	if (--b->refs == 0)
		layout_unref(&b->layout);
}

const struct blob_layout *cas_blob_layout(const struct cas_blob *blob)
{
	return blob->layout;
}

const char *cas_blob_key(const struct cas_blob *blob)
{
	return blob->layout->blob_id;
}

void cas_blob_add_origin(struct cas_blob *blob, const char *origin)
{
	for (uint32_t i = 0; i < blob->n_origins; i++)
		if (strcmp(blob->origins[i], origin) == 0)
			return;
	assert(blob->n_origins < 4);
	(void)snprintf(blob->origins[blob->n_origins++], 128, "%s", origin);
}

bool cas_make_room(struct cas *cas, uint64_t n_bytes)
{
	(void)cas;
	(void)n_bytes;
	return false;
}

int cas_blob_put(struct cas_blob *blob, uint32_t chunk_idx, const uint8_t *plain, struct err *e)
{
	const struct chunk_rec *c = &blob->layout->chunks[chunk_idx];

	(void)e;
	if (!digest_matches(blob->layout->digest_alg, plain, c->plain_size_bytes, c->digest))
		return CAS_MISMATCH;
	blob->n_put++;
	return 0;
}

uint32_t cas_blob_row(const struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks)
{
	(void)blob;
	(void)first_chunk;
	(void)n_chunks;
	return 1;
}

bool cas_blob_put_row(struct cas_blob *blob, uint32_t first_chunk, uint32_t n_chunks,
                      const uint8_t *const *plain)
{
	(void)blob;
	(void)first_chunk;
	(void)n_chunks;
	(void)plain;
	return false;
}

struct pool *cas_writer(struct cas *cas)
{
	return cas->writer;
}

uint32_t world_n_blobs_open(const struct world *w)
{
	uint32_t n = 0;

	for (size_t i = 0; i < WORLD_BLOBS_MAX; i++)
		n += w->cas.blobs[i].refs > 0;
	return n;
}

struct fetch_blob *fetch_blob_open(struct fetch *f, struct cas_blob *blob)
{
	for (size_t i = 0; i < WORLD_BLOBS_MAX; i++) {
		struct fetch_blob *b = &f->blobs[i];

		if (b->used)
			continue;
		*b = (struct fetch_blob){ .cas = blob, .used = true };
		blob->refs++;
		return b;
	}
	abort();
}

void fetch_blobs_together(struct fetch_blob *const *blobs, uint32_t n_blobs)
{
	for (uint32_t i = 0; i < n_blobs; i++)
		assert(blobs[i]->used);
}

void fetch_blob_release(struct fetch_blob **blob)
{
	if (*blob == NULL)
		return;
	(*blob)->used = false;
	cas_blob_release(&(*blob)->cas);
	*blob = NULL;
}

struct cas_blob *fetch_blob_cas(struct fetch_blob *blob)
{
	return blob->cas;
}
