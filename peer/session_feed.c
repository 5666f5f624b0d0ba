/*
 * session_feed: frames into messages and chunks, held against the requests that are open.
 */
#include "session_impl.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- what comes: requests and news ---- */

static int on_asked(struct session *s, const struct wire_msg *msg, uint32_t req, struct err *e)
{
	if (asked_find(s, req) != NULL)
		return err_set(e, EPROTO, "%s: request %u is open already",
		               wire_type_name(msg->type), req);
	if (HASH_COUNT(s->asked) >= WIRE_REQUESTS_MAX)
		return err_set(e, EPROTO, "%s: more than %d requests are open",
		               wire_type_name(msg->type), WIRE_REQUESTS_MAX);
	asked_add(s, req, msg->type);
	s->sink->message(s->arg, msg);
	return 0;
}

static void on_cancel(struct session *s, uint32_t req)
{
	struct asked *a = asked_find(s, req);

	/* It crossed our END: nothing is left to be done. Else the sink sends the END. */
	if (a != NULL)
		s->sink->cancel(s->arg, req, a->stream);
}

/* ---- what comes: answers ---- */

static int on_gone_positions(struct request *r, const struct wire_msg *msg,
                             const struct wire_set *set, struct err *e)
{
	if (!wire_set_holds(&r->left, set))
		return err_set(e, EPROTO, "%s: of chunks that were not asked for or came",
		               wire_type_name(msg->type));
	if (r->partial.bytes != NULL && wire_set_has(set, r->partial.item.pos)) {
		free(r->partial.bytes);
		r->partial.bytes = NULL;
	}
	for (size_t i = 0; i < ARRAY_LEN(set->words); i++)
		r->left.words[i] &= ~set->words[i];
	return 0;
}

static int check_item(const struct request *r, const struct wire_chunk_item *item, struct err *e)
{
	uint32_t plain_size_bytes;

	if (!wire_set_has(&r->left, item->pos))
		return err_set(e, EPROTO, "CHUNK: position %u was not asked for, or came before",
		               item->pos);
	plain_size_bytes = r->plain_sizes[item->pos];
	if (item->size_bytes > plain_size_bytes ||
	    (item->form == COMPRESSOR_NONE && item->size_bytes != plain_size_bytes))
		return err_set(e, EPROTO, "CHUNK: %u bytes for a chunk of %u", item->size_bytes,
		               plain_size_bytes);
	return 0;
}

/* The header of a CHUNK: does it fit what was asked and what came so far? */
static int on_chunk(struct request *r, const struct wire_chunk *c, struct err *e)
{
	const struct partial_chunk *p = &r->partial;
	int ret;

	if (!r->granted)
		return err_set(e, EPROTO, "CHUNK: before the GRANT");
	if (r->opts.ops == NULL)
		return 0; /* cancelled: thrown away as it comes */
	if (c->offset > 0) {
		if (p->bytes == NULL || p->item.pos != c->items[0].pos ||
		    p->item.form != c->items[0].form ||
		    p->item.size_bytes != c->items[0].size_bytes || p->have_bytes != c->offset)
			return err_set(e, EPROTO, "CHUNK: a fragment out of order");
		return 0;
	}
	if (p->bytes != NULL)
		return err_set(e, EPROTO, "CHUNK: another begins inside one");
	for (uint32_t i = 0; i < c->n_items; i++) {
		ret = check_item(r, &c->items[i], e);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int on_meta(struct request *r, const struct wire_msg *msg, struct err *e)
{
	const struct wire_meta *m = &msg->u.meta;

	if (r->opts.ops == NULL)
		return 0;
	if (m->total_bytes > r->opts.meta_max_bytes || m->offset != r->meta_have_bytes ||
	    (m->offset > 0 && m->total_bytes != r->meta_total_bytes))
		return err_set(e, EPROTO, "META: too large or out of order");
	r->meta_total_bytes = m->total_bytes;
	r->meta_have_bytes += msg->payload_size_bytes;
	return 0;
}

static int on_end(struct session *s, struct request *r, const struct wire_end *end, struct err *e)
{
	const bool done = end->status == WIRE_DONE && r->opts.ops != NULL; /* else nobody counted */

	if (done && r->partial.bytes != NULL)
		return err_set(e, EPROTO, "END: inside a chunk");
	if (done && r->meta_have_bytes != r->meta_total_bytes)
		return err_set(e, EPROTO, "END: inside metadata");
	request_end(s, r, (enum wire_status)end->status, end->retry_ms);
	return 0;
}

static int on_grant(struct request *r, struct err *e)
{
	if (r->granted)
		return err_set(e, EPROTO, "GRANT: twice");
	r->granted = true;
	return 0;
}

static int on_answer(struct session *s, const struct wire_msg *msg, uint32_t req, struct err *e)
{
	struct request *r = request_find(s, req);
	int ret = 0;

	if (r == NULL || !wire_can_answer(r->type, msg->type))
		return err_set(e, EPROTO, "%s: to request %u, which was not asked",
		               wire_type_name(msg->type), req);
	switch ((int)msg->type) {
	case WIRE_END:
		return on_end(s, r, &msg->u.end, e);
	case WIRE_CHUNK:
		return on_chunk(r, &msg->u.chunk, e);
	case WIRE_META:
		return on_meta(r, msg, e);
	case WIRE_GRANT:
		ret = on_grant(r, e);
		break;
	case WIRE_MISS:
		ret = on_gone_positions(r, msg, &msg->u.miss.set, e);
		break;
	case WIRE_REDIRECT:
		ret = on_gone_positions(r, msg, &msg->u.redirect.set, e);
		break;
	default:
		break;
	}
	if (ret == 0 && r->opts.ops != NULL)
		r->opts.ops->answer(r->opts.arg, msg);
	else if (ret == 0 && msg->type == WIRE_ANSWER)
		s->sink->late(s->arg, &r->asked, msg);
	return ret;
}

/* ---- what comes: headers ---- */

static int on_hello(struct session *s, const struct wire_msg *msg, struct err *e)
{
	const enum wire_type expected = s->state == AWAIT_HELLO ? WIRE_HELLO : WIRE_HELLO_ACK;

	if (msg->type == WIRE_BYE) {
		s->state = OVER;
		s->stopped = true;
		s->sink->bye(s->arg, &msg->u.bye);
		return 0;
	}
	if (msg->type != expected)
		return err_set(e, EPROTO, "%s: a %s was due", wire_type_name(msg->type),
		               wire_type_name(expected));
	s->state = OPEN;
	s->sink->hello(s->arg, msg);
	return 0;
}

static int on_open_message(struct session *s, const struct wire_msg *msg, struct err *e)
{
	uint32_t req;

	if (wire_answers(msg, &req))
		return on_answer(s, msg, req, e);
	switch ((int)msg->type) {
	case WIRE_HELLO:
	case WIRE_HELLO_ACK:
		return err_set(e, EPROTO, "%s: again", wire_type_name(msg->type));
	case WIRE_ASK:
		return on_asked(s, msg, msg->u.ask.req, e);
	case WIRE_GET:
		return on_asked(s, msg, msg->u.get.req, e);
	case WIRE_META_GET:
		return on_asked(s, msg, msg->u.meta_get.req, e);
	case WIRE_CANCEL:
		on_cancel(s, msg->u.cancel.req);
		return 0;
	case WIRE_BYE:
		s->state = OVER;
		s->stopped = true;
		s->sink->bye(s->arg, &msg->u.bye);
		return 0;
	default:
		s->sink->message(s->arg, msg);
		return 0;
	}
}

static int on_header(struct session *s, const struct frame_piece *piece, struct conn_counts *counts,
                     struct err *e)
{
	int r = wire_decode(s->decoder, piece->data, piece->size_bytes, piece->payload_size_bytes,
	                    &s->msg, e);

	if (r < 0)
		return r;
	counts->control_in_bytes += WIRE_PREFIX_BYTES + piece->size_bytes;
	if (s->msg.payload_size_bytes > 0) {
		counts->n_payloads_in++;
	} else {
		counts->n_messages_in++;
		counts->weight_in += wire_weight(&s->msg);
	}
	s->item_idx = 0;
	s->meta_offset = s->msg.type == WIRE_META ? s->msg.u.meta.offset : 0;
	return s->state == OPEN ? on_open_message(s, &s->msg, e) : on_hello(s, &s->msg, e);
}

/* ---- what comes: payload ---- */

static int begin_chunk(struct request *r, const struct wire_chunk_item *item, struct err *e)
{
	struct partial_chunk *p = &r->partial;

	if (!wire_set_has(&r->left, item->pos))
		return err_set(e, EPROTO, "CHUNK: position %u twice", item->pos);
	/* At most the plain size of a chunk that we asked for (check_item()). */
	p->bytes = malloc(item->size_bytes);
	if (p->bytes == NULL)
		return err_set(e, ENOMEM, "no memory for a chunk of %u bytes", item->size_bytes);
	p->item = *item;
	p->have_bytes = 0;
	return 0;
}

static void chunk_done(struct request *r)
{
	const struct partial_chunk p = r->partial;

	r->partial.bytes = NULL;
	wire_set_remove(&r->left, p.item.pos);
	r->opts.ops->chunk(r->opts.arg, p.item.pos, (enum compressor)p.item.form, p.bytes,
	                   p.item.size_bytes);
}

/* Some of the payload of a CHUNK. Each turn fills the chunk that is coming, or begins one. */
static int take_chunk_bytes(struct session *s, const uint8_t *data, size_t n_bytes, struct err *e)
{
	const struct wire_chunk *c = &s->msg.u.chunk;

	while (n_bytes > 0 && !s->stopped) {
		struct request *r = request_find(s, c->req);
		struct partial_chunk *p;
		size_t n;
		int ret;

		if (r == NULL || r->opts.ops == NULL)
			return 0; /* cancelled while it came */
		p = &r->partial;
		if (p->bytes == NULL) {
			ret = begin_chunk(r, &c->items[s->item_idx], e);
			if (ret < 0)
				return ret;
		}
		assert(p->bytes != NULL);
		n = p->item.size_bytes - p->have_bytes;
		n = n < n_bytes ? n : n_bytes;
		memcpy(p->bytes + p->have_bytes, data, n);
		p->have_bytes += (uint32_t)n;
		data += n;
		n_bytes -= n;
		if (p->have_bytes == p->item.size_bytes) {
			s->item_idx++;
			chunk_done(r);
		}
	}
	return 0;
}

static void tell_progress(struct session *s, uint32_t req, size_t n_bytes)
{
	const struct request *r = request_find(s, req);

	if (r != NULL && r->opts.ops != NULL && r->opts.ops->progress != NULL)
		r->opts.ops->progress(r->opts.arg, (uint32_t)n_bytes);
}

static int on_payload(struct session *s, const struct frame_piece *piece,
                      struct conn_counts *counts, struct err *e)
{
	const struct request *r;
	struct wire_meta meta;

	if (s->msg.type == WIRE_CHUNK) {
		counts->payload_in_bytes += piece->size_bytes;
		tell_progress(s, s->msg.u.chunk.req, piece->size_bytes);
		return take_chunk_bytes(s, piece->data, piece->size_bytes, e);
	}
	counts->control_in_bytes += piece->size_bytes;
	r = request_find(s, s->msg.u.meta.req);
	if (r == NULL || r->opts.ops == NULL)
		return 0;
	meta = s->msg.u.meta;
	meta.offset = s->meta_offset;
	s->meta_offset += piece->size_bytes;
	r->opts.ops->meta(r->opts.arg, &meta, piece->data, (uint32_t)piece->size_bytes);
	return 0;
}

int session_feed(struct session *s, const uint8_t *bytes, size_t n_bytes,
                 struct conn_counts *counts, struct err *e)
{
	struct frame_piece piece;
	int r = 0;

	while (!s->stopped) {
		const int event = frame_next(&s->parser, &bytes, &n_bytes, &piece, e);

		if (event == FRAME_MORE)
			return 0;
		if (event < 0)
			r = event;
		else if (event == FRAME_HEADER)
			r = on_header(s, &piece, counts, e);
		else
			r = on_payload(s, &piece, counts, e);
		if (r < 0) {
			s->state = OVER;
			s->stopped = true;
			return r;
		}
	}
	return 0;
}
