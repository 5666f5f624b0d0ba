/*
 * use: when chunks were read last, coarsely: a byte a chunk that holds a tick of a slow clock.
 *
 * The warm path compares that byte with the clock's and writes it where it differs: no lock, no
 * read-modify-write, nothing shared that is written while the clock stands. The clock moves on with
 * time, and with what is written, so that it tells first from last under pressure, too. Before it
 * runs out of numbers all of them are halved: the order stays, the old get coarser.
 *
 * Its seconds are those since 1970 when it starts, unless something was used later than that: then
 * they go on from there. While it runs they are counted. So a machine's time that is ahead, or
 * behind, or set right meanwhile puts nothing out of order, in this run or over restarts.
 */
#pragma once
#include "clock.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define USE_TICKS        256U
#define USE_HALVE_AT     240U /* then the numbers are halved */
#define USE_TICK_S       UINT64_C(60)
#define USE_TICKS_A_FILL 64U /* the clock moves when so much of the room was written anew */

struct use_clock {
	uint8_t apart[64]; /* from what changes more often */
	_Atomic uint8_t now;
	atomic_bool halve; /* somebody should call use_halve() */
	const struct clock *clock;
	uint64_t starts_s[USE_TICKS];   /* second in which each tick began */
	_Atomic uint64_t written_bytes; /* since the last tick */
	uint64_t zero_ns;               /* of clock: when its second 0 would have been */
	pthread_mutex_t mutex;          /* guards starts_s */
};

void use_clock_init(struct use_clock *u, const struct clock *clock);

/** [before anybody takes ticks] Something was used in this second: the clock starts behind it. */
void use_clock_start_after(struct use_clock *u, uint64_t second);
void use_clock_fini(struct use_clock *u);

/** [any] Move on if a minute has gone. */
void use_clock_time(struct use_clock *u);

/** [any] So much was written to a cache that can hold room_bytes: move on if that was a part of it
 * that counts. */
void use_clock_wrote(struct use_clock *u, uint64_t n_bytes, uint64_t room_bytes);

/** [any] The tick in which this second lay; 0 for all that is older than the clock. */
uint8_t use_tick_of(struct use_clock *u, uint64_t second);

/** [any] The second in which a tick began. */
uint64_t use_second_of(struct use_clock *u, uint8_t tick);

/** [evictor] Halve the clock; the caller halves all ticks that were taken from it (use_halved()).
 * @return false: there was no need */
bool use_halve(struct use_clock *u);
static inline uint8_t use_halved(uint8_t tick)
{
	return tick / 2;
}

/** [any] The warm path: chunks first .. first + n - 1 were used. */
static inline void use_touch(const struct use_clock *u, _Atomic uint8_t *used, uint32_t first,
                             uint32_t n)
{
	const uint8_t now = atomic_load_explicit(&u->now, memory_order_relaxed);

	for (uint32_t i = first; i < first + n; i++)
		if (atomic_load_explicit(&used[i], memory_order_relaxed) != now)
			atomic_store_explicit(&used[i], now, memory_order_relaxed);
}
