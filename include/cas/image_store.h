/*
 * image_store: manifests, bootstraps and blob metas on disk, one directory an image, and what the
 * database remembers of images and tags.
 *
 * images/<manifest digest in hex>/: files of 0600 in a directory of 0700, complete or not there
 * (made under a temporary name, synced, renamed). Bytes come in verified: the caller has checked
 * them against the manifest. Knows nothing of what the files mean.
 */
#pragma once
#include "cas.h"

/* What the database keeps of one image. */
struct image_record {
	char digest[DIGEST_TEXT_BYTES];  /* hex of the manifest's SHA-256; of the bootstrap's where
	                                    there is no manifest */
	char name[CAS_ORIGIN_MAX_BYTES]; /* as people name it: HOST/REPO:TAG, HOST/REPO@sha256:...,
	                                    or bootstrap path */
	bool anonymous;                  /* the registry gave it without credentials */
	bool pinned;                     /* under one of its names (pins.h); read, never written */
	uint64_t added_s;                /* wall clock */
	uint64_t used_s;
};

/* A directory that is being filled. */
struct image_draft;
MUST_CHECK int image_draft_begin(struct cas *cas, struct image_draft **ret_draft,
                                 struct err *e); /* [worker] */
/** [worker] name: a plain file name. Written and synced. */
MUST_CHECK int image_draft_put(struct image_draft *draft, const char *name, const void *data,
                               uint64_t size_bytes, struct err *e);
/** [worker] Rename it into place; if the image is there already, that one stays. Frees *draft. */
MUST_CHECK int image_draft_commit(struct image_draft **draft, const char *digest, struct err *e);
void image_draft_drop(
	struct image_draft **draft); /* [worker] removes what was written; NULL is fine */

/** [worker] Does the image's directory exist? */
bool image_store_has(struct cas *cas, const char *digest);

/** [worker] Map a file of an image read-only, once all of it could be read. @return 0; -ENOENT;
 * -EIO. ret_data ended by image_file_unmap() */
struct image_file {
	const uint8_t *data;
	uint64_t size_bytes;
};
MUST_CHECK int image_store_map(struct cas *cas, const char *digest, const char *name,
                               uint64_t max_bytes, struct image_file *ret_file, struct err *e);
void image_file_unmap(struct image_file *file); /* zeroed is fine */

/** [worker] Add one file to an image that is there (a blob meta that was fetched later). Atomic. */
MUST_CHECK int image_store_add(struct cas *cas, const char *digest, const char *name,
                               const void *data, uint64_t size_bytes, struct err *e);
/** [writer] Instead of what is there under that name, in one step, and without a sync: after a
 * power cut it may be the old one, empty, or damaged. For files that the image can do without, and
 * that tell their readers whether they are whole. Nothing is evicted for it. */
MUST_CHECK int image_store_hint(struct cas *cas, const char *digest, const char *name,
                                const void *data, uint64_t size_bytes, struct err *e);

/** [worker] Its files are no good: take the directory away, so that it can be brought anew. What
 * the database knows of the image stays. Nobody reads it now. */
MUST_CHECK int image_store_retire(struct cas *cas, const char *digest, struct err *e);

/** [writer] Remember an image under a name, with its blobs (keys), replacing what the name meant.
 */
MUST_CHECK int image_store_record(struct cas *cas, const struct image_record *rec,
                                  const char *const *blob_keys, uint32_t n_blobs, struct err *e);

/** [any] job->after runs on the loop once what was to be recorded, or removed, before is: who has
 * mounted an image finds it. No thread waits meanwhile. job's work is not the caller's. */
void image_store_behind(struct cas *cas, struct job *job);

/** [worker] @return 0; CAS_MISS */
MUST_CHECK int image_store_by_name(struct cas *cas, const char *name, struct image_record *ret_rec,
                                   struct err *e);

/** [worker] Under any of its names. @return 0; CAS_MISS */
MUST_CHECK int image_store_by_digest(struct cas *cas, const char *digest,
                                     struct image_record *ret_rec, struct err *e);

/** [worker] Every known (name, digest), in order of name. fn returns 0 to go on. */
MUST_CHECK int image_store_list(struct cas *cas,
                                int (*fn)(void *arg, const struct image_record *rec), void *arg,
                                struct err *e);

/** [worker] The blob keys that an image uses, one call each. */
MUST_CHECK int image_store_blobs(struct cas *cas, const char *digest,
                                 int (*fn)(void *arg, const char *blob_key), void *arg,
                                 struct err *e);

/** [worker] The images that use a blob, those used last first: one call each with the digest. fn
 * returns 0 to go on. */
MUST_CHECK int image_store_users(struct cas *cas, const char *blob_key,
                                 int (*fn)(void *arg, const char *digest), void *arg,
                                 struct err *e);

/**
 * [any worker] Forget the image: its names, its directory, and the blobs that no other image uses
 * (data files too, after the transaction is synced). The caller has made sure that it is not
 * mounted. On a full disk chunks of others go for it, unless the writer itself calls.
 * @return 0; CAS_MISS no such image; -EBUSY it is pinned
 */
MUST_CHECK int image_store_remove(struct cas *cas, const char *digest, struct err *e);
