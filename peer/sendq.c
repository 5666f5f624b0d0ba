/*
 * sendq: one buffer of control frames, two rings of streams.
 */
#include "sendq.h"
#include "bytes.h"
#include "mem.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define FRAME_MIN_BYTES  4096U
#define FRAME_HEAD_BYTES 64U /* at most, of one chunk: frame and header fill a record of TLS */

/* A chunk, several small ones, or some metadata. */
struct piece {
	uint8_t *bytes; /* NULL: none */
	uint32_t size_bytes;
	uint32_t sent_bytes;
	uint32_t n_items; /* 0: metadata */
	struct wire_chunk_item *items;
	struct wire_chunk_item one; /* items, where there is but one */
	struct wire_meta meta;
};

struct conn_stream {
	struct sendq *q;
	uint32_t req;
	enum conn_prio prio;
	const struct stream_ops *ops;
	void *arg;
	struct piece piece;      /* being sent */
	struct piece next;       /* put while the last fragments of piece still wait */
	bool pulling;            /* pull() was called, no piece put yet */
	uint32_t reserved_bytes; /* of held_bytes, for the piece that it is pulled for */
	uint32_t wants_bytes;    /* no pull() before there is room for so many */
	bool passed;             /* nothing is ready: no pull() until it is woken */
	bool ending;             /* after piece, END */
	enum wire_status status;
	uint32_t retry_ms;
	struct conn_stream *ring_next, *ring_prev;
};

struct sendq {
	const struct sendq_sink *sink;
	void *arg;
	struct wire_buf control;
	size_t control_sent_bytes;
	struct conn_stream *streams[N_CONN_PRIOS]; /* the first has its turn */
	uint32_t n_pieces[N_CONN_PRIOS];
	uint64_t held_bytes[N_CONN_PRIOS]; /* of pieces, put or reserved */
	uint64_t *all_held_bytes;
};

struct sendq *sendq_new(const struct sendq_sink *sink, void *arg, uint64_t *held_bytes)
{
	struct sendq *q = xcalloc(1, sizeof(*q));

	q->sink = sink;
	q->arg = arg;
	q->all_held_bytes = held_bytes;
	return q;
}

static void ring_add(struct conn_stream *s)
{
	DL_APPEND2(s->q->streams[s->prio], s, ring_prev, ring_next);
}

static void ring_del(struct conn_stream *s)
{
	DL_DELETE2(s->q->streams[s->prio], s, ring_prev, ring_next);
}

static void hold(struct conn_stream *s, uint32_t n_bytes)
{
	s->q->held_bytes[s->prio] += n_bytes;
	*s->q->all_held_bytes += n_bytes;
}

static void let_go(struct conn_stream *s, uint32_t n_bytes)
{
	assert(s->q->held_bytes[s->prio] >= n_bytes && *s->q->all_held_bytes >= n_bytes);
	s->q->held_bytes[s->prio] -= n_bytes;
	*s->q->all_held_bytes -= n_bytes;
}

/* It is asked for a piece no more. */
static void unpull(struct conn_stream *s)
{
	if (!s->pulling)
		return;
	s->pulling = false;
	s->q->n_pieces[s->prio]--;
	let_go(s, s->reserved_bytes);
	s->reserved_bytes = 0;
}

static void piece_drop(struct conn_stream *s, struct piece *p)
{
	if (p->bytes == NULL)
		return;
	free(p->bytes);
	if (p->items != &p->one)
		free(p->items);
	let_go(s, p->size_bytes);
	*p = (struct piece){ 0 };
	s->q->n_pieces[s->prio]--;
}

static void stream_drop(struct conn_stream *s)
{
	ring_del(s);
	piece_drop(s, &s->piece);
	piece_drop(s, &s->next);
	unpull(s);
	free(s);
}

void sendq_cancel(struct sendq *q, struct conn_stream *s)
{
	const struct stream_ops *ops = s->ops;
	const bool ending = s->ending;
	void *arg = s->arg;

	assert(s->q == q);
	stream_drop(s);
	if (!ending)
		ops->closed(arg);
}

void sendq_lose(struct sendq *q)
{
	struct conn_stream *s, *next;

	/* A closed() may end other streams, but only sendq_fill() lets them go. */
	for (unsigned prio = 0; prio < N_CONN_PRIOS; prio++)
		DL_FOREACH_SAFE2(q->streams[prio], s, next, ring_next)
	sendq_cancel(q, s);
}

void sendq_free(struct sendq **qp)
{
	struct sendq *q = *qp;
	struct conn_stream *s, *next;

	if (q == NULL)
		return;
	for (unsigned prio = 0; prio < N_CONN_PRIOS; prio++)
		DL_FOREACH_SAFE2(q->streams[prio], s, next, ring_next)
	stream_drop(s);
	wire_buf_free(&q->control);
	free(q);
	*qp = NULL;
}

bool sendq_control(struct sendq *q, const struct wire_msg *msg, struct conn_counts *counts)
{
	if (sendq_control_bytes(q) > SENDQ_CONTROL_MAX_BYTES)
		return false;
	wire_encode(msg, &q->control);
	counts->n_messages_out++;
	q->sink->ready(q->arg);
	return true;
}

size_t sendq_control_bytes(const struct sendq *q)
{
	return q->control.size_bytes - q->control_sent_bytes;
}

struct conn_stream *sendq_stream(struct sendq *q, uint32_t req, enum conn_prio prio,
                                 const struct stream_ops *ops, void *arg)
{
	struct conn_stream *s = xcalloc(1, sizeof(*s));

	s->q = q;
	s->req = req;
	s->prio = prio;
	s->ops = ops;
	s->arg = arg;
	ring_add(s);
	q->sink->ready(q->arg);
	return s;
}

/* ---- what streams are given ---- */

static struct piece *put(struct conn_stream *s, uint8_t *bytes, uint32_t size_bytes)
{
	struct piece *p = s->piece.bytes == NULL ? &s->piece : &s->next;

	assert(s->pulling && !s->ending && size_bytes > 0 && p->bytes == NULL);
	unpull(s);
	s->q->n_pieces[s->prio]++;
	hold(s, size_bytes);
	p->bytes = bytes;
	p->size_bytes = size_bytes;
	s->q->sink->ready(s->q->arg);
	return p;
}

void stream_put_chunks(struct conn_stream *s, const struct wire_chunk_item *items, uint32_t n_items,
                       uint8_t *bytes)
{
	uint64_t total = 0;
	struct piece *p;

	assert(n_items > 0 && n_items <= WIRE_LIST_MAX);
	for (uint32_t i = 0; i < n_items; i++)
		total += items[i].size_bytes;
	assert(total <= (n_items == 1 ? CHUNK_PLAIN_MAX_BYTES : WIRE_PAYLOAD_MAX_BYTES));
	p = put(s, bytes, (uint32_t)total);
	p->n_items = n_items;
	p->items = n_items == 1 ? &p->one : xcalloc(n_items, sizeof(*items));
	memcpy(p->items, items, n_items * sizeof(*items));
}

void stream_put_meta(struct conn_stream *s, const struct wire_meta *meta, uint8_t *bytes,
                     uint32_t size_bytes)
{
	struct piece *p;

	assert(size_bytes <= SENDQ_META_PIECE_BYTES);
	p = put(s, bytes, size_bytes);
	p->meta = *meta;
}

void stream_pass(struct conn_stream *s)
{
	assert(s->pulling && !s->ending);
	unpull(s);
	s->passed = true;
	s->q->sink->ready(s->q->arg); /* another's turn */
}

void stream_wake(struct conn_stream *s)
{
	if (!s->passed)
		return;
	s->passed = false;
	s->q->sink->ready(s->q->arg);
}

static bool has_room(const struct sendq *q, enum conn_prio prio, uint32_t n_bytes)
{
	if (q->held_bytes[CONN_READER] + q->held_bytes[CONN_PREFETCH] == 0)
		return true;
	return *q->all_held_bytes + n_bytes <= SENDQ_ALL_MAX_BYTES &&
	       (q->held_bytes[prio] == 0 || q->held_bytes[prio] + n_bytes <= SENDQ_HELD_MAX_BYTES);
}

bool stream_reserve(struct conn_stream *s, uint32_t size_bytes)
{
	assert(s->pulling && !s->ending);
	let_go(s, s->reserved_bytes); /* for a piece that did not come to be */
	s->reserved_bytes = 0;
	if (!has_room(s->q, s->prio, size_bytes)) {
		unpull(s);
		s->wants_bytes = size_bytes;
		return false;
	}
	s->reserved_bytes = size_bytes;
	hold(s, size_bytes);
	return true;
}

void stream_end(struct conn_stream **sp, enum wire_status status, uint32_t retry_ms)
{
	struct conn_stream *s = *sp;

	assert(!s->ending && status < WIRE_LOST);
	unpull(s);
	s->ending = true;
	s->status = status;
	s->retry_ms = retry_ms;
	s->q->sink->ready(s->q->arg);
	*sp = NULL;
}

void stream_break(struct conn_stream **sp, enum wire_status status)
{
	piece_drop(*sp, &(*sp)->piece);
	piece_drop(*sp, &(*sp)->next);
	stream_end(sp, status, 0);
}

/* ---- what goes out ---- */

static void fill_control(struct sendq *q, struct wire_buf *out, size_t want_bytes,
                         struct conn_counts *counts)
{
	const size_t left = sendq_control_bytes(q);
	const size_t n = left < want_bytes ? left : want_bytes;

	if (n == 0)
		return;
	wire_buf_append(out, q->control.data + q->control_sent_bytes, n);
	counts->control_out_bytes += n;
	q->control_sent_bytes += n;
	if (q->control_sent_bytes < q->control.size_bytes / 2)
		return;
	q->control.size_bytes -= q->control_sent_bytes; /* who reads slowly never sees it empty */
	if (q->control.size_bytes > 0)
		memmove(q->control.data, q->control.data + q->control_sent_bytes,
		        q->control.size_bytes);
	q->control_sent_bytes = 0;
	if (q->control.size_bytes == 0 && q->control.room_bytes > WIRE_HEADER_MAX_BYTES)
		wire_buf_free(&q->control); /* a burst is over */
}

static void encode(struct wire_buf *out, const struct wire_msg *msg, struct conn_counts *counts)
{
	const size_t before = out->size_bytes;

	wire_encode(msg, out);
	if (msg->payload_size_bytes > 0)
		counts->n_payloads_out++;
	else
		counts->n_messages_out++;
	counts->control_out_bytes += out->size_bytes - before;
}

/* Payload of a frame with which want_bytes are full. */
static size_t most_of(size_t want_bytes)
{
	if (want_bytes >= WIRE_PAYLOAD_MAX_BYTES)
		return WIRE_PAYLOAD_MAX_BYTES;
	return max_u64(want_bytes, FRAME_MIN_BYTES + FRAME_HEAD_BYTES) - FRAME_HEAD_BYTES;
}

/* One frame of the stream's piece, of about so many bytes. Small chunks go whole. */
static void send_fragment(struct conn_stream *s, struct wire_buf *out, size_t want_bytes,
                          struct conn_counts *counts)
{
	struct piece *p = &s->piece;
	const uint32_t left = p->size_bytes - p->sent_bytes;
	const uint32_t n = p->n_items > 1 ? left : (uint32_t)min_u64(left, most_of(want_bytes));
	struct wire_msg msg = { .payload_size_bytes = n };

	if (p->n_items > 0) {
		msg.type = WIRE_CHUNK;
		msg.u.chunk = (struct wire_chunk){ .req = s->req,
			                           .offset = p->sent_bytes,
			                           .n_items = (uint16_t)p->n_items,
			                           .items = p->items };
		counts->payload_out_bytes += n;
	} else {
		msg.type = WIRE_META;
		msg.u.meta = p->meta;
		msg.u.meta.req = s->req;
		msg.u.meta.offset += p->sent_bytes;
		counts->control_out_bytes += n;
	}
	encode(out, &msg, counts);
	wire_buf_append(out, p->bytes + p->sent_bytes, n);
	p->sent_bytes += n;
	if (p->sent_bytes < p->size_bytes)
		return;
	piece_drop(s, p);
	s->piece = s->next;
	s->next = (struct piece){ 0 };
	if (s->piece.items != NULL && s->piece.n_items == 1)
		s->piece.items = &s->piece.one; /* it pointed into next */
}

static void send_end(struct conn_stream *s, struct wire_buf *out, struct conn_counts *counts)
{
	const struct wire_msg msg = {
		.type = WIRE_END,
		.u.end = { .req = s->req, .status = (uint8_t)s->status, .retry_ms = s->retry_ms }
	};

	if (s->q->sink->ending(s->q->arg, s->req))
		encode(out, &msg, counts);
	stream_drop(s);
}

/* One frame of a stream of this priority, if one has anything. */
static bool send_one(struct sendq *q, enum conn_prio prio, struct wire_buf *out, size_t want_bytes,
                     struct conn_counts *counts)
{
	struct conn_stream *s;

	for (s = q->streams[prio]; s != NULL; s = s->ring_next)
		if (s->piece.bytes != NULL || s->ending)
			break;
	if (s == NULL)
		return false;
	if (s->piece.bytes == NULL) {
		send_end(s, out, counts);
		return true;
	}
	send_fragment(s, out, want_bytes, counts);
	if (s->piece.sent_bytes == 0) { /* a piece is through: the others' turn */
		ring_del(s);
		ring_add(s);
	}
	return true;
}

static bool wants_piece(const struct conn_stream *s)
{
	return !s->pulling && !s->passed && !s->ending && s->next.bytes == NULL &&
	       s->piece.size_bytes - s->piece.sent_bytes <= SENDQ_PULL_BELOW_BYTES;
}

static void pull(struct sendq *q, enum conn_prio prio)
{
	while (q->n_pieces[prio] < SENDQ_PIECES_MAX) {
		struct conn_stream *s = q->streams[prio];

		while (s != NULL && !wants_piece(s))
			s = s->ring_next;
		/* Nobody smaller goes before who waits for room: it would never have any. */
		if (s == NULL || !has_room(q, prio, s->wants_bytes))
			return;
		s->wants_bytes = 0;
		s->pulling = true;
		q->n_pieces[prio]++;
		s->ops->pull(s->arg, s); /* may put, or end: the ring is looked at anew */
	}
}

/* Another frame? */
static bool is_wanted(const struct wire_buf *out, size_t want_bytes)
{
	return out->size_bytes < want_bytes &&
	       (out->size_bytes == 0 || want_bytes - out->size_bytes > FRAME_HEAD_BYTES);
}

void sendq_fill(struct sendq *q, struct wire_buf *out, size_t want_bytes,
                struct conn_counts *counts)
{
	/* What is full of control already still pulls: a worker can read meanwhile. */
	fill_control(q, out, want_bytes, counts);
	pull(q, CONN_READER);
	pull(q, CONN_PREFETCH);
	while (is_wanted(out, want_bytes)) {
		const size_t left = want_bytes - out->size_bytes;

		if (!send_one(q, CONN_READER, out, left, counts) &&
		    !send_one(q, CONN_PREFETCH, out, left, counts))
			break;
		pull(q, CONN_READER);
	}
	pull(q, CONN_READER);
	pull(q, CONN_PREFETCH);
}
