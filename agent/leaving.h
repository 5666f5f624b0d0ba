/*
 * leaving: the last step of a program: its loop ends when nothing is out any more, so that each job
 * is freed where it comes back.
 *
 * Knows no parts: whoever leaves says what is out. All on the loop thread.
 */
#pragma once
#include "clock.h"
#include "loop.h"
#include "pool.h"
#include <stddef.h>

struct leaving {
	struct timer timer;
	struct loop *loop;
	uint64_t (*mark)(const void *arg);
	const void *arg;
	const struct clock *clock;
	uint64_t seen_mark; /* by the last look */
	uint64_t end_ns;    /* of the clock */
};

/**
 * Look from the next turn on. leaving: zeroed before; where it has begun already, nothing is done.
 *
 * @param at_most_ms  then the loop ends, whatever is out
 * @param mark  0: something is out. Else as pool_idle_mark(): the loop ends when it is seen twice
 */
void leaving_begin(struct leaving *leaving, struct loop *loop, const struct clock *clock,
                   uint32_t at_most_ms, uint64_t (*mark)(const void *arg), const void *arg);
bool leaving_has_begun(const struct leaving *leaving);
void leaving_fini(struct leaving *leaving); /* zeroed is fine */

/** pool_idle_mark() of several. */
uint64_t pools_idle_mark(struct pool *const *pools, size_t n_pools);
