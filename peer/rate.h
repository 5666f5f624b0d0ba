/*
 * rate: a budget in bytes a second, as a bucket that fills. Pure; one thread; time as an argument.
 */
#pragma once
#include "clock.h"
#include <stdbool.h>
#include <stdint.h>

struct rate {
	uint64_t bytes_per_s; /* 0: no limit */
	int64_t left_bytes;   /* may go below 0 by one piece */
	uint64_t at_ns;
};

/** May something be sent now? Then take so many bytes. @return 0: taken; else when to ask again */
static inline uint64_t rate_take(struct rate *r, uint64_t now_ns, uint32_t bytes)
{
	const int64_t burst = (int64_t)(r->bytes_per_s / 8 + 1);
	uint64_t elapsed_ns = now_ns - r->at_ns;

	if (r->bytes_per_s == 0)
		return 0;
	if (elapsed_ns > NS_PER_S)
		elapsed_ns = NS_PER_S;
	r->left_bytes += (int64_t)((double)r->bytes_per_s * (double)elapsed_ns / (double)NS_PER_S);
	if (r->left_bytes > burst)
		r->left_bytes = burst;
	r->at_ns = now_ns;
	if (r->left_bytes <= 0)
		return now_ns + 1 +
		       (uint64_t)((double)(1 - r->left_bytes) * (double)NS_PER_S /
		                  (double)r->bytes_per_s);
	r->left_bytes -= (int64_t)bytes;
	return 0;
}
