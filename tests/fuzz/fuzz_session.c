/*
 * fuzz_session: any bytes as what a peer sends on a connection, from its hello on, against requests
 * that are open here. Bytes in, checked messages out: no socket takes part.
 *
 * The first byte says which side it is, how the bytes are cut, and what is cancelled when. What is
 * told must keep the promises of session.h: chunks only after a GRANT, only what was asked for,
 * each once, never above their size; each end once; nothing after a cancel.
 */
#include "fuzz.h"
#include "session.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define N_REQUESTS  5 /* GET, ASK, META_GET, GET, GET */
#define LIST_CHUNKS 9
#define META_MAX    5000
#define CHUNK_BYTES 70000U

struct world;

struct own_request {
	struct world *w;
	enum wire_type type;
	uint32_t req;
	bool granted, ended, cancelled;
	struct wire_set left;
	uint64_t meta_bytes;
};

struct world {
	struct session *session;
	struct own_request requests[N_REQUESTS];
	uint32_t n_told;
	uint8_t how;
	bool over;
};

/* Sometimes the user of a connection cancels, or closes it, from inside a callback. */
static void react(struct own_request *r)
{
	struct world *w = r->w;

	w->n_told++;
	if ((w->how & 0x40) != 0 && w->n_told % 5 == 4 && !r->ended) {
		r->cancelled = session_cancel(w->session, r->req, 1) || r->cancelled;
		assert(r->cancelled);
	}
	if ((w->how & 0x80) != 0 && w->n_told == 7) {
		session_stop(w->session);
		w->over = true;
	}
}

static void on_answer(void *arg, const struct wire_msg *msg)
{
	struct own_request *r = arg;

	assert(!r->ended && !r->cancelled && !r->w->over);
	assert((msg->type == WIRE_ANSWER) == (r->type == WIRE_ASK));
	r->granted = r->granted || msg->type == WIRE_GRANT;
	react(r);
}

static void on_chunk(void *arg, uint16_t pos, enum compressor form, uint8_t *bytes,
                     uint32_t size_bytes)
{
	struct own_request *r = arg;

	assert(!r->ended && !r->cancelled && !r->w->over && r->type == WIRE_GET && r->granted);
	assert(wire_set_has(&r->left, pos) && size_bytes <= CHUNK_BYTES && size_bytes > 0);
	assert(form != COMPRESSOR_NONE || size_bytes == CHUNK_BYTES - pos);
	wire_set_remove(&r->left, pos);
	bytes[0] ^= bytes[size_bytes - 1]; /* all of it is there */
	free(bytes);
	react(r);
}

static void on_meta(void *arg, const struct wire_meta *meta, const uint8_t *bytes,
                    uint32_t size_bytes)
{
	struct own_request *r = arg;

	(void)bytes;
	assert(!r->ended && !r->cancelled && !r->w->over && r->type == WIRE_META_GET);
	assert(meta->offset == r->meta_bytes && meta->total_bytes <= META_MAX);
	r->meta_bytes += size_bytes;
	assert(r->meta_bytes <= meta->total_bytes);
	react(r);
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct own_request *r = arg;

	(void)retry_ms;
	assert(!r->ended && !r->cancelled && status <= WIRE_LOST);
	r->ended = true;
	react(r);
}

static const struct request_ops ops = {
	.answer = on_answer, .chunk = on_chunk, .meta = on_meta, .end = on_end
};

static void ask(struct world *w, uint32_t i)
{
	static const enum wire_type types[N_REQUESTS] = { WIRE_GET, WIRE_ASK, WIRE_META_GET,
		                                          WIRE_GET, WIRE_GET };
	struct own_request *r = &w->requests[i];
	struct wire_msg msg = { .type = types[i] };
	uint32_t sizes[LIST_CHUNKS];
	struct request_opts opts = {
		.ops = &ops, .arg = r, .plain_sizes = sizes, .meta_max_bytes = META_MAX
	};
	int ret;

	*r = (struct own_request){ .w = w, .type = types[i] };
	r->left.n = LIST_CHUNKS;
	for (uint32_t k = 0; k < LIST_CHUNKS; k++) {
		sizes[k] = CHUNK_BYTES - k;
		wire_set_add(&r->left, k);
	}
	if (types[i] == WIRE_GET)
		msg.u.get.part.set = r->left;
	ret = session_request(w->session, &msg, &opts, &r->req);
	assert(ret == 0);
}

static void on_hello(void *arg, const struct wire_msg *msg)
{
	struct world *w = arg;

	assert(msg->type == WIRE_HELLO || msg->type == WIRE_HELLO_ACK);
	for (uint32_t i = 0; i < N_REQUESTS; i++)
		ask(w, i);
}

static void on_message(void *arg, const struct wire_msg *msg)
{
	struct world *w = arg;
	const struct wire_msg end = { .type = WIRE_END, .u.end.req = msg->u.ask.req };

	assert(session_is_open(w->session) && !w->over);
	/* Some requests of the peer are answered at once, others stay open. */
	if (msg->type == WIRE_ASK && (w->how & 1) != 0) {
		const bool may = session_may_send(w->session, &end);

		assert(may && !session_may_send(w->session, &end));
	}
	if (msg->type == WIRE_GET && (w->how & 2) != 0)
		session_attach(w->session, msg->u.get.req, w);
}

static void on_cancel(void *arg, uint32_t req, void *stream)
{
	struct world *w = arg;
	const struct wire_msg end = { .type = WIRE_END, .u.end.req = req };
	const bool may = session_may_send(w->session, &end);

	assert(may && (stream == NULL || stream == w));
}

static void on_bye(void *arg, const struct wire_bye *bye)
{
	struct world *w = arg;

	(void)bye;
	w->over = true;
}

static void on_late(void *arg, const struct wire_part *asked, const struct wire_msg *msg)
{
	(void)arg;
	assert(msg->type == WIRE_ANSWER);
	assert(asked->set.n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	static const struct session_sink sink = {
		.hello = on_hello,
		.message = on_message,
		.cancel = on_cancel,
		.bye = on_bye,
		.late = on_late,
	};
	struct conn_counts counts = { 0 };
	struct world w = { 0 };
	struct err e = { 0 };
	size_t step;
	int r = 0;

	if (size_bytes < 1)
		return 0;
	w.how = data[0];
	step = (w.how & 0x38) == 0 ? size_bytes : (size_t)(w.how & 0x38) * 8 + 1;
	w.session = wire_session_new((w.how & 4) != 0, &sink, &w);
	for (size_t at = 1; at < size_bytes && r == 0; at += step)
		r = session_feed(w.session, data + at,
		                 size_bytes - at < step ? size_bytes - at : step, &counts, &e);
	assert(counts.payload_in_bytes + counts.control_in_bytes <= size_bytes);
	w.over = false;
	if ((w.how & 1) != 0)
		session_lose(w.session);
	wire_session_free(&w.session);
	return 0;
}
