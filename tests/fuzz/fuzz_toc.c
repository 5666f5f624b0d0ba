/*
 * fuzz_toc: any bytes as a blob with a table of contents at its end.
 */
#include "blob_meta.h"
#include "bytes.h"
#include "fuzz.h"
#include <assert.h>
#include <stdlib.h>

#define PART_MAX_BYTES (1U << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct toc *toc = malloc(sizeof(*toc));
	struct err e;

	if (toc != NULL && toc_parse(data, size_bytes, NULL, size_bytes, toc, &e) == 0) {
		assert(toc->n_entries <= TOC_ENTRIES_MAX);
		for (uint32_t i = 0; i < toc->n_entries && i < 8; i++) {
			const struct toc_entry *t = &toc->entries[i];
			uint8_t *plain = NULL;

			(void)toc_find(toc, t->name);
			if (range_fits(t->stored_offset, t->stored_size_bytes, size_bytes))
				(void)!toc_unpack(t, data + t->stored_offset, PART_MAX_BYTES,
				                  &plain, &e);
			free(plain);
		}
	}
	free(toc);
	return 0;
}
