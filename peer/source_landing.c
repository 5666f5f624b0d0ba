/*
 * source_landing: chunks that were delivered to the engine and are not in the cache yet: whoever
 * waits for them here waits on. Those that turn out to be wrong are forgotten after a while.
 */
#include "mem.h"
#include "peer_impl.h"
#include "set.h"
#include <stdlib.h>
#include <utlist.h>

#define LANDING_MAX_NS (5 * NS_PER_S)

struct landing {
	struct landing *prev, *next;
	struct wire_id list;
	struct wire_set set;
	uint64_t since_ns; /* the last one */
};

static struct landing *find(const struct peer *p, const struct wire_id *list)
{
	struct landing *l;

	DL_FOREACH(p->landings, l)
	{
		if (id_equal(&l->list, list))
			return l;
	}
	return NULL;
}

void landing_begin(struct peer *p, const struct wire_id *list, uint16_t pos, uint16_t n)
{
	struct landing *l = find(p, list);

	if (l == NULL) {
		l = xcalloc(1, sizeof(*l));
		l->list = *list;
		l->set = set_none(n);
		DL_APPEND(p->landings, l);
	}
	wire_set_add(&l->set, pos);
	l->since_ns = peer_now_ns(p);
}

static void drop(struct peer *p, struct landing *l)
{
	DL_DELETE(p->landings, l);
	free(l);
}

void landing_end(struct peer *p, const struct wire_id *list, uint16_t pos)
{
	struct landing *l = find(p, list);

	if (l == NULL || pos >= l->set.n)
		return;
	wire_set_remove(&l->set, pos);
	if (set_empty(&l->set))
		drop(p, l);
}

bool landing_has(const struct peer *p, const struct wire_id *list, uint16_t pos)
{
	const struct landing *l = find(p, list);

	return l != NULL && wire_set_has(&l->set, pos);
}

struct wire_set landing_without(const struct peer *p, const struct wire_id *list,
                                const struct wire_set *set)
{
	const struct landing *l = find(p, list);

	return l == NULL ? *set : set_minus(*set, &l->set);
}

void landings_expire(struct peer *p)
{
	const uint64_t now = peer_now_ns(p);
	struct landing *l;
	struct landing *next;

	DL_FOREACH_SAFE(p->landings, l, next)
	{
		if (now - l->since_ns > LANDING_MAX_NS)
			drop(p, l);
	}
}

void landings_free(struct peer *p)
{
	while (p->landings != NULL)
		drop(p, p->landings);
}
