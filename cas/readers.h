/*
 * readers: who is reading a blob's file right now, so that a hole is punched only after the readers
 * of that moment are gone. No lock, no allocation.
 *
 * A reader enters, then looks at the ready bits; whoever takes bytes away clears the bits, then
 * waits. Both change the counter by a read-modify-write, so either the waiter sees the reader, or
 * the reader sees the bit cleared. Two counters, switched at each wait: readers that come later do
 * not hold the waiter up.
 */
#pragma once
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

struct readers {
	_Atomic uint32_t n[2];
	_Atomic uint32_t turn;
};

/** @return give it to readers_leave() */
static inline uint32_t readers_enter(struct readers *r)
{
	const uint32_t i = atomic_load_explicit(&r->turn, memory_order_acquire) & 1;

	(void)atomic_fetch_add_explicit(&r->n[i], 1, memory_order_acq_rel);
	return i;
}

static inline void readers_leave(struct readers *r, uint32_t i)
{
	(void)atomic_fetch_sub_explicit(&r->n[i], 1, memory_order_acq_rel);
}

/** [worker] Until all who entered before are gone: the time of one pread. One waiter at a time. */
static inline void readers_wait(struct readers *r)
{
	/* Twice: a reader that took its turn just before a switch may count itself just after it.
	 */
	for (int pass = 0; pass < 2; pass++) {
		const uint32_t i = atomic_fetch_add_explicit(&r->turn, 1, memory_order_acq_rel) & 1;

		while (atomic_fetch_add_explicit(&r->n[i], 0, memory_order_acq_rel) > 0)
			(void)sched_yield();
	}
}
