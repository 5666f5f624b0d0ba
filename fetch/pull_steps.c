/*
 * pull_steps: the worker's part of a pull. Files of images/<digest>/ are written here and nowhere
 * else but in meta_load.c (blob metas that come later).
 *
 * Knows digests, the image store and the form of manifest and layer; no network.
 */
#include "pull_steps.h"
#include "boot_layer.h"
#include "hex.h"
#include "image.h"
#include "image_files.h"
#include "image_store.h"
#include "mem.h"
#include "origin.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (256U << 10)

static void sha256_text(const void *data, uint64_t size_bytes, char ret_text[DIGEST_TEXT_BYTES])
{
	uint8_t digest[DIGEST_BYTES];

	digest_compute(DIGEST_SHA256, data, size_bytes, digest);
	hex_encode(digest, DIGEST_BYTES, ret_text);
}

/* ---- look ---- */

static int look_by_name(struct look *look, struct err *e)
{
	struct reference ref = *look->ref;
	AUTO(free_str) char *name = NULL;
	struct image_record rec;
	int r;

	memcpy(ref.digest, look->digest, DIGEST_TEXT_BYTES);
	name = reference_text(&ref);
	r = image_store_by_name(look->cas, name, &rec, e);
	if (r == 0) {
		memcpy(look->ret_digest, rec.digest, DIGEST_TEXT_BYTES);
		look->ret_is_here = image_store_has(look->cas, rec.digest);
		look->ret_anonymous = rec.anonymous;
	}
	return r < 0 ? r : 0;
}

static int look_by_digest(struct look *look, struct err *e)
{
	struct image_record rec;
	const int r = image_store_by_digest(look->cas, look->digest, &rec, e);

	memcpy(look->ret_digest, look->digest, DIGEST_TEXT_BYTES);
	look->ret_is_here = true;
	look->ret_anonymous = r == 0 && rec.anonymous;
	return r < 0 ? r : 0;
}

int look_here(struct look *look, struct err *e)
{
	look->ret_digest[0] = '\0';
	look->ret_is_here = false;
	if (look->digest[0] != '\0' && image_store_has(look->cas, look->digest))
		return look_by_digest(look, e);
	return look_by_name(look, e); /* a tag; or the digest of an index, which has no directory */
}

/* ---- check ---- */

int check_manifest(struct check *check, struct err *e)
{
	const struct platform platform = platform_here();
	const char *wrong = "";

	sha256_text(check->manifest->data, check->manifest->size_bytes, check->ret_digest);
	if (check->digest[0] != '\0' && strcmp(check->digest, check->ret_digest) != 0)
		wrong = check->digest;
	else if (check->told_digest[0] != '\0' &&
	         strcmp(check->told_digest, check->ret_digest) != 0)
		wrong = check->told_digest;
	if (wrong[0] != '\0')
		return err_set(e, EBADMSG,
		               "the manifest has digest sha256:%s, not sha256:%s (the registry or "
		               "something before it changes bytes)",
		               check->ret_digest, wrong);
	check->ret_is_here = image_store_has(check->cas, check->ret_digest);
	if (check->ret_is_here)
		return 0;
	return manifest_parse(check->manifest->data, check->manifest->size_bytes, &platform,
	                      &check->ret_manifest, e);
}

/* ---- keep ---- */

/* Nothing that shoal cannot read gets a directory. */
static int try_bootstrap(const struct buffer *bootstrap, struct err *e)
{
	const struct image_opts opts = { .data = bootstrap->data,
		                         .size_bytes = bootstrap->size_bytes };
	AUTO(image_close) struct image *image = NULL;

	if (image_open(&opts, &image, e) < 0)
		return err_hint(e, IMAGE_HINT);
	return 0;
}

static int put_source(struct image_draft *draft, const char *reference, const char *origin,
                      bool anonymous, struct err *e)
{
	json_t *source = json_pack("{s:s, s:[s], s:b}", "image", reference, "origins", origin,
	                           "anonymous", anonymous);
	AUTO(free_str) char *text = json_dumps(source, JSON_INDENT(2));

	json_decref(source);
	if (text == NULL)
		return err_set(e, EINVAL, "the image's name is not UTF-8");
	return image_draft_put(draft, IMAGE_FILE_SOURCE, text, strlen(text), e);
}

static int put_metas(struct image_draft *draft, const struct boot_layer *layer, struct err *e)
{
	int r = 0;

	for (uint32_t i = 0; i < layer->n_metas && r == 0; i++) {
		const struct boot_meta *meta = &layer->metas[i];
		char name[IMAGE_FILE_NAME_BYTES];

		image_file_meta(meta->blob_id, name);
		r = image_draft_put(draft, name, meta->bytes.data, meta->bytes.size_bytes, e);
	}
	return r;
}

static int keep_layer(const struct keep *keep, const struct boot_layer *layer, struct err *e)
{
	AUTO(image_draft_drop) struct image_draft *draft = NULL;
	AUTO(free_str) char *name = reference_text(keep->ref);
	AUTO(free_str) char *origin = reference_origin(keep->ref);
	int r;

	r = image_draft_begin(keep->cas, &draft, e);
	if (r == 0)
		r = image_draft_put(draft, IMAGE_FILE_MANIFEST, keep->manifest->data,
		                    keep->manifest->size_bytes, e);
	if (r == 0)
		r = image_draft_put(draft, IMAGE_FILE_BOOTSTRAP, layer->bootstrap.data,
		                    layer->bootstrap.size_bytes, e);
	if (r == 0)
		r = image_draft_put(draft, IMAGE_FILE_LAYER, keep->layer->data,
		                    keep->layer->size_bytes, e);
	if (r == 0 && keep->index->size_bytes > 0)
		r = image_draft_put(draft, IMAGE_FILE_INDEX, keep->index->data,
		                    keep->index->size_bytes, e);
	if (r == 0)
		r = put_metas(draft, layer, e);
	if (r == 0)
		r = put_source(draft, name, origin, keep->anonymous, e);
	if (r == 0)
		r = image_draft_commit(&draft, keep->digest, e);
	return r < 0 ? err_wrap(e, "keeping it") : r;
}

int keep_image(const struct keep *keep, struct err *e)
{
	AUTO(boot_layer_clear) struct boot_layer layer = { .n_metas = 0 };
	char digest[DIGEST_TEXT_BYTES];
	int r;

	sha256_text(keep->layer->data, keep->layer->size_bytes, digest);
	if (strcmp(digest, keep->layer_digest) != 0)
		return err_set(e, EBADMSG,
		               "the bootstrap layer has digest sha256:%s, not sha256:%s (the "
		               "registry or something before it changes bytes)",
		               digest, keep->layer_digest);
	r = boot_layer_read(keep->layer->data, keep->layer->size_bytes, &layer, e);
	if (r == 0)
		r = try_bootstrap(&layer.bootstrap, e);
	if (r == 0)
		r = keep_layer(keep, &layer, e);
	return r;
}

/* ---- adopt ---- */

static int read_all(int fd, struct buffer *into, struct err *e)
{
	AUTO(free_bytes) uint8_t *slice = xcalloc(1, READ_BYTES);
	ssize_t n = 0;
	int r = 0;

	do {
		n = read(fd, slice, READ_BYTES);
		if (n < 0)
			return err_errno(e, errno, "reading it");
		r = buffer_add(into, slice, (uint64_t)n, e);
	} while (r == 0 && n > 0);
	return r;
}

static int read_bootstrap(const char *path, struct buffer *into, struct err *e)
{
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return err_errno(e, errno, "opening it");
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "it is not a regular file");
	if ((uint64_t)st.st_size > IMAGE_BOOTSTRAP_MAX_BYTES) /* not when 2 GiB of it are here */
		return err_set(e, EMSGSIZE,
		               "it has more than the %" PRIu64 " bytes that are allowed",
		               IMAGE_BOOTSTRAP_MAX_BYTES);
	into->max_bytes = IMAGE_BOOTSTRAP_MAX_BYTES;
	return read_all(fd, into, e);
}

static int keep_bootstrap(const struct adopt *adopt, const struct buffer *bootstrap, struct err *e)
{
	AUTO(image_draft_drop) struct image_draft *draft = NULL;
	int r;

	r = image_draft_begin(adopt->cas, &draft, e);
	if (r == 0)
		r = image_draft_put(draft, IMAGE_FILE_BOOTSTRAP, bootstrap->data,
		                    bootstrap->size_bytes, e);
	if (r == 0)
		r = put_source(draft, adopt->path, adopt->blobs_origin, false, e);
	if (r == 0)
		r = image_draft_commit(&draft, adopt->ret_digest, e);
	return r < 0 ? err_wrap(e, "keeping it") : r;
}

int adopt_check(const char *path, const char *blobs_origin, struct err *e)
{
	if (path == NULL || path[0] != '/')
		return err_set(e, EINVAL,
		               "neither a reference nor the absolute path of a bootstrap");
	if (blobs_origin == NULL)
		return err_set(e, EINVAL, "bootstrap %s: where are its blobs? (--blobs ORIGIN)",
		               path);
	if (strlen(path) >= CAS_ORIGIN_MAX_BYTES || strlen(blobs_origin) >= CAS_ORIGIN_MAX_BYTES)
		return err_set(e, ENAMETOOLONG,
		               "the path of the bootstrap, or its blobs' origin, "
		               "is too long (at most %d characters)",
		               CAS_ORIGIN_MAX_BYTES - 1);
	return origin_check(blobs_origin, e);
}

static bool was_anonymous(const struct adopt *adopt)
{
	struct image_record rec;
	struct err e;

	return image_store_by_digest(adopt->cas, adopt->ret_digest, &rec, &e) == 0 && rec.anonymous;
}

int adopt_bootstrap(struct adopt *adopt, struct err *e)
{
	AUTO(buffer_clear) struct buffer bootstrap = { .data = NULL };
	int r;

	r = read_bootstrap(adopt->path, &bootstrap, e);
	if (r == 0) {
		sha256_text(bootstrap.data, bootstrap.size_bytes, adopt->ret_digest);
		adopt->ret_anonymous = was_anonymous(adopt);
		if (image_store_has(adopt->cas, adopt->ret_digest))
			return 0;
		r = try_bootstrap(&bootstrap, e);
	}
	if (r == 0)
		r = keep_bootstrap(adopt, &bootstrap, e);
	return r < 0 ? err_wrap(e, "bootstrap %s", adopt->path) : r;
}
