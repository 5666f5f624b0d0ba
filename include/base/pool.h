/*
 * pool: worker threads that do what blocks or burns CPU.
 *
 * A job is embedded in its owner's object. work runs on a worker and sees its job alone; after
 * (if any) runs on the loop thread once work has returned, and may free the job. A pool of one
 * thread is a serial queue: jobs of one priority run in order.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "loop.h"
#include <stdint.h>

struct pool;

enum job_prio { JOB_READER, JOB_NORMAL, JOB_PREFETCH, N_JOB_PRIOS }; /* a blocked reader first */

struct job {
	void (*work)(struct job *job);  /* worker thread */
	void (*after)(struct job *job); /* loop thread; NULL: the job is not touched after work */
	enum job_prio prio;
	struct job *next;      /* the pool's */
	struct pool *pool;     /* the pool's */
	struct loop_call call; /* the pool's */
};

/** @param loop  where after runs; borrowed. @param name  of the threads, <= 11 characters */
MUST_CHECK int pool_new(struct loop *loop, uint32_t n_threads, const char *name,
                        struct pool **ret_pool, struct err *e);

/** Wait until every submitted job's work has run, end the threads. after calls that are still
 * posted run when the loop runs. NULL is fine. */
void pool_free(struct pool **pool);

/** Before the first job. Once after each time with jobs, when none was there for quiet_ms: fn(arg),
 * on one of the pool's threads. */
void pool_on_quiet(struct pool *pool, uint32_t quiet_ms, void (*fn)(void *arg), void *arg);

/** Any thread. @return 0: a job waits, or is at work. Else a number, which is a greater one once
 * another job was submitted: seen twice, with a turn of the loop in between, no after is to come
 * either. What is waited for before the loop ends is freed by its own after. */
uint64_t pool_idle_mark(struct pool *pool);

/** Any thread. */
void pool_submit(struct pool *pool, struct job *job);
