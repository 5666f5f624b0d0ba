/*
 * credential_helper: run `docker-credential-NAME get` without a shell and with a time limit.
 *
 * [worker] Blocks. Source: docker-credential-helpers, "Protocol".
 */
#pragma once
#include "docker_config.h"
#include <stdint.h>

#define HELPER_ANSWER_MAX_BYTES 65536

/**
 * @param server  told on the helper's standard input
 * @return 0; -EAGAIN it does not start, fails, or is not done in time; -EINVAL its answer makes no
 *         sense
 */
MUST_CHECK int credential_helper_get(const char *name, const char *server, uint32_t timeout_ms,
                                     struct credentials *ret_credentials, struct err *e);
