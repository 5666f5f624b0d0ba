/*
 * blob_tail: sizes in front, parts behind.
 */
#include "blob_tail.h"
#include "bytes.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static const char magic[8] = "shoaltl1";

int blob_tail_parse(const uint8_t *bytes, uint64_t size_bytes, struct blob_tail *ret_tail,
                    struct err *e)
{
	struct blob_tail tail = { .object_size_bytes = 0 };
	struct blob_part *const parts[] = { &tail.toc, &tail.digests, &tail.ci };
	uint64_t at = BLOB_TAIL_HEADER_BYTES;

	if (size_bytes < BLOB_TAIL_HEADER_BYTES || size_bytes > BLOB_TAIL_MAX_BYTES ||
	    memcmp(bytes, magic, sizeof(magic)) != 0)
		return err_set(e, EUCLEAN, "%" PRIu64 " bytes that are no blob's tail", size_bytes);
	tail.object_size_bytes = le64(bytes + 8);
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t part_bytes = le64(bytes + 16 + 8 * (size_t)i);

		if (!range_fits(at, part_bytes, size_bytes))
			return err_set(e, EUCLEAN, "a part of a blob's tail ends behind it");
		*parts[i] = (struct blob_part){ .data = bytes + at, .size_bytes = part_bytes };
		at += part_bytes;
	}
	if (at != size_bytes)
		return err_set(e, EUCLEAN, "there is something behind a blob's tail");
	*ret_tail = tail;
	return 0;
}

int blob_tail_make(const struct blob_tail *tail, uint8_t **ret_bytes, uint64_t *ret_size_bytes,
                   struct err *e)
{
	const struct blob_part *const parts[] = { &tail->toc, &tail->digests, &tail->ci };
	uint64_t size_bytes = BLOB_TAIL_HEADER_BYTES;
	uint8_t *bytes;

	for (unsigned i = 0; i < 3; i++) {
		if (parts[i]->size_bytes > BLOB_TAIL_MAX_BYTES - size_bytes)
			return err_set(e, EMSGSIZE,
			               "a blob's tail is larger than %" PRIu64 " bytes",
			               BLOB_TAIL_MAX_BYTES);
		size_bytes += parts[i]->size_bytes;
	}
	bytes = calloc(1, size_bytes);
	if (bytes == NULL)
		return err_set(e, ENOMEM, "no memory for a blob's tail of %" PRIu64 " bytes",
		               size_bytes);
	memcpy(bytes, magic, sizeof(magic));
	put_le64(bytes + 8, tail->object_size_bytes);
	*ret_size_bytes = BLOB_TAIL_HEADER_BYTES;
	for (unsigned i = 0; i < 3; i++) {
		put_le64(bytes + 16 + 8 * (size_t)i, parts[i]->size_bytes);
		if (parts[i]->size_bytes > 0)
			memcpy(bytes + *ret_size_bytes, parts[i]->data, parts[i]->size_bytes);
		*ret_size_bytes += parts[i]->size_bytes;
	}
	*ret_bytes = bytes;
	return 0;
}
