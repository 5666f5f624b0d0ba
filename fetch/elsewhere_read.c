/*
 * elsewhere_read: how a blob is packed, from the images in the state directory that use it. Knows
 * images and the image store; nothing of who asks.
 */
#include "assemble_steps.h"
#include "elsewhere_layouts.h"
#include "image_store.h"
#include <string.h>

#define IMAGES_MAX 4 /* that are read for one blob */

struct reading {
	struct cas *cas;
	struct log *log;
	const char *key;
	uint32_t n_images;
	struct blob_layout *best;
	uint32_t n_described; /* chunks, by it */
};

/* A key is the blob's id, or that and more. */
static bool is_of(const char *key, const char *blob_id)
{
	const size_t n = strlen(blob_id);

	return n > 0 && strncmp(key, blob_id, n) == 0 && (key[n] == '\0' || key[n] == '-');
}

static uint32_t n_described(const struct blob_layout *l)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->n_chunks; i++)
		n += l->chunks[i].plain_size_bytes > 0;
	return n;
}

static void read_part(struct reading *rd, const struct assembly *a, uint32_t i)
{
	AUTO(layout_unref) struct blob_layout *layout = NULL;
	struct err e = { .code = 0 };
	uint32_t n;

	if (!is_of(rd->key, a->parts[i].info.blob_id) || assembly_layout(a, i, &layout, &e) < 0)
		return;
	n = n_described(layout);
	if (n <= rd->n_described)
		return;
	rd->n_described = n;
	layout_unref(&rd->best);
	rd->best = layout;
	layout = NULL;
}

/* What cannot be read may be in the next image. */
static int read_image(void *arg, const char *digest)
{
	struct reading *rd = arg;
	struct assembly a = {
		.cas = rd->cas, .log = rd->log, .digest = digest, .only_looks = true
	};
	struct err e = { .code = 0 };

	if (assembly_open(&a, &e) == 0) {
		for (uint32_t i = 0; i < a.n_parts; i++)
			read_part(rd, &a, i);
	}
	assembly_clear(&a);
	return ++rd->n_images == IMAGES_MAX ||
	       (rd->best != NULL && rd->n_described == rd->best->n_chunks);
}

int elsewhere_layout_read(struct cas *cas, struct log *log, const char *key,
                          struct blob_layout **ret_layout, struct err *e)
{
	struct reading rd = { .cas = cas, .log = log, .key = key };
	const int r = image_store_users(cas, key, read_image, &rd, e);

	if (r < 0 || rd.best == NULL) {
		layout_unref(&rd.best);
		return r < 0 ? r : CAS_MISS;
	}
	*ret_layout = rd.best;
	return 0;
}
