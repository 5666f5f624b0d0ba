/*
 * first_reads: see the header.
 */
#include "first_reads.h"
#include "bytes.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = "shoalfr1";

uint8_t *first_reads_make(const struct fetch_stretch *stretches, uint32_t n_stretches,
                          uint64_t *ret_size_bytes)
{
	const uint64_t size_bytes =
		FIRST_READS_HEADER_BYTES + (uint64_t)n_stretches * FIRST_READS_ENTRY_BYTES;
	uint8_t *bytes;

	assert(n_stretches <= FIRST_READS_MAX);
	bytes = xcalloc(1, size_bytes);
	memcpy(bytes, magic, sizeof(magic));
	put_le32(bytes + 8, n_stretches);
	for (uint32_t i = 0; i < n_stretches; i++) {
		uint8_t *at =
			bytes + FIRST_READS_HEADER_BYTES + (size_t)i * FIRST_READS_ENTRY_BYTES;

		put_le32(at, stretches[i].blob_idx);
		put_le32(at + 4, stretches[i].first_chunk);
		put_le32(at + 8, stretches[i].n_chunks);
	}
	*ret_size_bytes = size_bytes;
	return bytes;
}

int first_reads_parse(const uint8_t *bytes, uint64_t size_bytes,
                      struct fetch_stretch **ret_stretches, uint32_t *ret_n, struct err *e)
{
	struct fetch_stretch *stretches;
	uint32_t n;

	if (size_bytes < FIRST_READS_HEADER_BYTES || memcmp(bytes, magic, sizeof(magic)) != 0)
		return err_set(e, EUCLEAN, "%" PRIu64 " bytes that are no list of first reads",
		               size_bytes);
	n = le32(bytes + 8);
	if (n == 0 || n > FIRST_READS_MAX || le32(bytes + 12) != 0 ||
	    size_bytes != FIRST_READS_HEADER_BYTES + (uint64_t)n * FIRST_READS_ENTRY_BYTES)
		return err_set(e, EUCLEAN,
		               "a list of first reads of %" PRIu64 " bytes names %" PRIu32,
		               size_bytes, n);
	stretches = xcalloc(n, sizeof(*stretches));
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *at =
			bytes + FIRST_READS_HEADER_BYTES + (size_t)i * FIRST_READS_ENTRY_BYTES;

		stretches[i] = (struct fetch_stretch){ .blob_idx = le32(at),
			                               .first_chunk = le32(at + 4),
			                               .n_chunks = le32(at + 8) };
		if (stretches[i].n_chunks > 0 &&
		    stretches[i].n_chunks <= UINT32_MAX - stretches[i].first_chunk)
			continue;
		free(stretches);
		return err_set(e, EUCLEAN, "a stretch of first reads is empty or too long");
	}
	*ret_stretches = stretches;
	*ret_n = n;
	return 0;
}
