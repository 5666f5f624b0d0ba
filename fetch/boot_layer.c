/*
 * boot_layer: pick the bootstrap and the blob metas out of the layer's tar.
 *
 * Knows the names that nydus gives them; everything else in the tar, and every other way to spell
 * a path, is passed over. Knows nothing of what is in the files.
 */
#include "boot_layer.h"
#include "bytes.h"
#include "hex.h"
#include "mem.h"
#include "untar.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define META_SUFFIX ".blob.meta"

struct pick {
	struct boot_layer *layer;
	struct untar *tar;
	struct buffer *into; /* the file that is coming */
	bool has_bootstrap;
	uint64_t metas_left_bytes; /* that all metas together may still take */
};

/* "HEX.blob.meta" -> HEX */
static bool meta_name(const char *name, char ret_blob_id[DIGEST_TEXT_BYTES])
{
	if (strlen(name) != DIGEST_TEXT_BYTES - 1 + strlen(META_SUFFIX) ||
	    strcmp(name + DIGEST_TEXT_BYTES - 1, META_SUFFIX) != 0)
		return false;
	memcpy(ret_blob_id, name, DIGEST_TEXT_BYTES - 1);
	ret_blob_id[DIGEST_TEXT_BYTES - 1] = '\0';
	return hex_is_sha256(ret_blob_id);
}

static int begin_bootstrap(struct pick *pick, uint64_t size_bytes, struct err *e)
{
	if (pick->has_bootstrap)
		return err_set(e, EUCLEAN, "two files in it are called image.boot");
	if (size_bytes > IMAGE_BOOTSTRAP_MAX_BYTES)
		return err_set(e, EMSGSIZE,
		               "the bootstrap has %" PRIu64 " bytes (at most %" PRIu64 ")",
		               size_bytes, IMAGE_BOOTSTRAP_MAX_BYTES);
	pick->has_bootstrap = true;
	pick->into = &pick->layer->bootstrap;
	pick->into->max_bytes = size_bytes;
	return 0;
}

static int begin_meta(struct pick *pick, const char *blob_id, uint64_t size_bytes, struct err *e)
{
	struct boot_layer *layer = pick->layer;
	struct boot_meta *meta = NULL;

	if (layer->n_metas == IMAGE_BLOBS_MAX || size_bytes > pick->metas_left_bytes)
		return err_set(e, EMSGSIZE, "too many or too large blob metas (at most %d files)",
		               IMAGE_BLOBS_MAX);
	if (layer->metas == NULL)
		layer->metas = xcalloc(IMAGE_BLOBS_MAX, sizeof(*layer->metas));
	pick->metas_left_bytes -= size_bytes;
	meta = &layer->metas[layer->n_metas++];
	memcpy(meta->blob_id, blob_id, DIGEST_TEXT_BYTES);
	meta->bytes.max_bytes = size_bytes;
	pick->into = &meta->bytes;
	return 0;
}

static int on_file(void *arg, const char *name, uint64_t size_bytes, bool *ret_keep, struct err *e)
{
	struct pick *pick = arg;
	char blob_id[DIGEST_TEXT_BYTES];

	if (strncmp(name, "./", 2) == 0)
		name += 2;
	if (strcmp(name, "image.boot") == 0 || strcmp(name, "image/image.boot") == 0) {
		*ret_keep = true;
		return begin_bootstrap(pick, size_bytes, e);
	}
	if (strncmp(name, "image/", 6) == 0 && meta_name(name + 6, blob_id)) {
		*ret_keep = true;
		return begin_meta(pick, blob_id, size_bytes, e);
	}
	return 0;
}

static int on_bytes(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	struct pick *pick = arg;

	return buffer_add(pick->into, bytes, size_bytes, e);
}

static int on_plain(void *arg, const uint8_t *bytes, uint64_t size_bytes, struct err *e)
{
	struct pick *pick = arg;

	return untar_add(pick->tar, bytes, size_bytes, e);
}

int boot_layer_read(const uint8_t *packed, uint64_t size_bytes, struct boot_layer *ret_layer,
                    struct err *e)
{
	static const struct untar_ops ops = { .file = on_file, .bytes = on_bytes };
	struct pick pick = { .layer = ret_layer, .metas_left_bytes = IMAGE_CI_MAX_BYTES };
	AUTO(untar_free) struct untar *tar = untar_new(&ops, &pick);
	int r;

	*ret_layer = (struct boot_layer){ .n_metas = 0 };
	pick.tar = tar;
	r = untar_unpack(packed, size_bytes, BOOT_LAYER_PLAIN_MAX_BYTES, on_plain, &pick, e);
	if (r == 0)
		r = untar_end(tar, e);
	if (r == 0 && ret_layer->bootstrap.size_bytes == 0)
		r = err_set(e, ENOTSUP, "no bootstrap (image/image.boot) is in it");
	return r < 0 ? err_wrap(e, "bootstrap layer") : r;
}

void boot_layer_clear(struct boot_layer *layer)
{
	buffer_clear(&layer->bootstrap);
	for (uint32_t i = 0; i < layer->n_metas; i++)
		buffer_clear(&layer->metas[i].bytes);
	free(layer->metas);
	*layer = (struct boot_layer){ .n_metas = 0 };
}
