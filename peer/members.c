/*
 * members: the mesh (see the header): addresses that are dialled, nodes that answered.
 *
 *   address: IDLE --due--> DIALLING --opened--> (node has it) --closed--> IDLE, due at once
 *              ^--- pause grows --- dial_failed
 *   node:    HEARD_OF --opened--> UP --closed--> SUSPECT --dial failed, or 2 s--> DOWN --opened-->
 * UP
 */
#include "mem.h"
#include "members_inside.h"
#include <assert.h>
#include <stdlib.h>

#define SUSPECT_MS 2000U
#define FORGET_MS  3600000U /* a node that is down that long is forgotten */
#define LEFT_MS    120000U  /* or that long, where it said so and nobody expects it back */

static const char *const state_names[N_MEMBER_STATES] = {
	[MEMBER_SELF] = "self",       [MEMBER_UP] = "up",     [MEMBER_DRAINING] = "draining",
	[MEMBER_SUSPECT] = "suspect", [MEMBER_DOWN] = "down", [MEMBER_HEARD_OF] = "heard-of",
};

const char *member_state_name(enum member_state s)
{
	return state_names[s];
}

bool member_is_placed(const struct member *m)
{
	return m->state == MEMBER_SELF || m->state == MEMBER_UP || m->state == MEMBER_SUSPECT;
}

static struct closing *add_todo(struct mesh *m, enum members_todo_kind kind)
{
	struct closing *c = xcalloc(1, sizeof(*c));

	c->todo.kind = kind;
	LL_APPEND(m->todo, c);
	return c;
}

static void close_conn(struct mesh *m, void *conn, enum wire_bye_reason reason)
{
	struct closing *c = add_todo(m, MEMBERS_CLOSE);

	c->todo.conn = conn;
	c->todo.reason = reason;
}

struct node *mesh_node(const struct mesh *m, const struct wire_id *id)
{
	struct node *n;

	HASH_FIND(hh, m->nodes, id->b, WIRE_ID_BYTES, n);
	return n;
}

/* ---- nodes ---- */

static void set_state(struct mesh *m, struct node *n, enum member_state state)
{
	const bool was_placed = member_is_placed(&n->m);

	if (n->m.state == state)
		return;
	n->m.state = state;
	m->look_ns = 0;
	m->hash_known = false;
	n->m.since_ns = mesh_now_ns(m);
	if (state == MEMBER_DOWN)
		add_todo(m, MEMBERS_LOST)->todo.id = n->m.id;
	m->changed = m->changed || was_placed != member_is_placed(&n->m);
}

static void forget_node(struct mesh *m, struct node *n)
{
	m->hash_known = false;
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not follow uthash */
	HASH_DEL(m->nodes, n);
	free(n);
}

/* Room for one more: who is down longest goes, or who was only heard of. */
static bool make_room(struct mesh *m)
{
	struct node *oldest = NULL;
	struct node *n;
	struct node *next;

	if (HASH_COUNT(m->nodes) < MEMBERS_MAX)
		return true;
	HASH_ITER(hh, m->nodes, n, next)
	{
		if ((n->m.state == MEMBER_DOWN || n->m.state == MEMBER_HEARD_OF) &&
		    (oldest == NULL || n->m.since_ns < oldest->m.since_ns))
			oldest = n;
	}
	if (oldest != NULL)
		forget_node(m, oldest);
	return oldest != NULL;
}

static struct node *put_node(struct mesh *m, const struct wire_id *id)
{
	struct node *n = mesh_node(m, id);

	if (n != NULL || !make_room(m))
		return n;
	n = xcalloc(1, sizeof(*n));
	n->m.id = *id;
	n->m.state = MEMBER_HEARD_OF;
	n->m.since_ns = mesh_now_ns(m);
	HASH_ADD(hh, m->nodes, m.id, WIRE_ID_BYTES, n);
	return n;
}

/* Keep an address of a node, what it says of itself in front. */
static void node_address(struct mesh *m, struct node *n, const char *text, bool own)
{
	uint32_t at = 0;

	if (text[0] == '\0')
		return;
	while (at < n->m.n_addresses && strcmp(n->m.addresses[at], text) != 0)
		at++;
	if (at == n->m.n_addresses) {
		if (n->m.n_addresses < MEMBER_ADDRESSES_MAX)
			n->m.n_addresses++;
		else
			mesh_address_unclaimed(m, n->m.addresses[--at]); /* the last one goes */
		mesh_text(n->m.addresses[at], sizeof(n->m.addresses[at]), text);
	}
	if (own && at > 0) {
		char moved[WIRE_ADDRESS_MAX + 1];

		memcpy(moved, n->m.addresses[at], sizeof(moved));
		memmove(n->m.addresses[1], n->m.addresses[0], at * sizeof(n->m.addresses[0]));
		memcpy(n->m.addresses[0], moved, sizeof(moved));
	}
}

/* @param said  by itself; else it has answered there */
static void link_address(struct mesh *m, struct node *n, const char *text, bool said)
{
	const struct address *a;

	if (text == NULL)
		return;
	node_address(m, n, text, said);
	a = said ? mesh_address_claimed(m, text, n) : mesh_address_met(m, text, n);
	if (a != NULL && id_equal(&a->id, &n->m.id))
		n->struck = n->struck && !a->configured;
}

/* ---- connections ---- */

static void drop_conn(struct node *n, uint32_t i)
{
	n->n_conns--;
	for (; i < n->n_conns; i++) {
		n->conns[i] = n->conns[i + 1];
		n->by_us[i] = n->by_us[i + 1];
	}
}

/* Of two connections that stays which the node with the smaller id made; of two of one side the
 * newer: the older one is likely dead. */
static void keep_one(struct mesh *m, struct node *n)
{
	const bool ours_stays = memcmp(m->self.id.b, n->m.id.b, WIRE_ID_BYTES) < 0;
	uint32_t goes;

	if (n->n_conns < CONNS_PER_NODE)
		return;
	if (n->by_us[0] != n->by_us[1])
		goes = n->by_us[0] == ours_stays ? 1 : 0;
	else
		goes = 0;
	close_conn(m, n->conns[goes], WIRE_BYE_TWICE);
	drop_conn(n, goes);
}

static void restarted(struct mesh *m, struct node *n, uint64_t generation)
{
	if (n->m.generation != 0 && n->m.generation != generation) {
		n->m.n_restarts++;
		add_todo(m, MEMBERS_RESTARTED)->todo.id = n->m.id;
		while (n->n_conns > 0) { /* of its life before */
			close_conn(m, n->conns[0], WIRE_BYE_LEAVING);
			drop_conn(n, 0);
		}
	}
	n->m.generation = generation;
	m->hash_known = false;
}

static void mesh_opened(struct members *members, const struct wire_member *peer, bool draining,
                        const char *address, void *conn)
{
	struct mesh *m = mesh_of(members);
	struct node *n;

	m->look_ns = 0;
	mesh_dial_over(m, address, true);
	n = put_node(m, &peer->id);
	if (n == NULL) {
		close_conn(m, conn, WIRE_BYE_FULL);
		return;
	}
	restarted(m, n, peer->generation);
	if (strcmp(n->m.zone, peer->zone) != 0) {
		mesh_text(n->m.zone, sizeof(n->m.zone), peer->zone);
		m->changed = true;
	}
	link_address(m, n, address, false);
	link_address(m, n, peer->address, true);
	n->conns[n->n_conns] = conn;
	n->by_us[n->n_conns++] = address != NULL;
	keep_one(m, n);
	set_state(m, n, draining ? MEMBER_DRAINING : MEMBER_UP);
}

static void mesh_closed(struct members *members, void *conn, bool in_order)
{
	struct mesh *m = mesh_of(members);
	struct node *n;
	struct node *next;

	m->look_ns = 0;
	HASH_ITER(hh, m->nodes, n, next)
	{
		uint32_t at = 0;

		while (at < n->n_conns && n->conns[at] != conn)
			at++;
		if (at == n->n_conns)
			continue;
		drop_conn(n, at);
		n->m.n_failures += !in_order;
		if (n->n_conns == 0) {
			n->left = in_order;
			set_state(m, n, in_order ? MEMBER_DOWN : MEMBER_SUSPECT);
			mesh_dial_soon(m, n);
		}
		return;
	}
}

static void mesh_dial_failed(struct members *members, const char *address)
{
	struct mesh *m = mesh_of(members);
	const struct address *a;
	struct node *n;

	m->look_ns = 0;
	mesh_dial_over(m, address, false);
	a = mesh_address(m, address);
	n = a != NULL && a->id_known ? mesh_node(m, &a->id) : NULL;
	if (n == NULL || n->n_conns > 0) /* it only said that it would be there */
		return;
	n->m.n_failures++;
	if (n->m.state == MEMBER_SUSPECT && !mesh_dial_left(m, n))
		set_state(m, n, MEMBER_DOWN);
}

static void mesh_draining(struct members *members, const struct wire_id *id)
{
	struct mesh *m = mesh_of(members);
	struct node *n = mesh_node(m, id);

	if (n != NULL && n->m.state == MEMBER_UP)
		set_state(m, n, MEMBER_DRAINING);
}

static void *mesh_conn(struct members *members, const struct wire_id *id)
{
	const struct node *n = mesh_node(mesh_of(members), id);

	return n == NULL || n->n_conns == 0 ? NULL : n->conns[0];
}

/* ---- time ---- */

/* A pod that is replaced is another node at another address: the one before is no trouble that an
 * hour of DOWN should tell of. */
static uint64_t forget_after_ms(struct mesh *m, const struct node *n)
{
	if (n->struck)
		return 0;
	return n->left && !mesh_is_configured(m, n) ? LEFT_MS : FORGET_MS;
}

static void tick_nodes(struct mesh *m, uint64_t now_ns, uint64_t *due_ns)
{
	struct node *n;
	struct node *next;

	HASH_ITER(hh, m->nodes, n, next)
	{
		uint64_t end_ns = UINT64_MAX;

		if (n->m.state == MEMBER_SUSPECT &&
		    now_ns >= n->m.since_ns + SUSPECT_MS * NS_PER_MS)
			set_state(m, n, MEMBER_DOWN);
		if (n->m.state == MEMBER_SUSPECT)
			end_ns = n->m.since_ns + SUSPECT_MS * NS_PER_MS;
		else if (n->m.state == MEMBER_DOWN)
			end_ns = n->m.since_ns + forget_after_ms(m, n) * NS_PER_MS;
		if (now_ns >= end_ns)
			forget_node(m, n);
		else
			*due_ns = end_ns < *due_ns ? end_ns : *due_ns;
	}
}

static uint64_t mesh_tick(struct members *members)
{
	struct mesh *m = mesh_of(members);
	const uint64_t now_ns = mesh_now_ns(m);
	uint64_t nodes_due_ns = UINT64_MAX;
	uint64_t due_ns;

	if (now_ns < m->look_ns)
		return m->look_ns;
	tick_nodes(m, now_ns, &nodes_due_ns);
	due_ns = mesh_address_tick(m, now_ns);
	m->look_ns = nodes_due_ns < due_ns ? nodes_due_ns : due_ns;
	return m->look_ns;
}

static bool mesh_next(struct members *members, struct members_todo *ret_todo)
{
	struct mesh *m = mesh_of(members);

	if (m->todo != NULL) {
		struct closing *c = m->todo;

		LL_DELETE(m->todo, c);
		*ret_todo = c->todo;
		free(c);
		return true;
	}
	if (m->changed) {
		m->changed = false;
		*ret_todo = (struct members_todo){ .kind = MEMBERS_CHANGED };
		return true;
	}
	return mesh_dial_next(m, ret_todo);
}

static void mesh_free(struct members *members)
{
	struct mesh *m = mesh_of(members);
	struct address *a;
	struct address *next_address;
	struct node *n;
	struct node *next_node;
	struct closing *c;
	struct closing *next_closing;

	HASH_ITER(hh, m->addresses, a, next_address)
	mesh_address_drop(m, a);
	HASH_ITER(hh, m->nodes, n, next_node)
	forget_node(m, n);
	LL_FOREACH_SAFE(m->todo, c, next_closing)
	free(c);
	free(m);
}

static const struct members_ops mesh_ops = {
	.name = "mesh",
	.tick = mesh_tick,
	.next = mesh_next,
	.resolved = mesh_resolved,
	.opened = mesh_opened,
	.closed = mesh_closed,
	.dial_failed = mesh_dial_failed,
	.dialled_self = mesh_dialled_self,
	.draining = mesh_draining,
	.heard = mesh_heard,
	.tell = mesh_tell,
	.hash = mesh_hash,
	.list = mesh_list,
	.find = mesh_find,
	.conn = mesh_conn,
	.free = mesh_free,
};

struct members *members_mesh_new(const struct members_opts *opts)
{
	struct mesh *m = xcalloc(1, sizeof(*m));

	m->members.ops = &mesh_ops;
	m->opts = *opts;
	m->self = *opts->self;
	m->seed = opts->seed;
	m->changed = true; /* this node alone is a placement, too */
	return &m->members;
}

void members_free(struct members **m)
{
	if (*m == NULL)
		return;
	(*m)->ops->free(*m);
	*m = NULL;
}
