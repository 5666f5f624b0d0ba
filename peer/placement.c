/*
 * placement: see the header. The nodes stand in an array sorted by id; a question is one pass.
 */
#include "placement.h"
#include "mem.h"
#include "set.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct node {
	struct wire_id id;
	uint64_t zone; /* a hash of its name */
};

struct placement {
	struct node *nodes;
	uint32_t n_nodes;
	uint64_t version;
	bool has_zones;
};

static uint64_t hash_zone(const char *zone) /* FNV-1a, mixed */
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *zone != '\0'; zone++)
		h = (h ^ (uint8_t)*zone) * UINT64_C(0x100000001b3);
	return mix64(h);
}

uint64_t placement_score(const struct wire_id *name, const struct wire_id *id)
{
	return mix64(mix64(id_word(name, 0) ^ id_word(id, 0)) +
	             (id_word(name, 1) ^ id_word(id, 1)));
}

struct placement *placement_new(void)
{
	return xcalloc(1, sizeof(struct placement));
}

void placement_free(struct placement **p)
{
	if (*p == NULL)
		return;
	free((*p)->nodes);
	free(*p);
	*p = NULL;
}

static int by_id(const void *a, const void *b)
{
	const struct node *x = a;
	const struct node *y = b;

	return memcmp(x->id.b, y->id.b, WIRE_ID_BYTES);
}

static bool same_nodes(const struct placement *p, const struct node *nodes, uint32_t n_nodes)
{
	if (n_nodes != p->n_nodes)
		return false;
	for (uint32_t i = 0; i < n_nodes; i++) {
		if (!id_equal(&nodes[i].id, &p->nodes[i].id) || nodes[i].zone != p->nodes[i].zone)
			return false;
	}
	return true;
}

int placement_set(struct placement *p, const struct place_node *nodes, uint32_t n_nodes,
                  struct err *e)
{
	struct node *sorted;

	if (n_nodes > PLACEMENT_NODES_MAX)
		return err_set(e, E2BIG, "%u members: at most %u", n_nodes, PLACEMENT_NODES_MAX);
	sorted = xcalloc(n_nodes > 0 ? n_nodes : 1, sizeof(*sorted));
	for (uint32_t i = 0; i < n_nodes; i++)
		sorted[i] = (struct node){ nodes[i].id, hash_zone(nodes[i].zone) };
	qsort(sorted, n_nodes, sizeof(*sorted), by_id);
	if (same_nodes(p, sorted, n_nodes)) {
		free(sorted);
		return 0;
	}
	free(p->nodes);
	p->nodes = sorted;
	p->n_nodes = n_nodes;
	p->version++;
	p->has_zones = false;
	for (uint32_t i = 1; i < n_nodes; i++)
		p->has_zones = p->has_zones || sorted[i].zone != sorted[0].zone;
	return 0;
}

uint32_t placement_count(const struct placement *p)
{
	return p->n_nodes;
}

uint64_t placement_version(const struct placement *p)
{
	return p->version;
}

bool placement_has_zones(const struct placement *p)
{
	return p->has_zones;
}

static const struct node *find(const struct placement *p, const struct wire_id *id)
{
	const struct node key = { .id = *id };

	return p->n_nodes == 0 ? NULL
	                       : bsearch(&key, p->nodes, p->n_nodes, sizeof(*p->nodes), by_id);
}

bool placement_has(const struct placement *p, const struct wire_id *id)
{
	return find(p, id) != NULL;
}

bool placement_same_zone(const struct placement *p, const struct wire_id *a,
                         const struct wire_id *b)
{
	const struct node *x = find(p, a);
	const struct node *y = find(p, b);

	return x != NULL && y != NULL && x->zone == y->zone;
}

/* Put a node where it belongs among the best so far. Equal scores: the nodes come by rising id, so
 * the one that is there stays in front. */
static uint32_t insert(uint64_t *scores, struct wire_id *ids, uint32_t n, uint32_t max,
                       uint64_t score, const struct wire_id *id)
{
	uint32_t at = n;

	while (at > 0 && scores[at - 1] < score)
		at--;
	if (at == max)
		return n;
	if (n < max)
		n++;
	for (uint32_t i = n - 1; i > at; i--) {
		scores[i] = scores[i - 1];
		ids[i] = ids[i - 1];
	}
	scores[at] = score;
	ids[at] = *id;
	return n;
}

uint32_t placement_rank(const struct placement *p, enum place_level level,
                        const struct wire_id *zone_of, const struct wire_id *name, uint32_t max,
                        struct wire_id *ret_ids)
{
	const struct node *asker = level == PLACE_ZONE ? find(p, zone_of) : NULL;
	uint64_t scores[PLACEMENT_RANK_MAX];
	uint32_t n = 0;

	assert(max <= PLACEMENT_RANK_MAX);
	for (uint32_t i = 0; i < p->n_nodes; i++) {
		const struct node *node = &p->nodes[i];

		if (asker != NULL && node->zone != asker->zone)
			continue;
		n = insert(scores, ret_ids, n, max, placement_score(name, &node->id), &node->id);
	}
	return n;
}

bool placement_home(const struct placement *p, enum place_level level,
                    const struct wire_id *zone_of, const struct wire_id *name,
                    struct wire_id *ret_id)
{
	return placement_rank(p, level, zone_of, name, 1, ret_id) == 1;
}
