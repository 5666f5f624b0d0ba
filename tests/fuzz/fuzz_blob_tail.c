/*
 * fuzz_blob_tail: any bytes as what a neighbour gives for a blob's tail. Parts lie inside; what is
 * taken is what blob_tail_make() makes of it.
 */
#include "blob_tail.h"
#include "bytes.h"
#include "fuzz.h"
#include <assert.h>
#include <stdlib.h>

static void lies_inside(const struct blob_part *part, const uint8_t *data, size_t size_bytes)
{
	assert(part->data >= data && part->data <= data + size_bytes);
	assert(part->size_bytes <= (uint64_t)(data + size_bytes - part->data));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct blob_tail tail;
	uint8_t *again = NULL;
	uint64_t again_bytes = 0;
	struct err e;

	if (blob_tail_parse(data, size_bytes, &tail, &e) != 0)
		return 0;
	lies_inside(&tail.toc, data, size_bytes);
	lies_inside(&tail.digests, data, size_bytes);
	lies_inside(&tail.ci, data, size_bytes);
	assert(blob_tail_make(&tail, &again, &again_bytes, &e) == 0);
	assert(again_bytes == size_bytes && memcmp(again, data, size_bytes) == 0);
	free(again);
	return 0;
}
