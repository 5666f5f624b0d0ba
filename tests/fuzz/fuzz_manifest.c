/*
 * fuzz_manifest: any bytes are refused with a reason, or lead to one digest of a size within
 * limits.
 */
#include "boot_layer.h"
#include "fuzz.h"
#include "hex.h"
#include "manifest.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	const struct platform platforms[] = { { "linux", "amd64", "" },
		                              { "linux", "arm64", "v8" },
		                              { "linux", "arm", "v7" } };

	for (size_t i = 0; i < ARRAY_LEN(platforms); i++) {
		struct manifest m;
		struct err e = { .code = 0 };

		if (manifest_parse(data, size_bytes, &platforms[i], &m, &e) != 0) {
			assert(e.code > 0 && e.msg[0] != '\0');
			continue;
		}
		assert(hex_is_sha256(m.next_digest));
		assert(m.next_size_bytes > 0 && m.next_size_bytes <= BOOT_LAYER_PACKED_MAX_BYTES);
	}
	return 0;
}
