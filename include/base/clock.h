/*
 * clock: the time, as an argument, so that tests can turn it themselves.
 */
#pragma once
#include <stdint.h>

#define MS_PER_S  UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

struct clock {
	uint64_t (*now_ns)(const struct clock *c);  /* monotonic, from an unknown start */
	uint64_t (*wall_ms)(const struct clock *c); /* since 1970, UTC */
};

/** CLOCK_MONOTONIC and CLOCK_REALTIME of this machine. Static, never freed; any thread. */
const struct clock *clock_real(void);

static inline uint64_t clock_now_ns(const struct clock *c)
{
	return c->now_ns(c);
}

static inline uint64_t clock_wall_ms(const struct clock *c)
{
	return c->wall_ms(c);
}

static inline uint64_t clock_wall_seconds(const struct clock *c)
{
	return clock_wall_ms(c) / MS_PER_S;
}
