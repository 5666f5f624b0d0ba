/*
 * members: which agents there are, at which addresses, and whether they live.
 *
 * Knows ids, zones, addresses, generations and times; knows no sockets. What is to be done (dial an
 * address, close a connection that is one too many) is fetched with next(); what happened is told
 * with opened(), closed(), dial_failed(), dialled_self(). One interface, so that a directory
 * (Redis) can stand in for the mesh below; all on the loop thread, no callbacks.
 *
 * The mesh: addresses come from the configuration, from DNS, and from the member lists in hello
 * answers and MEMBERS; each is dialled, and a valid hello makes a member, whoever called. Between
 * two nodes one connection stays: that which the node with the smaller id made. Pings are the
 * connection's business (conn.h); a connection that ends makes its member SUSPECT and is dialled
 * again at once; when that fails it is DOWN, and dialled with growing pauses (to 30 s). Who said
 * that it leaves and is not configured is forgotten after two minutes, who is lost after an hour.
 */
#pragma once
#include "auto.h"
#include "clock.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMBERS_MAX           4096U /* nodes */
#define MEMBERS_ADDRESSES_MAX 8192U /* that were never heard of as a node, too */
#define MEMBER_ADDRESSES_MAX  4U    /* kept of one node */

enum member_state {
	MEMBER_SELF,
	MEMBER_UP,       /* a connection is open */
	MEMBER_DRAINING, /* open, but it takes no requests */
	MEMBER_SUSPECT,  /* the connection ended, the next is not there yet: still in placement */
	MEMBER_DOWN,     /* it could not be reached: not in placement */
	MEMBER_HEARD_OF, /* others name it; not met yet: not in placement */
	N_MEMBER_STATES
};
const char *member_state_name(enum member_state s); /* "self", "up", ... */

struct member {
	struct wire_id id;
	uint64_t generation; /* of its last hello: another one means it restarted */
	enum member_state state;
	char zone[WIRE_ZONE_MAX + 1];
	char addresses[MEMBER_ADDRESSES_MAX][WIRE_ADDRESS_MAX + 1]; /* [0]: what it says itself */
	uint32_t n_addresses;
	uint64_t since_ns; /* in this state */
	uint64_t n_restarts;
	uint64_t n_failures; /* connections that ended in disorder, dials that failed */
};

enum members_todo_kind {
	MEMBERS_DIAL = 1,  /* connect to address */
	MEMBERS_CLOSE,     /* conn is one too many: close it for reason */
	MEMBERS_CHANGED,   /* placement: read list() again */
	MEMBERS_LOST,      /* id is DOWN from now on: what it held, asked and fetches is void */
	MEMBERS_RESTARTED, /* id is there with another generation: what it held is void */
};
struct members_todo {
	enum members_todo_kind kind;
	char address[WIRE_ADDRESS_MAX + 1];
	struct wire_id id;
	void *conn;
	enum wire_bye_reason reason;
};

struct members;

struct members_ops {
	const char *name; /* "mesh" */
	/** Do what is due. @return when to call again (ns of the clock) */
	uint64_t (*tick)(struct members *m);
	/** The next thing to do. After every other call. @return false: nothing */
	bool (*next)(struct members *m, struct members_todo *ret_todo);
	/** The addresses that a name gives now (all of them); those that went are forgotten once
	 * no node answers there. name: as it is configured. None: it is configured no more; a node
	 * that had no other configured address is forgotten as soon as it is down. */
	void (*resolved)(struct members *m, const char *name, const char *const *addresses,
	                 size_t n_addresses);
	/** A connection's hello came. address: that which was dialled, NULL where it called.
	 * conn: a handle for MEMBERS_CLOSE, not looked into. */
	void (*opened)(struct members *m, const struct wire_member *peer, bool draining,
	               const char *address, void *conn);
	/** in_order: the peer said that it leaves. */
	void (*closed)(struct members *m, void *conn, bool in_order);
	void (*dial_failed)(struct members *m, const char *address);
	void (*dialled_self)(struct members *m, const char *address); /* this node answered */
	void (*draining)(struct members *m, const struct wire_id *id);
	/** A list from a hello answer or MEMBERS. Bounded: more than its share from one peer is
	 * dropped. */
	void (*heard)(struct members *m, const struct wire_id *from, const struct wire_member *list,
	              uint16_t n);
	/** For hello answers and MEMBERS: this node and who is UP or DRAINING; another part each
	 * time where they are more than max. */
	uint16_t (*tell)(struct members *m, struct wire_member *ret_list, uint16_t max);
	uint64_t (*hash)(struct members *m); /* of ids, generations: equal lists, equal hash */
	/** All members by id, this node among them. @return how many there are; at most max are
	 * written */
	size_t (*list)(struct members *m, struct member *ret_list, size_t max);
	bool (*find)(struct members *m, const struct wire_id *id, struct member *ret_member);
	/** The open connection to a member. @return NULL: none */
	void *(*conn)(struct members *m, const struct wire_id *id);
	void (*free)(struct members *m);
};

struct members {
	const struct members_ops *ops;
};

struct members_opts {
	const struct clock *clock;      /* borrowed */
	const struct wire_member *self; /* copied */
	uint64_t seed;                  /* spreads pauses; different on each node */
};

struct members *members_mesh_new(const struct members_opts *opts); /* never NULL */
void members_free(struct members **m);                             /* NULL is fine */

/* Is this member in placement? SELF, UP and SUSPECT are. */
bool member_is_placed(const struct member *m);
