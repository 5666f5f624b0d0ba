/*
 * session: one FUSE connection: libfuse's low-level session on a /dev/fuse descriptor of ours,
 * served by the threads of the pool (private to mount).
 *
 * Knows descriptors and libfuse. Does not know what is asked, nor where it is mounted.
 */
#pragma once
#include "err.h"
#include "fuse_pool.h"
#include "keeper.h"
#include "tree.h"

struct session;

struct session_opts {
	struct fuse_pool *fuse_pool;         /* borrowed */
	const struct fuse_lowlevel_ops *ops; /* their userdata is the tree */
	struct tree *tree;                   /* borrowed; its session is set */
	/* The kernel ended the connection: once, on a thread of the pool. */
	void (*gone)(void *arg);
	void *arg;
	const struct kept
		*kept; /* a connection of an earlier process: it is taken on. NULL: a new one */
};

/**
 * [worker] Serve from now on. With kept: the kernel's INIT is replayed to libfuse, whose answer
 * goes nowhere, and the kernel asks again what the earlier process did not answer.
 * @param fd  moved, and -1 afterwards, on success
 */
MUST_CHECK int session_new(const struct session_opts *opts, int *fd, struct session **ret_session,
                           struct err *e);

/**
 * [worker] What another process needs to take this connection on: fd (borrowed) and INIT of
 * ret_kept. After the first answer.
 * @return 0; -ENOTSUP this kernel does not ask again: nobody can take it on
 */
MUST_CHECK int session_describe(struct session *session, struct kept *ret_kept, struct err *e);

int session_fd(const struct session *session); /* borrowed */

/** [loop] What the kernel asked and was not answered yet. Not beside session_leave().
 * @param n_max  more than FUSE_THREADS_MAX @return how many */
uint32_t session_asked(const struct session *session, struct fuse_asked *ret_asked, uint32_t n_max);

/** [worker] Serve no longer; returns when no thread is inside. NULL is fine. */
void session_leave(struct session *session);

/** [worker] After session_leave(): close the descriptor; the kernel ends the rest. NULL is fine. */
void session_free(struct session **session);
