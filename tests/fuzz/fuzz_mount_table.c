/*
 * fuzz_mount_table: the options of an overlay, as /proc/self/mounts has them. A directory that is
 * appended as one more lower directory must be found.
 */
#include "fuzz.h"
#include "mem.h"
#include "mount_table.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	static const char more[] = ",lowerdir+=/m";
	char *options = xcalloc(1, size_bytes + sizeof(more));

	memcpy(options, data, size_bytes);
	(void)overlay_names_lower(options, "/m");
	(void)overlay_names_lower("lowerdir=/m", options);
	if (size_bytes == 0 || options[strlen(options) - (options[0] != '\0')] != '\\') {
		memcpy(options + strlen(options), more, sizeof(more));
		assert(overlay_names_lower(options, "/m"));
	}
	free(options);
	return 0;
}
