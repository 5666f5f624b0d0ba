/*
 * nydusd_read: see nydusd_read.h.
 */
#include "nydusd_read.h"
#include "nydusd_config.h"
#include "read_file.h"

int nydusd_read_file(const char *path, char **ret_text, struct err *e)
{
	size_t size_bytes;

	return read_file(path, 0, NYDUSD_CONFIG_MAX_BYTES, ret_text, &size_bytes, e);
}
