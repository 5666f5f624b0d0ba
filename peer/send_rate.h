/*
 * send_rate: how fast a connection's other side takes what is sent: bytes that it acknowledged over
 * the time in which any were under way. Both are the kernel's own totals (conn_sent()): what lies
 * in its buffers was not taken by anybody, and who has nothing to send is not slow. Pure; one
 * thread.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SEND_RATE_HALVE_BYTES (4U << 20)   /* what is older counts for less */
#define SEND_RATE_FROM_BYTES  (256U << 10) /* fewer say nothing: buffers on the way take them */

struct send_rate {
	uint64_t seen_bytes, seen_us; /* totals at the last look */
	uint64_t bytes, us;           /* since then, and what counts of before */
};

/** Totals of the connection since it began. */
static inline void send_rate_look(struct send_rate *r, uint64_t total_bytes, uint64_t total_us)
{
	r->bytes += total_bytes - r->seen_bytes;
	r->us += total_us - r->seen_us;
	r->seen_bytes = total_bytes;
	r->seen_us = total_us;
	while (r->bytes > SEND_RATE_HALVE_BYTES) {
		r->bytes /= 2;
		r->us /= 2;
	}
}

/** Totals that say nothing of the line: no chunk was sent since the last look. Messages are few
 * bytes, and each may be acknowledged 40 ms late, as if the line took as long. */
static inline void send_rate_skip(struct send_rate *r, uint64_t total_bytes, uint64_t total_us)
{
	r->seen_bytes = total_bytes;
	r->seen_us = total_us;
}

static inline bool send_rate_is_known(const struct send_rate *r)
{
	return r->bytes >= SEND_RATE_FROM_BYTES;
}

/** Once it is known. */
static inline uint64_t send_rate_bytes_per_ms(const struct send_rate *r)
{
	return r->us == 0 ? UINT64_MAX : r->bytes * 1000 / r->us;
}

/** Known, and fewer bytes a microsecond (MB/s) than that. */
static inline bool send_rate_is_below(const struct send_rate *r, uint32_t bytes_per_us)
{
	return send_rate_is_known(r) && r->bytes / bytes_per_us < r->us;
}
