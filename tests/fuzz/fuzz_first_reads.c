/*
 * fuzz_first_reads: any bytes as what a neighbour gives for a list of first reads. What is taken is
 * what first_reads_make() makes of it.
 */
#include "first_reads.h"
#include "fuzz.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct fetch_stretch *stretches = NULL;
	uint8_t *again = NULL;
	uint64_t again_bytes = 0;
	uint32_t n = 0;
	struct err e;

	if (first_reads_parse(data, size_bytes, &stretches, &n, &e) != 0)
		return 0;
	assert(n > 0 && n <= FIRST_READS_MAX);
	again = first_reads_make(stretches, n, &again_bytes);
	assert(again_bytes == size_bytes && memcmp(again, data, size_bytes) == 0);
	free(again);
	free(stretches);
	return 0;
}
