/*
 * http_budget: so many bytes a second of all bodies together: who may take what came, and whose
 * transfer rests.
 *
 * A transfer that rests reads nothing from its socket, so that the server slows down. Knows
 * requests as links of a list; does not know libcurl.
 */
#pragma once
#include "http_easy.h"
#include "rate.h"

struct http_budget {
	struct rate rate;
	struct http_req *resting; /* in the order in which they began to rest */
	uint64_t due_ns;          /* when the next of them may go on; 0: none rests */
};

/** size_bytes of its body came. @return false: it is to rest, http_budget_next() tells how long */
bool http_budget_take(struct http_budget *b, struct http_req *req, size_t size_bytes,
                      uint64_t now_ns);

/** Who goes on now, for what it rested for: urgent ones first. NULL: nobody, see due_ns. */
struct http_req *http_budget_next(struct http_budget *b, uint64_t now_ns);

void http_budget_forget(struct http_budget *b, struct http_req *req);
