/*
 * tree: an image's files, answered to the kernel request by request (private to mount).
 *
 * tree.c serves names, attributes, directories and xattrs; tree_read.c serves bytes: of the tree's
 * files, or of the image's blobs where the kernel reads the tree by itself (blob_files.h). Neither
 * knows how a mount comes or goes (image_mount.c).
 */
#pragma once
#define FUSE_USE_VERSION 35
#include "block_list.h"
#include "clock.h"
#include "err.h"
#include "failed_reads.h"
#include "fuse_asked.h"
#include "lazy_image.h"
#include "log.h"
#include "metrics.h"
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct blob_files;
struct fuse_pool;
struct tree_ahead;
struct tree_read;

#define BAD_NODES_MAX        64
#define SMALL_FILE_MAX_BYTES (128U << 10) /* the kernel reads such a file in one request */

struct tree {
	const struct lazy_image *image; /* borrowed, all of them */
	struct fetch *fetch;
	struct fuse_pool *fuse_pool;
	struct block_list *blocks;    /* fuse_pool's */
	struct fuse_session *session; /* set before the first request */
	bool swallow_replies;         /* session.c's, before the first request */
	struct tree_ahead *ahead;     /* ours */
	struct blob_files *files;     /* ours; NULL: it is the tree that is served */
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	struct series *read_bytes[N_FOUND]; /* held */
	struct series *read_seconds[N_FOUND];

	bool open_needed;    /* an old kernel: it wants OPEN and OPENDIR answered */
	bool opendir_needed; /* both set by INIT, before any other request */
	bool has_xattrs;

	atomic_bool ending;              /* every read gets EIO from here on */
	_Atomic uint64_t last_failed_ns; /* of a read; 0: none has */
	atomic_bool handing_over;        /* no thread serves it; what is not answered stays so */

	void (*drained)(struct tree *tree); /* see tree_drain() */

	pthread_mutex_t lock; /* guards all below; held for list work alone */
	struct tree_read *pending;
	uint32_t n_pending; /* reads that fetch holds, but for those that their thread is listing */
	bool drain_wanted;
	uint32_t n_bad_nodes;
	uint64_t bad_nodes[BAD_NODES_MAX]; /* told to the log already */
	uint64_t read_log_after_ns;
	uint64_t n_reads_unlogged;
	struct failed_reads failed_reads;
};

struct tree_opts {
	const struct lazy_image *image;
	struct fetch *fetch;
	struct fuse_pool *fuse_pool;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	void (*drained)(struct tree *tree);
};
void tree_init(struct tree *tree, const struct tree_opts *opts);
void tree_fini(struct tree *tree); /* nothing pending; fine when all zero */

/* For fuse_session_new(); userdata is the struct tree. */
extern const struct fuse_lowlevel_ops tree_ops;

/** A node of the image is broken: one line in the log a node. */
void tree_bad_node(struct tree *tree, uint64_t node, const struct err *why);

/* ---- tree_read.c ---- */

/** READ: answered from here when all is in the cache, else when fetch is done. */
void tree_op_read(fuse_req_t req, fuse_ino_t node, size_t size_bytes, off_t offset,
                  struct fuse_file_info *fi);

/** [loop] Cancel every read that is pending now; they are answered EIO. */
void tree_cancel_reads(struct tree *tree);

/** [any thread] The reads that fetch has, at most n_max of them: those that wait longest. @return
 * how many */
uint32_t tree_asked(struct tree *tree, struct fuse_asked *ret_asked, uint32_t n_max);

/**
 * No thread serves this tree any more. @return true: fetch holds no read of it; false: it does, and
 * drained() will be called once, on any thread, when it has let go of the last one
 */
bool tree_drain(struct tree *tree);
