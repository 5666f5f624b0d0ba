/*
 * swarm: the network, the origin, and time.
 */
#include "swarm.h"
#include "mem.h"
#include <assert.h>
#include <stdlib.h>

#define DELAY_NS        (200 * NS_PER_MS / 1000)
#define ORIGIN_DELAY_NS (10 * NS_PER_MS)
#define NOTICE_MS       50U

uint64_t swarm_now_ns(const struct swarm *s)
{
	return clock_now_ns(&s->clock.clock);
}

static uint64_t next_random(struct swarm *s)
{
	s->random = mix64(s->random + UINT64_C(0x9e3779b97f4a7c15));
	return s->random;
}

/* ---- the events: a heap ---- */

static bool before(const struct swarm_event *a, const struct swarm_event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

static void swap(struct swarm *s, uint32_t a, uint32_t b)
{
	const struct swarm_event moved = s->heap[a];

	s->heap[a] = s->heap[b];
	s->heap[b] = moved;
}

struct swarm_event *swarm_at(struct swarm *s, uint64_t at_ns, enum swarm_event_kind kind)
{
	uint32_t i = s->n_events++;

	if (s->n_events > s->room) {
		s->room = s->room == 0 ? 1024 : s->room * 2;
		s->heap = xrealloc(s->heap, s->room, sizeof(*s->heap));
	}
	s->heap[i] = (struct swarm_event){ .at_ns = at_ns, .number = s->n_numbers++, .kind = kind };
	for (; i > 0 && before(&s->heap[i], &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(s, i, (i - 1) / 2);
	return &s->heap[i]; /* its place depends on at_ns and number alone */
}

static void take(struct swarm *s, struct swarm_event *ret_first)
{
	struct swarm_event *last = &s->heap[--s->n_events];
	uint32_t i = 0;

	*ret_first = s->heap[0];
	s->heap[0] = *last;
	last->packet = NULL;
	for (;;) {
		uint32_t least = i;

		for (uint32_t k = 2 * i + 1; k <= 2 * i + 2 && k < s->n_events; k++) {
			if (before(&s->heap[k], &s->heap[least]))
				least = k;
		}
		if (least == i)
			return;
		swap(s, i, least);
		i = least;
	}
}

/* ---- the network ---- */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t time_of(uint64_t bytes, uint64_t bytes_per_s)
{
	return bytes * NS_PER_S / bytes_per_s;
}

uint64_t swarm_bytes_of(struct swarm *s, const struct wire_msg *msg)
{
	s->buf.size_bytes = 0;
	wire_encode(msg, &s->buf);
	return s->buf.size_bytes;
}

static void count_control(struct swarm *s, const struct wire_msg *msg)
{
	const uint64_t bytes = swarm_bytes_of(s, msg);

	s->control_bytes += bytes;
	s->bytes_of_type[msg->type] += bytes;
	s->n_messages++;
}

void swarm_send(struct swarm *s, uint32_t from, uint32_t to, uint32_t segment_idx,
                const struct wire_msg *msg)
{
	struct swarm_packet *p;
	struct swarm_event *ev;

	if (from != to)
		count_control(s, msg);
	if (from != to && next_random(s) % 100 < s->opts.loss_percent)
		return;
	p = xcalloc(1, sizeof(*p));
	p->msg = *msg;
	p->segment_idx = segment_idx;
	if (msg->type == WIRE_ANSWER) {
		memcpy(p->items, msg->u.answer.items, msg->u.answer.n_items * sizeof(p->items[0]));
		p->msg.u.answer.items = p->items;
	} else if (msg->type == WIRE_HAVE || msg->type == WIRE_GONE || msg->type == WIRE_COMING) {
		memcpy(p->parts, msg->u.adverts.parts,
		       msg->u.adverts.n_parts * sizeof(p->parts[0]));
		p->msg.u.adverts.parts = p->parts;
	}
	ev = swarm_at(s, swarm_now_ns(s) + (from == to ? 0 : DELAY_NS), EV_MESSAGE);
	ev->from = from;
	ev->to = to;
	ev->packet = p;
}

static uint32_t packed_bytes(const struct swarm *s, uint32_t segment_idx, uint32_t pos)
{
	return s->layout->chunks[segments_chunk(s->segments, segment_idx, (uint16_t)pos)]
	        .packed_size_bytes;
}

void swarm_send_chunk(struct swarm *s, uint32_t from, uint32_t to, uint32_t segment_idx,
                      uint32_t pos)
{
	const uint32_t bytes = packed_bytes(s, segment_idx, pos);
	const uint64_t ns = time_of(bytes, s->opts.link_bytes_per_s);
	const struct wire_chunk_item item = { .pos = (uint16_t)pos, .size_bytes = bytes };
	const struct wire_msg msg = { .type = WIRE_CHUNK,
		                      .u.chunk = { .req = 1000, .n_items = 1, .items = &item } };
	struct swarm_node *up = &s->nodes[from];
	struct swarm_event *ev;

	count_control(s, &msg); /* its header */
	s->payload_bytes += bytes;
	up->up_bytes += bytes;
	up->up_free_ns = max_u64(up->up_free_ns, swarm_now_ns(s)) + ns;
	ev = swarm_at(s, up->up_free_ns + DELAY_NS, EV_CHUNK);
	ev->bytes = bytes;
	ev->from = from;
	ev->to = to;
	ev->segment_idx = segment_idx;
	ev->pos = pos;
}

/* The unit that begins at pos, and all its members. 0: pos is within a unit. @return its bytes */
static uint32_t fetched(struct swarm *s, uint32_t segment_idx, uint32_t pos)
{
	const uint32_t chunk_idx = segments_chunk(s->segments, segment_idx, (uint16_t)pos);
	struct unit_rec unit;

	if (!wire_set_has(&s->units[segment_idx], pos) ||
	    !layout_unit(s->layout, layout_unit_of(s->layout, chunk_idx), &unit))
		return 0;
	for (uint32_t i = 0; i < unit.n_members; i++)
		s->n_fetched[layout_member(s->layout, &unit, i)]++;
	return unit.packed_size_bytes;
}

/* The units of a lease, one after the other over the origin's link. */
void swarm_from_origin(struct swarm *s, uint32_t to, uint32_t slot)
{
	const struct swarm_lease *l = &s->nodes[to].leases[slot];
	const struct wire_set *units = &s->units[l->segment_idx];
	uint64_t bytes = 0;

	s->origin_free_ns = max_u64(s->origin_free_ns, swarm_now_ns(s) + ORIGIN_DELAY_NS);
	for (uint32_t pos = set_next(&l->set, 0); pos < l->set.n;
	     pos = set_next(&l->set, pos + 1)) {
		const uint32_t next = set_next(&l->set, pos + 1);
		struct swarm_event *ev;

		bytes += fetched(s, l->segment_idx, pos);
		if (next < l->set.n && !wire_set_has(units, next) && next == pos + 1)
			continue; /* the unit goes on */
		s->origin_free_ns += time_of(bytes, s->opts.origin_bytes_per_s);
		ev = swarm_at(s, s->origin_free_ns, EV_ORIGIN);
		ev->bytes = (uint32_t)bytes;
		ev->to = to;
		ev->slot = slot;
		ev->token = l->token;
		ev->pos = pos;
		bytes = 0;
	}
}

uint32_t swarm_node_of(const struct swarm *s, const struct wire_id *id)
{
	for (uint32_t i = 0; i < s->opts.n_nodes; i++) {
		if (id_equal(&s->nodes[i].id, id))
			return i;
	}
	return UINT32_MAX;
}

/* ---- life ---- */

static void make_batches(struct swarm *s)
{
	struct blob_layout *l = s->layout;
	const uint32_t per = s->opts.batch;

	if (per < 2)
		return;
	l->n_units = (l->n_chunks + per - 1) / per;
	l->units = xcalloc(l->n_units, sizeof(*l->units));
	l->members = xcalloc(l->n_chunks, sizeof(*l->members));
	for (uint32_t i = 0; i < l->n_chunks; i++) {
		struct unit_rec *u = &l->units[i / per];

		l->members[i] = i;
		l->chunks[i].place = (uint64_t)(i / per) << 32;
		u->first_member = i / per * per;
		u->n_members++;
		u->packed_size_bytes += l->chunks[i].packed_size_bytes;
		u->plain_size_bytes += l->chunks[i].plain_size_bytes;
	}
}

struct swarm *swarm_new(const struct swarm_opts *opts)
{
	struct swarm *s = xcalloc(1, sizeof(*s));
	uint32_t n_segments;
	struct err e;

	s->opts = *opts;
	s->random = opts->seed;
	fake_clock_init(&s->clock);
	s->layout = test_layout(opts->n_chunks, 28000, opts->seed);
	make_batches(s);
	if (segments_new(s->layout, &s->segments, &e) != 0)
		abort();
	n_segments = segments_count(s->segments);
	s->units = xcalloc(n_segments, sizeof(*s->units));
	s->runs = xcalloc(n_segments, sizeof(*s->runs));
	for (uint32_t i = 0; i < n_segments; i++)
		order_cut(s->segments, i, &s->units[i], &s->runs[i]);
	s->n_fetched = xcalloc(opts->n_chunks, sizeof(*s->n_fetched));
	for (uint32_t i = 0; i < opts->n_nodes; i++)
		s->nodes[i].id = test_id(1, opts->seed * 1000 + i);
	for (uint32_t i = 0; i < opts->n_nodes; i++) {
		swarm_node_start(s, i);
		swarm_at(s, swarm_now_ns(s), EV_TICK)->to = i;
	}
	return s;
}

static void node_free(struct swarm_node *n)
{
	home_free(&n->home);
	adverts_free(&n->adverts);
	placement_free(&n->placement);
	free(n->segments);
	free(n->order);
	while (n->parked != NULL) {
		struct swarm_parked *p = n->parked;

		n->parked = p->next;
		free(p);
	}
}

void swarm_free(struct swarm **swarm)
{
	struct swarm *s = *swarm;

	for (uint32_t i = 0; i < s->opts.n_nodes; i++)
		node_free(&s->nodes[i]);
	for (uint32_t i = 0; i < s->n_events; i++)
		free(s->heap[i].packet);
	free(s->heap);
	free(s->n_fetched);
	free(s->units);
	free(s->runs);
	segments_free(&s->segments);
	layout_unref(&s->layout);
	wire_buf_free(&s->buf);
	free(s);
	*swarm = NULL;
}

void swarm_kill(struct swarm *s, uint32_t node, uint64_t after_ms)
{
	swarm_at(s, swarm_now_ns(s) + after_ms * NS_PER_MS, EV_KILL)->to = node;
}

/* Was it fetched, is it nowhere now, and on its way to nobody from the origin? */
static bool is_lost(const struct swarm *s, uint32_t chunk_idx)
{
	uint32_t segment_idx;
	uint16_t pos;

	if (s->n_fetched[chunk_idx] == 0 ||
	    !segments_find(s->segments, chunk_idx, &segment_idx, &pos))
		return false;
	for (uint32_t i = 0; i < s->opts.n_nodes; i++) {
		const struct swarm_node *n = &s->nodes[i];

		if (n->dead)
			continue;
		if (wire_set_has(&n->segments[segment_idx].have, pos))
			return false;
		for (uint32_t k = 0; k < SWARM_LEASES; k++) {
			if (n->leases[k].used && n->leases[k].segment_idx == segment_idx &&
			    wire_set_has(&n->leases[k].left, pos))
				return false;
		}
	}
	return true;
}

static void kill_node(struct swarm *s, uint32_t node)
{
	s->nodes[node].dead = true;
	for (uint32_t i = 0; i < s->layout->n_chunks; i++)
		s->n_lost += is_lost(s, i);
	for (uint32_t i = 0; i < s->opts.n_nodes; i++) {
		struct swarm_event *ev;

		if (i == node)
			continue;
		ev = swarm_at(s, swarm_now_ns(s) + NOTICE_MS * NS_PER_MS, EV_NOTICE);
		ev->to = i;
		ev->from = node;
	}
}

/* Bytes that left the sender's link cross the receiver's, in the order in which they come. */
static bool crosses(struct swarm *s, const struct swarm_event *ev)
{
	struct swarm_node *n = &s->nodes[ev->to];
	const uint64_t now_ns = swarm_now_ns(s);
	struct swarm_event *again;

	if (ev->bytes == 0)
		return false;
	n->down_free_ns =
		max_u64(n->down_free_ns + time_of(ev->bytes, s->opts.link_bytes_per_s), now_ns);
	again = swarm_at(s, n->down_free_ns, ev->kind);
	again->from = ev->from;
	again->to = ev->to;
	again->segment_idx = ev->segment_idx;
	again->pos = ev->pos;
	again->slot = ev->slot;
	again->token = ev->token;
	return true;
}

static void happen(struct swarm *s, const struct swarm_event *ev)
{
	if (s->nodes[ev->to].dead || crosses(s, ev))
		return;
	switch (ev->kind) {
	case EV_MESSAGE:
		swarm_node_message(s, ev->to, ev->from, ev->packet);
		break;
	case EV_CHUNK:
		if (!s->nodes[ev->from].dead)
			swarm_node_chunk(s, ev->to, ev->from, ev->segment_idx, ev->pos);
		break;
	case EV_ORIGIN:
		swarm_node_unit(s, ev->to, ev);
		break;
	case EV_TICK:
		break;
	case EV_KILL:
		kill_node(s, ev->to);
		return;
	case EV_NOTICE:
		swarm_node_lost(s, ev->to, ev->from);
		break;
	}
	swarm_node_tick(s, ev->to);
}

static bool all_done(const struct swarm *s)
{
	for (uint32_t i = 0; i < s->opts.n_nodes; i++) {
		if (!s->nodes[i].dead && s->nodes[i].done_ns == 0)
			return false;
	}
	return true;
}

bool swarm_run(struct swarm *s, uint64_t max_ms)
{
	const uint64_t end_ns = swarm_now_ns(s) + max_ms * NS_PER_MS;

	while (s->n_events > 0 && !all_done(s)) {
		struct swarm_event ev;

		if (s->heap[0].at_ns > end_ns) { /* it stays for the next call */
			s->clock.now_ns = end_ns;
			return false;
		}
		take(s, &ev);
		if (ev.at_ns > s->clock.now_ns)
			s->clock.now_ns = ev.at_ns;
		happen(s, &ev);
		free(ev.packet);
	}
	return all_done(s);
}

uint64_t swarm_fetched_bytes(const struct swarm *s)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < s->layout->n_chunks; i++)
		sum += (uint64_t)s->n_fetched[i] * s->layout->chunks[i].packed_size_bytes;
	return sum;
}

uint32_t swarm_refetched(const struct swarm *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->layout->n_chunks; i++)
		n += s->n_fetched[i] > 1 ? s->n_fetched[i] - 1 : 0;
	return n;
}

uint64_t swarm_ms(const struct swarm *s)
{
	return (swarm_now_ns(s) - UINT64_C(1000) * NS_PER_S) / NS_PER_MS;
}
