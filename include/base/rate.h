/*
 * rate: a budget in bytes a second, as a bucket that fills. Pure; one thread; time as an argument.
 *
 * It holds an eighth of a second's bytes, and may go below zero by one piece, which is made up for
 * before the next. Urgent callers take from what there is; all others only from a bucket that is
 * half full, so they never empty it, and they wait while urgent callers want everything.
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

/*
 * One budget for large pieces of those who can wait: who is urgent has a bucket of its own, so that
 * it never makes up for the piece of another. The others wait until all is made up for.
 */
struct split_rate {
	struct rate all, urgent;
};

static inline void split_rate_set(struct split_rate *r, uint64_t bytes_per_s)
{
	r->all.bytes_per_s = bytes_per_s;
	r->urgent.bytes_per_s = bytes_per_s;
}

/** As rate_take(). */
static inline uint64_t split_rate_take(struct split_rate *r, uint64_t now_ns, uint64_t bytes,
                                       bool urgent)
{
	uint64_t due_ns;

	if (r->all.bytes_per_s == 0)
		return 0;
	if (!urgent)
		return rate_take(&r->all, now_ns, bytes, false);
	due_ns = rate_take(&r->urgent, now_ns, bytes, true);
	if (due_ns != 0)
		return due_ns;
	rate_fill(&r->all, now_ns);
	r->all.left_bytes -= (int64_t)bytes;
	return 0;
}

/** What was taken, and not used. */
static inline void split_rate_give_back(struct split_rate *r, uint64_t bytes, bool urgent)
{
	rate_give_back(&r->all, bytes);
	if (urgent)
		rate_give_back(&r->urgent, bytes);
}
