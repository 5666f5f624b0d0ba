/*
 * home_share: in what order waiting asks are given leases: readers at once, prefetches a few at a
 * time, whoever holds least first.
 *
 *   prefetch waits --a place is free--> leased, counted --brought, over--> the next one's place
 *                                                       `--quiet, late---> likewise; it goes on
 */
#include "bytes.h"
#include "home_inside.h"

static uint64_t now_of(const struct home *h)
{
	return clock_now_ns(h->opts.clock);
}

/* ---- what counts ---- */

void home_share_count(struct home *h, const struct h_ask *ask, struct h_lease *l)
{
	l->level = (uint8_t)home_level(ask->flags);
	l->prefetch = l->of_prefetch = true;
	h->n_prefetches[l->level]++;
	h->nodes[l->node].n_prefetches++;
}

/* It does not count any more. */
static void uncount(struct home *h, struct h_lease *l)
{
	h->n_prefetches[l->level] -= l->prefetch;
	l->prefetch = false;
}

/* When a prefetch's lease holds up others no longer, however much progress it makes. */
static uint64_t late_ns(const struct home *h, const struct h_lease *l)
{
	return l->granted_ns + max_u64(HOME_LATE_TIMES * h->usual_ns, HOME_LATE_MS * NS_PER_MS);
}

void home_share_over(struct home *h, struct h_lease *l)
{
	h->nodes[l->node].n_prefetches -= l->of_prefetch;
	uncount(h, l);
}

void home_share_brought(struct home *h, const struct h_lease *l)
{
	const uint64_t took_ns = min_u64(now_of(h), late_ns(h, l)) - l->granted_ns;

	if (l->of_prefetch)
		h->usual_ns = h->usual_ns - h->usual_ns / 8 + took_ns / 8;
}

uint64_t home_share_tick(struct home *h, struct h_lease *l, uint64_t now_ns)
{
	const uint64_t quiet_ns =
		min_u64(l->progress_ns + HOME_QUIET_MS * NS_PER_MS, late_ns(h, l));

	if (!l->prefetch || now_ns < quiet_ns)
		return l->prefetch ? quiet_ns : UINT64_MAX;
	uncount(h, l);
	return UINT64_MAX;
}

/* ---- who is next ---- */

static bool is_graced(const struct home *h, const struct h_list *l)
{
	return l->created_ns >= h->moved_ns && now_of(h) < h->grace_until_ns;
}

void home_regrant(struct home *h, struct h_list *l)
{
	if (l->regrant || l->asks == NULL)
		return;
	l->regrant = true;
	l->next_regrant = h->regrant;
	h->regrant = l;
}

static void grant_readers(struct home *h, struct h_list *l)
{
	struct h_ask *ask;

	for (ask = l->asks; ask != NULL; ask = ask->next) {
		if ((ask->flags & WIRE_ASK_READER) != 0)
			home_grant(h, ask);
	}
}

/* Leases for prefetches at a time: all homes together fill an origin's line, with few flows. Of
 * what an image has left a few nodes may be all the homes there are: with their even share alone,
 * which is spent on waiting for first bytes, the line would have little to carry. */
static uint32_t prefetches_max(const struct home *h)
{
	const uint32_t n = home_members(h);
	const uint32_t even = n >= HOME_PREFETCHES ? 1 : HOME_PREFETCHES / n;
	const uint32_t few = h->n_sharing > 0 ? HOME_PREFETCHES_FEW / h->n_sharing : 0;

	return even > few ? even : few;
}

void home_share_with(struct home *h, uint32_t n_homes)
{
	h->n_sharing = n_homes;
}

static uint64_t leased_of(const struct home *h, const struct h_ask *ask)
{
	return home_halved(h, h->nodes[ask->node].leased, h->nodes[ask->node].leased_ns);
}

/* While others ask, too, a node holds its share at most: one that is slow would have all in the
 * end. */
static bool has_share(const struct home *h, uint16_t node)
{
	const uint32_t share = h->n_askers > 0 ? prefetches_max(h) / h->n_askers : 0;

	return h->n_askers > 1 && h->nodes[node].n_prefetches >= (share > 0 ? share : 1);
}

/* The ask of a prefetch whose node holds least, and was given least of late, of all that could be
 * given something. What one node fetches all others have from it: where one has most, its line is
 * all there is. */
static struct h_ask *next_prefetch(struct home *h, enum place_level level)
{
	struct h_ask *best = NULL;
	uint64_t best_leased = UINT64_MAX;
	uint32_t best_held = UINT32_MAX;

	for (struct h_list *l = h->regrant; l != NULL; l = l->next_regrant) {
		if (is_graced(h, l))
			continue;
		for (struct h_ask *ask = l->asks; ask != NULL; ask = ask->next) {
			const uint64_t leased = leased_of(h, ask);
			const uint32_t held = h->nodes[ask->node].n_prefetches;

			if ((ask->flags & WIRE_ASK_READER) != 0 ||
			    home_level(ask->flags) != level || held > best_held ||
			    (held == best_held && leased >= best_leased) ||
			    !home_could_grant(h, ask))
				continue;
			if (has_share(h, ask->node)) {
				h->capped = true;
				continue;
			}
			best = ask;
			best_held = held;
			best_leased = leased;
		}
	}
	return best;
}

static bool is_full(const struct home *h, enum place_level level)
{
	return h->n_prefetches[level] >= prefetches_max(h);
}

static void grant_prefetches(struct home *h, enum place_level level)
{
	while (!is_full(h, level)) {
		struct h_ask *ask = next_prefetch(h, level);
		struct h_node *n;

		if (ask == NULL)
			return;
		home_grant(h, ask);
		n = &h->nodes[ask->node];
		n->leased = leased_of(h, ask) + 1;
		n->leased_ns = now_of(h);
	}
}

/* Lists that somebody waits for stay marked while there is no room for another prefetch of his. */
static void unmark(struct home *h)
{
	const bool full = h->capped || is_full(h, PLACE_ZONE) || is_full(h, PLACE_CLUSTER);
	struct h_list *l = h->regrant;

	h->regrant = NULL;
	while (l != NULL) {
		struct h_list *next = l->next_regrant;

		l->regrant = false;
		if (full)
			home_regrant(h, l);
		l = next;
	}
}

void home_settle(struct home *h)
{
	for (struct h_list *l = h->regrant; l != NULL; l = l->next_regrant) {
		if (!is_graced(h, l))
			grant_readers(h, l);
	}
	h->capped = false;
	grant_prefetches(h, PLACE_ZONE);
	grant_prefetches(h, PLACE_CLUSTER);
	unmark(h);
}
