/*
 * session: the rules of one connection: who may say what when. Bytes in, checked messages and whole
 * chunks out.
 *
 * Knows frames, messages, open requests; knows neither sockets nor queues nor clocks. What breaks
 * the rules ends it with -EPROTO: an answer to nothing asked, a chunk that was not asked for, comes
 * twice, out of order, too large, or before the GRANT. Pure; one thread at a time.
 *
 *   who connected:  AWAIT_ACK   --HELLO_ACK--> OPEN --BYE--> OVER
 *   who accepted:   AWAIT_HELLO --HELLO------> OPEN --BYE--> OVER
 */
#pragma once
#include "conn.h"
#include "err.h"
#include "wire.h"

struct session;

struct session_sink {
	void (*hello)(void *arg, const struct wire_msg *msg);   /* HELLO or HELLO_ACK: now OPEN */
	void (*message)(void *arg, const struct wire_msg *msg); /* a request of the peer, or news */
	/* The peer's CANCEL of its request req. stream: what session_attach() gave, else NULL. */
	void (*cancel)(void *arg, uint32_t req, void *stream);
	void (*bye)(void *arg, const struct wire_bye *bye);
	/* An ANSWER that crossed the CANCEL of an own ASK for a part. */
	void (*late)(void *arg, const struct wire_part *asked, const struct wire_msg *msg);
};

/** connected: this side called (and has sent HELLO). sink borrowed. Never NULL. */
struct session *wire_session_new(bool connected, const struct session_sink *sink, void *arg);

/** Frees, without a callback. Not from inside session_feed(). */
void wire_session_free(struct session **s); /* NULL is fine */

/**
 * Bytes from the peer. Callbacks of sink and of requests are made from inside; they may call
 * everything of this header but wire_session_free(). Nothing more is taken after session_stop().
 * @param counts  those of what comes (..._in, ..._in_bytes) are counted up
 * @return 0; -EPROTO: it is over, with the reason
 */
MUST_CHECK int session_feed(struct session *s, const uint8_t *bytes, size_t n_bytes,
                            struct conn_counts *counts, struct err *e);
void session_stop(struct session *s); /* drops the rest of what is fed, and all that follows */

bool session_is_open(const struct session *s);
bool session_is_idle(const struct session *s);    /* no request is open, neither way */
bool session_is_partial(const struct session *s); /* inside a frame */

/** Open an own request: msg is the ASK, GET or META_GET; its req is chosen and set.
 * msg borrowed.
 * @return 0; -EBUSY: WIRE_REQUESTS_MAX are open */
MUST_CHECK int session_request(struct session *s, struct wire_msg *msg,
                               const struct request_opts *opts, uint32_t *ret_req);

/** No callback of it any more. @return was it open, so that a CANCEL must be sent? */
bool session_cancel(struct session *s, uint32_t req, uint64_t now_ns);
/** When the oldest was cancelled that has had no END: it keeps its id. 0: none. */
uint64_t session_cancelled_ns(const struct session *s);

/** May this message be sent: does it answer a request that is open (END closes it) in a way that
 * such a request can be answered, or none? */
bool session_may_send(struct session *s, const struct wire_msg *msg);

/** Is this request of the peer open? */
bool session_has(struct session *s, uint32_t req);
void session_attach(struct session *s, uint32_t req, void *stream); /* to an open one */

/** The connection is gone: every own request ends with WIRE_LOST. */
void session_lose(struct session *s);
