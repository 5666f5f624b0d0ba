/*
 * leaving: see leaving.h.
 */
#include "leaving.h"
#include "auto.h"

#define LOOK_MS 2

static void look(struct timer *t)
{
	struct leaving *l = container_of(t, struct leaving, timer);
	const uint64_t mark = l->mark(l->arg);

	if ((mark != 0 && mark == l->seen_mark) || clock_now_ns(l->clock) >= l->end_ns) {
		loop_stop(l->loop);
		return;
	}
	l->seen_mark = mark;
	timer_start(&l->timer, LOOK_MS);
}

void leaving_begin(struct leaving *leaving, struct loop *loop, const struct clock *clock,
                   uint32_t at_most_ms, uint64_t (*mark)(const void *arg), const void *arg)
{
	if (leaving_has_begun(leaving))
		return;
	leaving->loop = loop;
	leaving->mark = mark;
	leaving->arg = arg;
	leaving->clock = clock;
	leaving->end_ns = clock_now_ns(clock) + at_most_ms * NS_PER_MS;
	timer_init(&leaving->timer, loop, look);
	timer_start(&leaving->timer, 0);
}

bool leaving_has_begun(const struct leaving *leaving)
{
	return leaving->mark != NULL;
}

void leaving_fini(struct leaving *leaving)
{
	timer_fini(&leaving->timer);
}

uint64_t pools_idle_mark(struct pool *const *pools, size_t n_pools)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n_pools; i++) {
		const uint64_t mark = pool_idle_mark(pools[i]);

		if (mark == 0)
			return 0;
		sum += mark;
	}
	return sum;
}
