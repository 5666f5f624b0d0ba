/*
 * fuzz_docker_config: a docker config.json, and a credential helper's answer.
 */
#include "docker_config.h"
#include "fuzz.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	static const char *const hosts[] = { "docker.io", "r.example:5000" };
	struct credentials credentials = { 0 };
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		struct docker_config_entry entry;

		if (docker_config_find((const char *)data, size_bytes, hosts[i], "team/app", &entry,
		                       &e) != 0)
			continue;
		assert(strchr(entry.helper, '/') == NULL);
		credentials_wipe(&entry.credentials);
	}
	if (docker_helper_parse((const char *)data, size_bytes, &credentials, &e) == 0)
		credentials_wipe(&credentials);
	return 0;
}
