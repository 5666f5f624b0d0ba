/*
 * fake_clock: see the header. Knows no real time.
 */
#include "fake_clock.h"

#define START_WALL_SECONDS UINT64_C(1767323045)

static const struct fake_clock *fake_of(const struct clock *c)
{
	return (const struct fake_clock *)(const void *)c; /* clock is the first member */
}

static uint64_t fake_now_ns(const struct clock *c)
{
	return atomic_load(&fake_of(c)->now_ns);
}

static uint64_t fake_wall_seconds(const struct clock *c)
{
	return atomic_load(&fake_of(c)->wall_seconds);
}

void fake_clock_init(struct fake_clock *c)
{
	c->clock = (struct clock){ .now_ns = fake_now_ns, .wall_seconds = fake_wall_seconds };
	atomic_init(&c->now_ns, 1000 * NS_PER_S);
	atomic_init(&c->wall_seconds, START_WALL_SECONDS);
}

void fake_clock_advance_ms(struct fake_clock *c, uint64_t ms)
{
	const uint64_t before_ns = atomic_fetch_add(&c->now_ns, ms * NS_PER_MS);

	/* Whole seconds that passed, so that many small steps add up. */
	atomic_fetch_add(&c->wall_seconds,
	                 (before_ns + ms * NS_PER_MS) / NS_PER_S - before_ns / NS_PER_S);
}
