/*
 * lazy_load: the shortest way for a test to load an image and to hold it to its promises.
 */
#include "lazy_load.h"
#include "boot_layer.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EDGE_BOOT      "2a992b823cba9223a51925b0d24926baa5464d7a90f6ad5aeb1eb3906d294d75"
#define CHUNK_TABLE_AT (1152 + 24) /* where a RAFS v6 superblock has offset and size */

int lazy_set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	world_open(w);
	*state = w;
	return 0;
}

int lazy_tear_down(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

/* ---- one load and what it came to ---- */

void outcome_set(void *arg, int r, struct lazy_image *image, const struct err *why)
{
	struct outcome *o = arg;

	o->n_done++;
	o->r = r;
	o->image = image;
	if (r < 0)
		o->err = *why;
}

struct image_load *start(struct world *w, const char *reference, struct outcome *o)
{
	const struct image_load_opts opts = { .reference = reference,
		                              .done = outcome_set,
		                              .arg = o };
	struct image_load *load = NULL;
	struct err e;

	*o = (struct outcome){ .r = 1 };
	assert_int_equal(image_load_start(w->loader, &opts, &load, &e), 0);
	return load;
}

void load(struct world *w, const char *reference, struct outcome *o)
{
	(void)start(w, reference, o);
	world_settle(w);
	assert_int_equal(o->n_done, 1);
}

struct lazy_image *load_good(struct world *w, const char *reference)
{
	struct outcome o;

	load(w, reference, &o);
	if (o.r != 0)
		fail_msg("%s", o.err.msg);
	return o.image;
}

void load_bad(struct world *w, const char *reference, int code, const char *says)
{
	struct outcome o;

	load(w, reference, &o);
	assert_int_equal(o.r, -code);
	if (strstr(o.err.msg, says) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", o.err.msg, says);
	assert_int_equal(world_n_blobs_open(w), 0);
}

void load_and_let_go(struct world *w, const char *reference)
{
	struct lazy_image *image = load_good(w, reference);

	lazy_image_release(&image);
}

void set_tag(struct world *w, const char *digest)
{
	w->registry.tag = "app:1";
	w->registry.tag_digest = digest;
}

void requests_were(const struct world *w, uint32_t heads, uint32_t manifests, uint32_t blobs)
{
	assert_int_equal(w->registry.n_heads, heads);
	assert_int_equal(w->registry.n_manifests, manifests);
	assert_int_equal(w->registry.n_blobs, blobs);
}

/* ---- a bootstrap file ---- */

/* Of edge:v6, with its chunk table, which has the digests, or without. */
static void write_bootstrap(const char *path, bool with_table)
{
	struct boot_layer layer;
	uint64_t size_bytes = 0;
	uint8_t *packed = world_object(EDGE_BOOT, &size_bytes);
	struct err e;
	FILE *f = fopen(path, "wb");

	assert_non_null(packed);
	assert_non_null(f);
	assert_int_equal(boot_layer_read(packed, size_bytes, &layer, &e), 0);
	if (!with_table)
		memset(layer.bootstrap.data + CHUNK_TABLE_AT, 0, 16);
	assert_int_equal(fwrite(layer.bootstrap.data, 1, layer.bootstrap.size_bytes, f),
	                 layer.bootstrap.size_bytes);
	assert_int_equal(fclose(f), 0);
	boot_layer_clear(&layer);
	free(packed);
}

struct image_load *start_file(struct world *w, const char *path, struct outcome *o)
{
	return start_file_with(w, path, FILE_BLOBS, o);
}

struct image_load *start_file_with(struct world *w, const char *path, const char *blobs,
                                   struct outcome *o)
{
	const struct image_load_opts opts = {
		.bootstrap_path = path, .blobs_origin = blobs, .done = outcome_set, .arg = o
	};
	struct image_load *l = NULL;
	struct err e;

	*o = (struct outcome){ .r = 1 };
	assert_int_equal(image_load_start(w->loader, &opts, &l, &e), 0);
	return l;
}

void load_file(struct world *w, const char *path, struct outcome *o)
{
	(void)start_file(w, path, o);
	world_settle(w);
	assert_int_equal(o->n_done, 1);
}

struct boot_file boot_file_new(bool with_table)
{
	struct boot_file f = { .path = "/tmp/shoal-test-boot-XXXXXX" };

	f.fd = mkstemp(f.path);
	assert_true(f.fd >= 0);
	write_bootstrap(f.path, with_table);
	return f;
}

void boot_file_end(struct boot_file *f)
{
	(void)close(f->fd);
	assert_int_equal(unlink(f->path), 0);
}
