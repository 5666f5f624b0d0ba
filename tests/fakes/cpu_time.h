/*
 * cpu_time: what the thread that asks has cost so far. For tests that compare the cost of many with
 * that of few: others that run beside them do not count.
 */
#pragma once
#include "clock.h"
#include <assert.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t cpu_ns(void)
{
	struct timespec t;

	assert(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}
