/*
 * fuse_member: one mount's /dev/fuse descriptor among those that the fuse_pool serves.
 */
#pragma once
#include "fuse_asked.h"
#include "fuse_pool.h"
#include <stdbool.h>
#include <stddef.h>

struct fuse_member;

struct fuse_member_opts {
	int fd; /* of /dev/fuse, non-blocking, mounted; borrowed until fuse_pool_remove() */
	/* One request, as read. On a thread of the pool, several at a time. buf lives during the
	 * call. */
	void (*request)(void *arg, void *buf, size_t size_bytes);
	/* The kernel ended the connection: once, on a thread of the pool. */
	void (*gone)(void *arg);
	void *arg;
};

/** Serve this descriptor from now on. @param ret_member  ended by fuse_pool_remove() */
MUST_CHECK int fuse_pool_add(struct fuse_pool *pool, const struct fuse_member_opts *opts,
                             struct fuse_member **ret_member, struct err *e);

/** [worker] Serve it no longer; returns when no thread is inside a call of it. NULL is fine. */
void fuse_pool_remove(struct fuse_pool *pool, struct fuse_member **member);

/* Memory for answers, shared by all mounts: room for the largest read and what describes it. */
#define FUSE_READ_MAX_BYTES (1U << 20)
#define FUSE_BLOCK_BYTES    (FUSE_READ_MAX_BYTES + (64U << 10))
struct block_list *fuse_pool_blocks(struct fuse_pool *pool); /* borrowed */

/* ---- what is being served ---- */

/** The request that the calling thread of the pool serves. @return false: it serves none, or is no
 * thread of the pool */
bool fuse_pool_asked(struct fuse_pool *pool, struct fuse_asked *ret_asked);
/** [any thread] What threads of the pool are serving of one member right now. @return how many */
uint32_t fuse_pool_inside(struct fuse_pool *pool, const struct fuse_member *member,
                          struct fuse_asked ret_asked[FUSE_THREADS_MAX]);

/**
 * May this thread of the pool, which has answered its request, stay with its member for a while,
 * and even wait for another request of it to be served? Not if it were the last one that serves:
 * then false. fuse_pool_back() ends it.
 */
bool fuse_pool_step_aside(struct fuse_pool *pool);
void fuse_pool_back(struct fuse_pool *pool);
