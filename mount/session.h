/*
 * session: one FUSE connection: libfuse's low-level session on a /dev/fuse descriptor of ours,
 * served by the threads of the pool (private to mount).
 *
 * Knows descriptors and libfuse. Does not know what is asked, nor where it is mounted.
 */
#pragma once
#include "err.h"
#include "fuse_pool.h"
#include "tree.h"

struct session;

struct session_opts {
	struct fuse_pool *fuse_pool;         /* borrowed */
	const struct fuse_lowlevel_ops *ops; /* their userdata is the tree */
	struct tree *tree;                   /* borrowed; its session is set */
	/* The kernel ended the connection: once, on a thread of the pool. */
	void (*gone)(void *arg);
	void *arg;
};

/**
 * [worker] Serve from now on.
 * @param fd  moved, and -1 afterwards, on success
 */
MUST_CHECK int session_new(const struct session_opts *opts, int *fd, struct session **ret_session,
                           struct err *e);

/** [worker] Serve no longer; returns when no thread is inside. NULL is fine. */
void session_leave(struct session *session);

/** [worker] After session_leave(): close the descriptor; the kernel ends the rest. NULL is fine. */
void session_free(struct session **session);
