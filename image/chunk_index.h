/*
 * chunk_index: where the 80-byte chunk records of each blob stand in the bootstrap.
 *
 * RAFS v6 keeps them in one table sorted by digest, v5 behind the inodes; both in the same form.
 * Source: docs/rafs.md, "Chunk records".
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

#define CHUNK_INFO_BYTES 80

enum chunk_info_flags {
	CHUNK_INFO_COMPRESSED = 1,
	CHUNK_INFO_HOLE = 2,
	CHUNK_INFO_ENCRYPTED = 4,
};

struct chunk_info {
	const uint8_t *digest;
	uint64_t packed_offset;
	uint64_t plain_offset;
	uint64_t file_offset;
	uint32_t blob_idx;
	uint32_t chunk_idx;
	uint32_t flags;
	uint32_t packed_size_bytes;
	uint32_t plain_size_bytes;
};

struct chunk_index {
	uint32_t *positions; /* of records: byte offset / 8, grouped by blob */
	uint32_t *first;     /* n_blobs + 1: blob b has positions[first[b] .. first[b + 1]) */
	uint32_t *numbers;   /* of the records' chunks, in the same order; NULL: they say it */
};

struct image;

/** record: CHUNK_INFO_BYTES bytes. */
void chunk_info_read(const uint8_t *record, struct chunk_info *ret_info);

/**
 * Sort n records by blob; their blob index is held against the image's blobs.
 * @param positions  byte offset / 8 of each record, checked to lie inside
 */
MUST_CHECK int chunk_index_build(struct image *im, const uint32_t *positions, uint32_t n,
                                 struct err *e);
void chunk_index_fini(struct chunk_index *index);

/**
 * Of records that do not say which chunk of its blob theirs is: number the chunks of each blob in
 * the order in which they stand in its address space. @return 0; -ENOMEM
 */
MUST_CHECK int chunk_index_number(struct image *im, struct err *e);
/** What that made of a chunk; UINT32_MAX: no record has one there. blob_idx < n_blobs. */
uint32_t chunk_index_number_of(const struct image *im, uint32_t blob_idx, uint64_t plain_offset);

/** How many records a blob has. */
uint32_t chunk_index_count(const struct image *im, uint32_t blob_idx);
/** Record i of a blob; i < chunk_index_count(). */
void chunk_index_get(const struct image *im, uint32_t blob_idx, uint32_t i,
                     struct chunk_info *ret_info);
