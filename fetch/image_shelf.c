/*
 * image_shelf: from a key to a file of images/<digest>/, if it may be given.
 */
#include "image_shelf.h"
#include "blob_tail.h"
#include "boot_layer.h"
#include "bytes.h"
#include "first_reads.h"
#include "image_files.h"
#include "image_store.h"
#include "manifest.h"
#include "mem.h"
#include "public_name.h"
#include "reference.h"
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SOURCE_MAX_BYTES 8192U

struct image_shelf {
	struct meta_shelf shelf;
	struct image_shelf_opts opts;
	pthread_mutex_t mutex; /* guards opts.configs and opts.n_configs */
};

/* What is asked for, and what is known of it. */
struct asked {
	struct image_shelf *shelf;
	struct reference ref;
	char blob_id[BLOB_ID_MAX + 1];     /* META_BLOB_TAIL */
	char text[META_KEY_MAX + 1];       /* of ref */
	char directory[DIGEST_TEXT_BYTES]; /* "": it is not here */
	bool is_index;                     /* the digest is that of the index that led to it */
	bool is_public;
};

/* ---- the key ---- */

static int parse_image_key(enum meta_kind kind, const char *key, struct asked *a, struct err *e)
{
	const char *at = strchr(key, '@');
	const size_t n = at == NULL ? 0 : (size_t)(at - key) + strlen("@sha256:") + 64;
	const char *rest;

	if (at == NULL || strlen(key) < n || n > META_KEY_MAX)
		return err_set(e, EINVAL, "no image by digest");
	memcpy(a->text, key, n);
	a->text[n] = '\0';
	rest = key + n;
	if (kind == META_BLOB_TAIL) {
		if (rest[0] != '/' || rest[1] == '\0' || strlen(rest + 1) > BLOB_ID_MAX ||
		    strchr(rest + 1, '/') != NULL)
			return err_set(e, EINVAL, "no blob of an image");
		memcpy(a->blob_id, rest + 1, strlen(rest + 1) + 1);
	} else if (rest[0] != '\0') {
		return err_set(e, EINVAL, "something behind an image's digest");
	}
	return reference_parse(a->text, &a->ref, e);
}

/* ---- what is here ---- */

static bool is_in_repository(const char *name, const struct reference *ref)
{
	AUTO(free_str) char *front = xasprintf("%s/%s", ref->host, ref->repository);
	const size_t n = strlen(front);

	return strncmp(name, front, n) == 0 && (name[n] == ':' || name[n] == '@');
}

static int on_record(void *arg, const struct image_record *rec)
{
	struct asked *a = arg;
	const bool is_it =
		strcmp(rec->digest, a->ref.digest) == 0 && is_in_repository(rec->name, &a->ref);
	const bool leads_there = strcmp(rec->name, a->text) == 0;

	if (!is_it && !leads_there)
		return 0;
	memcpy(a->directory, rec->digest, sizeof(a->directory));
	a->is_index = !is_it;
	a->is_public = rec->anonymous;
	return is_it;
}

static const char *policy(struct image_shelf *shelf, const char *host)
{
	const char *others = "public";
	struct image_shelf_opts opts;

	(void)pthread_mutex_lock(&shelf->mutex);
	opts = shelf->opts;
	(void)pthread_mutex_unlock(&shelf->mutex);
	for (uint32_t i = 0; i < opts.n_configs; i++) {
		const struct registry_config *c = &opts.configs[i];

		if (c->share_metadata == NULL)
			continue;
		if (strcmp(c->host, host) == 0)
			return c->share_metadata;
		if (strcmp(c->host, "*") == 0)
			others = c->share_metadata;
	}
	return others;
}

static bool is_shared(struct image_shelf *shelf, const char *host, bool is_public)
{
	const char *share = policy(shelf, host);

	return strcmp(share, "cluster") == 0 || (strcmp(share, "public") == 0 && is_public);
}

static bool may_be_given(const struct asked *a)
{
	return is_shared(a->shelf, a->ref.host, a->is_public);
}

bool image_shelf_tells(struct meta_shelf *shelf, const char *name, bool is_public)
{
	struct reference ref;
	struct err e;

	return reference_parse(name, &ref, &e) == 0 &&
	       is_shared(container_of(shelf, struct image_shelf, shelf), ref.host, is_public);
}

/* ---- by an image's public name ---- */

/* Where its blobs are, as it was told when the file came. @return false: at no registry */
static bool blobs_of_file(struct cas *cas, const struct image_record *rec,
                          struct reference *ret_ref)
{
	struct image_file file = { .data = NULL };
	struct err e;
	const char *origin;
	json_t *source;
	bool is_there;

	if (image_store_map(cas, rec->digest, IMAGE_FILE_SOURCE, SOURCE_MAX_BYTES, &file, &e) < 0)
		return false;
	source = json_loadb((const char *)file.data, file.size_bytes, 0, NULL);
	image_file_unmap(&file);
	origin = json_string_value(json_array_get(json_object_get(source, "origins"), 0));
	is_there = origin != NULL && reference_of_origin(origin, rec->digest, ret_ref);
	json_decref(source);
	return is_there;
}

static bool may_be_named(struct image_shelf *shelf, const struct image_record *rec)
{
	struct reference ref;

	if (rec->name[0] != '/')
		return image_shelf_tells(&shelf->shelf, rec->name, rec->anonymous);
	return blobs_of_file(shelf->opts.cas, rec, &ref) &&
	       is_shared(shelf, ref.host, rec->anonymous);
}

struct named {
	struct asked *asked;
	const char *key;
	struct public_namer *namer;
};

static int on_named_record(void *arg, const struct image_record *rec)
{
	const struct named *named = arg;
	struct asked *a = named->asked;
	char name[PUBLIC_IMAGE_NAME_BYTES];

	if (!public_image_name(named->namer, rec->digest, name) || strcmp(name, named->key) != 0 ||
	    !may_be_named(a->shelf, rec))
		return 0;
	memcpy(a->directory, rec->digest, sizeof(a->directory));
	a->is_public = rec->anonymous;
	return 1;
}

/* One of its names that lets it be told of is enough. "" in a->directory: there is none. */
static int find_named(struct asked *a, const char *key, struct err *e)
{
	AUTO(public_namer_free) struct public_namer *namer = public_image_namer_new();
	struct named named = { .asked = a, .key = key, .namer = namer };

	return image_store_list(a->shelf->opts.cas, on_named_record, &named, e);
}

/* ---- the file ---- */

static bool file_of(enum meta_kind kind, const struct asked *a, char name[IMAGE_FILE_NAME_BYTES],
                    uint64_t *ret_max_bytes)
{
	const char *fixed = NULL;

	switch (kind) {
	case META_MANIFEST:
		fixed = a->is_index ? IMAGE_FILE_INDEX : IMAGE_FILE_MANIFEST;
		*ret_max_bytes = MANIFEST_MAX_BYTES;
		break;
	case META_BOOT_LAYER:
		fixed = IMAGE_FILE_LAYER;
		*ret_max_bytes = BOOT_LAYER_PACKED_MAX_BYTES;
		break;
	case META_FIRST_READS:
		fixed = IMAGE_FILE_READS;
		*ret_max_bytes = FIRST_READS_MAX_BYTES;
		break;
	case META_BLOB_TAIL:
		image_file_tail(a->blob_id, name);
		*ret_max_bytes = BLOB_TAIL_MAX_BYTES;
		break;
	}
	if (fixed != NULL)
		(void)snprintf(name, IMAGE_FILE_NAME_BYTES, "%s", fixed);
	return kind == META_MANIFEST || !a->is_index;
}

static int open_file(enum meta_kind kind, const struct asked *a, struct meta_item *ret_item,
                     struct err *e)
{
	struct image_file file = { .data = NULL };
	char name[IMAGE_FILE_NAME_BYTES];
	uint64_t max_bytes = 0;
	int r;

	if (!file_of(kind, a, name, &max_bytes))
		return META_NOWHERE;
	r = image_store_map(a->shelf->opts.cas, a->directory, name, max_bytes, &file, e);
	if (r < 0)
		return r == -ENOENT ? META_NOWHERE : r;
	*ret_item = (struct meta_item){ .data = file.data,
		                        .size_bytes = file.size_bytes,
		                        .is_public = a->is_public };
	return META_FOUND;
}

static void shelf_close(struct meta_shelf *s, struct meta_item *item)
{
	struct image_file file = { .data = item->data, .size_bytes = item->size_bytes };

	(void)s;
	image_file_unmap(&file);
}

/* What its readers could not use is not given, nor said to be here. */
static int open_reads(struct asked *a, const char *key, struct meta_item *ret_item, struct err *e)
{
	struct fetch_stretch *stretches = NULL;
	uint32_t n = 0;
	int r = find_named(a, key, e);

	if (r < 0 || a->directory[0] == '\0')
		return r < 0 ? r : META_NOWHERE;
	r = open_file(META_FIRST_READS, a, ret_item, e);
	if (r != META_FOUND)
		return META_NOWHERE;
	if (first_reads_parse(ret_item->data, ret_item->size_bytes, &stretches, &n, e) == 0) {
		free(stretches);
		return META_FOUND;
	}
	shelf_close(&a->shelf->shelf, ret_item);
	return META_NOWHERE;
}

static int shelf_open(struct meta_shelf *s, enum meta_kind kind, const char *key,
                      struct meta_item *ret_item, struct err *e)
{
	struct asked a = { .shelf = container_of(s, struct image_shelf, shelf) };
	int r;

	if (kind == META_FIRST_READS)
		return open_reads(&a, key, ret_item, e);
	if (parse_image_key(kind, key, &a, e) < 0)
		return META_NOWHERE; /* nonsense is nowhere */
	r = image_store_list(a.shelf->opts.cas, on_record, &a, e);
	if (r < 0)
		return r;
	if (a.directory[0] == '\0')
		return META_NOWHERE;
	if (!may_be_given(&a))
		return META_WITHHELD;
	return open_file(kind, &a, ret_item, e);
}

static const struct meta_shelf_ops ops = { .open = shelf_open, .close = shelf_close };

struct meta_shelf *image_shelf_new(const struct image_shelf_opts *opts)
{
	struct image_shelf *shelf = xcalloc(1, sizeof(*shelf));

	shelf->shelf.ops = &ops;
	shelf->opts = *opts;
	(void)pthread_mutex_init(&shelf->mutex, NULL);
	return &shelf->shelf;
}

void image_shelf_configure(struct meta_shelf *meta_shelf, const struct registry_config *configs,
                           uint32_t n_configs)
{
	struct image_shelf *shelf = container_of(meta_shelf, struct image_shelf, shelf);

	(void)pthread_mutex_lock(&shelf->mutex);
	shelf->opts.configs = configs;
	shelf->opts.n_configs = n_configs;
	(void)pthread_mutex_unlock(&shelf->mutex);
}

void image_shelf_free(struct meta_shelf **shelf)
{
	struct image_shelf *s;

	if (*shelf == NULL)
		return;
	s = container_of(*shelf, struct image_shelf, shelf);
	(void)pthread_mutex_destroy(&s->mutex);
	free(s);
	*shelf = NULL;
}
