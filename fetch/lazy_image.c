/*
 * lazy_image: an image in use: who holds it, where it is listed, what the database remembers of it.
 *
 * Does not know how it came here: image_loader.c.
 */
#include "lazy_image.h"
#include "image_files.h"
#include "lazy_image_impl.h"
#include "mem.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lazy_image_adopt(struct image_loader *loader, struct lazy_image *image)
{
	image->loader = loader;
	image->next = loader->images;
	loader->images = image;
}

struct lazy_image *lazy_image_find(const struct image_loader *loader, const char *digest)
{
	struct lazy_image *image = loader->images;

	while (image != NULL && strcmp(image->digest, digest) != 0)
		image = image->next;
	return image;
}

void lazy_image_removed(struct image_loader *loader, const char *digest)
{
	struct lazy_image *in_use = lazy_image_find(loader, digest);

	loader->n_removals++;
	if (in_use != NULL)
		in_use->removed = loader->n_removals;
}

struct lazy_image *lazy_image_ref(struct lazy_image *image)
{
	image->refs++;
	return image;
}

char *lazy_image_bootstrap_path(const struct lazy_image *image)
{
	return xasprintf("%s/images/%s/" IMAGE_FILE_BOOTSTRAP, image->loader->opts.state_dir,
	                 image->digest);
}

static void unlist(struct lazy_image *image)
{
	struct lazy_image **p = &image->loader->images;

	while (*p != image)
		p = &(*p)->next;
	*p = image->next;
}

void lazy_image_release(struct lazy_image **image)
{
	struct lazy_image *img = *image;

	*image = NULL;
	if (img == NULL || --img->refs > 0)
		return;
	if (img->loader != NULL)
		unlist(img);
	if (img->end_reads != NULL)
		img->end_reads(img);
	for (uint32_t i = 0; i < img->n_blobs; i++) {
		fetch_blob_release(&img->blobs[i]);
		bitmap_free(&img->named[i]);
	}
	free(img->blobs);
	free(img->named);
	image_close(&img->image);
	image_file_unmap(&img->bootstrap);
	free(img);
}

void lazy_image_add_origin(struct lazy_image *image, const char *origin)
{
	for (uint32_t i = 0; i < image->n_blobs; i++)
		cas_blob_add_origin(fetch_blob_cas(image->blobs[i]), origin);
}

/* Its own object: the image may be gone before the writer comes to it. */
struct record_job {
	struct job job;
	struct cas *cas;
	struct log *log;
	struct image_record rec;
	uint32_t n_keys;
	char **keys;
};

static void record_free(struct record_job *rj)
{
	for (uint32_t i = 0; i < rj->n_keys; i++)
		free(rj->keys[i]);
	free(rj->keys);
	free(rj);
}

static void record_work(struct job *job)
{
	struct record_job *rj = container_of(job, struct record_job, job);
	struct err e = { .code = 0 };

	if (image_store_record(rj->cas, &rj->rec, (const char *const *)rj->keys, rj->n_keys, &e) <
	    0)
		log_warn(rj->log, "the image was not recorded; its next mount asks the registry",
		         "image=%s why=%s", rj->rec.name, LOG_Q(e.msg));
	record_free(rj);
}

void lazy_image_record(const struct lazy_image *image, const char *name, bool anonymous)
{
	const struct image_loader_opts *opts = &image->loader->opts;
	struct record_job *rj = xcalloc(1, sizeof(*rj));

	/* In order with all that the writer does. */
	rj->job = (struct job){ .work = record_work, .prio = JOB_READER };
	rj->cas = opts->cas;
	rj->log = opts->log;
	memcpy(rj->rec.digest, image->digest, sizeof(rj->rec.digest));
	(void)snprintf(rj->rec.name, sizeof(rj->rec.name), "%s", name);
	rj->rec.anonymous = anonymous;
	rj->rec.added_s = clock_wall_seconds(opts->clock);
	rj->rec.used_s = rj->rec.added_s;
	rj->n_keys = image->n_blobs;
	rj->keys = xcalloc(image->n_blobs + (size_t)1, sizeof(*rj->keys));
	for (uint32_t i = 0; i < image->n_blobs; i++)
		rj->keys[i] = xstrdup(cas_blob_key(fetch_blob_cas(image->blobs[i])));
	pool_submit(cas_writer(opts->cas), &rj->job);
}

void lazy_image_record_index(const struct lazy_image *image, const struct reference *ref,
                             const char *index_digest, bool anonymous)
{
	struct reference index = *ref;
	AUTO(free_str) char *name = NULL;

	if (index_digest[0] == '\0' || strcmp(index_digest, image->digest) == 0 ||
	    ref->digest[0] != '\0')
		return;
	memcpy(index.digest, index_digest, DIGEST_TEXT_BYTES);
	name = reference_text(&index);
	lazy_image_record(image, name, anonymous);
}
