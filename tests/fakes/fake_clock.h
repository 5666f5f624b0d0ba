/*
 * fake_clock: a clock that stands still until the test moves it.
 *
 *   struct fake_clock clock;
 *   fake_clock_init(&clock);
 *   opts.clock = &clock.clock;
 *   fake_clock_advance_ms(&clock, 2000);
 *
 * Any thread may read it while the test moves it. Add ../fakes/fake_clock.c to the test's SOURCES.
 */
#pragma once
#include "clock.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fake_clock {
	struct clock clock; /* what the code under test gets */
	bool ticks;         /* with each look it goes on by a nanosecond, as a real one does */
	_Atomic uint64_t now_ns;
	_Atomic uint64_t wall_ms;
};

/** Starts at 1000 s, on 2026-01-02T03:04:05Z. */
void fake_clock_init(struct fake_clock *c);

/** Move both clocks. */
void fake_clock_advance_ms(struct fake_clock *c, uint64_t ms);
