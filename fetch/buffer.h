/*
 * buffer: bytes that come piece by piece, up to a limit. It grows with what came, not with what
 * somebody said would come.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdint.h>

struct buffer {
	uint8_t *data; /* NULL while it is empty */
	uint64_t size_bytes;
	uint64_t capacity_bytes;
	uint64_t max_bytes; /* set by the owner before the first byte */
};

/** @return 0; -EMSGSIZE more than max_bytes; -ENOMEM */
MUST_CHECK int buffer_add(struct buffer *b, const void *data, uint64_t size_bytes, struct err *e);

/** Free the bytes; max_bytes stays. All zero is fine. */
void buffer_clear(struct buffer *b);
