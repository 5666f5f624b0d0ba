/*
 * image: a RAFS v5 or v6 bootstrap, read: the tree of files, and which chunks make up their bytes.
 *
 * Knows bytes alone: no network, no cache, no FUSE. The bootstrap is hostile input. image_open()
 * checks superblock and tables in time linear in their size; each inode and directory block is
 * checked at every use, and a bad one fails that call with -EUCLEAN.
 * Immutable after image_open(); any thread.
 *
 * Node ids are shoal's own: the root is IMAGE_ROOT (1), all others are > 1, injective, and checked
 * when they come back. Hard links share one node id.
 * Source: docs/rafs.md, "RAFS v6" and "RAFS v5".
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define IMAGE_ROOT                UINT64_C(1)
#define IMAGE_NAME_MAX            255
#define IMAGE_SYMLINK_MAX         4096
#define IMAGE_BLOBS_MAX           255
#define IMAGE_BOOTSTRAP_MAX_BYTES (UINT64_C(2) << 30)
/* For err_hint(), where image_open() refused what a user named. */
#define IMAGE_HINT                                                                                 \
	"a RAFS v6 or v5 bootstrap, whole, is expected: image/image.boot of an image's layer"

struct image;

enum image_format { IMAGE_RAFS_V5 = 5, IMAGE_RAFS_V6 = 6 };

struct image_opts {
	const uint8_t *data; /* the bootstrap; borrowed, must stay mapped and unchanged until
	                        image_close() */
	uint64_t size_bytes;
	uint64_t mount_time_s; /* stands in for times that the image does not carry (compact inodes)
	                        */
};

/**
 * @return 0; -EUCLEAN the bootstrap is corrupt; -ENOTSUP it is something else, named in *e
 *         (nydus v3, plain EROFS, tarfs, RAFS v4 ...); -ENOMEM
 */
MUST_CHECK int image_open(const struct image_opts *opts, struct image **ret_image, struct err *e);
void image_close(struct image **image); /* NULL is fine */

struct image_info {
	enum image_format format;
	uint64_t n_inodes;
	uint32_t n_blobs;
	uint32_t chunk_size_bytes;
	uint64_t plain_bytes; /* sum of the blobs' address spaces, for statfs */
	uint64_t flags;       /* RAFS superblock flags */
};
void image_info(const struct image *image, struct image_info *ret_info);

/* ---- blobs ---- */

/* What the bootstrap says of one blob, and what else must be had before its layout is known. */
struct image_blob {
	char blob_id[BLOB_ID_MAX + 1];
	uint32_t features; /* RAFS blob features */
	enum compressor compressor;
	enum digest_alg digest_alg;
	uint32_t n_chunks;
	uint64_t packed_size_bytes; /* of the object, 0: not known */
	uint64_t plain_size_bytes;
	/* The blob's own chunk index (CI, "blob meta") is needed: batch, zran, or no chunk table.
	 */
	bool needs_meta;
	/* The chunk digests are needed from the blob's TOC ("blob.digest"): no chunk table, and the
	 * bootstrap vouches for the TOC. */
	bool needs_digests;
	/* Where they stand. The object is meta_blob_id: the blob itself, or one of its own
	 * (SEPARATE);
	 * "": the image does not say, they must come beside the bootstrap. */
	char meta_blob_id[BLOB_ID_MAX + 1];
	uint64_t meta_blob_size_bytes; /* 0: not known */
	uint64_t ci_offset;            /* of the packed CI; the 4096-byte CI header follows it */
	uint64_t ci_packed_size_bytes;
	uint64_t ci_plain_size_bytes; /* <= IMAGE_CI_MAX_BYTES */
	enum compressor ci_compressor;
	uint32_t toc_size_bytes;          /* 0: not known */
	uint8_t toc_digest[DIGEST_BYTES]; /* all zero: the bootstrap does not vouch for the TOC */
	bool toc_vouched;
};
#define IMAGE_CI_MAX_BYTES (UINT64_C(1) << 30)

/** blob_idx < n_blobs. */
void image_blob(const struct image *image, uint32_t blob_idx, struct image_blob *ret_blob);

/**
 * The layout of one blob: from the chunk table, with the blob meta where image_blob() asks for it.
 *
 * @param meta  the blob meta in its local form (blob_meta.h): plain CI, padded, header; NULL when
 *              not needed or not to be had (then -ENODATA if it is needed)
 * @param digests  n_chunks * 32 bytes from the TOC's blob.digest; NULL when not needed or not
 * there: then trust is TRUST_WHOLE_BLOB or, where blob_id is no SHA-256, TRUST_NONE
 * @return 0, *ret_layout with one reference for the caller; -EUCLEAN; -ENODATA; -ENOMEM
 */
MUST_CHECK int image_layout(const struct image *image, uint32_t blob_idx, const uint8_t *meta,
                            uint64_t meta_size_bytes, const uint8_t *digests,
                            struct blob_layout **ret_layout, struct err *e);

/* ---- the tree ---- */

/** st_ino is the node id. @return 0; -ENOENT no such node; -EUCLEAN */
MUST_CHECK int image_getattr(const struct image *image, uint64_t node, struct stat *ret_st,
                             struct err *e);

/** name: size_bytes bytes, no NUL. @return 0; -ENOENT; -ENOTDIR; -EUCLEAN */
MUST_CHECK int image_lookup(const struct image *image, uint64_t dir, const char *name,
                            size_t name_size_bytes, uint64_t *ret_node, struct err *e);

struct image_dirent {
	uint64_t node;
	const char
		*name; /* not NUL-terminated; lives as long as the image. Never holds '/' or NUL */
	uint32_t name_size_bytes;
	uint32_t type;        /* S_IF... */
	uint64_t next_cookie; /* where the next call goes on */
};

/**
 * The directory's entries in its own order, "." and ".." included (made up where the image lacks
 * them). cookie 0: the first; after that a next_cookie. A cookie may come from outside.
 * @return 1 an entry; 0 the end; -ENOTDIR; -ENOENT; -EUCLEAN
 */
MUST_CHECK int image_readdir(const struct image *image, uint64_t dir, uint64_t cookie,
                             struct image_dirent *ret_entry, struct err *e);

/** @param ret_target  NUL-terminated. @return 0; -EINVAL no symlink; -ENOENT; -EUCLEAN */
MUST_CHECK int image_readlink(const struct image *image, uint64_t node,
                              char ret_target[IMAGE_SYMLINK_MAX + 1], struct err *e);

/**
 * One extended attribute, full name with prefix. @param ret_value  points into the image
 * @return 0; -ENODATA; -ENOENT no such node; -EUCLEAN
 */
MUST_CHECK int image_getxattr(const struct image *image, uint64_t node, const char *name,
                              const uint8_t **ret_value, uint32_t *ret_size_bytes, struct err *e);

/**
 * The names, each with its NUL, as listxattr(2) has them.
 * @return bytes needed, >= 0 (written only if buf_size_bytes suffices); -ENOENT; -EUCLEAN
 */
MUST_CHECK int64_t image_listxattr(const struct image *image, uint64_t node, char *buf,
                                   size_t buf_size_bytes, struct err *e);

/* ---- file bytes ---- */

#define IMAGE_BLOB_NONE UINT32_MAX

/* A piece of a file: bytes of one chunk, or zeros (blob_idx == IMAGE_BLOB_NONE, v5 holes). */
struct image_segment {
	uint64_t file_offset;
	uint32_t size_bytes;
	uint32_t blob_idx;
	uint32_t chunk_idx;
	uint32_t chunk_offset;       /* of the piece in the chunk */
	uint64_t chunk_plain_offset; /* of the chunk in the blob's address space, as the inode says:
	                              * hold it against the layout (image_segment_fits) */
};

/**
 * Which chunks make up [offset, offset + size_bytes) of a regular file, cut at its end.
 *
 * @return how many segments were written, in file order and without gap, <= max_segments; when that
 *         is max_segments, ask again from where the last one ends. 0: past the end. -EISDIR,
 *         -EINVAL no regular file; -ENOENT; -EUCLEAN
 */
MUST_CHECK int image_map(const struct image *image, uint64_t node, uint64_t offset,
                         uint64_t size_bytes, struct image_segment *ret_segments,
                         uint32_t max_segments, struct err *e);

/** Does the layout have that chunk at that place, and is it long enough? */
bool image_segment_fits(const struct image_segment *seg, const struct blob_layout *layout);
