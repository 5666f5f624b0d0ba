/*
 * conn_impl: what conn.c (life and rules), conn_io.c (socket and TLS) and listener.c share.
 *
 *   CONNECTING -> SHAKING (TLS) -> HELLO -> OPEN -> CLOSING (bye goes out) -> GONE
 *        `------------`--------------`-------`---------------------------------^
 *
 * Every move to GONE is made from an event of this connection (conn_run()), never from inside a
 * call of conn.h, so that callbacks and freeing happen at one place.
 */
#pragma once
#include "bytes.h"
#include "clock.h"
#include "conn.h"
#include "sendq.h"
#include "session.h"

struct event;

enum conn_state { CONN_CONNECTING, CONN_SHAKING, CONN_HELLO, CONN_OPEN, CONN_CLOSING, CONN_GONE };

/* How many there are: shared by a listener and what it accepted. */
struct conn_gate {
	uint32_t refs;
	uint32_t n_open;      /* connections that were accepted and live */
	uint32_t n_waiting;   /* ... and have not said hello */
	struct conn *waiting; /* those, the oldest first */
	uint64_t logged_ns;   /* failures before the hello are logged once a second */
};
void conn_gate_unref(struct conn_gate **gate);
/** It said hello, or never will. */
void conn_gate_passed(struct conn *c);

struct conn {
	struct conn_opts opts;
	enum conn_state state;
	int fd;
	bool connected; /* by us */
	struct ssl_st *ssl;
	struct tls_notes tls_notes;
	struct event *ev_read, *ev_write;
	struct event *ev_kick; /* look again: soon, but not from inside a call */
	struct timer tick;
	bool in_run;
	bool kicked;
	struct session *session;
	struct sendq *sendq;
	uint64_t held_bytes; /* where nobody else counts them */
	struct wire_buf out; /* for the socket, in part sent: sealed, where there is TLS */
	size_t out_sent_bytes;
	uint32_t ahead_bytes; /* handed to the kernel before the line takes them, at most ... */
	uint32_t frame_bytes; /* ... and one frame, which goes there as a whole */
	struct err fail;      /* why it ends; code 0 with closing set: in order */
	bool failed;
	bool was_open;
	struct wire_hello peer;
	struct proof_binding binding;
	uint8_t own_nonce[WIRE_NONCE_BYTES];
	struct wire_id tls_id;
	struct conn_counts counts;
	uint64_t members_hash;
	char address[80];
	struct conn_gate *gate; /* NULL: not accepted */
	bool waits;             /* in gate->waiting */
	struct conn *gate_prev, *gate_next;
	/* deadlines, by opts.clock */
	uint64_t began_ns, in_ns, out_ns, frame_ns, ping_ns, close_ns;
	uint64_t heard_ns; /* as in_ns, also of a record of TLS that is not whole yet */
	uint64_t n_frames_seen, frame_in_bytes; /* when frame_ns was set */
	uint64_t in_bytes; /* came so far, with TLS's own: a record is read when it is whole */
	uint64_t ping_stamp;
	uint64_t pong_ns;                  /* when the last ping that was answered was sent */
	uint64_t answer_ns, answer_var_ns; /* smoothed; 0: none yet */
	uint64_t resend_ns;                /* conn_measured() */
	uint32_t n_segments;               /* conn_segments(): so many until now ... */
	uint64_t stirred_ns;               /* ... and when there were more of them last */
	bool peer_left;
	int64_t message_tokens;
	uint64_t tokens_ns;
	bool paused; /* it sends more messages than it may */
};

/** What TCP measured: an answer takes a round trip, and where a packet was lost the time after
 * which it is sent again as well. rto_us: that time, doubled n_backoff times. */
void conn_measured(struct conn *c, uint32_t rto_us, uint32_t n_backoff, uint32_t rtt_us);
/** So many segments with data have come: also those that are behind one that is lost, of which
 * nothing can be read yet. */
void conn_segments(struct conn *c, uint32_t n_with_data);
/** Ask TCP for both. */
void conn_measure(struct conn *c);

/** An outgoing connection's or an accepted one's object. */
struct conn *conn_make(const struct conn_opts *opts, int fd, bool connected, enum conn_state state);
void conn_fail(struct conn *c, const struct err *why); /* the first counts; conn_run() ends it */
void conn_kick(struct conn *c);
void conn_shaken(struct conn *c); /* the secure channel is there: hellos */

/** Socket events, kicks: read, write, end. The connection may be gone afterwards. */
void conn_run(struct conn *c);

/* conn_io.c: none of them ends the connection: they conn_fail() */
void conn_io_start(struct conn *c); /* socket options and events */
void conn_io_shake(struct conn *c); /* on with the handshake */
void conn_io_read(struct conn *c);
void conn_io_write(struct conn *c);
void conn_io_stop(struct conn *c); /* close */
