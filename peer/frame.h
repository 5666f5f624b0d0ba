/*
 * frame: cuts the bytes of a connection into frames. Bytes in, headers and payload pieces out.
 *
 * Knows sizes alone; knows neither sockets nor what a header means. Never reserves memory by a
 * size that is only claimed: a header's buffer grows with what came. Pure; one thread at a time.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "wire.h"

struct frame_parser {
	struct wire_buf partial; /* prefix and header as far as they are here */
	uint32_t header_size_bytes;
	uint32_t payload_size_bytes;
	uint32_t payload_left_bytes;
	bool in_payload;
};

enum frame_event {
	FRAME_MORE,    /* all bytes are used up; the next ones, please */
	FRAME_HEADER,  /* data: a whole header; its payload follows as FRAME_PAYLOAD (0 bytes: not)
	                */
	FRAME_PAYLOAD, /* data: the next piece of the payload; last: nothing is left of it */
};

struct frame_piece {
	const uint8_t *data; /* borrowed: until the next call, and from the bytes given */
	size_t size_bytes;
	uint32_t payload_size_bytes; /* HEADER: of the whole payload */
	bool last;                   /* PAYLOAD */
};

/**
 * Take the next event from *bytes, which moves on.
 * @return enum frame_event; -EPROTO: a size above its limit, or an empty header
 */
MUST_CHECK int frame_next(struct frame_parser *p, const uint8_t **bytes, size_t *n_bytes,
                          struct frame_piece *ret_piece, struct err *e);

/** Is a frame begun and not complete? For the deadline of slow senders. */
bool frame_is_partial(const struct frame_parser *p);

void frame_parser_fini(struct frame_parser *p);

/**
 * Is this one well-formed msgpack object of arrays, integers, booleans, strings and binaries, at
 * most WIRE_DEPTH_MAX deep, of at most WIRE_OBJECTS_MAX objects, with every count and length inside
 * the bytes that are left, and nothing behind it? Only then may it be unpacked. @return 0; -EPROTO
 */
MUST_CHECK int frame_walk(const uint8_t *data, size_t size_bytes, struct err *e);
