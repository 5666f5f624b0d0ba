/*
 * session: the requests of both sides that are open.
 */
#include "mem.h"
#include "session_impl.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct session *wire_session_new(bool connected, const struct session_sink *sink, void *arg)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->state = connected ? AWAIT_ACK : AWAIT_HELLO;
	s->sink = sink;
	s->arg = arg;
	s->decoder = wire_decoder_new();
	s->next_req = 1;
	return s;
}

bool session_is_open(const struct session *s)
{
	return s->state == OPEN;
}

bool session_is_partial(const struct session *s)
{
	return frame_is_partial(&s->parser);
}

void session_stop(struct session *s)
{
	s->stopped = true;
}

/* ---- own requests ---- */

struct request *request_find(struct session *s, uint32_t req)
{
	struct request *r;

	HASH_FIND(hh, s->requests, &req, sizeof(req), r);
	return r;
}

static void request_drop(struct session *s, struct request *r)
{
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not follow what HASH_DEL() unlinks */
	HASH_DEL(s->requests, r);
	free(r->partial.bytes);
	free(r->plain_sizes);
	free(r);
}

void request_end(struct session *s, struct request *r, enum wire_status status, uint32_t retry_ms)
{
	const struct request_opts opts = r->opts;

	request_drop(s, r);
	if (opts.ops != NULL)
		opts.ops->end(opts.arg, status, retry_ms);
}

int session_request(struct session *s, struct wire_msg *msg, const struct request_opts *opts,
                    uint32_t *ret_req)
{
	struct request *r;

	if (HASH_COUNT(s->requests) >= WIRE_REQUESTS_MAX)
		return -EBUSY;
	r = xcalloc(1, sizeof(*r));
	while (request_find(s, s->next_req) != NULL)
		s->next_req++;
	r->req = s->next_req++;
	r->type = msg->type;
	r->opts = *opts;
	if (msg->type == WIRE_GET) {
		r->left = msg->u.get.part.set;
		r->plain_sizes = xcalloc(r->left.n, sizeof(*r->plain_sizes));
		memcpy(r->plain_sizes, opts->plain_sizes, r->left.n * sizeof(*r->plain_sizes));
		msg->u.get.req = r->req;
	} else if (msg->type == WIRE_ASK) {
		r->asked = msg->u.ask.part;
		msg->u.ask.req = r->req;
	} else {
		assert(msg->type == WIRE_META_GET);
		msg->u.meta_get.req = r->req;
	}
	HASH_ADD(hh, s->requests, req, sizeof(r->req), r);
	*ret_req = r->req;
	return 0;
}

bool session_cancel(struct session *s, uint32_t req, uint64_t now_ns)
{
	struct request *r = request_find(s, req);

	if (r == NULL || r->opts.ops == NULL)
		return false;
	r->opts.ops = NULL;
	r->cancelled_ns = now_ns;
	free(r->partial.bytes);
	r->partial.bytes = NULL;
	return true;
}

uint64_t session_cancelled_ns(const struct session *s)
{
	uint64_t oldest_ns = 0;
	const struct request *r;

	for (r = s->requests; r != NULL; r = r->hh.next) {
		if (r->opts.ops == NULL && (oldest_ns == 0 || r->cancelled_ns < oldest_ns))
			oldest_ns = r->cancelled_ns;
	}
	return oldest_ns;
}

bool session_is_idle(const struct session *s)
{
	return s->requests == NULL && s->asked == NULL;
}

void session_lose(struct session *s)
{
	struct request *r, *next;

	s->state = OVER;
	s->stopped = true;
	HASH_ITER(hh, s->requests, r, next)
	request_end(s, r, WIRE_LOST, 0);
}

/* ---- requests of the peer ---- */

struct asked *asked_find(struct session *s, uint32_t req)
{
	struct asked *a;

	HASH_FIND(hh, s->asked, &req, sizeof(req), a);
	return a;
}

void asked_add(struct session *s, uint32_t req, enum wire_type type)
{
	struct asked *a = xcalloc(1, sizeof(*a));

	a->req = req;
	a->type = type;
	HASH_ADD(hh, s->asked, req, sizeof(a->req), a);
}

static void asked_drop(struct session *s, struct asked *a)
{
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not follow what HASH_DEL() unlinks */
	HASH_DEL(s->asked, a);
	free(a);
}

bool session_has(struct session *s, uint32_t req)
{
	return asked_find(s, req) != NULL;
}

void session_attach(struct session *s, uint32_t req, void *stream)
{
	struct asked *a = asked_find(s, req);

	assert(a != NULL && a->stream == NULL);
	a->stream = stream;
}

void wire_session_free(struct session **sp)
{
	struct session *s = *sp;
	struct request *r, *next_request;
	struct asked *a, *next_asked;

	if (s == NULL)
		return;
	HASH_ITER(hh, s->requests, r, next_request)
	request_drop(s, r);
	HASH_ITER(hh, s->asked, a, next_asked)
	asked_drop(s, a);
	frame_parser_fini(&s->parser);
	wire_decoder_free(&s->decoder);
	free(s);
	*sp = NULL;
}

bool wire_answers(const struct wire_msg *msg, uint32_t *ret_req)
{
	switch ((int)msg->type) {
	case WIRE_ANSWER:
		*ret_req = msg->u.answer.req;
		return true;
	case WIRE_GRANT:
		*ret_req = msg->u.grant.req;
		return true;
	case WIRE_CHUNK:
		*ret_req = msg->u.chunk.req;
		return true;
	case WIRE_MISS:
		*ret_req = msg->u.miss.req;
		return true;
	case WIRE_REDIRECT:
		*ret_req = msg->u.redirect.req;
		return true;
	case WIRE_META:
		*ret_req = msg->u.meta.req;
		return true;
	case WIRE_END:
		*ret_req = msg->u.end.req;
		return true;
	default:
		return false;
	}
}

bool wire_can_answer(enum wire_type request, enum wire_type answer)
{
	switch ((int)answer) {
	case WIRE_END:
		return true;
	case WIRE_ANSWER:
		return request == WIRE_ASK;
	case WIRE_META:
		return request == WIRE_META_GET;
	default:
		return request == WIRE_GET;
	}
}

bool session_may_send(struct session *s, const struct wire_msg *msg)
{
	struct asked *a;
	uint32_t req;

	if (!wire_answers(msg, &req))
		return true;
	a = asked_find(s, req);
	if (a == NULL || !wire_can_answer(a->type, msg->type))
		return false;
	if (msg->type == WIRE_END)
		asked_drop(s, a);
	return true;
}
