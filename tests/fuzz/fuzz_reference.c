/*
 * fuzz_reference: any text is refused, or is a reference that reads the same when written out.
 */
#include "fuzz.h"
#include "mem.h"
#include "reference.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	AUTO(free_str) char *text = xcalloc(1, size_bytes + 1);
	struct reference ref, again;
	struct err e = { .code = 0 };

	memcpy(text, data, size_bytes);
	if (reference_parse(text, &ref, &e) == 0) {
		AUTO(free_str) char *written = reference_text(&ref);

		if (ref.digest[0] != '\0')
			ref.tag[0] = '\0';
		assert(reference_parse(written, &again, &e) == 0);
		assert(strcmp(ref.host, again.host) == 0 && strcmp(ref.tag, again.tag) == 0);
		assert(strcmp(ref.repository, again.repository) == 0);
		assert(strcmp(ref.digest, again.digest) == 0);
	}
	return 0;
}
