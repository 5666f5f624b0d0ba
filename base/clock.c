/*
 * clock: this machine's clocks behind struct clock. Tests bring a clock of their own.
 */
#include "clock.h"
#include <time.h>

static uint64_t real_now_ns(const struct clock *c)
{
	struct timespec ts = { 0 };

	(void)c;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t real_wall_seconds(const struct clock *c)
{
	struct timespec ts = { 0 };

	(void)c;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec;
}

const struct clock *clock_real(void)
{
	static const struct clock real = { .now_ns = real_now_ns,
		                           .wall_seconds = real_wall_seconds };

	return &real;
}
