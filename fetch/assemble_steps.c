/*
 * assemble_steps: from images/<digest>/ to open blobs.
 *
 * Knows the image store, layouts and the cache; no network: what is not here is only named.
 */
#include "assemble_steps.h"
#include "blob_meta.h"
#include "bytes.h"
#include "image_files.h"
#include "mem.h"
#include "meta_steps.h"
#include "read_file.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define META_NAMES 2

/* A layer names it by the object that carries it; that is the blob itself but for zran. @return
 * false: no name */
static bool meta_name(const struct part *part, size_t nth, char ret_name[IMAGE_FILE_NAME_BYTES])
{
	const char *id = nth == 0 ? part->info.meta_blob_id : part->info.blob_id;

	if (id[0] != '\0')
		image_file_meta(id, ret_name);
	return id[0] != '\0';
}

/* The local form that the bootstrap layer brought, or an earlier mount fetched. */
static void find_meta(const struct assembly *a, struct part *part)
{
	const uint64_t max_bytes = blob_meta_local_size(&part->info);
	struct err e = { .code = 0 };

	for (size_t i = 0; i < META_NAMES; i++) {
		char name[IMAGE_FILE_NAME_BYTES];
		int r;

		if (!meta_name(part, i, name) ||
		    image_store_map(a->cas, a->digest, name, max_bytes, &part->meta_file, &e) < 0)
			continue;
		r = blob_meta_check(&part->info, part->meta_file.data, part->meta_file.size_bytes,
		                    &e);
		if (r == 0) {
			part->wants_meta = false;
			return;
		}
		log_warn(a->log, "a kept blob index is no good and is fetched again",
		         "file=%s why=%s", name, LOG_Q(e.msg));
		image_file_unmap(&part->meta_file);
	}
}

/* @param size_bytes  exactly so many. @return malloc'd; NULL: there is no such file, or another one
 */
static uint8_t *read_whole(const char *path, uint64_t size_bytes)
{
	AUTO(free_str) char *text = NULL;
	uint8_t *bytes;
	size_t n = 0;
	struct err e;

	if (read_file(path, O_NOFOLLOW, size_bytes, &text, &n, &e) < 0 || n != size_bytes)
		return NULL;
	bytes = (uint8_t *)text;
	text = NULL;
	return bytes;
}

/* Whoever unpacked the bootstrap from its layer unpacked these, too. Nobody vouches for them as
 * they lie there, so they are not kept: for this mount alone, and the chunks' digests hold. */
static bool find_meta_in(const struct assembly *a, struct part *part, const char *dir)
{
	const uint64_t size_bytes = blob_meta_local_size(&part->info);

	for (size_t i = 0; i < META_NAMES; i++) {
		char name[IMAGE_FILE_NAME_BYTES];
		AUTO(free_str) char *path = NULL;
		AUTO(free_bytes) uint8_t *bytes = NULL;
		struct err e;

		if (!meta_name(part, i, name))
			continue;
		path = xasprintf("%s/%s", dir, name);
		bytes = read_whole(path, size_bytes);
		if (bytes == NULL)
			continue;
		if (blob_meta_check(&part->info, bytes, size_bytes, &e) == 0) {
			part->extras.meta = bytes;
			part->extras.meta_size_bytes = size_bytes;
			part->wants_meta = false;
			bytes = NULL;
			return true;
		}
		log_warn(a->log, "a blob's index beside its bootstrap is no good and is fetched",
		         "file=%s why=%s", LOG_Q(path), LOG_Q(e.msg));
	}
	return false;
}

static void find_meta_beside(const struct assembly *a, struct part *part)
{
	for (size_t i = 0; i < METAS_DIRS_MAX; i++) {
		if (a->metas_dirs[i] != NULL && find_meta_in(a, part, a->metas_dirs[i]))
			return;
	}
}

static void find_digests(const struct assembly *a, struct part *part)
{
	const uint64_t size_bytes = (uint64_t)part->info.n_chunks * DIGEST_BYTES;
	char name[IMAGE_FILE_NAME_BYTES];
	struct err e = { .code = 0 };

	image_file_digests(part->info.blob_id, name);
	if (image_store_map(a->cas, a->digest, name, size_bytes, &part->digests_file, &e) < 0)
		return;
	if (part->digests_file.size_bytes == size_bytes)
		part->wants_digests = false;
	else
		image_file_unmap(&part->digests_file);
}

static void look_at_part(const struct assembly *a, uint32_t i)
{
	struct part *part = &a->parts[i];

	image_blob(a->image, i, &part->info);
	part->wants_meta = part->info.needs_meta;
	/* Digests that nobody vouches for prove nothing: such a blob is fetched whole. */
	part->wants_digests = part->info.needs_digests && part->info.toc_vouched;
	if (part->wants_meta)
		find_meta(a, part);
	if (part->wants_meta)
		find_meta_beside(a, part);
	if (part->wants_digests)
		find_digests(a, part);
}

static int open_bootstrap(struct assembly *a, struct err *e)
{
	/* The epoch stands in for times that the image lacks: the same at every mount. */
	struct image_opts opts = { .data = NULL };
	int r = image_store_map(a->cas, a->digest, IMAGE_FILE_BOOTSTRAP, IMAGE_BOOTSTRAP_MAX_BYTES,
	                        &a->bootstrap, e);

	if (r < 0)
		return r;
	opts.data = a->bootstrap.data;
	opts.size_bytes = a->bootstrap.size_bytes;
	return image_open(&opts, &a->image, e);
}

/* It could be opened when it was kept: the disk has lost it since. */
static int retire(const struct assembly *a, int r, struct err *e)
{
	struct err why;

	if (r != -ENOENT && r != -EIO && r != -EUCLEAN && r != -ENOTSUP)
		return r;
	log_error(a->log, "an image's kept bootstrap is no good: it is fetched again",
	          "digest=sha256:%s why=%s", a->digest, LOG_Q(e->msg));
	if (image_store_retire(a->cas, a->digest, &why) < 0) {
		log_warn(a->log, "files of an image cannot be removed", "why=%s", LOG_Q(why.msg));
		return r;
	}
	e->code = ESTALE;
	return -ESTALE;
}

int assembly_open(struct assembly *a, struct err *e)
{
	struct image_info info;
	int r = open_bootstrap(a, e);

	if (r < 0 && !a->only_looks)
		r = retire(a, r, e);
	if (r < 0)
		return err_wrap(e, "its bootstrap in the state directory (images/%s)", a->digest);
	image_info(a->image, &info);
	assert(info.n_blobs <= IMAGE_BLOBS_MAX);
	a->n_parts = info.n_blobs;
	a->parts = xcalloc(info.n_blobs + 1, sizeof(*a->parts));
	for (uint32_t i = 0; i < a->n_parts; i++)
		look_at_part(a, i);
	return 0;
}

int assembly_layout(const struct assembly *a, uint32_t i, struct blob_layout **ret_layout,
                    struct err *e)
{
	const struct part *part = &a->parts[i];
	const bool fetched = part->extras.meta != NULL;

	return image_layout(a->image, i, fetched ? part->extras.meta : part->meta_file.data,
	                    fetched ? part->extras.meta_size_bytes : part->meta_file.size_bytes,
	                    part->extras.digests != NULL ? part->extras.digests
	                                                 : part->digests_file.data,
	                    ret_layout, e);
}

/* Before others' chunks can be among them. */
static int note_named(struct part *part, const struct blob_layout *l, struct err *e)
{
	AUTO(bitmap_free) struct bitmap *named = bitmap_new(l->n_chunks);
	uint32_t n = 0;

	if (named == NULL)
		return err_set(e, ENOMEM, "no memory for a map of %" PRIu32 " chunks", l->n_chunks);
	for (uint32_t i = 0; i < l->n_chunks; i++)
		if (l->chunks[i].plain_size_bytes > 0)
			n += bitmap_set(named, i);
	if (n < l->n_chunks) {
		part->named = named;
		named = NULL;
	}
	return 0;
}

static int open_part(struct assembly *a, uint32_t i, struct err *e)
{
	AUTO(layout_unref) struct blob_layout *layout = NULL;
	struct part *part = &a->parts[i];
	int r;

	r = assembly_layout(a, i, &layout, e);
	if (r == 0 && layout->trust == TRUST_NONE && !a->allow_unverified)
		r = err_set(e, ENOTSUP,
		            "there is nothing to check its bytes against (build the image with "
		            "chunk digests, or set images.allow_unverified: true)");
	if (r == 0)
		r = note_named(part, layout, e);
	if (r == 0)
		r = cas_blob_open(a->cas, layout, &part->blob, e);
	if (r < 0)
		return r;
	if (cas_blob_layout(part->blob)->trust == TRUST_NONE)
		a->n_unverified++;
	if (cas_blob_layout(part->blob)->trust != TRUST_WHOLE_BLOB)
		return 0;
	/* Its digests are not known yet. They go into a layout that nobody else has seen. */
	cas_blob_release(&part->blob);
	return assembly_layout(a, i, &part->whole, e);
}

int assembly_layouts(struct assembly *a, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; i < a->n_parts && r == 0; i++) {
		struct part *part = &a->parts[i];

		r = open_part(a, i, e);
		image_file_unmap(&part->meta_file);
		image_file_unmap(&part->digests_file);
		blob_extras_clear(&part->extras);
		if (r < 0)
			r = err_wrap(e, "blob %s", part->info.blob_id);
	}
	return r;
}

void assembly_clear(struct assembly *a)
{
	for (uint32_t i = 0; i < a->n_parts; i++) {
		struct part *part = &a->parts[i];

		image_file_unmap(&part->meta_file);
		image_file_unmap(&part->digests_file);
		blob_extras_clear(&part->extras);
		cas_blob_release(&part->blob);
		layout_unref(&part->whole);
		bitmap_free(&part->named);
	}
	free(a->parts);
	image_close(&a->image);
	image_file_unmap(&a->bootstrap);
	*a = (struct assembly){ .cas = NULL };
}
