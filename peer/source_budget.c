/*
 * source_budget: what peers may send a second: a question begins when the budget has room for it,
 * those of blocked readers first, and gives back what came from elsewhere.
 */
#include "mem.h"
#include "source_impl.h"

static uint64_t wanted_bytes(const struct source_req *req)
{
	const struct blob_layout *l = req->run->layout;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < req->n_seeks; i++) {
		const struct seek *s = &req->seeks[i];

		for (uint32_t pos = set_next(&s->want, 0); pos < s->want.n;
		     pos = set_next(&s->want, pos + 1))
			bytes += l->chunks[seek_chunk(s, (uint16_t)pos)].plain_size_bytes;
	}
	return bytes;
}

bool budget_admits(struct source_req *req)
{
	struct peer *p = req->p;
	uint64_t bytes;

	if (req->admitted)
		return true;
	bytes = wanted_bytes(req);
	req->admit_ns = split_rate_take(&p->download, peer_now_ns(p), bytes, req->run->reader);
	req->admitted = req->admit_ns == 0;
	req->taken_urgent = req->run->reader;
	if (req->admitted)
		req->taken_bytes = p->download.all.bytes_per_s != 0 ? bytes : 0;
	else /* it is not stuck: its turn comes */
		req->ev.wait(req->arg, ++req->wait_bytes);
	return req->admitted;
}

uint64_t budget_due_ns(const struct source_req *req)
{
	return req->admitted || req->admit_ns == 0 ? UINT64_MAX : req->admit_ns;
}

void budget_settle(struct source_req *req)
{
	if (req->taken_bytes > req->received_bytes)
		split_rate_give_back(&req->p->download, req->taken_bytes - req->received_bytes,
		                     req->taken_urgent);
	req->taken_bytes = 0;
}
