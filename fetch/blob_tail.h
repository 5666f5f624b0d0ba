/*
 * blob_tail: the last parts of a blob, packed as they stand at its origin, in one piece: what a
 * node that read them keeps, and gives to others who load the same image.
 *
 * Bytes in, bytes out; all input is hostile. Any thread. What is in it is held against the
 * bootstrap by who reads it (meta_steps.h).
 *
 *   0   "shoaltl1"
 *   8   size of the object, 8 bytes, little-endian, as all here
 *   16  sizes of TOC, packed digests, packed index with its header
 *   40  these three, one behind the other, and nothing else
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdint.h>

#define BLOB_TAIL_HEADER_BYTES 40
#define BLOB_TAIL_MAX_BYTES    (UINT64_C(1) << 30)

struct blob_part {
	const uint8_t *data; /* borrowed */
	uint64_t size_bytes; /* 0: it is not in it */
};

struct blob_tail {
	uint64_t object_size_bytes;
	struct blob_part toc, digests, ci;
};

/** @param ret_tail  points into bytes. @return 0; -EUCLEAN it is none */
MUST_CHECK int blob_tail_parse(const uint8_t *bytes, uint64_t size_bytes,
                               struct blob_tail *ret_tail, struct err *e);

/** @param ret_bytes  malloc'd, the caller's. @return 0; -EMSGSIZE; -ENOMEM */
MUST_CHECK int blob_tail_make(const struct blob_tail *tail, uint8_t **ret_bytes,
                              uint64_t *ret_size_bytes, struct err *e);
