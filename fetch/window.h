/*
 * window: which bytes of an object are wanted, how many came, and what to make of a server that
 * sends others.
 *
 * Pure; hostile input. One window lives through several exchanges: each goes on where the last one
 * stopped. Source: RFC 9110 section 14.
 */
#pragma once
#include "auto.h"
#include "http.h"

#define WINDOW_TO_THE_END UINT64_MAX

struct window {
	uint64_t next; /* object offset of the next byte that is wanted */
	uint64_t end;  /* behind the last one; WINDOW_TO_THE_END: not known yet */
	uint64_t at;   /* object offset of the next byte of this exchange's body */
	bool whole;    /* wanted from the first byte to the end */
	bool ranged;   /* this exchange asked for a range */
};

void window_init(struct window *w, bool has_range, uint64_t range_first, uint64_t range_last);

/** Begin an exchange: set has_range and the range of request. */
void window_ask(struct window *w, struct http_request *request);

enum { WINDOW_RANGE_IGNORED = 1 };

/**
 * The head of a 200 or 206.
 * @return 0; WINDOW_RANGE_IGNORED also fine, but the front comes along; -EPROTO the answer does not
 *         fit the question
 */
MUST_CHECK int window_head(struct window *w, const struct http_head *head, struct err *e);

/** Bytes of the body. @return how many of them are wanted, from *ret_first in bytes on; 0: none */
size_t window_take(struct window *w, size_t size_bytes, size_t *ret_first);

/** Has all that is wanted come? (Of a whole object of unknown length: only its end tells.) */
bool window_complete(const struct window *w);
