/*
 * fuzz_config: any bytes as a configuration: refused with a line, or read, and then the same as
 * itself.
 */
#include "config.h"
#include "fuzz.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void must_not_differ(void *arg, const char *setting)
{
	(void)arg;
	(void)setting;
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	AUTO(config_free) struct config *c = NULL;
	struct err e = { .code = 0 };

	if (config_parse("f", data, size_bytes, &c, &e) == 0) {
		assert(c->n_registries >= 1);
		config_diff(c, c, must_not_differ, NULL);
	} else {
		assert(e.code != 0 && strncmp(e.msg, "f:", 2) == 0);
	}
	return 0;
}
