/*
 * gate: one call of another thread is held up in the middle of it, until the test lets it go on.
 * Who closes it before the call, waits for it to stand there, and opens it; once. Any thread.
 */
#pragma once
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

struct gate {
	atomic_bool closed; /* the next one stops ... */
	atomic_bool inside; /* ... here ... */
	atomic_bool open;   /* ... until then */
};

static inline void gate_close(struct gate *g)
{
	atomic_store(&g->closed, true);
}

static inline void gate_await(struct gate *g)
{
	while (!atomic_load(&g->inside))
		(void)sched_yield();
}

static inline void gate_open(struct gate *g)
{
	atomic_store(&g->open, true);
}

/* Who passes when it is not closed is not held up. */
static inline void gate_pass(struct gate *g)
{
	if (!atomic_exchange(&g->closed, false))
		return;
	atomic_store(&g->inside, true);
	while (!atomic_load(&g->open))
		(void)sched_yield();
}

/* The call is over. */
static inline void gate_leave(struct gate *g)
{
	atomic_store(&g->inside, false);
}
