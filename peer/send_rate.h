/*
 * send_rate: how fast a connection takes what is sent: bytes over the time in which there was
 * something to send, however many streams there are. Pure; one thread; time as an argument.
 */
#pragma once
#include <stdint.h>

#define SEND_RATE_HALVE_BYTES (8U << 20) /* what is older counts for less */

struct send_rate {
	uint32_t n_pieces; /* on their way */
	uint64_t since_ns; /* busy_ns is up to here, while there are any */
	uint64_t busy_ns, bytes;
};

static inline void send_rate_pass(struct send_rate *r, uint64_t now_ns)
{
	if (r->n_pieces > 0)
		r->busy_ns += now_ns - r->since_ns;
	r->since_ns = now_ns;
}

/** A piece is there to be sent. */
static inline void send_rate_put(struct send_rate *r, uint64_t now_ns)
{
	send_rate_pass(r, now_ns);
	r->n_pieces++;
}

/** It was taken; bytes 0: dropped. */
static inline void send_rate_taken(struct send_rate *r, uint64_t now_ns, uint32_t bytes)
{
	send_rate_pass(r, now_ns);
	r->n_pieces--;
	r->bytes += bytes;
	if (r->bytes > SEND_RATE_HALVE_BYTES) {
		r->bytes /= 2;
		r->busy_ns /= 2;
	}
}
