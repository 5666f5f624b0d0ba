/*
 * fuse_pool: the threads that serve all FUSE mounts of the agent, whatever their number.
 *
 * At most FUSE_THREADS_MAX threads wait for all /dev/fuse descriptors together and hand requests
 * to libfuse's low-level session of that descriptor. They never block on the network: a miss goes
 * to fetch and is answered from there.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "log.h"
#include <stdint.h>

#define FUSE_THREADS_MAX 16
struct fuse_pool;

MUST_CHECK int fuse_pool_new(uint32_t n_threads, struct log *log, struct fuse_pool **ret_pool,
                             struct err *e);
void fuse_pool_free(struct fuse_pool **pool); /* all mounts must be gone */
