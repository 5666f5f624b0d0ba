/*
 * members_inside: what the files of the mesh share.
 *
 *   members.c         nodes and their connections
 *   members_address.c addresses and dialling
 *   members_list.c    what is told to others and heard from them
 */
#pragma once
#include "members.h"
#include "set.h"
#include <uthash.h>
#include <utlist.h>

#define CONNS_PER_NODE 2U

struct address {
	char text[WIRE_ADDRESS_MAX + 1];
	struct wire_id id;   /* of the node that is there, as far as id_known, proven say */
	struct wire_id from; /* who brought it */
	bool id_known;       /* the node answered there, or it says that it would */
	bool proven;         /* it answered when this address was dialled last */
	bool met;            /* somebody has ever answered */
	bool heard, configured, dialling;
	bool dialled_heard; /* while dialling: it counted among the heard */
	uint32_t name_hash; /* of the configured name it came from */
	uint32_t n_failures;
	uint64_t due_ns;
	UT_hash_handle hh;
};

struct node {
	struct member m;
	void *conns[CONNS_PER_NODE]; /* [0] is used */
	bool by_us[CONNS_PER_NODE];
	bool struck; /* taken out of the configuration: when it is down it is forgotten */
	bool left;   /* its last connection ended with its word that it leaves */
	uint32_t n_conns;
	UT_hash_handle hh;
};

struct closing {
	struct members_todo todo;
	struct closing *next;
};

struct mesh {
	struct members members;
	struct members_opts opts;
	struct wire_member self;
	struct address *addresses;
	struct node *nodes;
	struct closing *todo;
	uint64_t seed;
	uint32_t n_dialling[2]; /* configured or met before; only heard of */
	uint32_t told;          /* where tell() goes on */
	bool changed;
	/* Each round of the loop asks: of thousands of nodes and addresses only what has changed,
	 * or is due, is worth a look at all of them. */
	uint64_t look_ns; /* nothing is due before; 0: something has changed since the last look */
	uint64_t hash;
	bool hash_known;
};

static inline struct mesh *mesh_of(struct members *m)
{
	return container_of(m, struct mesh, members);
}
static inline uint64_t mesh_now_ns(const struct mesh *m)
{
	return clock_now_ns(m->opts.clock);
}
static inline void mesh_text(char *to, size_t room_bytes, const char *from)
{
	const size_t n = strnlen(from, room_bytes - 1);

	memcpy(to, from, n);
	to[n] = '\0';
}

/* ---- members.c ---- */
struct node *mesh_node(const struct mesh *m, const struct wire_id *id); /* NULL: not known */

/* ---- members_address.c ---- */
struct address *mesh_address(struct mesh *m, const char *text);     /* NULL: not known */
struct address *mesh_address_put(struct mesh *m, const char *text); /* NULL: too many */
void mesh_address_drop(struct mesh *m, struct address *a);
struct address *mesh_address_met(struct mesh *m, const char *text, const struct node *n);
struct address *mesh_address_claimed(struct mesh *m, const char *text, const struct node *n);
void mesh_address_unclaimed(struct mesh *m, const char *text); /* n says another by now */
void mesh_dial_over(struct mesh *m, const char *text, bool well);
void mesh_dialled_self(struct members *members, const char *text);
void mesh_dial_soon(struct mesh *m, const struct node *n);
bool mesh_is_configured(struct mesh *m, const struct node *n); /* at one of its addresses */
bool mesh_dial_left(struct mesh *m, const struct node *n);     /* is one open, or not tried yet? */
bool mesh_dial_next(struct mesh *m, struct members_todo *ret_todo);
uint64_t mesh_address_tick(struct mesh *m, uint64_t now_ns); /* @return when next */
void mesh_resolved(struct members *members, const char *name, const char *const *addresses,
                   size_t n_addresses);

/* ---- members_list.c ---- */
void mesh_heard(struct members *members, const struct wire_id *from, const struct wire_member *list,
                uint16_t n_list);
uint16_t mesh_tell(struct members *members, struct wire_member *ret_list, uint16_t max);
uint64_t mesh_hash(struct members *members);
size_t mesh_list(struct members *members, struct member *ret_list, size_t max);
bool mesh_find(struct members *members, const struct wire_id *id, struct member *ret_member);
