/*
 * docker_config: what a docker config.json says of one repository, and what a credential helper
 * answers.
 *
 * Pure; hostile input. Source: docker/cli's cli/config/configfile and docker-credential-helpers;
 * containers-auth.json(5) for keys with a path.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "registry.h"
#include <stddef.h>

#define DOCKER_CONFIG_MAX_BYTES (1 << 20)
#define DOCKER_HELPER_MAX_BYTES 64

struct docker_config_entry {
	struct credentials credentials;
	char helper[DOCKER_HELPER_MAX_BYTES]; /* ask docker-credential-HELPER; "": no need to */
};

enum { DOCKER_CONFIG_NONE = 1 };

/**
 * The entry for HOST/REPOSITORY: the longest key that is the host, or the host and the front of the
 * repository's path.
 * @return 0; DOCKER_CONFIG_NONE it says nothing of that host; -EINVAL not a docker config
 */
MUST_CHECK int docker_config_find(const char *json, size_t size_bytes, const char *host,
                                  const char *repository, struct docker_config_entry *ret_entry,
                                  struct err *e);

/** The answer of `docker-credential-X get`. @return 0; -EINVAL */
MUST_CHECK int docker_helper_parse(const char *json, size_t size_bytes,
                                   struct credentials *ret_credentials, struct err *e);

/** The name that docker gives a host in its files: Docker Hub has one of its own. */
const char *docker_config_server(const char *host);
