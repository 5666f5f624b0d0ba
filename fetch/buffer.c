/*
 * buffer: a growing array of bytes with a limit. Knows nothing of what is in it.
 */
#include "buffer.h"
#include "bytes.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BUFFER_FIRST_BYTES 16384U

int buffer_add(struct buffer *b, const void *data, uint64_t size_bytes, struct err *e)
{
	if (!range_fits(b->size_bytes, size_bytes, b->max_bytes))
		return err_set(e, EMSGSIZE, "more than the %" PRIu64 " bytes that are allowed",
		               b->max_bytes);
	if (size_bytes == 0)
		return 0;
	if (b->size_bytes + size_bytes > b->capacity_bytes) {
		const uint64_t twice = max_u64(b->capacity_bytes * 2, BUFFER_FIRST_BYTES);
		const uint64_t want = max_u64(twice, b->size_bytes + size_bytes);
		const uint64_t capacity = min_u64(want, b->max_bytes);
		uint8_t *bigger = realloc(b->data, capacity);

		if (bigger == NULL)
			return err_set(e, ENOMEM, "no memory for %" PRIu64 " bytes", capacity);
		b->data = bigger;
		b->capacity_bytes = capacity;
	}
	memcpy(b->data + b->size_bytes, data, size_bytes);
	b->size_bytes += size_bytes;
	return 0;
}

void buffer_clear(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ .max_bytes = b->max_bytes };
}
