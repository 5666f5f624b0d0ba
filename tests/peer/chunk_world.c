/*
 * chunk_world: see the header.
 */
#include "chunk_world.h"
#include "clock.h"
#include "conn_impl.h"
#include "hex.h"
#include "mem.h"
#include "placement.h"
#include "share.h"
#include <assert.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void chunk_bytes(uint32_t chunk_idx, uint8_t ret_bytes[CHUNK_BYTES])
{
	for (uint32_t i = 0; i < CHUNK_BYTES; i++)
		ret_bytes[i] = (uint8_t)(chunk_idx * 131 + i * 7 + (i >> 8));
}

bool chunk_is(uint32_t chunk_idx, const uint8_t bytes[CHUNK_BYTES])
{
	uint8_t *right = xcalloc(1, CHUNK_BYTES);
	bool is_right;

	chunk_bytes(chunk_idx, right);
	is_right = memcmp(bytes, right, CHUNK_BYTES) == 0;
	free(right);
	return is_right;
}

static struct blob_layout *make_layout(void)
{
	struct blob_layout *l = layout_new(CHUNKS);
	uint8_t *plain = xcalloc(1, CHUNK_BYTES);

	assert(l != NULL);
	memset(l->blob_id, 'b', BLOB_ID_MAX);
	l->trust = TRUST_DIGESTS;
	l->digest_alg = DIGEST_BLAKE3;
	l->n_units = CHUNKS;
	l->plain_size_bytes = (uint64_t)CHUNKS * CHUNK_BYTES;
	l->packed_data_end = l->plain_size_bytes;
	for (uint32_t i = 0; i < CHUNKS; i++) {
		struct chunk_rec *c = &l->chunks[i];

		c->plain_offset = c->place = (uint64_t)i * CHUNK_BYTES;
		c->plain_size_bytes = c->packed_size_bytes = CHUNK_BYTES;
		c->flags = CHUNK_HAS_DIGEST;
		chunk_bytes(i, plain);
		digest_compute(l->digest_alg, plain, CHUNK_BYTES, c->digest);
	}
	free(plain);
	return l;
}

/* ---- the agent ---- */

static void on_ready(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	peer_on_ready(arg, blob, chunk_idx);
}

static struct chunk_world *world_new(bool jammed)
{
	struct chunk_world *w = xcalloc(1, sizeof(*w));
	AUTO(layout_unref) struct blob_layout *layout = make_layout();
	struct cas_hooks hooks = { .on_ready = on_ready };
	struct err e;

	w->peers = peers_new(1, true);
	if (jammed)
		peers_jam(w->peers);
	hooks.arg = w->peers->peers[0];
	cas_hooks_on(w->peers->cas, &hooks);
	assert(layout_check(layout, &e) == 0);
	assert(cas_blob_open(w->peers->cas, layout, &w->blob, &e) == 0);
	cas_blob_add_origin(w->blob, "dir:/blobs");
	peer_blob_opened(w->peers->peers[0], w->blob);
	assert(segments_new(layout, &w->segments, &e) == 0);
	assert(segments_count(w->segments) == 1);
	w->segment = *segments_at(w->segments, 0);
	return w;
}

struct chunk_world *chunk_world_new(void)
{
	return world_new(false);
}

struct chunk_world *chunk_world_new_jammed(void)
{
	return world_new(true);
}

void chunk_world_free(struct chunk_world **world)
{
	struct chunk_world *w = *world;

	*world = NULL;
	if (w->req != NULL)
		peer_source(w->peers->peers[0])->ops->cancel(w->req);
	if (w->leases)
		chunks_lease_end(w, true);
	cas_hooks_off(w->peers->cas);
	segments_free(&w->segments);
	peers_run_ms(w->peers, 1);
	cas_blob_release(&w->blob);
	peers_free(&w->peers);
	free(w);
}

int chunk_world_setup(void **state)
{
	*state = chunk_world_new();
	return 0;
}

int chunk_world_teardown(void **state)
{
	struct chunk_world *w = *state;

	chunk_world_free(&w);
	return 0;
}

void chunk_put(struct chunk_world *w, uint32_t chunk_idx)
{
	uint8_t *plain = xcalloc(1, CHUNK_BYTES);
	struct err e;

	chunk_bytes(chunk_idx, plain);
	assert(cas_blob_put(w->blob, chunk_idx, plain, &e) == 0);
	free(plain);
}

struct wire_set chunks_of(uint32_t first, uint32_t n)
{
	struct wire_set set = set_none(CHUNKS);

	for (uint32_t i = first; i < first + n; i++)
		wire_set_add(&set, i);
	return set;
}

/* ---- its question ---- */

static void on_chunk(void *arg, uint32_t chunk_idx, struct chunk_bytes bytes, uint32_t giver)
{
	struct chunk_world *w = arg;

	assert(!w->came[chunk_idx]);
	assert(bytes.form == COMPRESSOR_NONE && bytes.size_bytes == CHUNK_BYTES);
	assert(chunk_is(chunk_idx, bytes.data));
	free(bytes.data);
	w->came[chunk_idx] = true;
	w->giver = giver;
	w->n_chunks++;
	w->n_events++;
}

static void on_wait(void *arg, uint64_t progress_bytes)
{
	struct chunk_world *w = arg;

	if (progress_bytes <= w->progress_bytes)
		return;
	w->progress_bytes = progress_bytes;
	w->run.deadline_ns = clock_now_ns(peers_clock(w->peers)) + w->time_ns;
}

static void on_lease(void *arg, const struct source_lease *lease)
{
	struct chunk_world *w = arg;

	w->lease = *lease;
	w->leases = true;
	w->n_leases++;
	w->n_events++;
}

void chunks_lease_end(struct chunk_world *w, bool ok)
{
	struct source *source = peer_source(w->peers->peers[0]);

	w->leases = false;
	source->ops->lease_end(source, w->lease.token, ok);
}

static void on_note(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct chunk_world *w = arg;

	(void)why;
	w->req = NULL;
	w->r = r;
	w->n_ends++;
	w->n_events++;
}

void chunks_want(struct chunk_world *w, uint32_t first, uint32_t n)
{
	static const struct source_events events = { .chunk = on_chunk,
		                                     .wait = on_wait,
		                                     .lease = on_lease,
		                                     .note = on_note,
		                                     .end = on_end };
	struct source *source = peer_source(w->peers->peers[0]);
	struct err e;

	w->run = (struct unit_run){ .blob = w->blob,
		                    .layout = cas_blob_layout(w->blob),
		                    .first_unit = first,
		                    .n_units = n,
		                    .reader = true,
		                    .deadline_ns = clock_now_ns(peers_clock(w->peers)) +
		                                   WANT_MS * NS_PER_MS };
	w->time_ns = WANT_MS * NS_PER_MS;
	w->progress_bytes = 0;
	w->n_ends = 0;
	assert(source->ops->get(source, &w->run, &events, w, &w->req, &e) == 0);
}

/* ---- actors ---- */

static void on_message(struct stranger *s, const struct wire_msg *msg)
{
	struct actor *a = container_of(s, struct actor, stranger);

	switch ((int)msg->type) {
	case WIRE_ASK:
		assert(a->n_asks < HEARD_MAX);
		a->asks[a->n_asks++] = msg->u.ask;
		break;
	case WIRE_GET:
		assert(a->n_gets < HEARD_MAX && !msg->u.get.by_names);
		a->gets[a->n_gets++] = msg->u.get;
		break;
	case WIRE_HAVE:
		a->haves = set_or(a->haves, &msg->u.adverts.parts[0].set);
		a->n_haves++;
		break;
	case WIRE_LEASE_PROGRESS:
		a->last_progress = msg->u.lease;
		a->n_progress++;
		break;
	case WIRE_LEASE_END:
		a->last_end = msg->u.lease;
		a->n_lease_ends++;
		break;
	default:
		break;
	}
}

static struct wire_id agent_id(const struct chunk_world *w)
{
	struct wire_id id = { 0 };
	const bool is_hex = hex_decode(peer_self_name(w->peers->peers[0]), WIRE_ID_BYTES, id.b);

	assert(is_hex);
	return id;
}

/* Its id decides whose the segment is. Whatever the agent's is, among many there is one. */
static struct wire_id id_for(struct chunk_world *w, bool as_home)
{
	const struct wire_id agent = agent_id(w);
	const uint64_t score = placement_score(&w->segment.name, &agent);
	struct wire_id id = { .b = { ++w->n_actors } };
	uint32_t n = 0;

	do {
		n++;
		memcpy(id.b + 1, &n, sizeof(n));
	} while ((placement_score(&w->segment.name, &id) > score) != as_home);
	return id;
}

static void join_as(struct chunk_world *w, struct actor *a, const struct wire_id *id,
                    const char *zone)
{
	*a = (struct actor){ .world = w, .haves = set_none(CHUNKS) };
	stranger_call_as(w->peers, &a->stranger, id, zone);
	a->stranger.message = on_message;
	peers_run_ms(w->peers, 2); /* the agent's next round, in which it is placed */
}

void actor_join_from(struct chunk_world *w, struct actor *a, bool as_home, const char *zone)
{
	const struct wire_id id = id_for(w, as_home);

	join_as(w, a, &id, zone);
}

void actor_join_again(struct actor *a, const struct actor *before)
{
	const struct wire_member *self = &before->stranger.self.self;

	join_as(before->world, a, &self->id, self->zone);
}

void actor_join(struct chunk_world *w, struct actor *a, bool as_home)
{
	actor_join_from(w, a, as_home, "a");
}

void actor_leave(struct actor *a)
{
	stranger_leave(&a->stranger);
}

void actor_hang(struct actor *a, bool on)
{
	struct conn *c = a->stranger.conn;

	if (!on) {
		(void)event_add(c->ev_read, NULL);
		timer_start(&c->tick, 1);
		return;
	}
	(void)event_del(c->ev_read);
	(void)event_del(c->ev_write);
	(void)event_del(c->ev_kick);
	timer_stop(&c->tick);
}

void actor_answer(struct actor *a, const struct wire_ask *ask, enum wire_answer_kind kind,
                  const struct wire_set *set, const struct actor *node)
{
	struct wire_answer_item item = { .kind = (uint8_t)kind, .set = *set };
	struct wire_msg msg = { .type = WIRE_ANSWER };

	if (node != NULL)
		item.nodes[item.n_nodes++] = node->stranger.self.self.id;
	if (kind == WIRE_LEASE) {
		item.token = ACTOR_TOKEN;
		item.term_ms = 2000;
	}
	msg.u.answer.req = ask->req;
	msg.u.answer.n_items = 1;
	msg.u.answer.items = &item;
	conn_send(a->stranger.conn, &msg);
}

void actor_end(struct actor *a, uint32_t req, enum wire_status status, uint32_t retry_ms)
{
	const struct wire_msg msg = {
		.type = WIRE_END,
		.u.end = { .req = req, .status = (uint8_t)status, .retry_ms = retry_ms },
	};

	conn_send(a->stranger.conn, &msg);
}

static void key_of(const struct chunk_world *w, const struct wire_set *set,
                   uint8_t ret_key[PROOF_KEY_BYTES])
{
	const struct blob_layout *l = cas_blob_layout(w->blob);
	struct proof_key *k = proof_key_new();

	for (uint32_t pos = set_next(set, 0); pos < set->n; pos = set_next(set, pos + 1))
		proof_key_add(k, l->digest_alg, l->chunks[pos].digest, CHUNK_BYTES);
	proof_key_end(&k, ret_key);
}

void actor_grant(struct actor *a, const struct wire_get *get, bool right)
{
	struct wire_msg msg = { .type = WIRE_GRANT, .u.grant = { .req = get->req } };
	uint8_t key[PROOF_KEY_BYTES];

	key_of(a->world, &get->part.set, key);
	proof_of_grant(conn_binding(a->stranger.conn), false, key, get->proof, msg.u.grant.mac);
	if (!right)
		msg.u.grant.mac[0] ^= 1;
	conn_send(a->stranger.conn, &msg);
}

/* ---- what it sends ---- */

static void on_pull(void *arg, struct conn_stream *stream)
{
	struct supply *s = arg;
	const uint32_t pos = set_next(&s->left, 0);
	const struct wire_chunk_item item = { .pos = (uint16_t)pos, .size_bytes = CHUNK_BYTES };
	uint8_t *bytes;

	if (pos < s->left.n) {
		bytes = xcalloc(1, CHUNK_BYTES);
		chunk_bytes(pos, bytes);
		wire_set_remove(&s->left, pos);
		stream_put_chunks(stream, &item, 1, bytes);
	} else if (s->last) {
		stream_end(&s->stream, s->status, 0);
	} else {
		stream_pass(stream);
	}
}

static void on_supply_closed(void *arg)
{
	struct supply *s = arg;

	s->stream = NULL;
	s->n_closed++;
}

void actor_send(struct actor *a, const struct wire_get *get, const struct wire_set *set,
                bool then_end)
{
	static const struct stream_ops ops = { .pull = on_pull, .closed = on_supply_closed };

	a->supply =
		(struct supply){ .actor = a, .left = *set, .last = then_end, .status = WIRE_DONE };
	assert(conn_serve(a->stranger.conn, get->req, CONN_READER, &ops, &a->supply,
	                  &a->supply.stream) == 0);
}

void actor_send_more(struct actor *a, const struct wire_set *set, bool then_end)
{
	a->supply.left = set_or(a->supply.left, set);
	a->supply.last = then_end;
	stream_wake(a->supply.stream);
}

void actor_trickle(struct actor *a, const struct wire_get *get, uint32_t offset, uint32_t n_bytes)
{
	const struct wire_chunk_item item = { .pos = (uint16_t)set_next(&get->part.set, 0),
		                              .size_bytes = CHUNK_BYTES };
	const struct wire_msg msg = {
		.type = WIRE_CHUNK,
		.payload_size_bytes = n_bytes,
		.u.chunk = { .req = get->req, .offset = offset, .n_items = 1, .items = &item },
	};
	struct wire_buf buf = { .data = NULL };
	uint8_t plain[CHUNK_BYTES];

	assert(offset + n_bytes <= CHUNK_BYTES);
	chunk_bytes(item.pos, plain);
	wire_encode(&msg, &buf);
	wire_buf_append(&buf, &plain[offset], n_bytes);
	assert(write(a->stranger.conn->fd, buf.data, buf.size_bytes) == (ssize_t)buf.size_bytes);
	wire_buf_free(&buf);
}

/* ---- what it asks ---- */

void actor_ask(struct actor *a, const struct wire_set *set, const struct request_opts *opts)
{
	struct wire_msg msg = { .type = WIRE_ASK };
	struct wire_ask *ask = &msg.u.ask;
	uint32_t req;

	ask->part = (struct wire_part){ a->world->segment.name, a->world->segment.list, *set };
	ask->have = ask->missed = set_none(CHUNKS);
	ask->units = ask->runs = set_all(CHUNKS);
	assert(conn_request(a->stranger.conn, &msg, opts, &req) == 0);
}

uint32_t actor_get(struct actor *a, const struct wire_set *set, uint32_t flags, bool right,
                   const struct request_opts *opts)
{
	struct wire_msg msg = { .type = WIRE_GET };
	struct wire_get *get = &msg.u.get;
	uint8_t key[PROOF_KEY_BYTES];
	uint32_t req;

	get->flags = flags;
	get->part.segment = a->world->segment.name;
	get->part.list = a->world->segment.list;
	get->part.set = *set;
	key_of(a->world, set, key);
	proof_of_get(conn_binding(a->stranger.conn), true, key, get, get->proof);
	if (!right)
		get->proof[0] ^= 1;
	assert(conn_request(a->stranger.conn, &msg, opts, &req) == 0);
	return req;
}
