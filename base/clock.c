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

static uint64_t real_wall_ms(const struct clock *c)
{
	struct timespec ts = { 0 };

	(void)c;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * MS_PER_S + (uint64_t)ts.tv_nsec / NS_PER_MS;
}

const struct clock *clock_real(void)
{
	static const struct clock real = { .now_ns = real_now_ns, .wall_ms = real_wall_ms };

	return &real;
}
