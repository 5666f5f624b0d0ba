/*
 * members_list: what the mesh tells others of its members, and takes from what they tell.
 */
#include "members_inside.h"
#include <stdlib.h>

#define HEARD_PER_PEER 512U /* unknown addresses that one peer may bring */

static uint32_t n_heard_from(const struct mesh *m, const struct wire_id *from)
{
	const struct address *a;
	uint32_t n = 0;

	for (a = m->addresses; a != NULL; a = a->hh.next)
		n += a->heard && !a->configured && id_equal(&a->from, from);
	return n;
}

void mesh_heard(struct members *members, const struct wire_id *from, const struct wire_member *list,
                uint16_t n_list)
{
	struct mesh *m = mesh_of(members);
	uint32_t n_heard = n_heard_from(m, from);

	m->look_ns = 0;
	for (uint16_t i = 0; i < n_list; i++) {
		const struct node *known = mesh_node(m, &list[i].id);
		struct address *a;

		if (id_equal(&list[i].id, &m->self.id) || (known != NULL && known->n_conns > 0))
			continue;
		a = mesh_address(m, list[i].address);
		if (a != NULL && (a->heard || a->configured || a->met))
			continue; /* else somebody else says that he is there */
		if (n_heard >= HEARD_PER_PEER)
			return;
		a = mesh_address_put(m, list[i].address);
		if (a == NULL)
			return;
		a->heard = true;
		a->from = *from;
		n_heard++;
	}
}

/* Met, and there: whether it drains is its own affair, and not known to all at once. */
static bool is_there(const struct node *n)
{
	return n->m.state == MEMBER_UP || n->m.state == MEMBER_DRAINING;
}

uint16_t mesh_tell(struct members *members, struct wire_member *ret_list, uint16_t max)
{
	struct mesh *m = mesh_of(members);
	const uint32_t n_nodes = HASH_COUNT(m->nodes);
	const struct node *n = m->nodes;
	uint32_t skip;
	uint16_t n_told = 0;

	if (max == 0)
		return 0;
	ret_list[n_told++] = m->self;
	skip = n_nodes == 0 ? 0 : m->told % n_nodes;
	for (uint32_t i = 0; i < skip; i++)
		n = n->hh.next;
	for (uint32_t i = 0; i < n_nodes && n_told < max; i++, m->told++) {
		if (is_there(n) && n->m.n_addresses > 0) {
			struct wire_member *w = &ret_list[n_told++];

			*w = (struct wire_member){ .id = n->m.id, .generation = n->m.generation };
			mesh_text(w->address, sizeof(w->address), n->m.addresses[0]);
			mesh_text(w->zone, sizeof(w->zone), n->m.zone);
		}
		n = n->hh.next != NULL ? n->hh.next : m->nodes;
	}
	return n_told;
}

static uint64_t hash_one(const struct wire_id *id, uint64_t generation)
{
	return mix64(id_word(id, 0) ^ mix64(id_word(id, 1) + generation));
}

uint64_t mesh_hash(struct members *members)
{
	struct mesh *m = mesh_of(members);
	const struct node *n;

	if (m->hash_known)
		return m->hash;
	m->hash = hash_one(&m->self.id, m->self.generation);
	for (n = m->nodes; n != NULL; n = n->hh.next) {
		if (is_there(n))
			m->hash ^= hash_one(&n->m.id, n->m.generation); /* no order */
	}
	m->hash_known = true;
	return m->hash;
}

static void self_member(const struct mesh *m, struct member *ret)
{
	*ret = (struct member){
		.id = m->self.id,
		.generation = m->self.generation,
		.state = MEMBER_SELF,
		.n_addresses = 1,
	};
	mesh_text(ret->zone, sizeof(ret->zone), m->self.zone);
	mesh_text(ret->addresses[0], sizeof(ret->addresses[0]), m->self.address);
}

static int by_id(const void *a, const void *b)
{
	const struct member *x = a;
	const struct member *y = b;

	return memcmp(x->id.b, y->id.b, WIRE_ID_BYTES);
}

size_t mesh_list(struct members *members, struct member *ret_list, size_t max)
{
	const struct mesh *m = mesh_of(members);
	const struct node *n;
	size_t n_list = 0;

	if (n_list < max)
		self_member(m, &ret_list[n_list++]);
	for (n = m->nodes; n != NULL && n_list < max; n = n->hh.next)
		ret_list[n_list++] = n->m;
	if (n_list > 0)
		qsort(ret_list, n_list, sizeof(*ret_list), by_id);
	return HASH_COUNT(m->nodes) + 1;
}

bool mesh_find(struct members *members, const struct wire_id *id, struct member *ret_member)
{
	const struct mesh *m = mesh_of(members);
	const struct node *n;

	if (id_equal(id, &m->self.id)) {
		self_member(m, ret_member);
		return true;
	}
	n = mesh_node(m, id);
	if (n != NULL)
		*ret_member = n->m;
	return n != NULL;
}
