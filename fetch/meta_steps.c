/*
 * meta_steps: from packed bytes of a blob's tail to chunk index and chunk digests, checked and
 * kept.
 *
 * Knows the TOC and the image store; no network.
 */
#include "meta_steps.h"
#include "blob_tail.h"
#include "image_files.h"
#include "image_store.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

int check_toc(const struct image_blob *blob, const struct buffer *tail, uint64_t object_size_bytes,
              struct toc *ret_toc, struct err *e)
{
	const int r =
		toc_parse(tail->data, tail->size_bytes, blob->toc_vouched ? blob->toc_digest : NULL,
	                  object_size_bytes, ret_toc, e);

	if (r == -ENOENT)
		return err_set(e, EUCLEAN,
		               "the image vouches for a table of contents, but the blob has none");
	return r;
}

/* What is not kept is fetched again by the next mount: no reason to fail this one. */
static void keep_file(const struct unpack_extras *u, const char *name, const uint8_t *data,
                      uint64_t size_bytes)
{
	struct err e = { .code = 0 };

	if (image_store_add(u->cas, u->image_digest, name, data, size_bytes, &e) < 0)
		log_warn(u->log, "a blob's index was not kept on disk", "file=%s why=%s", name,
		         LOG_Q(e.msg));
}

static int unpack_digests(struct unpack_extras *u, struct err *e)
{
	const uint64_t want_bytes = (uint64_t)u->blob->n_chunks * DIGEST_BYTES;
	char name[IMAGE_FILE_NAME_BYTES];
	int r;

	if (u->digests_entry->plain_size_bytes != want_bytes)
		return err_set(e, EUCLEAN,
		               "its blob.digest has %" PRIu64 " bytes, its %u chunks need %" PRIu64,
		               u->digests_entry->plain_size_bytes, u->blob->n_chunks, want_bytes);
	r = toc_unpack(u->digests_entry, u->digests->data, want_bytes, &u->ret_extras.digests, e);
	if (r < 0)
		return r;
	image_file_digests(u->blob->blob_id, name);
	keep_file(u, name, u->ret_extras.digests, want_bytes);
	return 0;
}

static int unpack_meta(struct unpack_extras *u, struct err *e)
{
	char name[IMAGE_FILE_NAME_BYTES];
	int r;

	r = blob_meta_unpack(u->blob, u->cipher, u->ci->data, u->ci->size_bytes, u->toc,
	                     &u->ret_extras.meta, e);
	if (r < 0)
		return r;
	u->ret_extras.meta_size_bytes = blob_meta_local_size(u->blob);
	image_file_meta(u->blob->meta_blob_id, name);
	keep_file(u, name, u->ret_extras.meta, u->ret_extras.meta_size_bytes);
	return 0;
}

/* For others who load this image. */
static void keep_tail(const struct unpack_extras *u)
{
	const struct blob_tail tail = {
		.object_size_bytes = u->object_size_bytes,
		.toc = { .data = u->toc_bytes->data, .size_bytes = u->toc_bytes->size_bytes },
		.digests = { .data = u->digests->data, .size_bytes = u->digests->size_bytes },
		.ci = { .data = u->ci->data, .size_bytes = u->ci->size_bytes },
	};
	AUTO(free_bytes) uint8_t *bytes = NULL;
	char name[IMAGE_FILE_NAME_BYTES];
	uint64_t size_bytes = 0;
	struct err e;

	if (blob_tail_make(&tail, &bytes, &size_bytes, &e) < 0)
		return; /* nobody here misses it */
	image_file_tail(u->blob->meta_blob_id, name);
	keep_file(u, name, bytes, size_bytes);
}

int unpack_extras(struct unpack_extras *u, struct err *e)
{
	int r = 0;

	if (u->digests_entry != NULL)
		r = unpack_digests(u, e);
	if (r == 0 && u->ci->size_bytes > 0)
		r = unpack_meta(u, e);
	if (r == 0 && u->toc != NULL && u->is_whole)
		keep_tail(u);
	return r;
}

void blob_extras_clear(struct blob_extras *extras)
{
	free(extras->meta);
	free(extras->digests);
	*extras = (struct blob_extras){ .meta = NULL };
}
