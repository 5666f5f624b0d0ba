/*
 * sendq: what a connection still has to send, and in which order. Messages and chunks in, bytes
 * out.
 *
 * Control first, then streams for readers, then the rest. Within a priority a stream sends its
 * piece to the end, fragment by fragment, then the next stream has its turn; a higher priority
 * overtakes between fragments. Knows neither sockets nor clocks. Loop thread; not re-entrant but
 * for stream_put_...() and stream_end() (conn.h), which may come at any time.
 */
#pragma once
#include "conn.h"
#include "wire.h"

#define SENDQ_CONTROL_MAX_BYTES (4U << 20) /* above it, the peer does not read: cut it off */
#define SENDQ_PULL_BELOW_BYTES                                                                     \
	(128U << 10)        /* left of a stream's piece, when the next is asked for */
#define SENDQ_PIECES_MAX 16 /* pieces in hand or asked for, a priority */
/* Bytes of pieces in hand: of a priority of a connection (one piece may always be larger), and of
 * all connections together (who holds nothing may always have one). */
#define SENDQ_HELD_MAX_BYTES   (8U << 20)
#define SENDQ_ALL_MAX_BYTES    (128U << 20)
#define SENDQ_META_PIECE_BYTES (1U << 20)

struct sendq;

struct sendq_sink {
	void (*ready)(
		void *arg); /* there is something to send or to pull: call sendq_fill() soon */
	/* END of req goes out: close it; false: it is closed already, do not send */
	bool (*ending)(void *arg, uint32_t req);
};

/** held_bytes: what all queues hold together, counted here. Never NULL. */
struct sendq *sendq_new(const struct sendq_sink *sink, void *arg, uint64_t *held_bytes);
/** The connection is gone: streams get closed(), and are gone. */
void sendq_lose(struct sendq *q);
void sendq_free(struct sendq **q); /* without a callback */

/** Queue a message without payload. @return false: SENDQ_CONTROL_MAX_BYTES are waiting */
MUST_CHECK bool sendq_control(struct sendq *q, const struct wire_msg *msg,
                              struct conn_counts *counts);
size_t sendq_control_bytes(const struct sendq *q);

/** A stream that answers the peer's request req. */
struct conn_stream *sendq_stream(struct sendq *q, uint32_t req, enum conn_prio prio,
                                 const struct stream_ops *ops, void *arg);

/** The peer wants it no more: closed(), gone. */
void sendq_cancel(struct sendq *q, struct conn_stream *s);

/**
 * Append what is to be sent next to out, until it holds about want_bytes or nothing is left: a
 * chunk goes in frames that are no longer than that. Asks streams for pieces (pull()).
 */
void sendq_fill(struct sendq *q, struct wire_buf *out, size_t want_bytes,
                struct conn_counts *counts);
