/*
 * home_choose: whom an asker is sent to for a chunk: of those who have it, or are to have it, the
 * one whose line has least to carry.
 */
#include "bytes.h"
#include "home_inside.h"
#include "order.h"

#define CHAIN_MAX    16U
#define CHAIN_WEIGHT 4U /* one more behind who receives: as so many chunks that it has to send */
/* To stand behind who receives it counts as so much that this one has to send; in clusters of so
 * few nodes that all of them are known of a chunk, that is nothing where it has the lease, and more
 * elsewhere. */
#define BEHIND_BYTES       (256U << 10)
#define BEHIND_LEASE_BYTES (1U << 20)
#define FEW_NODES          HOME_HOLDERS_MAX

/* Why the asker does not want to be sent there for this chunk; N_WIRE_AVOID_WHYS: it does. */
static enum wire_avoid_why avoids(const struct h_ask *ask, uint32_t pos, uint16_t node)
{
	for (uint32_t i = 0; i < ask->n_avoid; i++) {
		if (ask->avoid[i] == node &&
		    (ask->avoid_why[i] != WIRE_AVOID_MISSED || wire_set_has(&ask->missed, pos)))
			return (enum wire_avoid_why)ask->avoid_why[i];
	}
	return N_WIRE_AVOID_WHYS;
}

bool home_has_failed(const struct h_ask *ask, uint16_t node)
{
	for (uint32_t i = 0; i < ask->n_avoid; i++) {
		if (ask->avoid[i] == node && ask->avoid_why[i] == WIRE_AVOID_FAILED)
			return true;
	}
	return false;
}

static bool is_reachable(const struct home *h, const struct h_ask *ask, const struct entry *e)
{
	return e->node != ask->node && !h->nodes[e->node].lost && !h->nodes[e->node].draining;
}

bool home_is_candidate(const struct home *h, const struct h_ask *ask, uint32_t pos,
                       const struct entry *e)
{
	return is_reachable(h, ask, e) && avoids(ask, pos, e->node) == N_WIRE_AVOID_WHYS;
}

bool home_is_held_for(struct home *h, const struct h_ask *ask, uint32_t pos)
{
	const struct h_chunk *c = home_chunk(h, ask->list, pos);

	for (uint32_t i = 0; i < c->n_who; i++) {
		const struct entry *e = &c->who[i];
		enum wire_avoid_why why;

		if ((e->flags & ENTRY_RECEIVING) != 0)
			continue;
		why = avoids(ask, pos, e->node);
		if (is_reachable(h, ask, e) && (why == N_WIRE_AVOID_WHYS || why == WIRE_AVOID_SLOW))
			return true;
	}
	return false;
}

uint64_t home_load(const struct home *h, uint16_t node)
{
	return home_halved(h, h->nodes[node].load, h->nodes[node].load_ns);
}

/* About as many bytes as a chunk may have: a home knows names alone, and where runs begin. */
static uint64_t weight_of(const struct h_ask *ask, uint32_t pos)
{
	const uint32_t n = ask->list->n;
	const uint32_t first = set_last(&ask->runs, pos);
	const uint32_t end = set_next(&ask->runs, pos + 1);

	if (first == n || end <= first)
		return ORDER_RUN_PACKED_BYTES / 16;
	return ORDER_RUN_PACKED_BYTES / (end - first);
}

void home_add_load(struct home *h, const struct h_ask *ask, uint32_t pos, uint16_t node)
{
	struct h_node *n = &h->nodes[node];

	n->load = home_load(h, node) + weight_of(ask, pos);
	n->load_ns = clock_now_ns(h->opts.clock);
}

bool home_has_lease(const struct home *h, const struct h_chunk *c, uint16_t node)
{
	for (uint32_t i = 0; i < 2; i++) {
		if (c->lease[i] != 0 && h->leases[c->lease[i] - 1].node == node)
			return true;
	}
	return false;
}

/* What it costs to stand behind e, which only receives the chunk; 0: nothing. */
static uint64_t behind_bytes(const struct home *h, const struct h_ask *ask, const struct h_chunk *c,
                             const struct entry *e)
{
	if ((ask->flags & WIRE_ASK_READER) != 0 || home_members(h) > FEW_NODES)
		return BEHIND_BYTES;
	return home_has_lease(h, c, e->node) ? 0 : BEHIND_LEASE_BYTES;
}

/*
 * Smaller is better: zone first, then whose line has less to carry; who serves others with it
 * already counts as one that has more.
 *
 * A chain forms behind who receives, a tree below who has it. In small clusters prefetches are sent
 * to who has the lease instead: it sends to all of them as it comes, in one hop, and where leases
 * are shared out evenly all lines carry the same. Only where it has much more to send than another
 * does a chain begin behind that one, so that no line is idle while another is full. In large ones
 * the last of so many would have it late.
 */
static uint64_t cost_of(const struct home *h, const struct h_ask *ask, const struct h_chunk *c,
                        uint32_t pos, const struct entry *e)
{
	const bool receiving = (e->flags & ENTRY_RECEIVING) != 0;
	const uint64_t behind = receiving ? behind_bytes(h, ask, c, e) : 0;
	const bool far = h->opts.placement != NULL && placement_has_zones(h->opts.placement) &&
	                 !placement_same_zone(h->opts.placement, &h->nodes[ask->node].id,
	                                      &h->nodes[e->node].id);
	const uint64_t cost =
		home_load(h, e->node) + behind +
		weight_of(ask, pos) *
			((behind > 0) + e->n_children * (behind > 0 ? CHAIN_WEIGHT : 1));

	return (uint64_t)far << 62 | min_u64(cost, (UINT64_C(1) << 60) - 1);
}

/* Where a node was sent for the chunk at pos, and waits; NO_NODE: nowhere. All who wait for a chunk
 * may be a thousand: they are looked at only where other places name it, too. */
static uint16_t sent_to(struct home *h, const struct h_list *l, uint32_t pos, uint16_t node)
{
	const struct h_chunk *c = home_chunk(h, l, pos);
	const struct h_wait *w = c->waits;
	struct h_ask *ask = h->nodes[node].asks;

	if (c->n_lists == 1) {
		ask = home_ask_that_wants(ask, l, pos);
		while (ask != NULL && home_wait(ask, pos)->told == NO_NODE)
			ask = home_ask_that_wants(ask->node_next, l, pos);
		return ask == NULL ? NO_NODE : home_wait(ask, pos)->told;
	}
	while (w != NULL && (w->ask->node != node || w->told == NO_NODE))
		w = w->next;
	return w == NULL ? NO_NODE : w->told;
}

/* Was anybody sent to the asker for this chunk, and waits there? By an ask before, perhaps. */
static bool is_waited_at(const struct h_chunk *c, const struct h_ask *ask, uint32_t pos)
{
	const struct h_wait *w = c->waits;

	if (c->n_lists == 1)
		return home_wait(ask, pos)->n_behind > 0;
	while (w != NULL && w->told != ask->node)
		w = w->next;
	return w != NULL;
}

enum chain { CHAIN_ENDS, CHAIN_HAS_ASKER, CHAIN_IS_LONG };

/* Does node wait for this chunk, directly or through others, from the asker itself? Then neither
 * would ever get it from the other. */
static enum chain chain_of(struct home *h, const struct h_ask *ask, uint32_t pos, uint16_t node)
{
	if (h->nodes[ask->node].n_told == 0)
		return CHAIN_ENDS; /* nobody waits for the asker */
	for (uint32_t depth = 0; depth < CHAIN_MAX; depth++) {
		node = sent_to(h, ask->list, pos, node);
		if (node == ask->node || node == NO_NODE)
			return node == NO_NODE ? CHAIN_ENDS : CHAIN_HAS_ASKER;
	}
	return CHAIN_IS_LONG;
}

/* May the asker stand behind who only receives the chunk? */
static bool may_wait_at(struct home *h, const struct h_ask *ask, uint32_t pos, uint16_t node)
{
	const enum chain chain = chain_of(h, ask, pos, node);

	if (chain == CHAIN_IS_LONG)
		return !is_waited_at(home_chunk(h, ask->list, pos), ask, pos);
	return chain == CHAIN_ENDS;
}

struct entry *home_choose(struct home *h, const struct h_ask *ask, uint32_t pos)
{
	const bool waits = home_wait(ask, pos)->told != NO_NODE;
	struct h_chunk *c = home_chunk(h, ask->list, pos);
	struct entry *best = NULL;
	uint64_t best_cost = UINT64_MAX;

	for (uint32_t i = 0; i < c->n_who; i++) {
		struct entry *e = &c->who[i];
		const bool receives = (e->flags & ENTRY_RECEIVING) != 0;
		uint64_t cost;

		if ((receives && waits) || !home_is_candidate(h, ask, pos, e) ||
		    (receives && !may_wait_at(h, ask, pos, e->node)))
			continue;
		cost = cost_of(h, ask, c, pos, e);
		if (cost < best_cost) {
			best = e;
			best_cost = cost;
		}
	}
	return best;
}
