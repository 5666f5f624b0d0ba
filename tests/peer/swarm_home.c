/*
 * swarm_home: a node of the swarm as a home: messages in, answers out.
 */
#include "swarm.h"
#include <stdlib.h>

void swarm_home_drain(struct swarm *s, uint32_t node, uint32_t segment_idx)
{
	struct home_out out;
	struct wire_id probed;

	while (home_next_probe(s->nodes[node].home, &probed)) {
		if (!s->nodes[swarm_node_of(s, &probed)].dead)
			home_heard(s->nodes[node].home, &probed);
	}
	while (home_next(s->nodes[node].home, &out)) {
		const uint32_t to = swarm_node_of(s, &out.to);
		struct wire_msg msg = { .type = WIRE_ANSWER };

		segment_idx = out.n_items > 0 || out.end ? out.req & 0xffffU : segment_idx;
		msg.u.answer = (struct wire_answer){ out.req, out.n_items, out.items };
		if (out.n_items > 0)
			swarm_send(s, node, to, segment_idx, &msg);
		if (!out.end)
			continue;
		msg = (struct wire_msg){
			.type = WIRE_END, .u.end = { .req = out.req, .status = (uint8_t)out.status }
		};
		swarm_send(s, node, to, segment_idx, &msg);
	}
}

static void end_ask(struct swarm *s, uint32_t node, uint32_t to, const struct swarm_packet *p,
                    enum wire_status status)
{
	const struct wire_msg msg = {
		.type = WIRE_END, .u.end = { .req = p->msg.u.ask.req, .status = (uint8_t)status }
	};

	swarm_send(s, node, to, p->segment_idx, &msg);
}

static uint32_t find_segment(const struct swarm *s, const struct wire_id *list)
{
	for (uint32_t i = 0; i < segments_count(s->segments); i++) {
		if (id_equal(&segments_at(s->segments, i)->list, list))
			return i;
	}
	abort();
}

static void on_have(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	for (uint32_t i = 0; i < p->msg.u.adverts.n_parts; i++) {
		const struct wire_part *part = &p->parts[i];
		struct home *home = s->nodes[node].home;
		const struct wire_id *id = &s->nodes[from].id;
		const uint32_t segment_idx = find_segment(s, &part->list);
		const bool coming = p->msg.type == WIRE_COMING;
		const int r = coming ? home_coming(home, id, part) : home_have(home, id, part);

		if (r != HOME_WANT_NAMES)
			continue;
		struct wire_msg msg = { .type = WIRE_WANT_NAMES };

		msg.u.names = (struct wire_names){ .segment = part->segment, .list = part->list };
		swarm_send(s, node, from, segment_idx, &msg);
	}
}

static void on_ask(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	struct wire_ask a = p->msg.u.ask;
	int r;

	a.req = a.req << 16 | p->segment_idx; /* so that answers find their segment */
	r = home_ask(s->nodes[node].home, &s->nodes[from].id, &a);
	if (r == HOME_WANT_NAMES)
		end_ask(s, node, from, p, WIRE_UNKNOWN_LIST);
	else if (r != HOME_OK)
		end_ask(s, node, from, p, WIRE_IS_BUSY);
}

void swarm_home_message(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	struct home *home = s->nodes[node].home;
	const struct wire_id *id = &s->nodes[from].id;

	if (p->msg.type == WIRE_ASK) {
		on_ask(s, node, from, p);
	} else if (p->msg.type == WIRE_NAMES) {
		struct wire_id names[SEGMENT_MAX_CHUNKS];
		struct wire_names msg = p->msg.u.names;

		segments_names(s->segments, p->segment_idx, names);
		msg.names = names;
		if (home_names(home, id, &msg) != HOME_OK)
			abort();
	} else if (p->msg.type == WIRE_HAVE || p->msg.type == WIRE_COMING) {
		on_have(s, node, from, p);
	} else if (p->msg.type == WIRE_LEASE_PROGRESS) {
		home_lease_progress(home, id, &p->msg.u.lease);
	} else if (p->msg.type == WIRE_CANCEL) {
		home_cancel(home, id, 0, p->msg.u.cancel.req);
	} else if (p->msg.type == WIRE_LEASE_END) {
		home_lease_end(home, id, &p->msg.u.lease);
	}
	swarm_home_drain(s, node, p->segment_idx);
}

/* ---- a death ---- */

static void place_the_living(struct swarm *s, uint32_t node, uint32_t lost)
{
	struct place_node nodes[SWARM_NODES_MAX];
	uint32_t n_nodes = 0;
	struct err e;

	for (uint32_t i = 0; i < s->opts.n_nodes; i++) {
		if (i != lost && (!s->nodes[i].dead || i == node))
			nodes[n_nodes++] = (struct place_node){ s->nodes[i].id, "" };
	}
	if (placement_set(s->nodes[node].placement, nodes, n_nodes, &e) != 0)
		abort();
}

/* What was to come from there, and what was asked there, is sought anew. */
static void seek_anew(const struct swarm *s, struct swarm_node *n, uint32_t lost)
{
	for (uint32_t i = 0; i < SWARM_GETS; i++) {
		if (!n->gets[i].used || n->gets[i].from != lost)
			continue;
		n->gets[i].used = false;
		swarm_not_coming(s, n, n->gets[i].segment_idx, &n->gets[i].set);
	}
	for (uint32_t i = 0; i < segments_count(s->segments); i++) {
		struct swarm_segment *g = &n->segments[i];

		if (g->req == 0 || g->ask_home != lost)
			continue;
		g->req = 0;
		g->settle = false;
		g->retry_ns = swarm_now_ns(s);
	}
}

/* The new home hears of a lease that the dead one gave. */
static void tell_coming(struct swarm *s, uint32_t node, const struct swarm_lease *l)
{
	const struct segment *segment = segments_at(s->segments, l->segment_idx);
	const struct wire_part part = { segment->name, segment->list, l->left };
	const struct wire_msg msg = { .type = WIRE_COMING, .u.adverts = { 1, &part } };
	const struct swarm_node *n = &s->nodes[node];
	struct wire_id home;
	uint32_t to;

	if (!placement_home(n->placement, PLACE_ZONE, &n->id, &part.segment, &home))
		abort();
	to = swarm_node_of(s, &home);
	swarm_tell_names(s, node, to, l->segment_idx);
	swarm_send(s, node, to, l->segment_idx, &msg);
}

void swarm_node_lost(struct swarm *s, uint32_t node, uint32_t lost)
{
	struct swarm_node *n = &s->nodes[node];

	place_the_living(s, node, lost);
	home_node_lost(n->home, &s->nodes[lost].id);
	home_moved(n->home);
	adverts_moved(n->adverts);
	seek_anew(s, n, lost);
	for (uint32_t i = 0; i < SWARM_LEASES; i++) {
		if (n->leases[i].used && n->leases[i].home == lost)
			tell_coming(s, node, &n->leases[i]);
	}
}
