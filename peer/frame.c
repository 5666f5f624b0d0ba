/*
 * frame: the parser of frames, and the walk over a header that makes it safe to unpack.
 */
#include "frame.h"
#include <errno.h>

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Collect in p->partial until it holds want_bytes. @return is it all there? */
static bool collect(struct frame_parser *p, size_t want_bytes, const uint8_t **bytes,
                    size_t *n_bytes)
{
	const size_t missing = want_bytes - p->partial.size_bytes;
	const size_t n = missing < *n_bytes ? missing : *n_bytes;

	if (n > 0) {
		wire_buf_append(&p->partial, *bytes, n);
		*bytes += n;
		*n_bytes -= n;
	}
	return n == missing;
}

static int take_prefix(struct frame_parser *p, const uint8_t *prefix, struct err *e)
{
	p->header_size_bytes = be32(prefix);
	p->payload_size_bytes = be32(prefix + 4);
	if (p->header_size_bytes == 0 || p->header_size_bytes > WIRE_HEADER_MAX_BYTES)
		return err_set(e, EPROTO, "a header of %u bytes", p->header_size_bytes);
	if (p->payload_size_bytes > WIRE_PAYLOAD_MAX_BYTES)
		return err_set(e, EPROTO, "a payload of %u bytes", p->payload_size_bytes);
	return 0;
}

static int give_header(struct frame_parser *p, const uint8_t *header, struct frame_piece *ret_piece)
{
	p->payload_left_bytes = p->payload_size_bytes;
	p->in_payload = p->payload_size_bytes > 0;
	p->partial.size_bytes = 0;
	*ret_piece = (struct frame_piece){ .data = header,
		                           .size_bytes = p->header_size_bytes,
		                           .payload_size_bytes = p->payload_size_bytes };
	p->header_size_bytes = 0;
	return FRAME_HEADER;
}

static int give_payload(struct frame_parser *p, const uint8_t **bytes, size_t *n_bytes,
                        struct frame_piece *ret_piece)
{
	const size_t n = *n_bytes < p->payload_left_bytes ? *n_bytes : p->payload_left_bytes;

	if (n == 0)
		return FRAME_MORE;
	p->payload_left_bytes -= (uint32_t)n;
	p->in_payload = p->payload_left_bytes > 0;
	*ret_piece =
		(struct frame_piece){ .data = *bytes, .size_bytes = n, .last = !p->in_payload };
	*bytes += n;
	*n_bytes -= n;
	return FRAME_PAYLOAD;
}

int frame_next(struct frame_parser *p, const uint8_t **bytes, size_t *n_bytes,
               struct frame_piece *ret_piece, struct err *e)
{
	const uint8_t *header;
	int r;

	if (p->in_payload)
		return give_payload(p, bytes, n_bytes, ret_piece);
	if (p->header_size_bytes == 0) {
		if (!collect(p, WIRE_PREFIX_BYTES, bytes, n_bytes))
			return FRAME_MORE;
		r = take_prefix(p, p->partial.data, e);
		if (r < 0)
			return r;
	}
	/* A header that came whole need not be copied. */
	if (p->partial.size_bytes == WIRE_PREFIX_BYTES && *n_bytes >= p->header_size_bytes) {
		header = *bytes;
		*bytes += p->header_size_bytes;
		*n_bytes -= p->header_size_bytes;
		return give_header(p, header, ret_piece);
	}
	if (!collect(p, (size_t)WIRE_PREFIX_BYTES + p->header_size_bytes, bytes, n_bytes))
		return FRAME_MORE;
	return give_header(p, p->partial.data + WIRE_PREFIX_BYTES, ret_piece);
}

bool frame_is_partial(const struct frame_parser *p)
{
	return p->in_payload || p->partial.size_bytes > 0;
}

void frame_parser_fini(struct frame_parser *p)
{
	wire_buf_free(&p->partial);
}

/* ---- the walk ---- */

struct walk {
	const uint8_t *at;
	size_t left_bytes;
	uint32_t n_objects;
	uint32_t depth;
	uint32_t open[WIRE_DEPTH_MAX]; /* objects that each open array still holds */
};

/* What one object's first byte says. */
struct object_head {
	size_t head_bytes; /* with the byte itself and a count or length behind it */
	size_t body_bytes; /* of a string or binary */
	uint32_t n_items;
	bool is_array;
};

/* A big-endian length of n_bytes behind the first byte. @return false: it is not all there */
static bool read_length(const struct walk *w, uint32_t n_bytes, uint32_t *ret_length)
{
	uint32_t v = 0;

	if (w->left_bytes < 1 + (size_t)n_bytes)
		return false;
	for (uint32_t i = 0; i < n_bytes; i++)
		v = v << 8 | w->at[1 + i];
	*ret_length = v;
	return true;
}

/* The forms with their sizes behind the first byte: 0xc4.. bin, 0xcc.. numbers, 0xd9.. str, 0xdc..
 * array. @return false: a kind that no message uses, or cut off */
static bool read_long_head(const struct walk *w, struct object_head *h)
{
	const uint8_t b = w->at[0];
	uint32_t length = 0;
	uint32_t n;

	switch (b) {
	case 0xc2:
	case 0xc3: /* false, true */
		h->head_bytes = 1;
		return true;
	case 0xc4:
	case 0xc5:
	case 0xc6: /* bin 8, 16, 32 */
	case 0xd9:
	case 0xda:
	case 0xdb: /* str 8, 16, 32 */
		n = 1U << (b < 0xd0 ? b - 0xc4 : b - 0xd9);
		h->head_bytes = 1 + n;
		if (!read_length(w, n, &length))
			return false;
		h->body_bytes = length;
		return true;
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf: /* uint 8 .. 64 */
		h->head_bytes = 1 + (1U << (b - 0xcc));
		return true;
	case 0xdc:
	case 0xdd: /* array 16, 32 */
		n = b == 0xdc ? 2 : 4;
		h->head_bytes = 1 + n;
		h->is_array = true;
		return read_length(w, n, &h->n_items);
	default:
		return false;
	}
}

static bool read_head(const struct walk *w, struct object_head *h)
{
	const uint8_t b = w->at[0];

	*h = (struct object_head){ .head_bytes = 1 };
	if (b < 0x80)
		return true;
	if (b >= 0x90 && b < 0xa0) {
		h->is_array = true;
		h->n_items = b & 0x0f;
		return true;
	}
	if (b >= 0xa0 && b < 0xc0) {
		h->body_bytes = b & 0x1f;
		return true;
	}
	return read_long_head(w, h);
}

/* One object's head, and the body of a string. An array is opened. @return NULL, or the fault */
static const char *step(struct walk *w)
{
	struct object_head h;

	if (w->left_bytes == 0)
		return "it ends inside";
	if (!read_head(w, &h))
		return "an object that no message uses";
	if (h.head_bytes > w->left_bytes || h.body_bytes > w->left_bytes - h.head_bytes)
		return "a length beyond its end";
	w->at += h.head_bytes + h.body_bytes;
	w->left_bytes -= h.head_bytes + h.body_bytes;
	if (h.is_array) {
		if (w->depth == WIRE_DEPTH_MAX)
			return "too deep";
		if (h.n_items > w->left_bytes || h.n_items > WIRE_OBJECTS_MAX - w->n_objects)
			return "a count beyond its end";
		w->n_objects += h.n_items;
		w->open[w->depth++] = h.n_items;
	}
	return NULL;
}

int frame_walk(const uint8_t *data, size_t size_bytes, struct err *e)
{
	struct walk w = { .at = data, .left_bytes = size_bytes, .n_objects = 1 };
	const char *fault = step(&w);

	while (fault == NULL && w.depth > 0) {
		if (w.open[w.depth - 1] == 0) {
			w.depth--;
			continue;
		}
		w.open[w.depth - 1]--;
		fault = step(&w);
	}
	if (fault == NULL && w.left_bytes > 0)
		fault = "bytes behind its end";
	return fault == NULL ? 0 : err_set(e, EPROTO, "header: %s", fault);
}
