/*
 * http_budget: see the header.
 */
#include "http_budget.h"
#include <utlist.h>

static bool is_urgent(const struct http_req *req)
{
	return req->urgent == NULL || *req->urgent;
}

bool http_budget_take(struct http_budget *b, struct http_req *req, size_t size_bytes,
                      uint64_t now_ns)
{
	uint64_t due_ns;

	if (b->rate.bytes_per_s == 0)
		return true;
	if (size_bytes <= req->paid_bytes) { /* it rested for these */
		req->paid_bytes -= size_bytes;
		return true;
	}
	size_bytes -= req->paid_bytes;
	due_ns = rate_take(&b->rate, now_ns, size_bytes, is_urgent(req));
	if (due_ns == 0) {
		req->paid_bytes = 0;
		return true;
	}
	req->short_bytes = size_bytes;
	if (!req->rests)
		DL_APPEND2(b->resting, req, rest_prev, rest_next);
	req->rests = true;
	if (b->due_ns == 0 || due_ns < b->due_ns)
		b->due_ns = due_ns;
	return false;
}

static struct http_req *first_of(const struct http_budget *b)
{
	struct http_req *req = b->resting;

	while (req != NULL && !is_urgent(req))
		req = req->rest_next;
	return req != NULL ? req : b->resting;
}

struct http_req *http_budget_next(struct http_budget *b, uint64_t now_ns)
{
	struct http_req *req = first_of(b);

	b->due_ns = 0;
	if (req == NULL)
		return NULL;
	b->due_ns = rate_take(&b->rate, now_ns, req->short_bytes, is_urgent(req));
	if (b->due_ns != 0)
		return NULL;
	req->paid_bytes += req->short_bytes;
	http_budget_forget(b, req);
	return req;
}

void http_budget_forget(struct http_budget *b, struct http_req *req)
{
	if (req->rests)
		DL_DELETE2(b->resting, req, rest_prev, rest_next);
	req->rests = false;
}
