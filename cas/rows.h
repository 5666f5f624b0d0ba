/*
 * rows: the numbering of rows that belong to a part of a blob.
 */
#pragma once
#include <stdint.h>

#define PART_BITS 12 /* at most BLOB_CHUNKS_MAX / 4096 parts, BLOB_CHUNKS_MAX / 32768 slices */

static inline uint64_t part_id(uint64_t blob_row, uint32_t part)
{
	return blob_row << PART_BITS | part;
}

static inline uint32_t part_of_id(uint64_t id)
{
	return (uint32_t)(id & ((1U << PART_BITS) - 1));
}
