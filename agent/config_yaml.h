/*
 * config_yaml: a configuration file's YAML into a struct config that has its defaults already.
 */
#pragma once
#include "config.h"

/** @return 0; -EINVAL "NAME:LINE: reason" */
MUST_CHECK int config_yaml_read(const char *name, const void *yaml, size_t size_bytes,
                                struct config *c, struct err *e);

/** One more entry with its defaults (config.c). Pointers to earlier entries are void then. */
struct registry_config *config_add_registry(struct config *c);
