/*
 * members_address: the addresses of the mesh: where they come from, when they are dialled, when
 * they are forgotten.
 */
#include "mem.h"
#include "members_inside.h"
#include <stdlib.h>

#define DIAL_FIRST_MS   250U
#define DIAL_MAX_MS     30000U
#define SELF_MS         60000U /* where this node itself answered */
#define DIAL_TIMEOUT_MS 10000U /* an attempt of which nothing is heard */
#define DIALS_MAX       64U    /* at once */
#define DIALS_HEARD_MAX 16U
#define FAILURES_MAX    10U   /* of an address that is not configured: then it is forgotten */
#define CLAIM_MS        5000U /* a node that is connected is taken at its word for so long */

static uint64_t pause_ms(struct mesh *m, uint32_t n_failures)
{
	const uint64_t ms = (uint64_t)DIAL_FIRST_MS << (n_failures < 8 ? n_failures : 8);
	const uint64_t most = ms < DIAL_MAX_MS ? ms : DIAL_MAX_MS;

	m->seed = mix64(m->seed + UINT64_C(0x9e3779b97f4a7c15));
	return most / 2 + m->seed % (most / 2 + 1);
}

struct address *mesh_address(struct mesh *m, const char *text)
{
	struct address *a;

	HASH_FIND_STR(m->addresses, text, a);
	return a;
}

struct address *mesh_address_put(struct mesh *m, const char *text)
{
	struct address *a = mesh_address(m, text);

	if (a != NULL || HASH_COUNT(m->addresses) >= MEMBERS_ADDRESSES_MAX || text[0] == '\0' ||
	    strnlen(text, WIRE_ADDRESS_MAX + 1) > WIRE_ADDRESS_MAX)
		return a;
	a = xcalloc(1, sizeof(*a));
	mesh_text(a->text, sizeof(a->text), text);
	a->due_ns = mesh_now_ns(m);
	HASH_ADD_STR(m->addresses, text, a);
	return a;
}

static void dial_ended(struct mesh *m, struct address *a)
{
	m->n_dialling[a->dialled_heard] -= a->dialling;
	a->dialling = false;
}

void mesh_address_drop(struct mesh *m, struct address *a)
{
	dial_ended(m, a);
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not follow uthash */
	HASH_DEL(m->addresses, a);
	free(a);
}

/* Nobody wants it any more, and nobody was ever there. */
static bool is_idle_claim(const struct address *a)
{
	return !a->configured && !a->heard && !a->met && !a->dialling;
}

/* What is configured has a place, whatever others say of themselves. */
static struct address *put_configured(struct mesh *m, const char *text)
{
	struct address *a;
	struct address *next;

	if (mesh_address(m, text) == NULL && HASH_COUNT(m->addresses) >= MEMBERS_ADDRESSES_MAX) {
		HASH_ITER(hh, m->addresses, a, next)
		{
			if (a->configured || a->met || a->dialling)
				continue;
			mesh_address_drop(m, a);
			break;
		}
	}
	return mesh_address_put(m, text);
}

struct address *mesh_address_met(struct mesh *m, const char *text, const struct node *n)
{
	struct address *a = mesh_address_put(m, text);

	if (a == NULL)
		return NULL;
	a->id = n->m.id;
	a->id_known = true;
	a->proven = true;
	a->met = true;
	return a;
}

/* Anybody can name any address, also one where another is: it is dialled all the same, a little
 * later, as the nodes of a cluster that starts are connected from one side first. */
struct address *mesh_address_claimed(struct mesh *m, const char *text, const struct node *n)
{
	struct address *a = mesh_address_put(m, text);

	if (a == NULL || a->proven)
		return a;
	if (!a->id_known)
		a->due_ns = mesh_now_ns(m) + CLAIM_MS * NS_PER_MS;
	a->id = n->m.id;
	a->id_known = true;
	return a;
}

void mesh_address_unclaimed(struct mesh *m, const char *text)
{
	struct address *a = mesh_address(m, text);

	if (a != NULL && is_idle_claim(a))
		mesh_address_drop(m, a);
}

static bool is_connected(const struct mesh *m, const struct address *a)
{
	const struct node *n = a->id_known ? mesh_node(m, &a->id) : NULL;

	return n != NULL && n->n_conns > 0;
}

static uint32_t hash_name(const char *name)
{
	uint32_t h = 2166136261U;

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 16777619U;
	return h;
}

static void strike(const struct mesh *m, const struct address *a, bool struck)
{
	struct node *n = a->id_known ? mesh_node(m, &a->id) : NULL;

	if (n != NULL)
		n->struck = struck;
}

void mesh_resolved(struct members *members, const char *name, const char *const *addresses,
                   size_t n_addresses)
{
	struct mesh *m = mesh_of(members);
	const uint32_t name_hash = hash_name(name);
	struct address *a;
	struct address *next;

	m->look_ns = 0;
	HASH_ITER(hh, m->addresses, a, next)
	{
		if (!a->configured || a->name_hash != name_hash)
			continue;
		a->configured = false;
		strike(m, a, n_addresses == 0);
	}
	for (size_t i = 0; i < n_addresses && i < MEMBERS_MAX; i++) {
		a = put_configured(m, addresses[i]);
		if (a == NULL)
			continue;
		a->configured = true;
		strike(m, a, false);
		a->name_hash = name_hash;
	}
	HASH_ITER(hh, m->addresses, a, next)
	{
		if (!a->configured && a->name_hash == name_hash && !a->heard && !a->dialling &&
		    !is_connected(m, a))
			mesh_address_drop(m, a);
	}
}

void mesh_dial_over(struct mesh *m, const char *text, bool well)
{
	struct address *a = text == NULL ? NULL : mesh_address(m, text);

	if (a == NULL)
		return;
	dial_ended(m, a);
	a->proven = a->proven && well;
	a->n_failures = well ? 0 : a->n_failures + 1;
	a->due_ns = mesh_now_ns(m) + (well ? 0 : pause_ms(m, a->n_failures - 1) * NS_PER_MS);
}

/* Behind an address of several nodes there will be another one, some time. */
void mesh_dialled_self(struct members *members, const char *text)
{
	struct mesh *m = mesh_of(members);
	struct address *a = mesh_address(m, text);

	m->look_ns = 0;
	mesh_dial_over(m, text, false);
	if (a != NULL)
		a->due_ns = mesh_now_ns(m) + SELF_MS * NS_PER_MS;
}

void mesh_dial_soon(struct mesh *m, const struct node *n)
{
	for (uint32_t i = 0; i < n->m.n_addresses; i++) {
		struct address *a = mesh_address_claimed(m, n->m.addresses[i], n);

		if (a == NULL || !id_equal(&a->id, &n->m.id))
			continue;
		a->n_failures = 0;
		a->due_ns = mesh_now_ns(m);
	}
}

bool mesh_is_configured(struct mesh *m, const struct node *n)
{
	for (uint32_t i = 0; i < n->m.n_addresses; i++) {
		const struct address *a = mesh_address(m, n->m.addresses[i]);

		if (a != NULL && a->configured && id_equal(&a->id, &n->m.id))
			return true;
	}
	return false;
}

bool mesh_dial_left(struct mesh *m, const struct node *n)
{
	for (uint32_t i = 0; i < n->m.n_addresses; i++) {
		const struct address *a = mesh_address(m, n->m.addresses[i]);

		if (a != NULL && (a->dialling || a->n_failures == 0))
			return true;
	}
	return false;
}

/* Others can name any number of addresses at which nobody answers: those have a bound of their own,
 * and wait for nothing but each other. */
static bool is_only_heard_of(const struct address *a)
{
	return !a->configured && !a->met;
}

/* Its node is connected. That it is there was seen, or matters to nobody. */
static bool is_settled(const struct mesh *m, const struct address *a)
{
	return is_connected(m, a) && (a->proven || !(a->configured || a->heard));
}

/* Is there any use in dialling it (again), and room? What is not configured and never answers is
 * forgotten. */
static bool is_worth_dialling(const struct mesh *m, const struct address *a)
{
	const bool heard = is_only_heard_of(a);

	return !a->dialling && !is_settled(m, a) &&
	       m->n_dialling[heard] < (heard ? DIALS_HEARD_MAX : DIALS_MAX);
}

uint64_t mesh_address_tick(struct mesh *m, uint64_t now_ns)
{
	uint64_t due_ns = UINT64_MAX;
	struct address *a;
	struct address *next;

	HASH_ITER(hh, m->addresses, a, next)
	{
		if (a->dialling && now_ns >= a->due_ns) {
			mesh_dial_over(m, a->text, false);
			due_ns = now_ns; /* there is room for another one */
		} else if (!a->configured && !a->dialling && a->n_failures > FAILURES_MAX &&
		           !is_settled(m, a)) {
			mesh_address_drop(m, a);
			continue;
		}
		if (a->dialling || is_worth_dialling(m, a))
			due_ns = a->due_ns < due_ns ? a->due_ns : due_ns;
	}
	return due_ns;
}

bool mesh_dial_next(struct mesh *m, struct members_todo *ret_todo)
{
	const uint64_t now_ns = mesh_now_ns(m);
	struct address *a;

	if (now_ns < m->look_ns)
		return false;
	for (a = m->addresses; a != NULL; a = a->hh.next) {
		if (now_ns < a->due_ns || !is_worth_dialling(m, a))
			continue;
		m->look_ns = 0;
		a->dialling = true;
		a->due_ns = now_ns + DIAL_TIMEOUT_MS * NS_PER_MS;
		a->dialled_heard = is_only_heard_of(a);
		m->n_dialling[a->dialled_heard]++;
		*ret_todo = (struct members_todo){ .kind = MEMBERS_DIAL };
		mesh_text(ret_todo->address, sizeof(ret_todo->address), a->text);
		return true;
	}
	return false;
}
