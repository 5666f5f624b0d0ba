/*
 * swarm_node: a node of the swarm: asks, gets, serves, fetches with a lease, tells. In small what
 * the peer source and the serving side do.
 */
#include "mem.h"
#include "swarm.h"
#include <stdlib.h>

#define WINDOW       20U
#define ASK_MS       2000U
#define ASK_LOST_MS  400U /* no answer at all: the home is dead, or the message lost */
#define GET_STALL_MS 3000U
#define RETRY_MS     30U

static const struct segment *segment_of(const struct swarm *s, uint32_t segment_idx)
{
	return segments_at(s->segments, segment_idx);
}

static struct wire_part part_of(const struct swarm *s, uint32_t segment_idx, struct wire_set set)
{
	const struct segment *g = segment_of(s, segment_idx);

	return (struct wire_part){ g->name, g->list, set };
}

static void rank_self(struct swarm *s, uint32_t node)
{
	struct place_node nodes[SWARM_NODES_MAX];
	struct err e;

	for (uint32_t i = 0; i < s->opts.n_nodes; i++)
		nodes[i] = (struct place_node){ s->nodes[i].id, "" };
	if (placement_set(s->nodes[node].placement, nodes, s->opts.n_nodes, &e) != 0)
		abort();
}

void swarm_node_start(struct swarm *s, uint32_t node)
{
	struct swarm_node *n = &s->nodes[node];
	const uint32_t n_segments = segments_count(s->segments);
	struct wire_id *names = xcalloc(n_segments, sizeof(*names));
	struct err e;

	n->first_unit_ns = 500 * NS_PER_MS; /* nothing is known yet */
	n->placement = placement_new();
	rank_self(s, node);
	n->home = home_new(&(struct home_opts){
		.clock = &s->clock.clock, .placement = n->placement, .self = n->id });
	n->adverts = adverts_new(&(struct adverts_opts){ &s->clock.clock, n->placement, n->id });
	n->segments = xcalloc(n_segments, sizeof(*n->segments));
	n->order = xcalloc(n_segments, sizeof(*n->order));
	for (uint32_t i = 0; i < n_segments; i++) {
		names[i] = segment_of(s, i)->name;
		n->order[i] = i;
		n->segments[i].have = set_none(segment_of(s, i)->n_chunks);
		n->segments[i].coming = n->segments[i].have;
	}
	if (!s->opts.readers && order_segments(&n->id, names, n_segments, n->order, &e) != 0)
		abort();
	free(names);
}

/* ---- asking ---- */

static struct wire_set missing(const struct swarm *s, const struct swarm_node *n,
                               uint32_t segment_idx)
{
	const struct swarm_segment *g = &n->segments[segment_idx];

	return set_minus(set_minus(set_all(segment_of(s, segment_idx)->n_chunks), &g->have),
	                 &g->coming);
}

/* What it waits for at others: the home is to know of it. */
static struct wire_set waited(const struct swarm *s, const struct swarm_node *n,
                              uint32_t segment_idx)
{
	struct wire_set set = set_none(segment_of(s, segment_idx)->n_chunks);

	for (uint32_t i = 0; i < SWARM_GETS; i++) {
		if (n->gets[i].used && n->gets[i].segment_idx == segment_idx)
			set = set_or(set, &n->gets[i].set);
	}
	return set_minus(set, &n->segments[segment_idx].have);
}

static void wake_at(struct swarm *s, uint32_t node, uint64_t at_ns)
{
	swarm_at(s, at_ns, EV_TICK)->to = node;
}

static void ask(struct swarm *s, uint32_t node, uint32_t segment_idx)
{
	struct swarm_node *n = &s->nodes[node];
	struct swarm_segment *g = &n->segments[segment_idx];
	struct wire_msg msg = { .type = WIRE_ASK };
	struct wire_ask *a = &msg.u.ask;
	struct wire_id ranked[2];
	const struct wire_set elsewhere = waited(s, n, segment_idx);
	const struct wire_set wanted = missing(s, n, segment_idx);
	const uint32_t n_ranked = placement_rank(n->placement, PLACE_ZONE, &n->id,
	                                         &segment_of(s, segment_idx)->name, 2, ranked);

	g->ask_home = swarm_node_of(s, &ranked[g->settle && n_ranked > 1 ? 1 : 0]);
	g->req = ++n->next_req;
	g->retry_ns = swarm_now_ns(s) + ASK_LOST_MS * NS_PER_MS;
	if (g->began_ns == 0)
		g->began_ns = swarm_now_ns(s);
	a->req = g->req;
	a->part = part_of(s, segment_idx, set_or(wanted, &elsewhere));
	a->have = g->have;
	a->units = s->units[segment_idx];
	a->runs = s->runs[segment_idx];
	a->deadline_ms = ASK_MS;
	a->patience_ms = (uint32_t)(2 * n->first_unit_ns / NS_PER_MS) + 100;
	a->usual_ms = HOME_LEASE_TERM_MS; /* as where nothing is known yet */
	a->flags = (s->opts.readers ? WIRE_ASK_READER : 0U) | (g->settle ? WIRE_ASK_SETTLE : 0U);
	a->n_avoid = (uint8_t)g->n_avoid;
	memcpy(a->avoid, g->avoid, sizeof(a->avoid));
	memset(a->avoid_why, WIRE_AVOID_MISSED, sizeof(a->avoid_why));
	a->missed = wanted;
	swarm_send(s, node, g->ask_home, segment_idx, &msg);
	wake_at(s, node, g->retry_ns);
}

static void pump(struct swarm *s, uint32_t node)
{
	struct swarm_node *n = &s->nodes[node];
	const uint32_t window = s->opts.readers ? 4 : WINDOW;
	uint32_t n_open = 0;

	for (uint32_t i = 0; i < segments_count(s->segments) && n_open < window && !n->idle; i++) {
		const uint32_t segment_idx = n->order[i];
		struct swarm_segment *g = &n->segments[segment_idx];
		const struct wire_set wanted = missing(s, n, segment_idx);

		if (set_count(&g->have) == g->have.n)
			continue;
		if (!set_empty(&wanted) && swarm_now_ns(s) >= g->retry_ns) {
			if (g->req != 0 && g->n_avoid == 0 && s->nodes[g->ask_home].dead)
				g->settle = !g->settle; /* no sign of life: the next in rank */
			ask(s, node, segment_idx);
		}
		/* One that hears of nobody is looked at again later: others go on meanwhile. */
		n_open += !set_empty(&g->coming) || g->req != 0;
	}
}

static void add_avoid(struct swarm_segment *g, const struct wire_id *id)
{
	if (g->n_avoid == WIRE_AVOID_MAX)
		g->n_avoid = 0;
	g->avoid[g->n_avoid++] = *id;
}

/* What a GET or a lease was to bring will not come that way. */
void swarm_not_coming(const struct swarm *s, struct swarm_node *n, uint32_t segment_idx,
                      const struct wire_set *set)
{
	struct swarm_segment *g = &n->segments[segment_idx];

	g->coming = set_minus(g->coming, set);
	if (g->req == 0)
		g->retry_ns = swarm_now_ns(s);
}

/* ---- what came ---- */

static void serve_parked(struct swarm *s, uint32_t node, uint32_t segment_idx, uint32_t pos)
{
	struct swarm_parked **at = &s->nodes[node].parked;

	while (*at != NULL) {
		struct swarm_parked *p = *at;

		if (p->segment_idx == segment_idx && wire_set_has(&p->set, pos)) {
			wire_set_remove(&p->set, pos);
			swarm_send_chunk(s, node, p->asker, segment_idx, pos);
		}
		if (set_empty(&p->set)) {
			*at = p->next;
			free(p);
		} else {
			at = &p->next;
		}
	}
}

static void ready(struct swarm *s, uint32_t node, uint32_t segment_idx, uint32_t pos)
{
	struct swarm_node *n = &s->nodes[node];
	struct swarm_segment *g = &n->segments[segment_idx];
	struct wire_part part;

	wire_set_remove(&g->coming, pos);
	if (wire_set_has(&g->have, pos))
		return;
	wire_set_add(&g->have, pos);
	part = part_of(s, segment_idx, set_none(g->have.n));
	wire_set_add(&part.set, pos);
	adverts_ready(n->adverts, &part, false);
	serve_parked(s, node, segment_idx, pos);
	if (set_count(&g->have) == g->have.n) {
		const uint64_t ns = swarm_now_ns(s) - g->began_ns;

		n->slowest_ns = ns > n->slowest_ns ? ns : n->slowest_ns;
	}
	if (++n->n_have == s->layout->n_chunks)
		n->done_ns = swarm_now_ns(s);
}

void swarm_node_chunk(struct swarm *s, uint32_t node, uint32_t from, uint32_t segment_idx,
                      uint32_t pos)
{
	struct swarm_node *n = &s->nodes[node];

	adverts_credit(n->adverts, 14000);
	for (uint32_t i = 0; i < SWARM_GETS; i++) {
		struct swarm_get *get = &n->gets[i];

		if (!get->used || get->segment_idx != segment_idx || get->from != from)
			continue;
		wire_set_remove(&get->set, pos);
		get->heard_ns = swarm_now_ns(s);
		get->used = !set_empty(&get->set);
	}
	ready(s, node, segment_idx, pos);
}

static void lease_message(struct swarm *s, uint32_t node, const struct swarm_lease *l,
                          enum wire_type type)
{
	struct wire_msg msg = { .type = type };

	msg.u.lease.token = l->token;
	msg.u.lease.progress_bytes = l->bytes;
	msg.u.lease.part =
		part_of(s, l->segment_idx, type == WIRE_LEASE_END ? l->set : set_none(l->set.n));
	swarm_send(s, node, l->home, l->segment_idx, &msg);
}

/* All members of a unit become ready together, those in the next segment, too. */
static void unit_ready(struct swarm *s, uint32_t node, uint32_t chunk_idx)
{
	struct unit_rec unit;

	if (!layout_unit(s->layout, layout_unit_of(s->layout, chunk_idx), &unit))
		abort();
	for (uint32_t i = 0; i < unit.n_members; i++) {
		uint32_t segment_idx;
		uint16_t pos;

		if (segments_find(s->segments, layout_member(s->layout, &unit, i), &segment_idx,
		                  &pos))
			ready(s, node, segment_idx, pos);
	}
}

void swarm_node_unit(struct swarm *s, uint32_t node, const struct swarm_event *ev)
{
	struct swarm_node *n = &s->nodes[node];
	struct swarm_lease *l = &n->leases[ev->slot];
	uint32_t pos = ev->pos;

	if (!l->used || l->token != ev->token)
		return;
	adverts_credit(n->adverts, 14000);
	if (l->bytes == 0) {
		const uint64_t ns = swarm_now_ns(s) - l->began_ns;

		n->first_unit_ns = ns > n->first_unit_ns ? ns : (3 * n->first_unit_ns + ns) / 4;
	}
	while (pos > 0 && !wire_set_has(&s->units[l->segment_idx], pos))
		pos--; /* to where the unit begins */
	unit_ready(s, node, segments_chunk(s->segments, l->segment_idx, (uint16_t)pos));
	for (; pos <= ev->pos; pos++)
		wire_set_remove(&l->left, pos);
	l->bytes += 14000;
	if (!set_empty(&l->left)) {
		if (l->bytes % 56000 == 14000)
			lease_message(s, node, l, WIRE_LEASE_PROGRESS);
		return;
	}
	lease_message(s, node, l, WIRE_LEASE_END);
	l->used = false;
}

/* ---- answers ---- */

static void begin_lease(struct swarm *s, uint32_t node, uint32_t segment_idx,
                        const struct wire_answer_item *item, uint32_t home)
{
	struct swarm_node *n = &s->nodes[node];
	const struct wire_set set = set_minus(item->set, &n->segments[segment_idx].have);
	uint32_t slot = 0;

	while (slot < SWARM_LEASES && n->leases[slot].used)
		slot++;
	if (slot == SWARM_LEASES)
		return; /* it will expire */
	n->leases[slot] = (struct swarm_lease){ .set = set,
		                                .left = set,
		                                .token = item->token,
		                                .began_ns = swarm_now_ns(s),
		                                .segment_idx = segment_idx,
		                                .home = home,
		                                .used = true };
	n->segments[segment_idx].coming = set_or(n->segments[segment_idx].coming, &set);
	swarm_from_origin(s, node, slot);
}

static void unpark(struct swarm *s, uint32_t node, uint32_t asker, uint32_t segment_idx,
                   const struct wire_set *set)
{
	for (struct swarm_parked *p = s->nodes[node].parked; p != NULL; p = p->next) {
		if (p->segment_idx == segment_idx && p->asker == asker)
			p->set = set_minus(p->set, set);
	}
}

/* It was sent to another for that: who it waited for until now is asked no more. */
static void turn_from_others(struct swarm *s, uint32_t node, uint32_t segment_idx,
                             const struct wire_set *set, uint32_t to)
{
	struct swarm_node *n = &s->nodes[node];

	for (uint32_t i = 0; i < SWARM_GETS; i++) {
		struct swarm_get *get = &n->gets[i];
		const struct wire_set both = set_and(get->set, set);

		if (!get->used || get->segment_idx != segment_idx || get->from == to ||
		    set_empty(&both))
			continue;
		unpark(s, get->from, node, segment_idx, &both);
		get->set = set_minus(get->set, &both);
		get->used = !set_empty(&get->set);
		n->segments[segment_idx].coming = set_minus(n->segments[segment_idx].coming, &both);
	}
}

static void begin_get(struct swarm *s, uint32_t node, uint32_t segment_idx, struct wire_set set,
                      uint32_t from)
{
	struct swarm_node *n = &s->nodes[node];
	struct wire_msg msg = { .type = WIRE_GET };
	uint32_t slot = 0;

	turn_from_others(s, node, segment_idx, &set, from);
	set = set_minus(set_minus(set, &n->segments[segment_idx].have),
	                &n->segments[segment_idx].coming);
	while (slot < SWARM_GETS && n->gets[slot].used)
		slot++;
	if (slot == SWARM_GETS || set_empty(&set) || s->nodes[from].dead)
		return;
	n->gets[slot] = (struct swarm_get){ set, swarm_now_ns(s), segment_idx, from, true };
	n->segments[segment_idx].coming = set_or(n->segments[segment_idx].coming, &set);
	msg.u.get.req = slot + 1000;
	msg.u.get.flags = WIRE_GET_WAIT;
	msg.u.get.deadline_ms = GET_STALL_MS;
	msg.u.get.part = part_of(s, segment_idx, set);
	swarm_send(s, node, from, segment_idx, &msg);
	wake_at(s, node, swarm_now_ns(s) + GET_STALL_MS * NS_PER_MS);
}

static void on_answer(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	struct swarm_node *n = &s->nodes[node];
	struct swarm_segment *g = &n->segments[p->segment_idx];
	const struct wire_answer *a = &p->msg.u.answer;

	for (uint32_t i = 0; i < a->n_items; i++) {
		const struct wire_answer_item *item = &a->items[i];

		if (item->kind == WIRE_LEASE)
			begin_lease(s, node, p->segment_idx, item, from);
		if (a->req != g->req)
			continue;
		g->retry_ns = swarm_now_ns(s) + (ASK_MS + ASK_LOST_MS) * NS_PER_MS;
		if ((item->kind == WIRE_HOLDERS || item->kind == WIRE_WAIT) && item->n_nodes > 0)
			begin_get(s, node, p->segment_idx, item->set,
			          swarm_node_of(s, &item->nodes[0]));
		if (item->kind == WIRE_ELSEWHERE)
			g->settle = true;
	}
}

void swarm_tell_names(struct swarm *s, uint32_t from, uint32_t to, uint32_t segment_idx)
{
	struct wire_id names[SEGMENT_MAX_CHUNKS];
	const struct segment *seg = segment_of(s, segment_idx);
	struct wire_msg msg = { .type = WIRE_NAMES };

	segments_names(s->segments, segment_idx, names);
	msg.u.names = (struct wire_names){ seg->name, seg->list, seg->n_chunks, names };
	swarm_send(s, from, to, segment_idx, &msg);
}

static void on_end(struct swarm *s, uint32_t node, const struct swarm_packet *p)
{
	struct swarm_segment *g = &s->nodes[node].segments[p->segment_idx];

	if (g->req != p->msg.u.end.req)
		return;
	if (p->msg.u.end.status == WIRE_UNKNOWN_LIST) {
		swarm_tell_names(s, node, g->ask_home, p->segment_idx);
		ask(s, node, p->segment_idx);
		return;
	}
	g->req = 0;
	g->n_avoid = 0;
	g->retry_ns = swarm_now_ns(s) + RETRY_MS * NS_PER_MS;
	wake_at(s, node, g->retry_ns);
}

/* ---- serving ---- */

static void on_get(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	struct swarm_node *n = &s->nodes[node];
	const struct swarm_segment *g = &n->segments[p->segment_idx];
	const struct wire_set *wanted = &p->msg.u.get.part.set;
	const struct wire_set here = set_and(*wanted, &g->have);
	const struct wire_set soon = set_and(set_minus(*wanted, &here), &g->coming);
	const struct wire_set none = set_minus(set_minus(*wanted, &here), &soon);
	struct wire_msg msg = { .type = WIRE_GRANT, .u.grant.req = p->msg.u.get.req };

	swarm_send(s, node, from, p->segment_idx, &msg);
	for (uint32_t pos = set_next(&here, 0); pos < here.n; pos = set_next(&here, pos + 1))
		swarm_send_chunk(s, node, from, p->segment_idx, pos);
	if (!set_empty(&soon)) {
		struct swarm_parked *parked = xcalloc(1, sizeof(*parked));

		*parked = (struct swarm_parked){ soon, p->segment_idx, from, n->parked };
		n->parked = parked;
	}
	if (set_empty(&none))
		return;
	msg = (struct wire_msg){ .type = WIRE_MISS,
		                 .u.miss = { .req = p->msg.u.get.req, .set = none } };
	swarm_send(s, node, from, p->segment_idx, &msg);
}

static void on_miss(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	struct swarm_node *n = &s->nodes[node];
	const uint32_t slot = p->msg.u.miss.req - 1000;
	struct swarm_get *get = &n->gets[slot];
	struct wire_set lost;

	if (slot >= SWARM_GETS || !get->used || get->from != from ||
	    get->segment_idx != p->segment_idx)
		return;
	lost = set_and(get->set, &p->msg.u.miss.set);
	get->set = set_minus(get->set, &lost);
	get->used = !set_empty(&get->set);
	add_avoid(&n->segments[p->segment_idx], &s->nodes[from].id);
	swarm_not_coming(s, n, p->segment_idx, &lost);
}

/* ---- names and messages ---- */

static void on_want_names(struct swarm *s, uint32_t node, uint32_t from,
                          const struct swarm_packet *p)
{
	const struct swarm_node *n = &s->nodes[node];
	struct wire_part part = part_of(s, p->segment_idx, n->segments[p->segment_idx].have);
	struct wire_msg msg = { .type = WIRE_HAVE };

	swarm_tell_names(s, node, from, p->segment_idx);
	msg.u.adverts = (struct wire_adverts){ 1, &part };
	swarm_send(s, node, from, p->segment_idx, &msg);
	for (uint32_t i = 0; i < SWARM_LEASES; i++) {
		if (!n->leases[i].used || n->leases[i].segment_idx != p->segment_idx ||
		    n->leases[i].home == from)
			continue;
		msg.type = WIRE_COMING;
		part.set = n->leases[i].left;
		swarm_send(s, node, from, p->segment_idx, &msg);
	}
}

/* Requests carry the segment in their low bits on the way back. */
static struct swarm_packet own_req(const struct swarm_packet *p)
{
	struct swarm_packet mine = *p;

	if (p->msg.type == WIRE_ANSWER) {
		mine.msg.u.answer.req >>= 16;
		mine.msg.u.answer.items = p->items;
	} else if (p->msg.type == WIRE_END && p->msg.u.end.status != WIRE_UNKNOWN_LIST &&
	           p->msg.u.end.status != WIRE_IS_BUSY) {
		mine.msg.u.end.req >>= 16;
	}
	return mine;
}

void swarm_node_message(struct swarm *s, uint32_t node, uint32_t from, const struct swarm_packet *p)
{
	const struct swarm_packet mine = own_req(p);

	if (p->msg.type == WIRE_ANSWER)
		on_answer(s, node, from, &mine);
	else if (p->msg.type == WIRE_END)
		on_end(s, node, &mine);
	else if (p->msg.type == WIRE_WANT_NAMES)
		on_want_names(s, node, from, p);
	else if (p->msg.type == WIRE_GET)
		on_get(s, node, from, p);
	else if (p->msg.type == WIRE_MISS)
		on_miss(s, node, from, p);
	else
		swarm_home_message(s, node, from, p);
}

/* ---- time and death ---- */

static void stalled_gets(struct swarm *s, uint32_t node)
{
	struct swarm_node *n = &s->nodes[node];
	const uint64_t stall_ns = GET_STALL_MS * NS_PER_MS;

	for (uint32_t i = 0; i < SWARM_GETS; i++) {
		struct swarm_get *get = &n->gets[i];

		if (!get->used)
			continue;
		if (swarm_now_ns(s) < get->heard_ns + stall_ns)
			continue;
		get->used = false;
		add_avoid(&n->segments[get->segment_idx], &s->nodes[get->from].id);
		swarm_not_coming(s, n, get->segment_idx, &get->set);
	}
}

static void send_adverts(struct swarm *s, uint32_t node)
{
	struct swarm_node *n = &s->nodes[node];
	struct adverts_out out;

	while (adverts_next(n->adverts, &out)) {
		struct wire_msg msg = { .type = out.type };

		msg.u.adverts = (struct wire_adverts){ out.n_parts, out.parts };
		swarm_send(s, node, swarm_node_of(s, &out.to), 0, &msg);
	}
}

/* At how many homes, this node among them, it waits for what nobody brings yet. */
static uint32_t queues(const struct swarm *s, uint32_t node)
{
	const struct swarm_node *n = &s->nodes[node];
	bool homes[SWARM_NODES_MAX] = { false };
	uint32_t n_homes = 0;

	for (uint32_t i = 0; i < segments_count(s->segments) && !s->opts.readers; i++) {
		const struct swarm_segment *g = &n->segments[i];
		const struct wire_set wanted = missing(s, n, i);

		if (g->req == 0 || set_empty(&wanted))
			continue;
		n_homes += !homes[g->ask_home];
		homes[g->ask_home] = true;
	}
	return homes[node] ? n_homes : 0;
}

static void timer(struct swarm *s, uint32_t node, uint64_t due_ns, uint64_t *set_ns)
{
	if (due_ns == UINT64_MAX || (*set_ns > swarm_now_ns(s) && *set_ns <= due_ns))
		return;
	*set_ns = due_ns > swarm_now_ns(s) ? due_ns : swarm_now_ns(s) + NS_PER_MS;
	wake_at(s, node, *set_ns);
}

void swarm_node_tick(struct swarm *s, uint32_t node)
{
	struct swarm_node *n = &s->nodes[node];

	stalled_gets(s, node);
	home_share_with(n->home, queues(s, node));
	timer(s, node, home_tick(n->home), &n->home_due_ns);
	swarm_home_drain(s, node, 0);
	send_adverts(s, node);
	timer(s, node, adverts_due_ns(n->adverts), &n->adverts_due_ns);
	pump(s, node);
	for (uint32_t i = 0; i < SWARM_GETS; i++) {
		if (n->gets[i].used && n->gets[i].heard_ns == swarm_now_ns(s))
			wake_at(s, node, n->gets[i].heard_ns + GET_STALL_MS * NS_PER_MS);
	}
}
