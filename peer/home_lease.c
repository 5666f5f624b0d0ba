/*
 * home_lease: who may ask the origin for what, and until when.
 *
 *   free chunk of a waiting ask --grant--> leased --progress--> (term moved)
 *        ^                                   |--- HAVE, LEASE_END with it --> held
 *        `--- term over, holder lost, LEASE_END without it ---'
 */
#include "bytes.h"
#include "home_inside.h"
#include <assert.h>
#include <stdlib.h>

#define TOKEN_INDEX_BITS 16U
_Static_assert(HOME_LEASES_MAX <= 1U << TOKEN_INDEX_BITS, "a token holds the lease's index");

static uint64_t now_of(const struct home *h)
{
	return clock_now_ns(h->opts.clock);
}

struct h_lease *home_lease_of(struct home *h, const struct h_chunk *c)
{
	const uint32_t at = c->lease[0] != 0 ? c->lease[0] : c->lease[1];

	return at == 0 ? NULL : &h->leases[at - 1];
}

struct h_lease *home_lease_find(struct home *h, uint16_t node, uint64_t token)
{
	struct h_lease *l = &h->leases[(token & (BIT(TOKEN_INDEX_BITS) - 1)) % HOME_LEASES_MAX];

	return l->list != NULL && l->token == token && l->node == node ? l : NULL;
}

/* Take chunk pos out of a lease. */
static void release_chunk(struct home *h, struct h_lease *l, uint32_t pos)
{
	struct h_chunk *c = home_chunk(h, l->list, pos);
	const uint32_t at = (uint32_t)(l - h->leases) + 1;

	for (uint32_t i = 0; i < 2; i++) {
		if (c->lease[i] == at)
			c->lease[i] = 0;
	}
	wire_set_remove(&l->set, pos);
	wire_set_remove(&l->list->leased, pos);
}

/* It has all that it may have, or all for prefetches: its other asks wait for the end of one. */
static bool has_its_share(const struct h_node *n)
{
	return n->n_leases >= HOME_LEASES_PER_PEER || n->n_leases == HOME_LEASES_AHEAD;
}

/* Whatever list they wait for. */
static void regrant_all(struct home *h, const struct h_node *n)
{
	struct h_ask *ask;

	DL_FOREACH2(n->asks, ask, node_next)
	{
		if (ask->list != NULL)
			home_regrant(h, ask->list);
	}
}

static void lease_free(struct home *h, struct h_lease *l)
{
	const bool none_left = h->free_leases == NULL;
	struct h_node *n = &h->nodes[l->node];
	const bool waited = has_its_share(n);
	struct h_list *list = l->list;

	assert(set_empty(&l->set));
	DL_DELETE(list->leases, l);
	DL_DELETE2(h->live_leases, l, live_prev, live_next);
	n->n_leases--;
	h->stats.leases--;
	l->list = NULL;
	LL_PREPEND(h->free_leases, l);
	home_share_over(h, l);
	home_regrant(h, list); /* its node may take another */
	if (waited)
		regrant_all(h, n);
	for (uint32_t i = 0; none_left && i < h->n_nodes_ever; i++)
		regrant_all(h, &h->nodes[i]);
}

void home_lease_done(struct home *h, struct h_chunk *c, uint16_t node)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct h_lease *l = c->lease[i] == 0 ? NULL : &h->leases[c->lease[i] - 1];

		if (l == NULL || l->node != node)
			continue;
		for (uint32_t pos = set_next(&l->set, 0); pos < l->list->n;
		     pos = set_next(&l->set, pos + 1)) {
			if (home_chunk(h, l->list, pos) == c)
				release_chunk(h, l, pos);
		}
		c->lease[i] = 0;
		l->progress_ns = l->brought_ns = now_of(h);
		l->end_ns = max_u64(l->end_ns, l->progress_ns + HOME_LEASE_TERM_MS * NS_PER_MS);
		h->nodes[node].n_strikes = 0;
		h->nodes[node].proven = true;
		if (!set_empty(&l->set))
			continue;
		home_share_brought(h, l);
		lease_free(h, l);
	}
}

/* Those who waited for what it was to bring are to hear of the next way. */
void home_lease_drop(struct home *h, struct h_lease *l)
{
	const struct wire_set left = l->set;
	struct h_list *list = l->list;

	for (uint32_t pos = set_next(&left, 0); pos < list->n; pos = set_next(&left, pos + 1)) {
		struct h_chunk *c = home_chunk(h, list, pos);
		const struct entry *e = home_entry(c, l->node);

		release_chunk(h, l, pos);
		if (e != NULL && (e->flags & ENTRY_RECEIVING) != 0)
			home_entry_drop(c, l->node);
		home_wake(h, c, l->node);
		home_wake(h, c, NO_NODE); /* who cannot lease is to hear, too */
	}
	lease_free(h, l);
}

/* ---- granting ---- */

static bool is_refused(const struct home *h, const struct h_list *l, uint16_t node)
{
	if (now_of(h) >= l->refused_until_ns)
		return false;
	for (uint32_t i = 0; i < l->n_refused; i++) {
		if (l->refused[i] == node)
			return true;
	}
	return false;
}

static bool may_lease(const struct home *h, const struct h_list *l, uint16_t node)
{
	const struct h_node *n = &h->nodes[node];

	return !n->lost && !n->draining && now_of(h) >= n->no_lease_until_ns &&
	       !is_refused(h, l, node);
}

/* Could this ask ever get a lease of the chunk at pos? */
bool home_can_lease(const struct home *h, const struct h_ask *ask, uint32_t pos)
{
	return (ask->flags & WIRE_ASK_NO_LEASE) == 0 && !ask->late &&
	       may_lease(h, ask->list, ask->node) && set_last(&ask->units, pos) < ask->list->n;
}

bool home_is_put_off(const struct home *h, const struct h_ask *ask)
{
	const struct h_node *n = &h->nodes[ask->node];
	const uint64_t now_ns = now_of(h);

	return n->draining && (ask->flags & (WIRE_ASK_READER | WIRE_ASK_NO_LEASE)) == 0 &&
	       now_ns < ask->check_ns && now_ns >= n->vain_until_ns && !ask->late;
}

/* Not leased, and held by nobody whom the asker has not tried in vain. second: a first lease does
 * not count. */
static bool is_free(struct home *h, const struct h_ask *ask, uint32_t pos, bool second)
{
	const struct h_chunk *c = home_chunk(h, ask->list, pos);

	return (second || c->lease[0] == 0) && c->lease[1] == 0 && !home_is_held_for(h, ask, pos);
}

static bool has_lease(const struct h_list *l, uint16_t node)
{
	const struct h_lease *x;

	for (x = l->leases; x != NULL; x = x->next) {
		if (x->node == node)
			return true;
	}
	return false;
}

/* Nobody else wants anything here, and it is not the first that comes. */
static bool is_alone(const struct home *h, uint16_t node)
{
	return h->n_askers == 1 && h->nodes[node].leased_ns != 0 &&
	       (h->shared_ns == 0 || now_of(h) >= h->shared_ns + HOME_ALONE_MS * NS_PER_MS);
}

/* The end of the row that begins at or before pos: where marks has its next one. */
static uint32_t end_of(const struct wire_set *marks, uint32_t pos)
{
	return set_next(marks, pos + 1);
}

/*
 * The whole units that hold wanted free chunks, from first on, of at most n_runs runs.
 * second: what another leases counts as free.
 */
static struct wire_set lease_set(struct home *h, const struct h_ask *ask, uint32_t first,
                                 uint32_t n_runs, bool second)
{
	const struct h_list *l = ask->list;
	struct wire_set set = set_none(l->n);
	uint32_t run_end = end_of(&ask->runs, first);
	uint32_t pos = first;

	while (pos < l->n) {
		const uint32_t unit = set_last(&ask->units, pos);
		const bool is_open = is_free(h, ask, pos, second);

		if (pos >= run_end) {
			if (--n_runs == 0)
				break;
			run_end = end_of(&ask->runs, pos);
		}
		if (!is_open || !home_can_lease(h, ask, pos)) {
			pos = set_next(&ask->open, pos + 1);
			continue;
		}
		for (pos = unit; pos < end_of(&ask->units, unit); pos++) {
			if (is_free(h, ask, pos, second))
				wire_set_add(&set, pos);
		}
		pos = set_next(&ask->open, pos);
	}
	return set;
}

static struct h_lease *lease_new(struct home *h, struct h_list *list, uint16_t node,
                                 const struct wire_set *set, bool second)
{
	struct h_lease *l = h->free_leases;
	const uint64_t now_ns = now_of(h);

	LL_DELETE(h->free_leases, l);
	*l = (struct h_lease){
		.list = list,
		.set = *set,
		.token = ++h->n_tokens << TOKEN_INDEX_BITS | (uint64_t)(l - h->leases),
		.granted_ns = now_ns,
		.progress_ns = now_ns,
		.brought_ns = now_ns,
		.end_ns = now_ns + HOME_LEASE_TERM_MS * NS_PER_MS,
		.node = node,
		.second = second,
		.doubted = h->nodes[node].n_strikes > 0,
	};
	DL_APPEND(list->leases, l);
	list->leased = set_or(list->leased, set);
	DL_APPEND2(h->live_leases, l, live_prev, live_next);
	h->nodes[node].n_leases++;
	h->stats.leases++;
	for (uint32_t pos = set_next(set, 0); pos < list->n; pos = set_next(set, pos + 1)) {
		struct h_chunk *c = home_chunk(h, list, pos);

		c->lease[second ? 1 : 0] = (uint32_t)(l - h->leases) + 1;
		h->stats.n_leased_first += !c->was_leased;
		h->stats.n_leased_again += c->was_leased;
		c->was_leased = true;
		(void)home_entry_put(h, c, node, true);
	}
	return l;
}

/* The asker's waits for what it fetches itself are over; others hear that it brings it. */
static struct h_lease *give(struct home *h, struct h_ask *ask, const struct wire_set *set,
                            bool second)
{
	struct h_lease *l = lease_new(h, ask->list, ask->node, set, second);

	l->ask = ask;
	for (uint32_t pos = set_next(set, 0); pos < ask->list->n; pos = set_next(set, pos + 1)) {
		if (wire_set_has(&ask->open, pos))
			home_wait_drop(h, home_wait(ask, pos));
		home_wake(h, home_chunk(h, ask->list, pos), NO_NODE);
	}
	home_mark_dirty(h, ask);
	return l;
}

static bool may_take(const struct home *h, const struct h_ask *ask)
{
	const uint32_t max =
		(ask->flags & WIRE_ASK_READER) != 0 ? HOME_LEASES_PER_PEER : HOME_LEASES_AHEAD;

	return h->free_leases != NULL && h->nodes[ask->node].n_leases < max;
}

/* The first open position that this ask may be given a lease from; the list's n: none. All who wait
 * for what is leased may be a thousand, and are asked this again and again. */
static uint32_t first_grant(struct home *h, const struct h_ask *ask)
{
	const struct wire_set left = set_minus(ask->open, &ask->list->leased);
	uint32_t pos = set_next(&left, 0);

	if (pos == left.n || !may_take(h, ask) || has_lease(ask->list, ask->node))
		return ask->list->n;
	while (pos < left.n && !(is_free(h, ask, pos, false) && home_can_lease(h, ask, pos)))
		pos = set_next(&left, pos + 1);
	return pos;
}

bool home_could_grant(struct home *h, const struct h_ask *ask)
{
	return first_grant(h, ask) < ask->list->n;
}

void home_grant(struct home *h, struct h_ask *ask)
{
	const uint32_t n_runs = is_alone(h, ask->node) ? HOME_LEASE_RUNS_ALONE : 1;
	const uint32_t pos = first_grant(h, ask);
	struct h_lease *lease;
	struct wire_set set;

	if (pos == ask->list->n)
		return;
	set = lease_set(h, ask, pos, n_runs, false);
	lease = give(h, ask, &set, false);
	if ((ask->flags & WIRE_ASK_READER) == 0)
		home_share_count(h, ask, lease);
}

bool home_lease_adopt(struct home *h, struct h_list *l, uint16_t node, const struct wire_set *set)
{
	struct wire_set free_ones = set_none(l->n);

	if (h->free_leases == NULL || h->nodes[node].n_leases >= HOME_LEASES_PER_PEER ||
	    !may_lease(h, l, node) || has_lease(l, node))
		return false;
	for (uint32_t pos = set_next(set, 0); pos < l->n; pos = set_next(set, pos + 1)) {
		const struct h_chunk *c = home_chunk(h, l, pos);

		if (c->lease[0] == 0 && c->lease[1] == 0 && !home_is_held(h, c))
			wire_set_add(&free_ones, pos);
	}
	if (set_empty(&free_ones))
		return false;
	lease_new(h, l, node, &free_ones, false)->adopted = true;
	for (uint32_t pos = set_next(&free_ones, 0); pos < l->n;
	     pos = set_next(&free_ones, pos + 1))
		home_wake(h, home_chunk(h, l, pos), NO_NODE);
	return true;
}

/* ---- second leases ---- */

/* It is given no lease for a growing while, nor are its others waited for. */
static void strike(struct home *h, uint16_t node)
{
	struct h_node *n = &h->nodes[node];
	const uint32_t shift = n->n_strikes < 5 ? n->n_strikes : 5;

	n->n_strikes++;
	n->proven = false;
	n->no_lease_until_ns = now_of(h) + ((HOME_LEASE_TERM_MS * NS_PER_MS) << shift);
}

/* A reader needs it in spite of all the progress that is told. Of what was told nothing came? */
static void override(struct home *h, struct h_lease *l)
{
	if (now_of(h) < l->brought_ns + HOME_LEASE_OVERRIDE_MS * NS_PER_MS)
		return;
	l->brought_ns = now_of(h); /* one strike */
	strike(h, l->node);
}

/* When it is leased again in spite of all the progress that is told. */
static uint64_t override_ns_of(const struct h_lease *l)
{
	return l->granted_ns + HOME_LEASE_OVERRIDE_MS * NS_PER_MS;
}

/* How long who lives, and never let a lease down, is waited for. */
static uint64_t stuck_ns_of(const struct home *h, const struct h_lease *l)
{
	return (h->nodes[l->node].proven ? 2 : 1) * (HOME_LEASE_TERM_MS * NS_PER_MS);
}

/* When what is told of it counts no more: since it was told first, nothing came for longer than
 * that usually takes where the asker is, or than who tells nothing may take. */
static uint64_t in_vain_ns(const struct home *h, const struct h_lease *l, const struct h_ask *ask)
{
	return max_u64(l->brought_ns, l->told_ns) + max_u64(ask->usual_ns, stuck_ns_of(h, l));
}

/* Who tells nothing is asked whether it lives. */
static uint64_t overdue_ns(const struct home *h, const struct h_lease *l, const struct h_ask *ask)
{
	const bool is_told = l->progress_bytes > 0 || l->adopted;

	return min_u64(override_ns_of(l), is_told ? in_vain_ns(h, l, ask) : UINT64_MAX);
}

/* Its other leases, from now on, are not waited for again until it brings something. */
static void doubt(struct h_node *n)
{
	if (n->n_strikes == 0)
		n->n_strikes = 1;
	n->proven = false;
}

/* May this reader lease what l brings? ret_look_ns: when to look again, if not. */
static bool second_is_due(struct home *h, struct h_lease *l, const struct h_ask *ask,
                          uint64_t *ret_look_ns)
{
	const uint64_t now_ns = now_of(h);
	/* What it tells counts no more. Leases from before run their course: a slow line has
	 * several. */
	const bool doubted = l->doubted && h->nodes[l->node].n_strikes > 0;
	const uint64_t quiet_ns = (doubted ? l->brought_ns : l->progress_ns) + ask->patience_ns;
	const uint64_t due_ns = overdue_ns(h, l, ask);
	const uint64_t stuck_ns = l->progress_ns + stuck_ns_of(h, l);
	uint64_t asked_ns = UINT64_MAX;
	enum life life;

	*ret_look_ns = min_u64(quiet_ns, due_ns);
	if (now_ns < *ret_look_ns)
		return false;
	if (now_ns >= override_ns_of(l))
		override(h, l);
	else if (now_ns >= due_ns)
		doubt(&h->nodes[l->node]);
	if (now_ns >= due_ns || doubted)
		return true;
	life = now_ns >= stuck_ns ? IS_SILENT : home_life_of(h, l->node, quiet_ns - 1, &asked_ns);
	*ret_look_ns = min_u64(min_u64(stuck_ns, asked_ns), due_ns);
	if (life == IS_SILENT) { /* its other leases are not waited for again */
		h->nodes[l->node].n_strikes++;
		h->nodes[l->node].proven = false;
	}
	return life == IS_SILENT;
}

/* The asker waited there and saw nothing. Of others that is believed for their own lease alone. */
static bool is_stalled(struct home *h, const struct h_ask *ask, const struct h_lease *l)
{
	if (!home_has_failed(ask, l->node))
		return false;
	if (id_equal(&h->nodes[ask->node].id, &h->opts.self))
		strike(h, l->node);
	return true;
}

/* Of who was given it because another was late, and is late as well, it is taken back: two that
 * bring nothing hold up a reader no longer than each of them. */
static bool second_goes(struct home *h, struct h_lease *l, const struct h_ask *ask, bool stalled,
                        uint64_t *ret_look_ns)
{
	*ret_look_ns = in_vain_ns(h, l, ask);
	if (now_of(h) >= *ret_look_ns)
		doubt(&h->nodes[l->node]);
	else if (!stalled)
		return false;
	home_lease_drop(h, l);
	return true;
}

/* May this reader lease the chunk at pos beside who has? ret_look_ns: when to look again, if not */
static bool may_lease_beside(struct home *h, const struct h_ask *ask, uint32_t pos, bool at_once,
                             uint64_t *ret_look_ns)
{
	const struct h_chunk *c = home_chunk(h, ask->list, pos);
	struct h_lease *first = home_lease_of(h, c);
	struct h_lease *second = c->lease[1] == 0 ? NULL : &h->leases[c->lease[1] - 1];
	struct h_lease *last = second != NULL ? second : first;
	bool stalled;

	*ret_look_ns = UINT64_MAX;
	if (last == NULL || first->node == ask->node || last->node == ask->node ||
	    home_is_held_for(h, ask, pos) || !home_can_lease(h, ask, pos) || !may_take(h, ask))
		return false;
	stalled = at_once && is_stalled(h, ask, last);
	if (second != NULL)
		return second_goes(h, second, ask, stalled, ret_look_ns);
	return stalled || second_is_due(h, first, ask, ret_look_ns);
}

void home_lease_second(struct home *h, struct h_ask *ask, bool at_once)
{
	const uint64_t now_ns = now_of(h);
	const struct h_list *l = ask->list;

	ask->check_ns = home_check_ns(ask, now_ns);
	for (uint32_t pos = set_next(&ask->open, 0); pos < l->n;
	     pos = set_next(&ask->open, pos + 1)) {
		uint64_t look_ns;
		struct wire_set set;

		if (!may_lease_beside(h, ask, pos, at_once, &look_ns)) {
			ask->check_ns = min_u64(ask->check_ns, look_ns);
			continue;
		}
		set = lease_set(h, ask, pos, 1, true);
		(void)give(h, ask, &set, true);
		return; /* the rest, if the reader needs it, at the next look */
	}
}

/* ---- time ---- */

static bool is_read(const struct h_lease *l)
{
	const struct h_ask *ask;

	DL_FOREACH(l->list->asks, ask)
	{
		const struct wire_set set = set_and(ask->open, &l->set);

		if ((ask->flags & WIRE_ASK_READER) != 0 && !set_empty(&set))
			return true;
	}
	return false;
}

/* How long without progress, of one who lives. Where the registry is slow to answer it, it would be
 * slow to answer the next one, too. */
static uint32_t stuck_after_ms(const struct home *h, const struct h_lease *l)
{
	if (!is_read(l))
		return HOME_LEASE_CALM_MS;
	return h->nodes[l->node].proven ? HOME_LEASE_PROVEN_MS : HOME_LEASE_STUCK_MS;
}

/* Its term is over. Who lives, and never let one down, gets a longer one. */
static bool is_given_time(struct home *h, struct h_lease *l, uint64_t now_ns)
{
	const uint64_t last_ns = min_u64(l->progress_ns + stuck_after_ms(h, l) * NS_PER_MS,
	                                 l->granted_ns + HOME_LEASE_LIFE_MS * NS_PER_MS);
	uint64_t look_ns = now_ns + HOME_LEASE_TERM_MS * NS_PER_MS / 2;
	enum life life;

	if (now_ns >= last_ns || h->nodes[l->node].n_strikes > 0)
		return false;
	life = home_life_of(h, l->node, now_ns - HOME_LEASE_TERM_MS * NS_PER_MS / 2, &look_ns);
	if (life == IS_SILENT)
		return false;
	l->end_ns = min_u64(look_ns, last_ns);
	return true;
}

static void expire(struct home *h, struct h_lease *l)
{
	strike(h, l->node);
	h->stats.n_expired++;
	home_lease_drop(h, l);
}

uint64_t home_lease_tick(struct home *h, uint64_t now_ns)
{
	uint64_t due_ns = UINT64_MAX;
	struct h_lease *l;
	struct h_lease *next;

	DL_FOREACH_SAFE2(h->live_leases, l, next, live_next)
	{
		const uint64_t quiet_ns = home_share_tick(h, l, now_ns);
		const uint64_t end_ns =
			min_u64(l->end_ns, l->granted_ns + HOME_LEASE_LIFE_MS * NS_PER_MS);
		if (now_ns >= end_ns && !is_given_time(h, l, now_ns))
			expire(h, l);
		else
			due_ns = min_u64(due_ns, min_u64(l->end_ns, quiet_ns));
	}
	return due_ns;
}
