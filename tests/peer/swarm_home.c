/*
 * swarm_home: a node of the swarm as a home: messages in, answers out.
 */
#include "swarm.h"
#include <stdlib.h>

void swarm_home_drain(struct swarm *s, uint32_t node, uint32_t segment_idx)
{
	struct home_out out;

	while (home_next(s->nodes[node].home, &out)) {
		const uint32_t to = swarm_node_of(s, &out.to);
		struct wire_msg msg = { .type = WIRE_ANSWER };

		segment_idx = out.n_items > 0 || out.end ? out.req & 0xffffU : segment_idx;
		msg.u.answer = (struct wire_answer){ out.req, out.n_items, out.items };
		if (out.n_items > 0)
			swarm_send(s, node, to, segment_idx, &msg);
		if (!out.end)
			continue;
		msg = (struct wire_msg){ .type = WIRE_END,
			                 .u.end = { .req = out.req, .status = out.status } };
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
		home_cancel(home, id, p->msg.u.cancel.req);
	} else if (p->msg.type == WIRE_LEASE_END) {
		home_lease_end(home, id, &p->msg.u.lease);
	}
	swarm_home_drain(s, node, p->segment_idx);
}
