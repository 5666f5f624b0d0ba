/*
 * use: the slow clock. Knows ticks and seconds; knows no blobs.
 */
#include "use.h"
#include <string.h>

static void start(struct use_clock *u, uint64_t second)
{
	u->starts_s[1] = second;
	/* what this wraps, now_s() wraps back */
	u->zero_ns = clock_now_ns(u->clock) - second * NS_PER_S;
}

static uint64_t now_s(const struct use_clock *u)
{
	return (clock_now_ns(u->clock) - u->zero_ns) / NS_PER_S;
}

void use_clock_init(struct use_clock *u, const struct clock *clock)
{
	u->clock = clock;
	(void)pthread_mutex_init(&u->mutex, NULL);
	start(u, clock_wall_seconds(clock));
	atomic_store(&u->now, 1); /* 0: before this start */
}

void use_clock_start_after(struct use_clock *u, uint64_t second)
{
	if (u->starts_s[1] <= second)
		start(u, second + 1);
}

void use_clock_fini(struct use_clock *u)
{
	(void)pthread_mutex_destroy(&u->mutex);
}

/* With the mutex held. */
static void move_on(struct use_clock *u, uint64_t second)
{
	const uint8_t now = atomic_load(&u->now);

	atomic_store(&u->written_bytes, 0);
	if (now >= USE_HALVE_AT)
		atomic_store(&u->halve, true);
	if (now == USE_TICKS - 1)
		return;
	u->starts_s[now + 1] = second;
	atomic_store(&u->now, (uint8_t)(now + 1));
}

void use_clock_time(struct use_clock *u)
{
	const uint64_t second = now_s(u);

	(void)pthread_mutex_lock(&u->mutex);
	if (second >= u->starts_s[atomic_load(&u->now)] + USE_TICK_S)
		move_on(u, second);
	(void)pthread_mutex_unlock(&u->mutex);
}

void use_clock_wrote(struct use_clock *u, uint64_t n_bytes, uint64_t room_bytes)
{
	const uint64_t step = room_bytes / USE_TICKS_A_FILL;

	if (atomic_fetch_add_explicit(&u->written_bytes, n_bytes, memory_order_relaxed) + n_bytes <=
	    step)
		return;
	(void)pthread_mutex_lock(&u->mutex);
	if (atomic_load(&u->written_bytes) > step)
		move_on(u, now_s(u));
	(void)pthread_mutex_unlock(&u->mutex);
}

uint8_t use_tick_of(struct use_clock *u, uint64_t second)
{
	uint8_t tick;

	(void)pthread_mutex_lock(&u->mutex);
	tick = atomic_load(&u->now);
	while (tick > 0 && u->starts_s[tick] > second)
		tick--;
	(void)pthread_mutex_unlock(&u->mutex);
	return tick;
}

uint64_t use_second_of(struct use_clock *u, uint8_t tick)
{
	uint64_t second;

	(void)pthread_mutex_lock(&u->mutex);
	second = u->starts_s[tick];
	(void)pthread_mutex_unlock(&u->mutex);
	return second;
}

bool use_halve(struct use_clock *u)
{
	uint8_t now;

	if (!atomic_exchange(&u->halve, false))
		return false;
	(void)pthread_mutex_lock(&u->mutex);
	now = atomic_load(&u->now);
	for (unsigned i = 1; i <= now / 2U; i++)
		u->starts_s[i] = u->starts_s[(size_t)2 * i];
	atomic_store(&u->now, now / 2);
	(void)pthread_mutex_unlock(&u->mutex);
	return true;
}
