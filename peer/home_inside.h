/*
 * home_inside: what the files of home share: nodes, lists, chunks, asks, leases, and who calls
 * whom.
 *
 *   home.c        what comes in
 *   home_table.c  nodes, lists and chunks, bounded
 *   home_lease.c  who may ask the origin, and until when
 *   home_life.c   which of them live
 *   home_share.c  who is next, where several could be given something
 *   home_choose.c who is sent where
 *   home_answer.c what is told to whom
 *
 * A call from outside changes the state and marks: asks that are to be told something (dirty),
 * lists whose free chunks are to be leased again (regrant). home_settle() does the latter,
 * home_next() the former.
 */
#pragma once
#include "bytes.h"
#include "home.h"
#include "set.h"
#include <uthash.h>
#include <utlist.h>

#define NO_NODE          UINT16_MAX
#define HOME_BUCKETS     65536U
#define HOME_WAITS_MAX   262144U /* of open asks; those that are over, too: 32 bytes each */
#define HOME_REFUSED_MAX 4U
#define HOME_REFUSED_MS  5000U

enum entry_flags {
	ENTRY_RECEIVING = 1 << 0, /* does not have it yet */
	ENTRY_MISSED = 1 << 1,    /* one said that it has not; bits 2-7: who */
};

struct entry { /* a node that has a chunk, or soon will */
	uint16_t node;
	uint8_t n_children; /* how many were sent there */
	uint8_t flags;
};

struct h_wait {                     /* an ask that wants a chunk */
	struct h_wait *prev, *next; /* of the chunk */
	struct h_ask *ask;
	uint16_t n_behind;     /* waits of its list for it that were sent to the node of this ask */
	uint16_t told;         /* the node that was named for it; NO_NODE: none */
	uint32_t told_ms : 24; /* when, on a clock that wraps */
	uint32_t pos : 8;      /* the place in the list of its ask */
};

struct h_chunk {
	struct wire_id name;
	struct entry who[HOME_HOLDERS_MAX];
	struct h_wait *waits;
	uint32_t n_queued;     /* waits that were told of no node */
	uint32_t next;         /* in its bucket, or in the free list; index + 1 */
	uint32_t lease[2];     /* index + 1; the second is a reader's */
	uint32_t n_lists : 24; /* how many places name it: one list may in each of its places */
	uint32_t n_who : 7;
	bool was_leased : 1;
};
_Static_assert(HOME_ASKS_MAX <= UINT16_MAX, "n_behind counts asks");
_Static_assert(WIRE_LIST_MAX <= 1U << 8, "pos is a place in a list");
_Static_assert(HOME_ASK_MAX_MS < 1U << 23, "told_ms does not wrap twice while an ask is open");
_Static_assert(HOME_LISTS_MAX *WIRE_LIST_MAX < 1U << 24, "n_lists counts all places there are");

struct h_list {
	struct wire_id id;
	struct h_list *prev, *next; /* of its owner, the least recently used first */
	struct h_list *next_regrant;
	struct h_ask *asks; /* open */
	struct h_lease *leases;
	struct wire_set leased; /* by these; of what was leased twice, perhaps not */
	uint64_t created_ns;
	uint64_t refused_until_ns;
	uint16_t refused[HOME_REFUSED_MAX]; /* nodes that could not get it from the origin */
	uint16_t n_refused;
	uint16_t owner; /* node that brought its names, or used it since that one was lost */
	uint16_t n;
	bool regrant;
	UT_hash_handle hh;
	uint32_t chunks[]; /* indices */
};

struct h_ask {
	struct h_ask *prev, *next;           /* of its list */
	struct h_ask *node_prev, *node_next; /* of its node */
	struct h_ask *dirty_prev, *dirty_next;
	struct h_list *list;     /* NULL: elsewhere */
	struct h_wait *waits;    /* one for each position that it was opened for */
	struct wire_set open;    /* of these, with a wait still */
	struct wire_set pending; /* to be told */
	struct wire_set units, runs;
	struct wire_id elsewhere;
	uint64_t end_ns;
	uint64_t check_ns; /* reader: when to look whether a second lease is due; else: until
	                    * then home_is_put_off() */
	uint64_t patience_ns;
	uint64_t usual_ns; /* for a lease to bring something */
	uint64_t sent_to;  /* bits of all nodes that a wait of it was sent to: number modulo 64 */
	uint32_t req;
	uint32_t flags;
	uint16_t node;
	uint32_t via;
	uint16_t avoid[WIRE_AVOID_MAX];
	uint8_t avoid_why[WIRE_AVOID_MAX];
	uint16_t n_avoid;
	struct wire_set missed;
	bool dirty;
	bool late;    /* its deadline passed */
	bool put_off; /* it waits because home_is_put_off(), and for nobody that is known */
	uint16_t n_waits;
	uint8_t wait_idx[]; /* of a position of list, in waits */
};
_Static_assert(HOME_ASKS_MAX *(sizeof(struct h_ask) + WIRE_LIST_MAX) +
                               HOME_WAITS_MAX * sizeof(struct h_wait) <=
                       14U << 20,
               "as home.h says");

struct h_lease {
	struct h_lease *prev, *next; /* of its list; of the free ones */
	struct h_lease *live_prev, *live_next;
	struct h_list *list; /* NULL: free */
	struct h_ask *ask;   /* to be told; NULL: told, or the ask is over */
	struct wire_set set; /* what of it is not here yet */
	uint64_t token;
	uint64_t granted_ns, progress_ns, end_ns;
	uint64_t brought_ns; /* granted, or a chunk of it came last: that is more than a number */
	uint64_t told_ns;    /* progress of it was told first since then, or before; 0: never */
	uint64_t progress_bytes;
	uint16_t node;
	bool second;
	bool adopted;     /* its node said itself that it is coming */
	bool doubted;     /* its node had let one down, or overstayed, when it was granted */
	uint8_t level;    /* enum place_level of its ask */
	bool prefetch;    /* counted in home.n_prefetches */
	bool of_prefetch; /* ... of its node, until it is over */
};

struct h_node {
	struct wire_id id;
	struct h_list *lists; /* that it brought, the least recently used first */
	struct h_ask *asks;
	uint64_t no_lease_until_ns;
	uint64_t vain_until_ns;     /* it drains, and nobody came whom it was let wait for */
	uint64_t load, load_ns;     /* what it was named for (weight_of()), home_halved() */
	uint64_t leased, leased_ns; /* leases for prefetches, likewise */
	uint64_t heard_ns;          /* its last sign of life */
	uint64_t bytes_ns;          /* ... and bytes, which may have been on their way for long */
	uint64_t probe_ns;          /* when one was asked for last */
	uint64_t probe_limit_ns;
	uint32_t n_asks, n_leases;
	uint32_t n_lists, n_chunks; /* n_chunks: places in its lists */
	uint32_t n_prefetches; /* leases for prefetches that it holds, quiet and late ones, too */
	uint32_t n_told;       /* waits that were sent to it */
	uint16_t n_strikes;
	bool used, lost, draining;
	bool wants_probe; /* to be asked for a sign of life */
	bool proven;      /* it brought something, and let nobody down since */
	UT_hash_handle hh;
};

struct home {
	struct home_opts opts;
	struct h_node *nodes; /* HOME_NODES_MAX */
	struct h_node *by_id;
	struct h_list *lists;
	struct h_list *regrant;
	struct h_chunk *chunks; /* max_chunks */
	uint32_t *buckets;
	uint64_t seed;       /* nobody outside knows which names meet in a bucket */
	uint32_t free_chunk; /* index + 1 */
	uint32_t n_chunks_ever;
	struct h_lease *leases; /* HOME_LEASES_MAX */
	struct h_lease *free_leases;
	struct h_lease *live_leases;
	struct h_ask *dirty;
	uint64_t n_tokens;
	bool leaving;
	uint64_t moved_ns, grace_until_ns;
	uint32_t max_chunks;
	uint32_t n_waits; /* that open asks have memory for */
	uint32_t n_nodes_ever, n_lost;
	uint32_t n_askers;  /* nodes with open asks */
	uint64_t shared_ns; /* when there was more than one last; 0: never */
	/* Leases of prefetches, by level: one of the zone may wait for one of the cluster. */
	uint32_t n_prefetches[PLACE_LEVELS];
	uint32_t n_sharing; /* home_share_with() */
	uint64_t usual_ns;  /* what one takes, of late */
	bool capped;        /* somebody could be given one, and holds its share */
	uint32_t n_probes;  /* nodes that want one */
	struct home_stats stats;
};

/* ---- home_table.c ---- */
uint16_t home_node(struct home *h, const struct wire_id *id); /* made when new; NO_NODE: full */
uint16_t home_node_known(const struct home *h, const struct wire_id *id);
bool home_node_alive(const struct home *h, uint16_t node); /* not lost */
void home_node_forget(struct home *h, uint16_t node);
struct h_list *home_list(struct home *h, const struct wire_id *id); /* NULL: not known */
/* @return HOME_OK, HOME_BUSY, HOME_REFUSED */
int home_list_add(struct home *h, uint16_t owner, const struct wire_id *id,
                  const struct wire_id *names, uint16_t n_names);
/* By node; it is its from now on where who brought it was lost. */
void home_list_used(struct home *h, struct h_list *l, uint16_t node);
struct entry *home_entry(struct h_chunk *c, uint16_t node); /* NULL: none */
/* Make or change the entry of a node; where all are taken the least useful goes. */
struct entry *home_entry_put(struct home *h, struct h_chunk *c, uint16_t node, bool receiving);
void home_entry_drop(struct h_chunk *c, uint16_t node);
/* Make a place, if one is taken by who has served its share: the next ones stand behind others. */
void home_entry_spare(const struct home *h, struct h_chunk *c);
bool home_is_held(const struct home *h, const struct h_chunk *c); /* by somebody alive */
/* ask, or the next one of its node after it, that waits for the chunk at pos of l; NULL: none. */
static inline struct h_ask *home_ask_that_wants(struct h_ask *ask, const struct h_list *l,
                                                uint32_t pos)
{
	while (ask != NULL && !(ask->list == l && wire_set_has(&ask->open, pos)))
		ask = ask->node_next;
	return ask;
}

/* Of a position that ask was opened for. */
static inline struct h_wait *home_wait(const struct h_ask *ask, uint32_t pos)
{
	return &ask->waits[ask->wait_idx[pos]];
}

static inline struct h_chunk *home_chunk(struct home *h, const struct h_list *l, uint32_t pos)
{
	return &h->chunks[l->chunks[pos]];
}
/* What counts half as much each second: n, of since_ns. */
static inline uint64_t home_halved(const struct home *h, uint64_t n, uint64_t since_ns)
{
	const uint64_t halvings = (clock_now_ns(h->opts.clock) - since_ns) / NS_PER_S;

	return halvings < 64 ? n >> halvings : 0;
}
/* When an open ask is looked at next. */
static inline uint64_t home_check_ns(const struct h_ask *ask, uint64_t now_ns)
{
	if ((ask->flags & WIRE_ASK_READER) == 0)
		return now_ns + HOME_PUT_OFF_MS * NS_PER_MS;
	return now_ns + min_u64(ask->patience_ns, HOME_BESIDE_MS * NS_PER_MS);
}
/* Nodes of the cluster; at least 1. */
static inline uint32_t home_members(const struct home *h)
{
	const uint32_t n = h->opts.placement == NULL ? 0 : placement_count(h->opts.placement);

	return n > 0 ? n : 1;
}
static inline enum place_level home_level(uint32_t ask_flags)
{
	return (ask_flags & WIRE_ASK_CLUSTER) != 0 ? PLACE_CLUSTER : PLACE_ZONE;
}
void home_table_init(struct home *h);
void home_table_fini(struct home *h);

/* ---- home_lease.c ---- */
bool home_can_lease(const struct home *h, const struct h_ask *ask, uint32_t pos);
/* It can lease nothing and is in no haste: who can may be about to want the same. */
bool home_is_put_off(const struct home *h, const struct h_ask *ask);
struct h_lease *home_lease_of(struct home *h, const struct h_chunk *c); /* the first; NULL */
struct h_lease *home_lease_find(struct home *h, uint16_t node, uint64_t token);
void home_lease_drop(struct home *h, struct h_lease *l);
/* A chunk is at node: its leases of it are done. */
void home_lease_done(struct home *h, struct h_chunk *c, uint16_t node);
bool home_lease_adopt(struct home *h, struct h_list *l, uint16_t node, const struct wire_set *set);
void home_lease_second(struct home *h, struct h_ask *ask, bool at_once);
uint64_t home_lease_tick(struct home *h, uint64_t now_ns);
bool home_could_grant(struct home *h, const struct h_ask *ask);
/* Its next run, if it could. */
void home_grant(struct home *h, struct h_ask *ask);

/* ---- home_life.c, also home_next_probe(), home_probed(), home_heard(), home_receives() ---- */

enum life { LIVES, IS_ASKED, IS_SILENT };

/* Has it shown that it lives since then? It is asked, if it was not yet and no bytes come of it.
 * ret_look_ns: written unless it lives: when it counts as silent. */
enum life home_life_of(struct home *h, uint16_t node, uint64_t since_ns, uint64_t *ret_look_ns);

/* ---- home_share.c, also home_share_with() ---- */
void home_share_count(struct home *h, const struct h_ask *ask,
                      struct h_lease *l);                         /* a prefetch's */
void home_share_over(struct home *h, struct h_lease *l);          /* any lease */
void home_share_brought(struct home *h, const struct h_lease *l); /* ... all that it was for */
/* A prefetch that hangs, or is slow, does not hold up others. @return when to look again */
uint64_t home_share_tick(struct home *h, struct h_lease *l, uint64_t now_ns);
void home_regrant(struct home *h, struct h_list *l); /* mark */
void home_settle(struct home *h);                    /* and do */

/* ---- home_choose.c ---- */
/* Did the asker say that node failed it? */
bool home_has_failed(const struct h_ask *ask, uint16_t node);
/* Is e a node where this asker could have the chunk at pos? */
bool home_is_candidate(const struct home *h, const struct h_ask *ask, uint32_t pos,
                       const struct entry *e);
/* Is it held by somebody alive from whom the asker can have it, sooner or later? Then there is no
 * reason for a lease. */
bool home_is_held_for(struct home *h, const struct h_ask *ask, uint32_t pos);
/* Of this very chunk, the first or the second. */
bool home_has_lease(const struct home *h, const struct h_chunk *c, uint16_t node);
/* Estimated bytes that a node was named for of late; one more chunk. */
uint64_t home_load(const struct home *h, uint16_t node);
void home_add_load(struct home *h, const struct h_ask *ask, uint32_t pos, uint16_t node);
/* Who was sent to wait somewhere is sent on to who has it alone. NULL: nobody. */
struct entry *home_choose(struct home *h, const struct h_ask *ask, uint32_t pos);

/* ---- home_answer.c ---- */
struct h_ask *home_ask_find(struct home *h, uint16_t node, uint32_t via, uint32_t req);
int home_ask_open(struct home *h, uint16_t node, const struct wire_ask *msg, struct h_list *l,
                  struct h_ask **ret_ask);
void home_ask_free(struct home *h, struct h_ask *ask);
void home_wait_drop(struct home *h, struct h_wait *w); /* settled */
void home_tell(struct home *h, struct h_ask *ask, uint32_t pos);
void home_mark_dirty(struct home *h, struct h_ask *ask);
/* Those who wait for a chunk, and were told node (NO_NODE: nobody), are to be told anew. */
void home_wake(struct home *h, struct h_chunk *c, uint16_t told);
void home_wake_all_told(struct home *h, uint16_t node);
/* A reader that was sent to one who receives it, and got nothing for HOME_BESIDE_MS, is told of who
 * has it by now: of a dead one further up only the next one in the chain sees that it is.
 * @return ns until the next look is due */
uint64_t home_look_beside(struct home *h, struct h_ask *ask);
