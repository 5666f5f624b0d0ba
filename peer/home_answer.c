/*
 * home_answer: the open asks: what each waits for, and what is told to it.
 *
 * What an ask is told is decided when it is told, not when something changed: many changes make one
 * answer.
 */
#include "bytes.h"
#include "home_inside.h"
#include "mem.h"
#include <assert.h>
#include <stdlib.h>

#define TELL_LOOKS   64U
#define TOLD_MS_MASK ((1U << 24) - 1)

/* ---- asks and their waits ---- */

struct h_ask *home_ask_find(struct home *h, uint16_t node, uint32_t via, uint32_t req)
{
	struct h_ask *ask;

	for (ask = h->nodes[node].asks; ask != NULL; ask = ask->node_next) {
		if (ask->req == req && ask->via == via)
			return ask;
	}
	return NULL;
}

/* Where w was sent to, one is behind that node's own waits for the same. */
static void count_behind(struct home *h, const struct h_wait *w, int by)
{
	const struct h_list *l = w->ask->list;
	struct h_ask *ask = home_ask_that_wants(h->nodes[w->told].asks, l, w->pos);

	for (; ask != NULL; ask = home_ask_that_wants(ask->node_next, l, w->pos)) {
		struct h_wait *of = home_wait(ask, w->pos);

		of->n_behind = (uint16_t)(of->n_behind + by);
	}
}

/* Among those who were sent to a node, or those who were told of none. */
static void count(struct home *h, const struct h_wait *w, int by)
{
	uint32_t *n = w->told == NO_NODE ? &home_chunk(h, w->ask->list, w->pos)->n_queued
	                                 : &h->nodes[w->told].n_told;

	*n += (uint32_t)by;
	if (w->told != NO_NODE)
		count_behind(h, w, by);
}

static uint64_t sent_bit(uint16_t node)
{
	return UINT64_C(1) << node % 64;
}

static void set_told(struct home *h, struct h_wait *w, uint16_t node)
{
	count(h, w, -1);
	w->told = node;
	if (node != NO_NODE)
		w->ask->sent_to |= sent_bit(node);
	count(h, w, 1);
}

static void wait_add(struct home *h, struct h_ask *ask, uint32_t pos)
{
	struct h_chunk *c = home_chunk(h, ask->list, pos);
	struct h_wait *w = &ask->waits[ask->n_waits];

	*w = (struct h_wait){ .ask = ask, .told = NO_NODE, .pos = pos & 0xffU };
	ask->wait_idx[pos] = (uint8_t)ask->n_waits++;
	DL_APPEND(c->waits, w);
	count(h, w, 1);
	wire_set_add(&ask->open, pos);
}

/* Others may have been sent to its node when an ask before this one wanted the same. All who want
 * something of the list may be a thousand: only the waits of those are looked at who may have been.
 */
static void find_those_behind(const struct home *h, struct h_ask *ask)
{
	const uint64_t bit = sent_bit(ask->node);
	const struct h_ask *other;

	if (h->nodes[ask->node].n_told == 0)
		return;
	DL_FOREACH(ask->list->asks, other)
	{
		struct wire_set both;

		if ((other->sent_to & bit) == 0)
			continue;
		both = set_and(ask->open, &other->open);
		for (uint32_t pos = set_next(&both, 0); pos < both.n;
		     pos = set_next(&both, pos + 1)) {
			if (home_wait(other, pos)->told == ask->node)
				home_wait(ask, pos)->n_behind++;
		}
	}
}

void home_wait_drop(struct home *h, struct h_wait *w)
{
	struct h_ask *ask = w->ask;
	struct h_chunk *c = home_chunk(h, ask->list, w->pos);

	DL_DELETE(c->waits, w);
	count(h, w, -1);
	wire_set_remove(&ask->open, w->pos);
	wire_set_remove(&ask->pending, w->pos);
	if (set_empty(&ask->open))
		home_mark_dirty(h, ask); /* its END */
}

void home_mark_dirty(struct home *h, struct h_ask *ask)
{
	if (ask->dirty)
		return;
	ask->dirty = true;
	DL_APPEND2(h->dirty, ask, dirty_prev, dirty_next);
}

void home_tell(struct home *h, struct h_ask *ask, uint32_t pos)
{
	wire_set_add(&ask->pending, pos);
	home_mark_dirty(h, ask);
}

void home_wake(struct home *h, struct h_chunk *c, uint16_t told)
{
	struct h_wait *w;

	if ((told == NO_NODE ? c->n_queued : h->nodes[told].n_told) == 0)
		return; /* who waits may be a thousand */
	DL_FOREACH(c->waits, w)
	{
		if (w->told != told)
			continue;
		set_told(h, w, NO_NODE);
		home_tell(h, w->ask, w->pos);
		home_regrant(h, w->ask->list);
	}
}

void home_wake_all_told(struct home *h, uint16_t node)
{
	struct h_list *l;
	struct h_list *next;
	const struct h_ask *ask;

	HASH_ITER(hh, h->lists, l, next)
	{
		for (ask = l->asks; ask != NULL; ask = ask->next) {
			for (uint32_t pos = set_next(&ask->open, 0); pos < l->n;
			     pos = set_next(&ask->open, pos + 1)) {
				if (home_wait(ask, pos)->told == node)
					home_wake(h, home_chunk(h, l, pos), node);
			}
		}
	}
}

static uint64_t memory_of(const struct h_ask *ask)
{
	return sizeof(*ask) + ask->n_waits * sizeof(*ask->waits) +
	       (ask->list == NULL ? 0U : ask->list->n);
}

/* How long it lets progress be told of which nothing comes. */
static uint64_t usual_ms_of(const struct wire_ask *msg)
{
	return msg->usual_ms == 0 ? HOME_LEASE_OVERRIDE_MS
	                          : min_u64(msg->usual_ms, HOME_LEASE_OVERRIDE_MS);
}

int home_ask_open(struct home *h, uint16_t node, const struct wire_ask *msg, struct h_list *l,
                  struct h_ask **ret_ask)
{
	struct h_node *n = &h->nodes[node];
	const uint32_t ttl_ms = msg->deadline_ms == 0 || msg->deadline_ms > HOME_ASK_MAX_MS
	                                ? HOME_ASK_MAX_MS
	                                : msg->deadline_ms;
	const uint32_t patience_ms =
		msg->patience_ms < HOME_PATIENCE_MIN_MS ? HOME_PATIENCE_MIN_MS : msg->patience_ms;
	const uint64_t now_ns = clock_now_ns(h->opts.clock);
	const uint32_t n_waits = l == NULL ? 0 : set_count(&msg->part.set);
	struct h_ask *ask;

	if (n->n_asks >= HOME_ASKS_PER_PEER || h->stats.asks >= HOME_ASKS_MAX ||
	    h->n_waits + n_waits > HOME_WAITS_MAX)
		return HOME_BUSY;
	ask = xcalloc(1, sizeof(*ask) + (l == NULL ? 0U : l->n));
	ask->list = l;
	ask->node = node;
	ask->req = msg->req;
	ask->via = msg->via;
	ask->flags = msg->flags;
	ask->units = msg->units;
	ask->runs = msg->runs;
	ask->end_ns = now_ns + ttl_ms * NS_PER_MS;
	ask->patience_ns = patience_ms * NS_PER_MS;
	ask->usual_ns = usual_ms_of(msg) * NS_PER_MS;
	ask->check_ns = home_check_ns(ask, now_ns);
	ask->open = ask->pending = set_none(l == NULL ? 0 : l->n);
	if (l != NULL) {
		ask->waits = xcalloc(n_waits, sizeof(*ask->waits));
		DL_APPEND(l->asks, ask);
	}
	DL_APPEND2(n->asks, ask, node_prev, node_next);
	h->n_askers += n->n_asks++ == 0;
	if (h->n_askers > 1)
		h->shared_ns = now_ns;
	h->stats.asks++;
	for (uint32_t pos = 0; l != NULL && pos < l->n; pos++) {
		if (wire_set_has(&msg->part.set, pos))
			wait_add(h, ask, pos);
	}
	h->n_waits += ask->n_waits;
	h->stats.memory_bytes += memory_of(ask);
	if (l != NULL)
		find_those_behind(h, ask);
	ask->pending = ask->open;
	home_mark_dirty(h, ask);
	*ret_ask = ask;
	return HOME_OK;
}

/* Others who were in the queue behind this ask, and perhaps cannot lease, are to hear. */
static void let_go(struct home *h, struct h_ask *ask)
{
	struct h_lease *l;
	struct h_lease *next;

	for (uint32_t pos = set_next(&ask->open, 0); pos < ask->list->n;
	     pos = set_next(&ask->open, pos + 1)) {
		struct h_chunk *c = home_chunk(h, ask->list, pos);
		struct entry *e = home_entry(c, ask->node);

		if (e != NULL && (e->flags & ENTRY_RECEIVING) != 0 && c->lease[0] == 0 &&
		    c->lease[1] == 0)
			home_entry_drop(c, ask->node);
		home_wait_drop(h, home_wait(ask, pos));
		home_wake(h, c, NO_NODE);
	}
	DL_FOREACH_SAFE(ask->list->leases, l, next)
	{
		if (l->ask == ask) {
			l->ask = NULL;
			home_lease_drop(h, l); /* it was never told */
		}
	}
}

void home_ask_free(struct home *h, struct h_ask *ask)
{
	struct h_node *n = &h->nodes[ask->node];

	if (ask->list != NULL) {
		let_go(h, ask);
		DL_DELETE(ask->list->asks, ask);
	}
	h->n_waits -= ask->n_waits;
	h->stats.memory_bytes -= memory_of(ask);
	DL_DELETE2(n->asks, ask, node_prev, node_next);
	if (ask->dirty)
		DL_DELETE2(h->dirty, ask, dirty_prev, dirty_next);
	h->n_askers -= --n->n_asks == 0;
	h->stats.asks--;
	free(ask->waits);
	free(ask);
}

/* ---- who waits for what ---- */

static uint32_t now_ms(const struct home *h)
{
	return (uint32_t)(clock_now_ns(h->opts.clock) / NS_PER_MS);
}

/* It was sent to one who receives it, and is not sent to who has it. */
static bool waits_behind(struct home *h, const struct h_ask *ask, const struct h_wait *w)
{
	const struct entry *at;

	if (w->told == NO_NODE)
		return false;
	at = home_entry(home_chunk(h, ask->list, w->pos), w->told);
	return at == NULL || (at->flags & ENTRY_RECEIVING) != 0;
}

uint64_t home_look_beside(struct home *h, struct h_ask *ask)
{
	uint32_t look_ms = HOME_BESIDE_MS;

	for (uint32_t pos = set_next(&ask->open, 0); pos < ask->list->n;
	     pos = set_next(&ask->open, pos + 1)) {
		const struct h_wait *w = home_wait(ask, pos);
		const uint32_t waited_ms = (now_ms(h) - w->told_ms) & TOLD_MS_MASK;

		if (!waits_behind(h, ask, w))
			continue;
		if (waited_ms < HOME_BESIDE_MS)
			look_ms = (uint32_t)min_u64(look_ms, HOME_BESIDE_MS - waited_ms);
		else if (home_choose(h, ask, pos) != NULL)
			home_tell(h, ask, pos);
	}
	return look_ms * NS_PER_MS;
}

/* ---- an answer ---- */

static bool has_node(struct home *h, const struct h_ask *ask, uint32_t pos,
                     const struct wire_id *id)
{
	const struct h_chunk *c = home_chunk(h, ask->list, pos);

	for (uint32_t i = 0; i < c->n_who; i++) {
		const struct entry *e = &c->who[i];

		if ((e->flags & ENTRY_RECEIVING) == 0 && home_is_candidate(h, ask, pos, e) &&
		    id_equal(&h->nodes[e->node].id, id))
			return true;
	}
	return false;
}

static bool same_first(const struct wire_answer_item *item, uint8_t kind, const struct wire_id *id)
{
	if (item->kind != kind || (item->n_nodes == 0) != (id == NULL))
		return false;
	return id == NULL || id_equal(&item->nodes[0], id);
}

/* The item of out that speaks of kind and node; a new one if there is none. NULL: full. */
static struct wire_answer_item *item_for(struct home_out *out, const struct h_ask *ask,
                                         uint8_t kind, const struct wire_id *id, bool *ret_new)
{
	struct wire_answer_item *item;

	*ret_new = false;
	for (uint32_t i = 0; i < out->n_items; i++) {
		if (out->items[i].kind != WIRE_LEASE && same_first(&out->items[i], kind, id))
			return &out->items[i];
	}
	if (out->n_items == HOME_ITEMS_MAX)
		return NULL;
	*ret_new = true;
	item = &out->items[out->n_items++];
	*item = (struct wire_answer_item){ .kind = kind, .set = set_none(ask->list->n) };
	if (id != NULL)
		item->nodes[item->n_nodes++] = *id;
	return item;
}

/* Further holders, to hedge: those that have all of the item's chunks. first: of a new item. */
static void alternates(struct home *h, const struct h_ask *ask, uint32_t pos,
                       struct wire_answer_item *item, const struct entry *first)
{
	const struct h_chunk *c = home_chunk(h, ask->list, pos);

	if (first != NULL) {
		for (uint32_t i = 0; i < c->n_who && item->n_nodes < HOME_NODES_TOLD; i++) {
			const struct entry *e = &c->who[i];

			if (e != first && (e->flags & ENTRY_RECEIVING) == 0 &&
			    home_is_candidate(h, ask, pos, e))
				item->nodes[item->n_nodes++] = h->nodes[e->node].id;
		}
		return;
	}
	for (uint32_t i = item->n_nodes; i-- > 1;) {
		if (!has_node(h, ask, pos, &item->nodes[i]))
			item->nodes[i] = item->nodes[--item->n_nodes];
	}
}

static bool others_can_lease(const struct home *h, const struct h_chunk *c)
{
	const struct h_wait *w;

	for (w = c->waits; w != NULL; w = w->next) {
		if (home_can_lease(h, w->ask, w->pos))
			return true;
	}
	return false;
}

/* What is to be said of a chunk: who (NULL: nobody) and in what way. */
static uint8_t decide(struct home *h, struct h_ask *ask, uint32_t pos, struct entry **ret_who)
{
	const struct h_chunk *c = home_chunk(h, ask->list, pos);
	struct entry *e = home_choose(h, ask, pos);

	*ret_who = e;
	if (e != NULL && (e->flags & ENTRY_RECEIVING) == 0)
		return WIRE_HOLDERS;
	if (c->lease[0] != 0 || c->lease[1] != 0 || home_is_held_for(h, ask, pos))
		return WIRE_WAIT;
	*ret_who = NULL; /* who was to receive it lost its source: nobody brings it */
	if (others_can_lease(h, c))
		return WIRE_WAIT;
	if (!home_is_put_off(h, ask))
		return WIRE_NOBODY;
	ask->put_off = true;
	return WIRE_WAIT;
}

/* The asker is on its way to e: the next ones may be sent to the asker. */
static void send_to(struct home *h, const struct h_ask *ask, struct h_chunk *c, struct entry *e)
{
	if (e->n_children < UINT8_MAX)
		e->n_children++;
	if (c->n_who == HOME_HOLDERS_MAX && home_entry(c, ask->node) == NULL)
		home_entry_spare(h, c);
	if (c->n_who < HOME_HOLDERS_MAX)
		(void)home_entry_put(h, c, ask->node, true);
}

/* What to say of one pending chunk. @return false: the answer is full */
static bool tell_chunk(struct home *h, struct h_ask *ask, uint32_t pos, struct home_out *out)
{
	struct h_chunk *c = home_chunk(h, ask->list, pos);
	const struct h_lease *lease = home_lease_of(h, c);
	struct h_wait *w = home_wait(ask, pos);
	struct wire_answer_item *item;
	struct entry *e;
	const uint8_t kind = decide(h, ask, pos, &e);
	bool is_new;

	item = item_for(out, ask, kind, e == NULL ? NULL : &h->nodes[e->node].id, &is_new);
	if (item == NULL)
		return false;
	wire_set_add(&item->set, pos);
	wire_set_remove(&ask->pending, pos);
	if (kind == WIRE_HOLDERS)
		alternates(h, ask, pos, item, is_new ? e : NULL);
	if (lease != NULL && kind == WIRE_WAIT)
		item->progress_bytes = lease->progress_bytes;
	if (e != NULL) {
		set_told(h, w, e->node);
		w->told_ms = now_ms(h) & TOLD_MS_MASK;
		home_add_load(h, ask, pos, e->node);
		send_to(h, ask, c, e);
	}
	if (kind != WIRE_WAIT)
		home_wait_drop(h, w);
	return true;
}

static void tell_leases(struct home *h, struct h_ask *ask, struct home_out *out)
{
	struct h_lease *l;

	DL_FOREACH(ask->list->leases, l)
	{
		if (l->ask != ask || out->n_items == HOME_ITEMS_MAX)
			continue;
		out->items[out->n_items++] = (struct wire_answer_item){
			.kind = WIRE_LEASE,
			.term_ms = HOME_LEASE_TERM_MS,
			.token = l->token,
			.set = l->set,
		};
		l->ask = NULL;
	}
	(void)h;
}

static void fill(struct home *h, struct h_ask *ask, struct home_out *out)
{
	bool has_room = true;

	if (ask->list == NULL) {
		out->items[out->n_items++] = (struct wire_answer_item){
			.kind = WIRE_ELSEWHERE,
			.n_nodes = 1,
			.nodes[0] = ask->elsewhere,
			.set = set_all(ask->units.n),
		};
		out->end = true;
		return;
	}
	tell_leases(h, ask, out);
	for (uint32_t pos = set_next(&ask->pending, 0); has_room && pos < ask->list->n;
	     pos = set_next(&ask->pending, pos + 1))
		has_room = tell_chunk(h, ask, pos, out);
	out->end = ask->late || (set_empty(&ask->open) && has_room);
	if (!set_empty(&ask->open)) /* so far; its time is over, or this node's */
		out->status = h->leaving ? WIRE_DRAINING : WIRE_NOT_HERE;
}

/* Whose line has least to carry is told first: others can be sent to it. */
static struct h_ask *next_dirty(const struct home *h)
{
	struct h_ask *best = h->dirty;
	uint64_t best_load = home_load(h, best->node);
	uint32_t n = 1;

	for (struct h_ask *ask = best->dirty_next; ask != NULL && n < TELL_LOOKS;
	     ask = ask->dirty_next, n++) {
		const uint64_t load = home_load(h, ask->node);

		if (load < best_load) {
			best = ask;
			best_load = load;
		}
	}
	return best;
}

bool home_next(struct home *h, struct home_out *ret_out)
{
	while (h->dirty != NULL) {
		struct h_ask *ask = next_dirty(h);

		DL_DELETE2(h->dirty, ask, dirty_prev, dirty_next);
		ask->dirty = false;
		ret_out->to = h->nodes[ask->node].id;
		ret_out->req = ask->req;
		ret_out->via = ask->via;
		ret_out->n_items = 0;
		ret_out->end = false;
		ret_out->status = WIRE_DONE;
		fill(h, ask, ret_out);
		if (ret_out->end)
			home_ask_free(h, ask);
		else if (!set_empty(&ask->pending))
			home_mark_dirty(h, ask); /* more than one answer holds */
		home_settle(h);
		if (ret_out->n_items > 0 || ret_out->end)
			return true;
	}
	return false;
}
