/*
 * wire_pair: see the header.
 */
#include "wire_pair.h"
#include "bytes.h"
#include "mem.h"
#include "remove_tree.h"
#include "set.h"
#include <assert.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_S 100 /* what only a failure reaches, on whatever machine */

/* A chunk's bytes repeat themselves, so that large ones are soon made and compared, also with
 * ThreadSanitizer; and not in step with any size that pieces of them have. */
#define PERIOD_BYTES 65521U

static uint8_t byte_of(uint16_t pos, uint32_t offset)
{
	return (uint8_t)(pos * 31 + offset * 7 + (offset >> 8));
}

static void fill_chunk(uint16_t pos, uint8_t *ret_bytes, uint32_t size_bytes)
{
	uint64_t done = min_u64(size_bytes, PERIOD_BYTES);

	for (uint32_t i = 0; i < done; i++)
		ret_bytes[i] = byte_of(pos, i);
	for (; done < size_bytes; done += min_u64(done, size_bytes - done))
		memcpy(ret_bytes + done, ret_bytes, min_u64(done, size_bytes - done));
}

static bool is_chunk(uint16_t pos, const uint8_t *bytes, uint32_t size_bytes)
{
	const uint64_t n_first = min_u64(size_bytes, PERIOD_BYTES);

	for (uint32_t i = 0; i < n_first; i++) {
		if (bytes[i] != byte_of(pos, i))
			return false;
	}
	return memcmp(bytes, bytes + n_first, size_bytes - n_first) == 0;
}

/* ---- asking ---- */

static void on_answer(void *arg, const struct wire_msg *msg)
{
	struct got *got = arg;

	got->n_answers++;
	got->n_grants += msg->type == WIRE_GRANT;
	got->n_misses += msg->type == WIRE_MISS;
}

static void on_chunk(void *arg, uint16_t pos, enum compressor form, uint8_t *bytes,
                     uint32_t size_bytes)
{
	struct got *got = arg;

	got->n_right += form == COMPRESSOR_NONE && is_chunk(pos, bytes, size_bytes);
	free(bytes);
	got->order[got->n_chunks++] = pos;
	if (got->cancel_at_chunk)
		conn_cancel(got->end->conn, got->req);
}

static void on_meta(void *arg, const struct wire_meta *meta, const uint8_t *bytes,
                    uint32_t size_bytes)
{
	struct got *got = arg;

	(void)bytes;
	assert(meta->offset == got->meta_bytes);
	got->meta_bytes += size_bytes;
}

static void on_progress(void *arg, uint32_t n_bytes)
{
	struct got *got = arg;

	got->n_progress += n_bytes;
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct got *got = arg;

	got->n_ends++;
	got->status = status;
	got->retry_ms = retry_ms;
	got->finished = ++got->end->pair->n_finished;
}

const struct request_ops pair_request_ops = { .answer = on_answer,
	                                      .chunk = on_chunk,
	                                      .meta = on_meta,
	                                      .progress = on_progress,
	                                      .end = on_end };

int pair_get(struct pair *p, int i, struct got *got, uint32_t n, bool reader)
{
	struct wire_msg msg = { .type = WIRE_GET };
	const struct request_opts opts = { .ops = &pair_request_ops,
		                           .arg = got,
		                           .plain_sizes = got->sizes };

	memset(got, 0, sizeof(*got));
	got->end = &p->ends[i];
	msg.u.get.flags = reader ? WIRE_GET_READER : 0;
	msg.u.get.part.set.n = (uint16_t)n;
	for (uint32_t k = 0; k < n; k++) {
		wire_set_add(&msg.u.get.part.set, k);
		got->sizes[k] = p->ends[1 - i].chunk_bytes;
	}
	return conn_request(p->ends[i].conn, &msg, &opts, &got->req);
}

/* ---- serving ---- */

static uint16_t first_of(const struct wire_set *s)
{
	uint16_t pos = 0;

	while (!wire_set_has(s, pos))
		pos++;
	return pos;
}

static void give(struct serve *sv)
{
	struct wire_chunk_item item = { .form = COMPRESSOR_NONE, .size_bytes = sv->chunk_bytes };
	uint8_t *bytes;

	sv->waiting = false;
	if (set_empty(&sv->left)) {
		sv->open = false;
		stream_end(&sv->stream, WIRE_DONE, 0);
		return;
	}
	item.pos = first_of(&sv->left);
	wire_set_remove(&sv->left, item.pos);
	bytes = malloc(item.size_bytes);
	assert(bytes != NULL);
	fill_chunk(item.pos, bytes, item.size_bytes);
	stream_put_chunks(sv->stream, &item, 1, bytes);
}

void pair_give(struct pair *p, int i, uint32_t k)
{
	assert(p->ends[i].serve[k].waiting);
	give(&p->ends[i].serve[k]);
}

static void on_pull(void *arg, struct conn_stream *s)
{
	struct serve *sv = arg;

	assert(sv->stream == s && !sv->waiting);
	sv->n_pulls++;
	sv->waiting = true;
	if (!sv->end->holds)
		give(sv);
}

static void on_stream_closed(void *arg)
{
	struct serve *sv = arg;

	sv->n_closed++;
	sv->open = false;
	sv->waiting = false;
}

static void serve_get(struct end_point *ep, const struct wire_get *get)
{
	static const struct stream_ops ops = { .pull = on_pull, .closed = on_stream_closed };
	struct serve *sv = &ep->serve[ep->n_serves++];
	const struct wire_msg grant = { .type = WIRE_GRANT, .u.grant.req = get->req };
	int r;

	*sv = (struct serve){ .end = ep,
		              .req = get->req,
		              .left = get->part.set,
		              .chunk_bytes = ep->chunk_bytes,
		              .open = true };
	conn_send(ep->conn, &grant);
	r = conn_serve(ep->conn, get->req,
	               get->flags & WIRE_GET_READER ? CONN_READER : CONN_PREFETCH, &ops, sv,
	               &sv->stream);
	assert(r == 0);
}

/* ---- what an end is told ---- */

static void on_open(void *arg, struct conn *c, const struct wire_hello *peer)
{
	struct end_point *ep = arg;

	assert(ep->conn == c);
	ep->n_open++;
	ep->peer = *peer;
}

static void on_message(void *arg, struct conn *c, const struct wire_msg *msg)
{
	struct end_point *ep = arg;

	if (ep->n_msgs < PAIR_MSGS_MAX)
		ep->msgs[ep->n_msgs] = msg->type;
	ep->n_msgs++;
	if (msg->type == WIRE_GET) {
		ep->last_get = msg->u.get;
		if (ep->serves)
			serve_get(ep, &msg->u.get);
	}
	if (msg->type == WIRE_ASK)
		ep->last_ask = msg->u.ask;
	if (ep->close_at_message)
		conn_close(c, WIRE_BYE_LEAVING, "test");
}

static void on_late(void *arg, const struct wire_part *asked, const struct wire_msg *msg)
{
	struct end_point *ep = arg;

	assert(msg->type == WIRE_ANSWER);
	ep->n_late++;
	ep->late_asked = *asked;
}

static void on_cancelled(void *arg, struct conn *c, uint32_t req)
{
	struct end_point *ep = arg;

	(void)c;
	(void)req;
	ep->n_cancelled++;
}

static void on_closed(void *arg, struct conn *c, const struct err *why)
{
	struct end_point *ep = arg;

	assert(ep->conn == c);
	ep->n_closed++;
	ep->why = *why;
	ep->conn = NULL;
}

/* ---- the pair ---- */

struct tls *pair_tls(struct pair *p, const char *ca, const char *node, struct pki_times times)
{
	AUTO(free_str) char *dir = xasprintf("%s/%s", p->dir, ca);
	AUTO(free_str) char *ca_file = xasprintf("%s/ca.pem", dir);
	AUTO(free_str) char *cert = xasprintf("%s/%s.pem", dir, node);
	AUTO(free_str) char *key = xasprintf("%s/%s.key", dir, node);
	const struct tls_opts opts = { .ca_file = ca_file, .cert_file = cert, .key_file = key };
	struct tls *tls = NULL;
	struct err e = { 0 };
	int r = 0;

	if (access(ca_file, F_OK) != 0)
		r = pki_make_ca(dir, PKI_CA_TIMES, &e);
	if (r == 0)
		r = pki_make_node(dir, node, times, &e);
	if (r == 0)
		r = tls_new(&opts, &tls, &e);
	if (r < 0)
		(void)fprintf(stderr, "%s\n", e.msg);
	assert(r == 0);
	return tls;
}

static void end_init(struct pair *p, int i)
{
	static const struct conn_ops ops = { .open = on_open,
		                             .message = on_message,
		                             .cancelled = on_cancelled,
		                             .late = on_late,
		                             .closed = on_closed };
	struct end_point *ep = &p->ends[i];

	ep->pair = p;
	ep->chunk_bytes = 100;
	(void)snprintf(ep->self.self.address, sizeof(ep->self.self.address), "10.0.0.%d:9465", i);
	(void)snprintf(ep->self.self.zone, sizeof(ep->self.self.zone), "zone%d", i);
	(void)snprintf(ep->self.agent, sizeof(ep->self.agent), "shoal test");
	ep->self.self.generation = 7;
	memset(ep->self.self.id.b, i + 1, WIRE_ID_BYTES);
	if (p->tls[i] != NULL)
		ep->self.self.id = tls_own_id(p->tls[i]);
	ep->opts = (struct conn_opts){ .loop = p->loop,
		                       .clock = clock_real(),
		                       .tls = p->tls[i],
		                       .self = &ep->self,
		                       .ops = &ops,
		                       .arg = ep };
}

struct pair *pair_new(bool secure)
{
	struct pair *p = xcalloc(1, sizeof(*p));
	struct err e = { 0 };
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	p->dir = xstrdup("/tmp/shoal-wire-XXXXXX");
	assert(mkdtemp(p->dir) != NULL);
	r = loop_new(&p->loop, &e);
	assert(r == 0);
	if (secure) {
		p->tls[0] = pair_tls(p, "cluster", "node0", PKI_NODE_TIMES);
		p->tls[1] = pair_tls(p, "cluster", "node1", PKI_NODE_TIMES);
	}
	end_init(p, 0);
	end_init(p, 1);
	return p;
}

void pair_free(struct pair **pp)
{
	struct pair *p = *pp;

	if (p == NULL)
		return;
	for (int i = 0; i < 2; i++) {
		conn_abort(&p->ends[i].conn);
		tls_free(&p->tls[i]);
	}
	loop_free(&p->loop);
	(void)remove_tree(p->dir);
	free_str(&p->dir);
	free(p);
	*pp = NULL;
}

int pair_secure(void **state)
{
	*state = pair_new(true);
	return 0;
}

int pair_plain(void **state)
{
	*state = pair_new(false);
	return 0;
}

int pair_teardown(void **state)
{
	struct pair *p = *state;

	pair_free(&p);
	return 0;
}

void pair_connect(struct pair *p)
{
	int fds[2];
	const int r = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);

	assert(r == 0);
	for (int i = 0; i < 2; i++)
		p->ends[i].conn = conn_new(&p->ends[i].opts, fds[i], i == 0);
}

void pair_half(struct pair *p, int *ret_fd)
{
	int fds[2];
	const int r = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);

	assert(r == 0);
	p->ends[1].conn = conn_new(&p->ends[1].opts, fds[1], false);
	*ret_fd = fds[0];
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct pair *p = arg;

	(void)fd;
	(void)what;
	p->timed_out = true;
}

void pair_until(struct pair *p, const uint32_t *n, uint32_t want)
{
	struct event_base *base = loop_base(p->loop);
	const struct timeval deadline = { .tv_sec = DEADLINE_S };
	struct event *ev = evtimer_new(base, on_deadline, p);

	assert(ev != NULL);
	(void)event_add(ev, &deadline);
	while (*n < want && !p->timed_out)
		(void)event_base_loop(base, EVLOOP_ONCE);
	event_free(ev);
	assert(!p->timed_out);
}

void pair_spin(struct pair *p)
{
	for (int i = 0; i < 50; i++)
		(void)event_base_loop(loop_base(p->loop), EVLOOP_NONBLOCK);
}

void pair_open(struct pair *p)
{
	pair_connect(p);
	pair_until(p, &p->ends[0].n_open, 1);
	pair_until(p, &p->ends[1].n_open, 1);
}

void pair_expect_end(struct pair *p, int i, int code, const char *word)
{
	const struct end_point *ep = &p->ends[i];

	pair_until(p, &ep->n_closed, 1);
	if (ep->why.code != code || strstr(ep->why.msg, word) == NULL) {
		(void)fprintf(stderr, "ended with %d: %s\n", ep->why.code, ep->why.msg);
		abort();
	}
}
