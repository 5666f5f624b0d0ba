/*
 * nydusd_supervisor: the socket over which nydus-snapshotter keeps a state and a descriptor.
 *
 * It listens, we connect; whoever sends closes when all is said. path: --supervisor; NULL: -EINVAL.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stddef.h>

#define SUPERVISOR_STATE_MAX_BYTES (64U << 20)

/** [worker] Send a state. The snapshotter wants a descriptor with it: it gets one of /dev/null. */
MUST_CHECK int supervisor_send(const char *path, const char *state, size_t size_bytes,
                               struct err *e);

/** [worker] @param ret_state  malloc'd, with a NUL behind it. @return 0; -EMSGSIZE; -errno */
MUST_CHECK int supervisor_receive(const char *path, char **ret_state, size_t *ret_size_bytes,
                                  struct err *e);
