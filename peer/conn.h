/*
 * conn: one connection between two agents: bytes on a socket on one side, checked messages and
 * whole chunks on the other. With a listener and a connector.
 *
 * Knows TLS, deadlines, queues, and who may say what when (session.h). Knows nothing of what a
 * chunk is, who is a member, or where a segment's home is. All of it on the loop thread; no
 * callback is made from inside a call of this header.
 *
 * Sending is by priority: control, then answers for blocked readers, then the rest; one chunk can
 * be overtaken between its fragments. What is held in memory for sending is bounded, in pieces (a
 * chunk, or several small ones) and in bytes: of a request, of a connection, of all of them.
 * Pings, pongs, the hellos and the byes are the connection's own business.
 */
#pragma once
#include "clock.h"
#include "err.h"
#include "layout.h"
#include "log.h"
#include "loop.h"
#include "proof.h"
#include "tls.h"
#include "wire.h"

struct conn;
struct conn_stream;
struct listener;

enum conn_prio { CONN_CONTROL, CONN_READER, CONN_PREFETCH, N_CONN_PRIOS };

/* What is counted on a connection, without TLS and TCP framing. */
struct conn_counts {
	uint64_t payload_in_bytes, payload_out_bytes; /* of CHUNK */
	uint64_t control_in_bytes, control_out_bytes; /* all else */
	uint64_t n_messages_in, n_messages_out;       /* without payload */
	uint64_t weight_in;                           /* of those (wire_weight()) */
	uint64_t n_payloads_in, n_payloads_out;       /* frames of CHUNK and META */
	uint64_t rtt_ns;                              /* of the last ping; 0: none yet */
	uint64_t n_probes;                            /* pings asked for by conn_probe() */
};

struct conn_ops {
	/* The hellos are exchanged: peer says who it is (peer->members: with HELLO_ACK). Requests
	 * may be made from here on. Not before: a connection that fails earlier gives closed()
	 * alone. */
	void (*open)(void *arg, struct conn *c, const struct wire_hello *peer);
	/* Bytes came, of whatever kind: before what they say is told. NULL: nobody wants to know.
	 */
	void (*bytes)(void *arg, struct conn *c);
	/* A request of the peer (ASK, GET, META_GET), each to be answered with an END, or news
	 * (HAVE, GONE, WANT_NAMES, NAMES, MEMBERS, LEASE_PROGRESS, LEASE_END, DRAIN, PING, PONG).
	 * msg and what it borrows lives until the return. */
	void (*message)(void *arg, struct conn *c, const struct wire_msg *msg);
	/* The peer wants no answer to req any more, and END (CANCELLED) was sent. Not for requests
	 * that are answered by a stream: those get closed(). */
	void (*cancelled)(void *arg, struct conn *c, uint32_t req);
	/* An ANSWER that crossed the CANCEL of an ASK for a part: what it gives is to be given
	 * back. asked and msg live until the return. NULL: nobody wants to know. */
	void (*late)(void *arg, const struct wire_part *asked, const struct wire_msg *msg);
	/* Exactly once, last: every request has had its end(), every stream its closed().
	 * why->code: 0 a bye or a close by the peer in order; EPROTO it broke the protocol
	 * (distrust it); EACCES certificate refused; ETIMEDOUT, ECONNRESET, ... c is freed after
	 * the return. */
	void (*closed)(void *arg, struct conn *c, const struct err *why);
};

struct conn_opts {
	struct loop *loop; /* borrowed, like the rest: outlives the connection */
	struct log *log;
	const struct clock *clock;
	const struct tls *tls;         /* NULL: plain TCP ("insecure") */
	const struct wire_hello *self; /* what HELLO says (nonce is the connection's); may change */
	/* HELLO_ACK's members: fill at most WIRE_MEMBERS_MAX. NULL: none. */
	uint16_t (*members)(void *arg, struct wire_member *ret_members);
	const struct conn_ops *ops;
	void *arg;
	uint64_t *held_bytes; /* what all connections hold for sending: stream_reserve(). NULL: none
	                       */
	uint32_t handshake_timeout_ms; /* until both hellos are there; 0: 5 s */
	uint32_t ping_interval_ms;     /* 0: 5 s; no byte for three of them: closed */
	uint32_t stall_timeout_ms; /* bytes to send, without progress; a frame begun, below 1 KiB/s;
	                              0: 10 s */
};

/** Connect to address (numeric HOST:PORT, "[v6]:port"). closed() tells a failure.
 * @return 0; -EINVAL the address; -errno no socket */
MUST_CHECK int conn_connect(const struct conn_opts *opts, const char *address,
                            struct conn **ret_conn, struct err *e);

/** Take over a connected socket. fd is the connection's from here on. connected: we called. */
struct conn *conn_new(const struct conn_opts *opts, int fd, bool connected);

/** Say BYE (reason, text), send what is queued, close. closed() follows (why->code 0), never from
 * inside. Twice is fine. */
void conn_close(struct conn *c, enum wire_bye_reason reason, const char *text);

/** At once, without bye and without any callback. Not from inside a callback of this connection. */
void conn_abort(struct conn **c); /* NULL is fine */

/* ---- who it is ---- */
const struct wire_hello *conn_peer(const struct conn *c);       /* after open(); members not kept */
const struct proof_binding *conn_binding(const struct conn *c); /* after open() */
const char *conn_address(const struct conn *c); /* of the other side's socket, for the log */
bool conn_is_connected_by_us(const struct conn *c);
const struct conn_counts *conn_counts(const struct conn *c);
void conn_set_members_hash(struct conn *c, uint64_t hash); /* what pings carry */
bool conn_peer_left(const struct conn *c); /* in closed(): it said that it goes, all of it */

/* ---- does it live? ---- */

/** Ping now, unless a ping is under way. */
void conn_probe(struct conn *c);
/** When a byte of it came last, by opts.clock. */
uint64_t conn_heard_ns(const struct conn *c);
/** Has anything of it come since then, when it was probed or asked for something? Also what cannot
 * be read yet, because a packet before it was lost. */
bool conn_lives_since(struct conn *c, uint64_t since_ns);
/** An answer took so long: what conn_patience_ns() is made of, beside the pings. */
void conn_answered(struct conn *c, uint64_t took_ns);
#define CONN_PATIENCE_MAX_NS NS_PER_S
/** After so much silence an answer is not just late: smoothed answer times + 4 x their variance, as
 * RFC 6298 section 2 has it, without its lower bound; or, where that is more, TCP's own round trip
 * and the time after which it sends a lost packet again (200 ms at least, on Linux). At most
 * CONN_PATIENCE_MAX_NS: it is learned from the other side. 0: nothing is known yet. */
uint64_t conn_patience_ns(const struct conn *c);
/** When the ping was sent, by opts.clock, that was answered last; 0: none was. What it was asked
 * before that it has read, and answered first where it could at once. */
uint64_t conn_pong_ns(const struct conn *c);

/** What TCP says: bytes that the other side acknowledged since the connection began, and
 * microseconds in which any were under way. @return false: it does not say (no TCP, an old kernel)
 */
bool conn_sent(const struct conn *c, uint64_t *ret_acked_bytes, uint64_t *ret_busy_us);

/** The line takes about so much. What is handed to the kernel cannot be overtaken any more, neither
 * by what a home answers nor by what a reader waits for: of a slow line that is little (16 KiB, as
 * at the beginning), of a fast one what it takes in a millisecond, at most 128 KiB. Nor can a frame
 * that has begun: it has what the line takes in 32 ms, 16 to 64 KiB. */
void conn_pace(struct conn *c, uint64_t bytes_per_ms);
uint32_t conn_frame_bytes(const struct conn *c);

/** No request is open, neither way. */
bool conn_is_idle(const struct conn *c);

/* ---- asking ---- */

struct request_ops {
	/* ANSWER, GRANT, MISS, REDIRECT. GRANT: check its mac, else conn_cancel(). Chunks before a
	 * GRANT never arrive here. */
	void (*answer)(void *arg, const struct wire_msg *msg);
	/* One whole chunk of a GET. bytes: malloc'd, size_bytes, now the receiver's; packed as form
	 * says, at most its plain size (form none: exactly). Each position at most once. */
	void (*chunk)(void *arg, uint16_t pos, enum compressor form, uint8_t *bytes,
	              uint32_t size_bytes);
	/* A piece of a META_GET, in order. */
	void (*meta)(void *arg, const struct wire_meta *meta, const uint8_t *bytes,
	             uint32_t size_bytes);
	/* Something of it arrived (part of a chunk): for progress and rates. May be NULL. */
	void (*progress)(void *arg, uint32_t n_bytes);
	/* Exactly once, last. WIRE_LOST: the connection ended. */
	void (*end)(void *arg, enum wire_status status, uint32_t retry_ms);
};

struct request_opts {
	const struct request_ops *ops;
	void *arg;
	const uint32_t
		*plain_sizes; /* GET: of each position (set.n), copied; others are not looked at */
	uint64_t meta_max_bytes; /* META_GET */
};

/** Send an ASK, GET or META_GET; msg's req is the connection's to choose.
 * @return 0; -EBUSY too many open, or the peer does not drain its control messages;
 * -ENOTCONN not open, closing or the peer drains */
MUST_CHECK int conn_request(struct conn *c, const struct wire_msg *msg,
                            const struct request_opts *opts, uint32_t *ret_req);

/** No callback of the request will follow (but conn_ops.late()). Its id stays taken until the
 * peer's END. */
void conn_cancel(struct conn *c, uint32_t req);

/* ---- telling ---- */

/** Queue a message without payload: news, ANSWER, GRANT, MISS, REDIRECT, END of a request that has
 * no stream. An answer to a request that is not open any more is dropped silently (it was
 * cancelled). A peer that lets its queue grow too long is cut off. */
void conn_send(struct conn *c, const struct wire_msg *msg);

/* ---- serving payload ---- */

struct stream_ops {
	/* The connection has room: give the next piece, now or later, with stream_put_...(), or
	 * stream_end(), or stream_pass(). Not asked again before. */
	void (*pull)(void *arg, struct conn_stream *s);
	/* Cancelled, or the connection is gone: the stream is, too. Not after stream_end(). */
	void (*closed)(void *arg);
};

/** Answer the open request req of the peer with payload. A GRANT is conn_send() before.
 * @return 0; -ENOENT it is not open (any more) */
MUST_CHECK int conn_serve(struct conn *c, uint32_t req, enum conn_prio prio,
                          const struct stream_ops *ops, void *arg, struct conn_stream **ret_stream);

/** One chunk, or several small ones: n_items; bytes: their payloads one after the other, malloc'd,
 * now the connection's. Only after a pull(). Several: together <= WIRE_PAYLOAD_MAX_BYTES. */
void stream_put_chunks(struct conn_stream *s, const struct wire_chunk_item *items, uint32_t n_items,
                       uint8_t *bytes);

/** The next piece of metadata, at most 1 MiB; bytes: malloc'd, now the connection's.
 * @param meta  its offset, of how many, for whom; req is the stream's */
void stream_put_meta(struct conn_stream *s, const struct wire_meta *meta, uint8_t *bytes,
                     uint32_t size_bytes);

/** Instead of a piece: nothing is ready now, others have the room. After stream_wake() pull() comes
 * again; waking who did not pass does nothing. */
void stream_pass(struct conn_stream *s);
void stream_wake(struct conn_stream *s);

/** After pull(), before a piece of so many bytes is made: may it be held here? Then it counts from
 * now on, until it is sent. @return false: pull() comes again when there is room */
MUST_CHECK bool stream_reserve(struct conn_stream *s, uint32_t size_bytes);

/** After what was put, END goes out. *s is gone (set to NULL). */
void stream_end(struct conn_stream **s, enum wire_status status, uint32_t retry_ms);
/** The same, but what was put and is not sent is dropped. */
void stream_break(struct conn_stream **s, enum wire_status status);

/* ---- listening ---- */

struct listener_opts {
	struct conn_opts conn; /* of accepted connections; conn.arg is given to accepted() alone */
	const char *address;   /* numeric HOST:PORT; port 0: any */
	uint32_t max_conns;    /* in all; above it, new ones are closed at once. 0: 4096 */
	/* A connection came; not open yet. @return what its callbacks get as arg */
	void *(*accepted)(void *arg, struct conn *c);
};

MUST_CHECK int listener_new(const struct listener_opts *opts, struct listener **ret_listener,
                            struct err *e);
uint16_t listener_port(const struct listener *l);
void listener_free(struct listener **l); /* the connections stay; NULL is fine */
