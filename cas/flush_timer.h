/*
 * flush_timer: has what became ready carried to the database every flush_ms, if there is anything.
 */
#pragma once
#include "loop.h"
#include "pool.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cas;

struct flush_timer {
	struct timer timer; /* the loop thread's */
	uint64_t period_ms;
	atomic_bool pending; /* there is something to write */
	atomic_bool queued;  /* a flush is on its way */
	struct job job;
	struct loop_call start;
	struct loop_call stop;
	pthread_mutex_t mutex; /* guards stopped */
	pthread_cond_t changed;
	bool stopped;
};

void flush_timer_start(struct cas *cas, uint64_t period_ms);
void flush_timer_stop(struct cas *cas); /* no flush will be queued after this */

/** [any] Something became ready. */
static inline void flush_timer_wake(struct flush_timer *t)
{
	if (!atomic_load_explicit(&t->pending, memory_order_relaxed))
		atomic_store_explicit(&t->pending, true, memory_order_release);
}
