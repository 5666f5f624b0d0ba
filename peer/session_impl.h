/*
 * session_impl: what session.c (requests) and session_feed.c (what comes) share.
 */
#pragma once
#include "frame.h"
#include "session.h"
#include <uthash.h>

enum state { AWAIT_HELLO, AWAIT_ACK, OPEN, OVER };

/* A chunk that is coming. */
struct partial_chunk {
	uint8_t *bytes; /* NULL: none */
	uint32_t have_bytes;
	struct wire_chunk_item item;
};

/* An own request. */
struct request {
	uint32_t req;
	enum wire_type type;
	struct request_opts opts; /* ops NULL: cancelled, waits for its END */
	uint64_t cancelled_ns;
	bool granted;
	struct wire_set left;   /* GET: what may still come */
	struct wire_part asked; /* ASK */
	uint32_t *plain_sizes;
	struct partial_chunk partial;
	uint64_t meta_have_bytes;
	uint64_t meta_total_bytes;
	UT_hash_handle hh;
};

/* A request of the peer that has had no END. */
struct asked {
	uint32_t req;
	enum wire_type type;
	void *stream;
	UT_hash_handle hh;
};

struct session {
	enum state state;
	bool stopped;
	const struct session_sink *sink;
	void *arg;
	struct frame_parser parser;
	struct wire_decoder *decoder;
	struct request *requests;
	struct asked *asked;
	uint32_t next_req;
	/* The payload that is coming: of msg, whose memory is the decoder's. */
	struct wire_msg msg;
	uint32_t item_idx;
	uint64_t meta_offset;
};

struct request *request_find(struct session *s, uint32_t req);
void request_end(struct session *s, struct request *r, enum wire_status status, uint32_t retry_ms);

struct asked *asked_find(struct session *s, uint32_t req);
void asked_add(struct session *s, uint32_t req, enum wire_type type);

/** The request that a message answers. @return false: it answers none */
bool wire_answers(const struct wire_msg *msg, uint32_t *ret_req);
/** Is it an answer that this kind of request can have? */
bool wire_can_answer(enum wire_type request, enum wire_type answer);
