/*
 * blob_meta: a blob's own chunk index (compression information, CI) and table of contents (TOC),
 * from bytes of the blob's tail to the local form that image_layout() takes.
 *
 * Pure functions on bytes; no I/O. All input is hostile. Any thread.
 * The local form is what nydus writes as <blob id>.blob.meta: the plain CI, zero-padded to 4096,
 * then the 4096-byte header; converters ship it beside the bootstrap as <meta_blob_id>.blob.meta.
 * Source: docs/rafs.md, "Chunk index (CI)" and "Table of contents (TOC)".
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "image.h"
#include <stdint.h>

#define CI_HEADER_BYTES 4096
#define TOC_MAX_BYTES   65536

/** Size of the local form for this blob. */
uint64_t blob_meta_local_size(const struct image_blob *blob);

/** Does this file hold the blob meta of blob, in local form? (magic, counts, sizes) */
MUST_CHECK int blob_meta_check(const struct image_blob *blob, const uint8_t *meta,
                               uint64_t size_bytes, struct err *e);

/**
 * From the packed bytes [ci_offset, ci_offset + ci_packed_size_bytes + CI_HEADER_BYTES) of the meta
 * object to the local form: decrypt, unpack, pad, check.
 *
 * @param cipher  of the blob (layout.h); .on false: not encrypted
 * @param toc  a checked TOC, or NULL; with one, the digests of blob.meta and blob.meta.header must
 * match
 * @param ret_meta  malloc'd, blob_meta_local_size() bytes, the caller's
 * @return 0; -EUCLEAN; -EBADMSG a digest does not match; -ENOMEM
 */
struct toc;
MUST_CHECK int blob_meta_unpack(const struct image_blob *blob, const struct blob_cipher *cipher,
                                const uint8_t *packed, uint64_t packed_size_bytes,
                                const struct toc *toc, uint8_t **ret_meta, struct err *e);

/** The cipher that the bootstrap gives this blob. */
void image_blob_cipher(const struct image *image, uint32_t blob_idx,
                       struct blob_cipher *ret_cipher);

struct toc_entry {
	char name[17];
	enum compressor compressor;   /* none, zstd or lz4_block: as it is stored */
	uint8_t digest[DIGEST_BYTES]; /* SHA-256 of the plain content */
	uint64_t stored_offset;
	uint64_t stored_size_bytes;
	uint64_t plain_size_bytes;
};

#define TOC_ENTRIES_MAX (TOC_MAX_BYTES / 128)
struct toc {
	uint32_t n_entries;
	struct toc_entry entries[TOC_ENTRIES_MAX];
};

/**
 * Parse the last bytes of a blob as TOC (entries and the tar header behind them).
 *
 * @param tail  the last tail_size_bytes of the object (toc_size_bytes where known, else up to 4096)
 * @param vouched_digest  SHA-256 that the bootstrap gives, or NULL
 * @param object_size_bytes  every entry must lie inside
 * @return 0; -ENOENT there is none; -EUCLEAN; -EBADMSG the digest does not match
 */
MUST_CHECK int toc_parse(const uint8_t *tail, uint64_t tail_size_bytes,
                         const uint8_t *vouched_digest, uint64_t object_size_bytes,
                         struct toc *ret_toc, struct err *e);

/** NULL if there is no such entry. */
const struct toc_entry *toc_find(const struct toc *toc, const char *name);

/** Unpack an entry's stored bytes and check its digest. @param ret_plain malloc'd, the caller's */
MUST_CHECK int toc_unpack(const struct toc_entry *entry, const uint8_t *stored, uint64_t max_bytes,
                          uint8_t **ret_plain, struct err *e);
