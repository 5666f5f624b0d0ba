/*
 * home_table: nodes, lists and chunks of home, and what is forgotten when they are too many.
 *
 * Chunks stand in one array with chained buckets; a node that was lost keeps its number until a
 * sweep over all chunks has dropped what names it.
 */
#include "home_inside.h"
#include "mem.h"
#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

void home_table_init(struct home *h)
{
	h->nodes = xcalloc(HOME_NODES_MAX, sizeof(*h->nodes));
	h->chunks = xcalloc(h->max_chunks, sizeof(*h->chunks)); /* touched as it fills */
	h->buckets = xcalloc(HOME_BUCKETS, sizeof(*h->buckets));
	h->leases = xcalloc(HOME_LEASES_MAX, sizeof(*h->leases));
	h->usual_ns = HOME_LATE_MS * NS_PER_MS; /* nothing is known yet */
	if (getrandom(&h->seed, sizeof(h->seed), GRND_NONBLOCK) != (ssize_t)sizeof(h->seed))
		h->seed = (uint64_t)(uintptr_t)h;
	for (uint32_t i = HOME_LEASES_MAX; i-- > 0;)
		LL_PREPEND(h->free_leases, &h->leases[i]);
}

/* Names are hashes only where their sender is honest. */
static uint32_t *bucket(struct home *h, const struct wire_id *name)
{
	const uint64_t mixed = mix64(mix64(id_word(name, 0) ^ h->seed) + id_word(name, 1));

	return &h->buckets[mixed % HOME_BUCKETS];
}

static struct h_chunk *chunk_find(struct home *h, const struct wire_id *name)
{
	for (uint32_t at = *bucket(h, name); at != 0; at = h->chunks[at - 1].next) {
		if (id_equal(&h->chunks[at - 1].name, name))
			return &h->chunks[at - 1];
	}
	return NULL;
}

/* There is room: home_list_add() has made it. */
static struct h_chunk *chunk_add(struct home *h, const struct wire_id *name)
{
	uint32_t *head = bucket(h, name);
	uint32_t at = h->free_chunk;

	if (at != 0)
		h->free_chunk = h->chunks[at - 1].next;
	else
		at = ++h->n_chunks_ever;
	assert(at <= h->max_chunks);
	h->chunks[at - 1] = (struct h_chunk){ .name = *name, .next = *head };
	*head = at;
	h->stats.chunks++;
	return &h->chunks[at - 1];
}

static void chunk_unref(struct home *h, uint32_t chunk_idx)
{
	struct h_chunk *c = &h->chunks[chunk_idx];
	uint32_t *at = bucket(h, &c->name);

	c->n_lists--;
	if (c->n_lists != 0)
		return;
	assert(c->waits == NULL && c->lease[0] == 0 && c->lease[1] == 0);
	while (*at != chunk_idx + 1)
		at = &h->chunks[*at - 1].next;
	*at = c->next;
	c->n_who = 0;
	c->next = h->free_chunk;
	h->free_chunk = chunk_idx + 1;
	h->stats.chunks--;
}

/* ---- entries ---- */

struct entry *home_entry(struct h_chunk *c, uint16_t node)
{
	for (uint32_t i = 0; i < c->n_who; i++) {
		if (c->who[i].node == node)
			return &c->who[i];
	}
	return NULL;
}

/* Who of a full chunk is forgotten: the lost, then those who only receive it, then the busiest; who
 * has the lease never, for the others are sent there. */
static struct entry *least_useful(const struct home *h, struct h_chunk *c)
{
	struct entry *worst = NULL;
	uint32_t worst_value = 0;

	for (uint32_t i = 0; i < c->n_who; i++) {
		struct entry *e = &c->who[i];
		uint32_t value = 1U + e->n_children;

		if (home_has_lease(h, c, e->node))
			value = 0;
		else if (!home_node_alive(h, e->node))
			value += 4096;
		else if ((e->flags & ENTRY_RECEIVING) != 0)
			value += 1024;
		if (value > worst_value) {
			worst = e;
			worst_value = value;
		}
	}
	return worst;
}

struct entry *home_entry_put(struct home *h, struct h_chunk *c, uint16_t node, bool receiving)
{
	struct entry *e = home_entry(c, node);

	if (e != NULL) {
		if (!receiving)
			e->flags = 0;
		return e;
	}
	e = c->n_who < HOME_HOLDERS_MAX ? &c->who[c->n_who++] : least_useful(h, c);
	*e = (struct entry){ .node = node, .flags = receiving ? ENTRY_RECEIVING : 0 };
	return e;
}

void home_entry_spare(const struct home *h, struct h_chunk *c)
{
	const struct entry *e = least_useful(h, c);

	if (e != NULL && ((e->flags & ENTRY_RECEIVING) != 0 ? e->n_children > 0
	                                                    : e->n_children >= HOME_TREE_HELD))
		home_entry_drop(c, e->node);
}

void home_entry_drop(struct h_chunk *c, uint16_t node)
{
	struct entry *e = home_entry(c, node);

	if (e != NULL)
		*e = c->who[--c->n_who];
}

bool home_is_held(const struct home *h, const struct h_chunk *c)
{
	for (uint32_t i = 0; i < c->n_who; i++) {
		if ((c->who[i].flags & ENTRY_RECEIVING) == 0 && home_node_alive(h, c->who[i].node))
			return true;
	}
	return false;
}

/* ---- nodes ---- */

bool home_node_alive(const struct home *h, uint16_t node)
{
	return !h->nodes[node].lost;
}

uint16_t home_node_known(const struct home *h, const struct wire_id *id)
{
	const struct h_node *n;

	HASH_FIND(hh, h->by_id, id->b, WIRE_ID_BYTES, n);
	return n == NULL ? NO_NODE : (uint16_t)(n - h->nodes);
}

static void list_free(struct home *h, struct h_list *l);

static bool list_is_idle(const struct h_list *l)
{
	return l->asks == NULL && l->leases == NULL && !l->regrant;
}

/* Lists that nobody has used since who brought them was lost (home_list_used()). */
static void lists_drop(struct home *h, const struct h_node *n)
{
	struct h_list *l;
	struct h_list *next;

	DL_FOREACH_SAFE(n->lists, l, next)
	{
		if (list_is_idle(l))
			list_free(h, l);
	}
}

/* Drop what names lost nodes, so that their numbers can be given again. */
static void sweep(struct home *h)
{
	for (uint32_t i = 0; i < h->n_nodes_ever; i++) {
		if (h->nodes[i].lost)
			lists_drop(h, &h->nodes[i]);
	}
	for (uint32_t i = 0; i < h->n_chunks_ever; i++) {
		struct h_chunk *c = &h->chunks[i];

		for (uint32_t k = c->n_who; k-- > 0;) {
			if (h->nodes[c->who[k].node].lost)
				c->who[k] = c->who[--c->n_who];
		}
	}
	for (uint32_t i = 0; i < h->n_nodes_ever; i++) {
		if (h->nodes[i].lost && h->nodes[i].lists == NULL)
			h->nodes[i] = (struct h_node){ 0 };
	}
	h->n_lost = 0;
}

static uint16_t node_number(struct home *h)
{
	if (h->n_nodes_ever < HOME_NODES_MAX)
		return (uint16_t)h->n_nodes_ever++;
	if (h->n_lost > 0)
		sweep(h);
	for (uint32_t i = 0; i < HOME_NODES_MAX; i++) {
		if (!h->nodes[i].used)
			return (uint16_t)i;
	}
	return NO_NODE;
}

uint16_t home_node(struct home *h, const struct wire_id *id)
{
	uint16_t node = home_node_known(h, id);
	struct h_node *n;

	if (node != NO_NODE)
		return node;
	node = node_number(h);
	if (node == NO_NODE)
		return NO_NODE;
	n = &h->nodes[node];
	*n = (struct h_node){ .id = *id, .used = true };
	HASH_ADD(hh, h->by_id, id, WIRE_ID_BYTES, n);
	return node;
}

void home_node_forget(struct home *h, uint16_t node)
{
	struct h_node *n = &h->nodes[node];

	HASH_DEL(h->by_id, n);
	h->n_probes -= n->wants_probe;
	n->wants_probe = false;
	n->lost = true;
	h->n_lost++;
}

/* ---- lists ---- */

struct h_list *home_list(struct home *h, const struct wire_id *id)
{
	struct h_list *l;

	HASH_FIND(hh, h->lists, id->b, WIRE_ID_BYTES, l);
	return l;
}

static void list_own(struct home *h, struct h_list *l, uint16_t node)
{
	struct h_node *n = &h->nodes[node];

	l->owner = node;
	DL_APPEND(n->lists, l);
	n->n_lists++;
	n->n_chunks += l->n;
}

static void list_disown(struct home *h, struct h_list *l)
{
	struct h_node *owner = &h->nodes[l->owner];

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not follow utlist */
	DL_DELETE(owner->lists, l);
	owner->n_lists--;
	owner->n_chunks -= l->n;
}

void home_list_used(struct home *h, struct h_list *l, uint16_t node)
{
	const uint16_t owner = h->nodes[l->owner].lost ? node : l->owner;

	list_disown(h, l);
	list_own(h, l, owner);
}

static void list_free(struct home *h, struct h_list *l)
{
	assert(list_is_idle(l));
	list_disown(h, l);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not follow uthash */
	HASH_DEL(h->lists, l);
	for (uint32_t i = 0; i < l->n; i++)
		chunk_unref(h, l->chunks[i]);
	h->stats.memory_bytes -= sizeof(*l) + l->n * sizeof(l->chunks[0]);
	h->stats.lists--;
	free(l);
}

/* Forget the oldest list of whoever brought the most of what there is too much of, so that a flood
 * washes away itself. */
static bool evict_one(struct home *h, uint16_t for_node, bool too_many_lists)
{
	struct h_node *most = &h->nodes[for_node];
	struct h_list *l;

	for (uint32_t i = 0; i < h->n_nodes_ever; i++) {
		struct h_node *n = &h->nodes[i];

		if (too_many_lists ? n->n_lists > most->n_lists : n->n_chunks > most->n_chunks)
			most = n;
	}
	for (l = most->lists; l != NULL; l = l->next) {
		if (list_is_idle(l)) {
			list_free(h, l);
			h->stats.n_evicted_lists++;
			return true;
		}
	}
	return false;
}

int home_list_add(struct home *h, uint16_t owner, const struct wire_id *id,
                  const struct wire_id *names, uint16_t n_names)
{
	struct h_list *l;

	while (h->stats.chunks + n_names > h->max_chunks || h->stats.lists >= HOME_LISTS_MAX) {
		if (!evict_one(h, owner, h->stats.lists >= HOME_LISTS_MAX))
			return HOME_BUSY;
	}
	l = xcalloc(1, sizeof(*l) + n_names * sizeof(l->chunks[0]));
	l->id = *id;
	l->n = n_names;
	l->leased = set_none(n_names);
	l->created_ns = clock_now_ns(h->opts.clock);
	for (uint16_t i = 0; i < n_names; i++) {
		struct h_chunk *c = chunk_find(h, &names[i]);

		if (c == NULL)
			c = chunk_add(h, &names[i]);
		c->n_lists++;
		l->chunks[i] = (uint32_t)(c - h->chunks);
	}
	HASH_ADD(hh, h->lists, id, WIRE_ID_BYTES, l);
	list_own(h, l, owner);
	h->stats.lists++;
	h->stats.memory_bytes += sizeof(*l) + n_names * sizeof(l->chunks[0]);
	return HOME_OK;
}

void home_table_fini(struct home *h)
{
	struct h_list *l;
	struct h_list *next;
	struct h_node *n;
	struct h_node *next_node;

	HASH_ITER(hh, h->lists, l, next)
	list_free(h, l);
	HASH_ITER(hh, h->by_id, n, next_node)
	HASH_DEL(h->by_id, n);
	free(h->nodes);
	free(h->chunks);
	free(h->buckets);
	free(h->leases);
}
