/*
 * state: what one open cas consists of. Private to cas/.
 *
 * Who may touch what: `db` and everything marked [writer] belong to the thread of the serial queue
 * `writer`; `table` and `room` have their own locks; the rest does not change after cas_open().
 */
#pragma once
#include "blob.h"
#include "cas.h"
#include "db.h"
#include "digest_memo.h"
#include "disk.h"
#include "evict.h"
#include "flush_timer.h"
#include "hooks.h"
#include "kept.h"
#include "room.h"
#include "share_map.h"
#include "unregister.h"
#include "use.h"
#include <pthread.h>

struct cas {
	char *state_dir;
	struct loop *loop;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	const struct disk *disk;
	int lock_fd;
	int blobs_fd;
	int images_fd;
	struct pool *writer;
	pthread_t writer_thread;
	struct db *db; /* [writer] */
	struct removal removal;
	struct db_readers *readers;
	struct blob_table table;
	struct room room;
	struct share_map *map;
	struct digest_memo *memo; /* of what others are given again and again */
	struct kept kept;
	bool dedup;
	uint32_t pad_bytes;  /* data_file_pad() */
	bool can_clone;      /* files here can share extents: reflink.h */
	bool has_leases;     /* the kernel tells who has a file open: hand_out.h */
	struct pool *helper; /* one thread: what sharing does behind everybody's back */
	atomic_uint n_joins; /* of those: openings whose join goes on */
	struct hooks hooks;
	struct use_clock use;
	struct evictor evictor;
	struct flush_timer flush_timer;
	atomic_bool joins_behind; /* cas_join_behind() */
	atomic_bool closing;      /* work that can go on after the next start stops */
};

/** [worker] Run fn on the writer and wait; at once where this is the writer. @return what fn does
 */
MUST_CHECK int writer_do(struct cas *cas, int (*fn)(struct cas *cas, void *arg, struct err *e),
                         void *arg, struct err *e);

/** [worker] Until all that was queued for the writer before is done. */
void writer_wait(struct cas *cas);

/** [worker] writer_do() on any pool of one thread, which this is not. */
MUST_CHECK int queue_do(struct cas *cas, struct pool *queue,
                        int (*fn)(struct cas *cas, void *arg, struct err *e), void *arg,
                        struct err *e);

/** [worker] Which thread it is. */
MUST_CHECK int queue_thread(struct cas *cas, struct pool *queue, pthread_t *ret_thread,
                            struct err *e);

/** [any] Queue a job for the writer, in order with everything that cas itself queues. */
void writer_submit(struct cas *cas, struct job *job);
