/*
 * home: what peers tell the tracker, and what time brings. See home_inside.h for the rest.
 *
 * Where the cluster has zones a node can be home on both levels; the two do not mix: the cluster's
 * lists and chunks are kept under names that are turned over.
 */
#include "bytes.h"
#include "home_inside.h"
#include "mem.h"
#include <assert.h>
#include <stdlib.h>

#define CLUSTER_MASK 0xa5U

struct home *home_new(const struct home_opts *opts)
{
	struct home *h = xcalloc(1, sizeof(*h));

	h->opts = *opts;
	h->max_chunks = opts->max_chunks == 0 ? HOME_CHUNKS_MAX : opts->max_chunks;
	home_table_init(h);
	return h;
}

void home_free(struct home **home)
{
	struct home *h = *home;

	if (h == NULL)
		return;
	h->opts.placement = NULL; /* it may be gone before us */
	for (uint32_t i = 0; i < h->n_nodes_ever; i++) {
		while (h->nodes[i].asks != NULL)
			home_ask_free(h, h->nodes[i].asks);
	}
	for (uint32_t i = 0; i < HOME_LEASES_MAX; i++) {
		if (h->leases[i].list != NULL)
			home_lease_drop(h, &h->leases[i]);
	}
	home_settle(h);
	home_table_fini(h);
	free(h);
	*home = NULL;
}

/* ---- levels ---- */

static struct wire_id on_level(const struct wire_id *id, enum place_level level)
{
	struct wire_id out = *id;

	for (uint32_t i = 0; level == PLACE_CLUSTER && i < WIRE_ID_BYTES; i++)
		out.b[i] ^= CLUSTER_MASK;
	return out;
}

static bool is_home(const struct home *h, enum place_level level, const struct wire_id *from,
                    const struct wire_id *segment)
{
	struct wire_id id;

	return placement_home(h->opts.placement, level, from, segment, &id) &&
	       id_equal(&id, &h->opts.self);
}

/* Which levels does news of a segment concern here? At least one. */
static uint32_t levels_of(const struct home *h, const struct wire_id *from,
                          const struct wire_id *segment)
{
	const struct placement *p = h->opts.placement;
	uint32_t levels = 0;

	if (p == NULL || !placement_has_zones(p) || !placement_has(p, from))
		return BIT(PLACE_ZONE);
	if (placement_same_zone(p, from, &h->opts.self))
		levels |= BIT(PLACE_ZONE);
	if (levels == 0 || is_home(h, PLACE_CLUSTER, from, segment))
		levels |= BIT(PLACE_CLUSTER);
	return levels;
}

/* ---- news ---- */

static bool part_is_sound(const struct wire_part *part, const struct h_list *l)
{
	return part->set.n == l->n;
}

/* Its waits for a chunk of l are over. All who wait for one may be a thousand: they are looked at
 * only where other places name it, too. */
static void has_now(struct home *h, struct h_list *l, uint32_t pos, uint16_t node)
{
	const struct h_chunk *c = home_chunk(h, l, pos);
	struct h_wait *w;
	struct h_wait *next;
	struct h_ask *ask = h->nodes[node].asks;

	while ((ask = home_ask_that_wants(ask, l, pos)) != NULL)
		home_wait_drop(h, home_wait(ask, pos));
	if (c->n_lists == 1)
		return;
	DL_FOREACH_SAFE(c->waits, w, next)
	{
		if (w->ask->node == node)
			home_wait_drop(h, w);
	}
}

/* Who missed it there asked too early. (Not of one that says again what it said before.) */
static void came_there(const struct h_chunk *c, uint16_t node)
{
	struct h_wait *w;

	DL_FOREACH(c->waits, w)
	{
		struct h_ask *ask = w->ask;

		for (uint32_t i = 0; i < ask->n_avoid; i++) {
			if (ask->avoid[i] == node && ask->avoid_why[i] == WIRE_AVOID_MISSED)
				wire_set_remove(&ask->missed, w->pos);
		}
	}
}

static void chunk_is_at(struct home *h, struct h_list *l, uint32_t pos, uint16_t node)
{
	struct h_chunk *c = home_chunk(h, l, pos);
	const struct entry *e = home_entry(c, node);

	if (e != NULL && (e->flags & ENTRY_RECEIVING) != 0)
		came_there(c, node);
	(void)home_entry_put(h, c, node, false);
	home_lease_done(h, c, node);
	has_now(h, l, pos, node);
	home_wake(h, c, NO_NODE); /* who was in the queue */
}

static void have(struct home *h, struct h_list *l, uint16_t node, const struct wire_set *set)
{
	for (uint32_t pos = set_next(set, 0); pos < l->n; pos = set_next(set, pos + 1))
		chunk_is_at(h, l, pos, node);
}

int home_names(struct home *h, const struct wire_id *from, const struct wire_names *names)
{
	const uint32_t levels = levels_of(h, from, &names->segment);
	const uint16_t node = home_node(h, from);
	bool is_among = false;
	struct wire_id hash;
	int r = HOME_OK;

	if (node == NO_NODE)
		return HOME_BUSY;
	if (names->n_names == 0 || names->n_names > WIRE_LIST_MAX)
		return HOME_REFUSED;
	hash = wire_list_id(names->names, names->n_names);
	for (uint32_t i = 0; i < names->n_names; i++)
		is_among = is_among || id_equal(&names->names[i], &names->segment);
	if (!id_equal(&hash, &names->list) || !is_among)
		return HOME_REFUSED;
	for (uint32_t level = PLACE_ZONE; level <= PLACE_CLUSTER && r == HOME_OK; level++) {
		const struct wire_id id = on_level(&names->list, level);
		struct wire_id turned[WIRE_LIST_MAX];

		if ((levels & BIT(level)) == 0 || home_list(h, &id) != NULL)
			continue;
		for (uint32_t i = 0; i < names->n_names; i++)
			turned[i] = on_level(&names->names[i], level);
		r = home_list_add(h, node, &id, turned, names->n_names);
	}
	return r;
}

typedef void (*news_fn)(struct home *h, struct h_list *l, uint16_t node,
                        const struct wire_set *set);

static int news(struct home *h, const struct wire_id *from, const struct wire_part *part,
                news_fn each)
{
	const uint32_t levels = levels_of(h, from, &part->segment);
	const uint16_t node = home_node(h, from);
	int r = HOME_OK;

	if (node == NO_NODE)
		return HOME_BUSY;
	for (uint32_t level = PLACE_ZONE; level <= PLACE_CLUSTER; level++) {
		const struct wire_id id = on_level(&part->list, level);
		struct h_list *l = (levels & BIT(level)) == 0 ? NULL : home_list(h, &id);

		if ((levels & BIT(level)) == 0)
			continue;
		if (l == NULL) {
			r = HOME_WANT_NAMES;
			continue;
		}
		if (!part_is_sound(part, l))
			return HOME_REFUSED;
		home_list_used(h, l, node);
		each(h, l, node, &part->set);
	}
	home_settle(h);
	return r;
}

int home_have(struct home *h, const struct wire_id *from, const struct wire_part *part)
{
	return news(h, from, part, have);
}

static void coming(struct home *h, struct h_list *l, uint16_t node, const struct wire_set *set)
{
	(void)home_lease_adopt(h, l, node, set);
}

/* Only a home that went leaves leases behind: that this node knows of, or does not know yet. */
static bool may_be_coming(const struct home *h, const struct wire_id *from,
                          const struct wire_id *segment)
{
	const struct placement *p = h->opts.placement;
	const uint64_t now_ns = clock_now_ns(h->opts.clock);

	if (h->moved_ns != 0 && now_ns < h->moved_ns + HOME_LEASE_LIFE_MS * NS_PER_MS)
		return true;
	return p != NULL && !is_home(h, PLACE_ZONE, from, segment) &&
	       !is_home(h, PLACE_CLUSTER, from, segment);
}

int home_coming(struct home *h, const struct wire_id *from, const struct wire_part *part)
{
	if (!may_be_coming(h, from, &part->segment))
		return HOME_REFUSED;
	return news(h, from, part, coming);
}

static void gone(struct home *h, struct h_list *l, uint16_t node, const struct wire_set *set)
{
	for (uint32_t pos = set_next(set, 0); pos < l->n; pos = set_next(set, pos + 1)) {
		struct h_chunk *c = home_chunk(h, l, pos);

		home_entry_drop(c, node);
		home_wake(h, c, node);
	}
}

void home_gone(struct home *h, const struct wire_id *from, const struct wire_part *part)
{
	if (home_node_known(h, from) != NO_NODE)
		(void)news(h, from, part, gone);
}

/* ---- asks ---- */

/* Two different askers that did not find it there: it is not there. One that only receives it
 * goes at once. */
static void missed(struct home *h, struct h_chunk *c, uint16_t node, uint16_t reporter)
{
	struct entry *e = home_entry(c, node);
	const uint8_t who = (uint8_t)((reporter & 63U) << 2);

	if (e == NULL)
		return;
	if ((e->flags & ENTRY_RECEIVING) != 0) {
		const struct h_lease *l = home_lease_of(h, c);

		if (l == NULL || l->node != node)
			home_entry_drop(c, node);
	} else if ((e->flags & ENTRY_MISSED) != 0 && (e->flags & 0xfcU) != who) {
		home_entry_drop(c, node);
	} else {
		e->flags = (uint8_t)(ENTRY_MISSED | who);
	}
}

static void take_missed(struct home *h, const struct h_ask *ask, uint16_t node)
{
	const struct wire_set set = set_and(ask->missed, &ask->open);

	for (uint32_t pos = set_next(&set, 0); pos < ask->list->n; pos = set_next(&set, pos + 1))
		missed(h, home_chunk(h, ask->list, pos), node, ask->node);
}

static void take_avoid(struct home *h, struct h_ask *ask, const struct wire_ask *msg)
{
	ask->missed = msg->missed.n == ask->list->n ? msg->missed : set_none(ask->list->n);
	for (uint32_t i = 0; i < msg->n_avoid && i < WIRE_AVOID_MAX; i++) {
		const uint16_t node = home_node_known(h, &msg->avoid[i]);

		if (node == NO_NODE || node == ask->node)
			continue;
		ask->avoid[ask->n_avoid] = node;
		ask->avoid_why[ask->n_avoid++] = msg->avoid_why[i];
		if (msg->avoid_why[i] == WIRE_AVOID_MISSED)
			take_missed(h, ask, node);
	}
}

static bool ask_is_sound(const struct wire_ask *ask)
{
	const uint16_t n = ask->part.set.n;

	return n > 0 && n <= WIRE_LIST_MAX && ask->have.n == n && ask->units.n == n &&
	       ask->runs.n == n && ask->n_avoid <= WIRE_AVOID_MAX;
}

static bool lease_of_avoided(const struct h_ask *ask)
{
	const struct h_lease *l;

	for (l = ask->list->leases; l != NULL; l = l->next) {
		if (home_has_failed(ask, l->node))
			return true;
	}
	return false;
}

static int elsewhere(struct home *h, uint16_t node, const struct wire_ask *msg,
                     const struct wire_id *home_id)
{
	struct h_ask *ask;
	const int r = home_ask_open(h, node, msg, NULL, &ask);

	if (r != HOME_OK)
		return r;
	ask->elsewhere = *home_id;
	return HOME_OK;
}

static int ask_here(struct home *h, uint16_t node, const struct wire_ask *msg)
{
	const bool on_cluster = (msg->flags & WIRE_ASK_CLUSTER) != 0 && h->opts.placement != NULL &&
	                        placement_has_zones(h->opts.placement);
	const struct wire_id id =
		on_level(&msg->part.list, on_cluster ? PLACE_CLUSTER : PLACE_ZONE);
	struct h_list *l = home_list(h, &id);
	struct h_ask *ask;
	int r;

	if (l == NULL)
		return HOME_WANT_NAMES;
	if (!part_is_sound(&msg->part, l))
		return HOME_REFUSED;
	home_list_used(h, l, node);
	r = home_ask_open(h, node, msg, l, &ask);
	if (r != HOME_OK)
		return r;
	have(h, l, node, &msg->have);
	take_avoid(h, ask, msg);
	home_regrant(h, l);
	home_settle(h);
	if ((ask->flags & WIRE_ASK_READER) != 0 && lease_of_avoided(ask))
		home_lease_second(h, ask, (ask->flags & WIRE_ASK_STALLED) != 0);
	return HOME_OK;
}

int home_ask(struct home *h, const struct wire_id *from, const struct wire_ask *msg)
{
	const struct placement *p = h->opts.placement;
	const enum place_level level = home_level(msg->flags);
	const uint16_t node = home_node(h, from);
	struct wire_id home_id;
	int r;

	h->stats.n_asks++;
	if (node == NO_NODE)
		return HOME_BUSY;
	if (h->leaving && !id_equal(from, &h->opts.self))
		return HOME_LEAVES;
	if (!ask_is_sound(msg) || home_ask_find(h, node, msg->via, msg->req) != NULL)
		r = HOME_REFUSED;
	else if (p != NULL && (msg->flags & WIRE_ASK_SETTLE) == 0 && placement_has(p, from) &&
	         placement_home(p, level, from, &msg->part.segment, &home_id) &&
	         !id_equal(&home_id, &h->opts.self))
		r = elsewhere(h, node, msg, &home_id);
	else
		r = ask_here(h, node, msg);
	h->stats.n_busy += r == HOME_BUSY;
	return r;
}

void home_cancel(struct home *h, const struct wire_id *from, uint32_t via, uint32_t req)
{
	const uint16_t node = home_node_known(h, from);
	struct h_ask *ask = node == NO_NODE ? NULL : home_ask_find(h, node, via, req);

	if (ask == NULL)
		return;
	home_ask_free(h, ask);
	home_settle(h);
}

/* ---- leases ---- */

void home_lease_progress(struct home *h, const struct wire_id *from, const struct wire_lease *msg)
{
	const uint16_t node = home_node_known(h, from);
	struct h_lease *l = node == NO_NODE ? NULL : home_lease_find(h, node, msg->token);

	if (l == NULL || msg->progress_bytes <= l->progress_bytes)
		return;
	l->progress_bytes = msg->progress_bytes;
	l->progress_ns = clock_now_ns(h->opts.clock);
	if (l->told_ns <= l->brought_ns)
		l->told_ns = l->progress_ns;
	l->end_ns = l->progress_ns + HOME_LEASE_TERM_MS * NS_PER_MS;
}

static void refuse(struct home *h, struct h_list *l, uint16_t node)
{
	const uint64_t now_ns = clock_now_ns(h->opts.clock);

	if (now_ns >= l->refused_until_ns)
		l->n_refused = 0;
	if (l->n_refused < HOME_REFUSED_MAX)
		l->refused[l->n_refused++] = node;
	else
		l->refused[now_ns % HOME_REFUSED_MAX] = node;
	l->refused_until_ns = now_ns + HOME_REFUSED_MS * NS_PER_MS;
	h->stats.n_failed++;
}

void home_lease_end(struct home *h, const struct wire_id *from, const struct wire_lease *msg)
{
	const uint16_t node = home_node_known(h, from);
	struct h_lease *l;

	if (node == NO_NODE)
		return;
	if (!set_empty(&msg->part.set))
		(void)news(h, from, &msg->part, have);
	l = home_lease_find(h, node, msg->token); /* it ends by itself when all is here */
	if (l != NULL) {
		if (msg->failed)
			refuse(h, l->list, node);
		home_lease_drop(h, l);
	}
	home_settle(h);
}

/* ---- nodes ---- */

void home_disconnected(struct home *h, const struct wire_id *id, uint32_t via)
{
	const uint16_t node = home_node_known(h, id);
	struct h_ask *ask;
	struct h_ask *next;

	if (node == NO_NODE)
		return;
	DL_FOREACH_SAFE2(h->nodes[node].asks, ask, next, node_next)
	{
		if (ask->via == via)
			home_ask_free(h, ask);
	}
	home_settle(h);
}

void home_node_lost(struct home *h, const struct wire_id *id)
{
	const uint16_t node = home_node_known(h, id);

	if (node == NO_NODE)
		return;
	home_node_forget(h, node); /* first: nothing is given to it any more */
	while (h->nodes[node].asks != NULL)
		home_ask_free(h, h->nodes[node].asks);
	for (uint32_t i = 0; i < HOME_LEASES_MAX && h->nodes[node].n_leases > 0; i++) {
		if (h->leases[i].list != NULL && h->leases[i].node == node)
			home_lease_drop(h, &h->leases[i]);
	}
	home_wake_all_told(h, node);
	home_settle(h);
}

void home_node_drains(struct home *h, const struct wire_id *id)
{
	const uint16_t node = home_node(h, id); /* it may not have said anything yet */

	if (node != NO_NODE)
		h->nodes[node].draining = true;
}

void home_leave(struct home *h)
{
	struct h_ask *ask;

	h->leaving = true;
	for (uint32_t i = 0; i < h->n_nodes_ever; i++) {
		if (id_equal(&h->nodes[i].id, &h->opts.self))
			continue;
		DL_FOREACH2(h->nodes[i].asks, ask, node_next)
		{
			ask->late = true;
			home_mark_dirty(h, ask);
		}
	}
}

void home_moved(struct home *h)
{
	h->moved_ns = clock_now_ns(h->opts.clock);
	h->grace_until_ns = h->moved_ns + HOME_GRACE_MS * NS_PER_MS;
}

/* ---- time ---- */

/* It was let wait for others, or need not be. */
static uint64_t put_off_tick(struct home *h, struct h_ask *ask, uint64_t now_ns)
{
	if (!ask->put_off)
		return ask->end_ns;
	if (now_ns < ask->check_ns)
		return min_u64(ask->check_ns, ask->end_ns);
	if (h->n_askers <= 1 && h->shared_ns + HOME_PUT_OFF_MS * NS_PER_MS < now_ns)
		h->nodes[ask->node].vain_until_ns = now_ns + HOME_VAIN_MS * NS_PER_MS;
	ask->put_off = false;
	ask->pending = ask->open;
	home_mark_dirty(h, ask);
	return ask->end_ns;
}

static uint64_t ask_tick(struct home *h, struct h_ask *ask, uint64_t now_ns)
{
	if (now_ns >= ask->end_ns) {
		ask->late = true;
		home_mark_dirty(h, ask);
		return UINT64_MAX;
	}
	if (ask->list == NULL)
		return ask->end_ns;
	if ((ask->flags & WIRE_ASK_READER) == 0)
		return put_off_tick(h, ask, now_ns);
	if (now_ns >= ask->check_ns) {
		const uint64_t beside_ns = now_ns + home_look_beside(h, ask);

		home_lease_second(h, ask, false);
		ask->check_ns = min_u64(ask->check_ns, beside_ns);
	}
	return ask->check_ns < ask->end_ns ? ask->check_ns : ask->end_ns;
}

uint64_t home_tick(struct home *h)
{
	const uint64_t now_ns = clock_now_ns(h->opts.clock);
	uint64_t due_ns = home_lease_tick(h, now_ns);
	struct h_ask *ask;

	if (h->grace_until_ns != 0 && now_ns >= h->grace_until_ns) {
		h->grace_until_ns = 0;
		for (struct h_list *l = h->lists; l != NULL; l = l->hh.next)
			home_regrant(h, l);
	} else if (h->grace_until_ns != 0 && h->grace_until_ns < due_ns) {
		due_ns = h->grace_until_ns;
	}
	for (uint32_t i = 0; i < h->n_nodes_ever; i++) {
		DL_FOREACH2(h->nodes[i].asks, ask, node_next)
		{
			const uint64_t ask_due_ns = ask_tick(h, ask, now_ns);

			due_ns = ask_due_ns < due_ns ? ask_due_ns : due_ns;
		}
	}
	home_settle(h);
	return due_ns;
}

void home_stats(const struct home *h, struct home_stats *ret_stats)
{
	*ret_stats = h->stats;
	ret_stats->waits = h->n_waits;
	ret_stats->memory_bytes += sizeof(*h) + h->n_chunks_ever * sizeof(*h->chunks) +
	                           HOME_BUCKETS * sizeof(*h->buckets) +
	                           h->n_nodes_ever * sizeof(*h->nodes);
}
