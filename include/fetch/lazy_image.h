/*
 * lazy_image: an image whose tree can be read and whose blobs are open in the cache, and the ways
 * to get one: from a registry by reference, from what is already on this node, from a bootstrap
 * file.
 *
 * The steps (each is skipped when its result is on disk): manifest -> (index: pick the platform) ->
 * bootstrap layer -> images/<manifest digest>/ -> blob metas where the image needs them -> layouts
 * -> blobs open, origins recorded. By digest and known here: no request at all; by tag and known
 * here: one manifest HEAD. Where the registry does not answer, what it would have said is asked of
 * the neighbours; a tag then means what it meant here last, or nothing.
 */
#pragma once
#include "bitmap.h"
#include "fetch.h"
#include "image.h"
#include "image_store.h"
#include "meta_source.h"
#include "origin.h"
#include "reference.h"

struct lazy_image {
	char digest[DIGEST_TEXT_BYTES]; /* of the manifest (of the bootstrap where there is none) */
	char name[CAS_ORIGIN_MAX_BYTES];
	bool anonymous;            /* its registry gave it, or its blobs, without credentials */
	struct reference blobs_at; /* of a bootstrap file; host "": not at a registry */
	struct image *image;
	uint32_t n_blobs;
	struct fetch_blob **blobs; /* by the image's blob index */
	/* By the same index: the chunks that this image itself describes; NULL: each of the blob.
	 * The layout of an open blob may have more, of other images: not for who reads this one. */
	struct bitmap **named;
	uint64_t unverified;          /* != 0: some blob is TRUST_NONE */
	struct read_log *_Atomic log; /* what readers ask for is noted there; NULL: nowhere */
	struct image_reads *reads;    /* NULL until image_reads_begin() ... */
	void (*end_reads)(
		struct lazy_image *image); /* ... and who ends them, before the blobs go */
	/* the rest is lazy_image.c's */
	uint32_t refs;
	uint64_t removed; /* the loader's n_removals when its files were; 0: they are there */
	struct image_file bootstrap;
	struct image_loader *loader;
	struct lazy_image *next;
};

/** [any] Is this chunk of a blob one that the image itself describes? chunk_idx < the layout's
 * n_chunks */
static inline bool lazy_image_names(const struct lazy_image *image, uint32_t blob_idx,
                                    uint32_t chunk_idx)
{
	const struct bitmap *named = image->named[blob_idx];

	return cas_blob_layout(fetch_blob_cas(image->blobs[blob_idx]))
	                       ->chunks[chunk_idx]
	                       .plain_size_bytes > 0 &&
	       (named == NULL || bitmap_get(named, chunk_idx));
}

struct image_loader;
struct image_loader_opts {
	struct loop *loop; /* borrowed, all of them */
	struct pool *pool;
	struct cas *cas;
	struct fetch *fetch;
	struct registry *registry;
	struct source *origins;         /* origin.h */
	struct meta_source *neighbours; /* asked when the registry does not answer; NULL: none */
	struct meta_shelf *shelf;       /* image_shelf.h: which images may be told of; NULL: none */
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	const char *state_dir; /* borrowed; a blob without digests passes through a nameless file
	                          there */
	bool allow_unverified;
	uint64_t timeout_ms;     /* for all requests of one load together, where it says none ... */
	uint64_t timeout_max_ms; /* ... and the longest that it may say; not shorter */
	uint32_t *n_out; /* the loader's: steps that workers have, of cancelled loads, too */
};
MUST_CHECK int image_loader_new(const struct image_loader_opts *opts,
                                struct image_loader **ret_loader, struct err *e);
/** [loop] For loads that begin from now on. */
void image_loader_allow_unverified(struct image_loader *loader, bool allow);
/** [loop] Does no worker have anything of a load? After a cancel that takes a moment, in which it
 * may open blobs. */
bool image_loader_is_idle(const struct image_loader *loader);
/** [loop] All loads must have ended or been cancelled, all images released, and it must be idle.
 * NULL is fine. */
void image_loader_free(struct image_loader **loader);

struct image_load;
struct image_load_opts {
	/* Either a reference ... */
	const char *reference; /* HOST[:PORT]/REPOSITORY:TAG or ...@sha256:..., copied */
	/* At a restart: a tag that is known here means what it meant then; the registry is not
	 * asked. */
	bool offline_ok;
	/* Instead of the loader's, at most its timeout_max_ms; 0: that. Of all that wait for one
	 * image together the longest counts, for as long as who said it waits. */
	uint64_t timeout_ms;
	/* ... or a bootstrap file and where its blobs are. */
	const char *bootstrap_path; /* absolute */
	const char *blobs_origin;   /* origin.h */
	/* Where blobs' chunk indexes (BLOB.blob.meta, blob_meta.h) may lie but beside the
	 * bootstrap: what is there need not be asked for. Absolute; NULL: nowhere. Of a load that
	 * is joined: its own */
	const char *metas_dir;
	/* [loop] Exactly once, not from inside: 0 and one reference of the image, or -errno:
	 * -EINVAL bad reference; -ENOENT no such image; -EACCES the registry refused; -ENOTSUP not
	 * an image that shoal reads; -EUCLEAN corrupt; -EBADMSG wrong digest; -EAGAIN no answer in
	 * time. */
	void (*done)(void *arg, int r, struct lazy_image *image, const struct err *why);
	void *arg;
};

/** [loop] One image a digest in the process: a second load gets the same object. */
MUST_CHECK int image_load_start(struct image_loader *loader, const struct image_load_opts *opts,
                                struct image_load **ret_load, struct err *e);
/** [loop] done will not follow. Also from inside the done() of another load; no other done() is
 * called inside it. */
void image_load_cancel(struct image_load *load);

/**
 * [loop] The image's files are about to be removed: who begins to load it waits until *ret_bar is
 * given to image_load_cancel(), and only then looks what is here. Several at once are fine.
 * @return 0; -EBUSY it is on its way, and its files are looked at: e says under which name
 */
MUST_CHECK int image_load_bar(struct image_loader *loader, const char *digest,
                              struct image_load **ret_bar, struct err *e);

struct lazy_image *lazy_image_ref(struct lazy_image *image); /* [loop] */
void lazy_image_release(struct lazy_image **image);          /* [loop] NULL is fine */

/** Where its bootstrap stands in the state directory; malloc'd. It stays there while the image is
 * in use. */
char *lazy_image_bootstrap_path(const struct lazy_image *image);
