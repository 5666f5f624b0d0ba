/*
 * nydusd_read: a configuration file as a text.
 */
#pragma once
#include "auto.h"
#include "err.h"

/** At most NYDUSD_CONFIG_MAX_BYTES of a regular file. ret_text: malloc'd, with a NUL; may hold
 * secrets. @return 0; -errno */
MUST_CHECK int nydusd_read_file(const char *path, char **ret_text, struct err *e);
