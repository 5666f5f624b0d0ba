/*
 * fake_clock: see the header. Knows no real time.
 */
#include "fake_clock.h"

#define START_WALL_MS UINT64_C(1767323045000)

static _Atomic uint64_t n_looks; /* at clocks that tick */

static const struct fake_clock *fake_of(const struct clock *c)
{
	return (const struct fake_clock *)(const void *)c; /* clock is the first member */
}

static uint64_t fake_now_ns(const struct clock *c)
{
	const struct fake_clock *fake = fake_of(c);
	const uint64_t now_ns = atomic_load(&fake->now_ns);

	return fake->ticks ? now_ns + atomic_fetch_add(&n_looks, 1) : now_ns;
}

static uint64_t fake_wall_ms(const struct clock *c)
{
	return atomic_load(&fake_of(c)->wall_ms);
}

void fake_clock_init(struct fake_clock *c)
{
	c->ticks = false;
	c->clock = (struct clock){ .now_ns = fake_now_ns, .wall_ms = fake_wall_ms };
	atomic_init(&c->now_ns, 1000 * NS_PER_S);
	atomic_init(&c->wall_ms, START_WALL_MS);
}

void fake_clock_advance_ms(struct fake_clock *c, uint64_t ms)
{
	atomic_fetch_add(&c->now_ns, ms * NS_PER_MS);
	atomic_fetch_add(&c->wall_ms, ms);
}
