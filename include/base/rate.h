/*
 * rate: a budget in bytes a second, as a bucket that fills. Pure; one thread; time as an argument.
 *
 * It holds an eighth of a second's bytes, and may go below zero by one piece, which is made up for
 * before the next. Who is urgent takes from what there is; the others only from a bucket that is
 * half full, so that it is never empty because of them, and they wait while the urgent want all.
 */
#pragma once
#include "clock.h"
#include <stdbool.h>
#include <stdint.h>

struct rate {
	uint64_t bytes_per_s; /* 0: no limit. May be changed at any time */
	int64_t left_bytes;
	uint64_t at_ns;
};

static inline int64_t rate_burst(const struct rate *r)
{
	return (int64_t)(r->bytes_per_s / 8 + 1);
}

static inline void rate_fill(struct rate *r, uint64_t now_ns)
{
	const double per_ns = (double)r->bytes_per_s / (double)NS_PER_S;
	const double more = per_ns * (double)(now_ns - r->at_ns);
	const int64_t room = rate_burst(r) - r->left_bytes;

	if (more >= (double)room) {
		r->left_bytes += room;
		r->at_ns = now_ns;
	} else if (more >= 1) { /* whole bytes: the rest of the time counts later */
		r->left_bytes += (int64_t)more;
		r->at_ns += (uint64_t)((double)(int64_t)more / per_ns);
	}
}

/** May something be sent or taken now? Then take so many bytes. @return 0: taken; else when to ask
 * again */
static inline uint64_t rate_take(struct rate *r, uint64_t now_ns, uint64_t bytes, bool urgent)
{
	int64_t least;

	if (r->bytes_per_s == 0)
		return 0;
	rate_fill(r, now_ns);
	least = urgent ? 0 : rate_burst(r) / 2;
	if (r->left_bytes > least) {
		r->left_bytes -= (int64_t)bytes;
		return 0;
	}
	return now_ns + 1 +
	       (uint64_t)((double)(least + 1 - r->left_bytes) * (double)NS_PER_S /
	                  (double)r->bytes_per_s);
}

/** What was taken and not used. */
static inline void rate_give_back(struct rate *r, uint64_t bytes)
{
	if (r->bytes_per_s != 0)
		r->left_bytes += (int64_t)bytes;
}
