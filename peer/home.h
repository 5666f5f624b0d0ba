/*
 * home: the tracker of those segments whose home this node is: who has which chunk, who is bringing
 * it, who waits.
 *
 * Knows names and nodes; knows neither bytes nor sockets nor digests. A state machine: what peers
 * (and this node itself) say goes in, home_next() gives what is to be sent, home_tick() does what
 * time brings. One thread, no callbacks. It holds soft state only: losing it costs efficiency.
 *
 *   ASK --> each wanted chunk:  held by somebody -> HOLDERS (settled)
 *                               on its way to X  -> WAIT nodes[0] = X: GET it there with WAIT
 *                               nobody's         -> LEASE of a run, or WAIT without a node (a
 * queue) asker without a right to ask the origin, nobody else: NOBODY A WAIT stays open: when X
 * dies or gives up the asker hears of the next way, until it has the chunk (its HAVE, or implied by
 * LEASE_END), cancels, or deadline_ms passed. END comes when all is said.
 *
 * Leases: a run of whole units of the asker's layout, HOME_LEASE_RUNS_ALONE runs at most when it
 * alone wants the segment, else one; one at a time a node and segment. Term 2 s, renewed by
 * progress that grows. Where a reader hears nothing new of a lease for its patience, its holder is
 * asked for a sign of life (a probe): without one the reader gets a second lease at once, else when
 * the term is over (two terms, if it brought what it leased so far). Who lives may be as late as
 * HOME_LEASE_STUCK_MS (HOME_LEASE_PROVEN_MS; HOME_LEASE_CALM_MS where only prefetches wait) once;
 * after that it is not waited for any more until it brings something: slow ones cost nobody
 * anything, dead and stuck ones one delay. Progress of which nothing comes counts as long as the
 * asker's own leases usually take. Of who was leased it again and is late too it is taken back.
 * Chunks spread as a tree: HOME_TREE_HELD askers a holder, one (a chain) for who is still
 * receiving.
 *
 * Bounded: HOME_CHUNKS_MAX chunks; HOME_ASKS_MAX asks, with what they wait for 14 MB at most; each
 * peer has its own share of lists, asks and leases, and what is too much evicts its own oldest.
 * What an expired lease, a reported miss or a list that does not hash to its id says of a node
 * counts against that node alone.
 */
#pragma once
#include "auto.h"
#include "clock.h"
#include "placement.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#define HOME_CHUNKS_MAX        131072U /* 80 bytes each, and 4 for each place in a list */
#define HOME_LISTS_MAX         8192U
#define HOME_ASKS_MAX          8192U
#define HOME_ASKS_PER_PEER     256U /* = WIRE_REQUESTS_MAX */
#define HOME_LEASES_MAX        4096U
#define HOME_LEASES_PER_PEER   32U
#define HOME_LEASES_AHEAD      16U /* ... above which it is given none for prefetches */
#define HOME_NODES_MAX         4096U
#define HOME_HOLDERS_MAX       8U /* remembered a chunk */
#define HOME_ITEMS_MAX         32U
#define HOME_NODES_TOLD        3U /* holders named for a set of chunks, the first is to be asked */
#define HOME_LEASE_TERM_MS     2000U
#define HOME_LEASE_STUCK_MS    4000U  /* without progress, of one who lives */
#define HOME_LEASE_PROVEN_MS   10000U /* ... and brought what it leased so far */
#define HOME_LEASE_CALM_MS     15000U /* ... while no reader waits: more than an origin gets */
#define HOME_LEASE_LIFE_MS     30000U /* however much progress is told */
#define HOME_LEASE_OVERRIDE_MS 10000U /* then a reader gets a second one in spite of progress */
#define HOME_LEASE_RUNS_ALONE  4U
#define HOME_PREFETCHES        16U   /* leases for prefetches, of all homes together */
#define HOME_PREFETCHES_FEW    12U   /* ... where only some of the homes have any to give */
#define HOME_QUIET_MS          250U  /* without progress it is not counted among these */
#define HOME_LATE_MS           1000U /* nor is one that takes longer than that ... */
#define HOME_LATE_TIMES        4U    /* ... and so many times as long as most did of late */
#define HOME_PATIENCE_MIN_MS   50U
#define HOME_PROBE_MIN_MS      250U /* for a sign of life */
#define HOME_BESIDE_MS         500U /* a reader waits at who receives, while others have it */
#define HOME_GRACE_MS          100U /* after a node went: time for holders to tell the new home */
#define HOME_ASK_MAX_MS        60000U
#define HOME_TREE_HELD         3U
#define HOME_PUT_OFF_MS        2000U /* who drains and only prefetches waits for others so long ... */
#define HOME_VAIN_MS           60000U /* ... and if none came, not again for a while */
#define HOME_ALONE_MS          5000U  /* nobody else asked for the segment that long: alone */

enum home_outcome { /* positive: the caller's to handle */
	            HOME_OK = 0,
	            HOME_WANT_NAMES =
	                    1,     /* the list is not known: WANT_NAMES; an ASK ends UNKNOWN_LIST */
	            HOME_BUSY = 2, /* the peer has too many asks open */
	            HOME_REFUSED = 3, /* sizes or ids that cannot be: the peer's fault */
	            HOME_LEAVES = 4,  /* home_leave(): ask another */
};

struct home;
struct home_opts {
	const struct clock *clock;         /* borrowed, like the rest */
	const struct placement *placement; /* the view of this node; NULL: all are its own */
	struct wire_id self;
	uint32_t max_chunks; /* 0: HOME_CHUNKS_MAX */
};
struct home *home_new(const struct home_opts *opts); /* never NULL */
void home_free(struct home **h);                     /* NULL is fine */

/* from: whose connection it came on; this node's own id for what it asks itself. */
MUST_CHECK int home_ask(struct home *h, const struct wire_id *from, const struct wire_ask *ask);
MUST_CHECK int home_names(struct home *h, const struct wire_id *from,
                          const struct wire_names *names);
MUST_CHECK int home_have(struct home *h, const struct wire_id *from, const struct wire_part *part);
/** part is on its way to from (a lease that another home gave, after that one died). */
MUST_CHECK int home_coming(struct home *h, const struct wire_id *from,
                           const struct wire_part *part);
void home_gone(struct home *h, const struct wire_id *from, const struct wire_part *part);
void home_lease_progress(struct home *h, const struct wire_id *from, const struct wire_lease *l);
void home_lease_end(struct home *h, const struct wire_id *from, const struct wire_lease *l);
void home_cancel(struct home *h, const struct wire_id *from, uint32_t via, uint32_t req);

/** At so many homes, this one among them, prefetches of this node wait in a queue: these have
 * leases to give. 0: it does not wait here, and says nothing of them. */
void home_share_with(struct home *h, uint32_t n_homes);

/** A message came from a node, which may be the answer to a probe: it lives. */
void home_heard(struct home *h, const struct wire_id *id);
/** Bytes of whatever came: it lived when they left. While they come it is not silent, though its
 * answers may be late, behind them. */
void home_receives(struct home *h, const struct wire_id *id);
/** A node that is to be asked for a sign of life (a ping), because its leases make no progress.
 * @return false: none. limit_ns: after so long without one it counts as dead. */
bool home_next_probe(struct home *h, struct wire_id *ret_id);
void home_probed(struct home *h, const struct wire_id *id, uint64_t limit_ns);

/** A connection to a node ended: what it asked there is over (leases and what it holds stay). */
void home_disconnected(struct home *h, const struct wire_id *id, uint32_t via);
/** A node is down or came back empty: its asks, its leases and what it holds are over. */
void home_node_lost(struct home *h, const struct wire_id *id);
/** It takes no more requests: is told as a holder no more, gets no lease. */
void home_node_drains(struct home *h, const struct wire_id *id);
/** This node drains: the asks of others end so, and new ones are not taken. */
void home_leave(struct home *h);
/** The placement lost a node: segments new to this home wait HOME_GRACE_MS before a lease. */
void home_moved(struct home *h);

/* What is to be sent: one ANSWER (n_items > 0), then, when end, the END of the ASK. */
struct home_out {
	struct wire_id to; /* may be this node itself */
	uint32_t req;
	uint32_t via; /* of the ask */
	uint16_t n_items;
	struct wire_answer_item items[HOME_ITEMS_MAX];
	bool end;
	enum wire_status status;
};
bool home_next(struct home *h, struct home_out *ret_out); /* after every other call, until false */

/** Do what is due. @return when to call again (ns of the clock), UINT64_MAX: no need */
uint64_t home_tick(struct home *h);

struct home_stats {
	uint64_t n_asks, n_busy, n_expired, n_failed, n_evicted_lists;
	uint64_t n_leased_first, n_leased_again;     /* chunks */
	uint32_t chunks, lists, asks, leases, waits; /* now */
	uint64_t memory_bytes;
};
void home_stats(const struct home *h, struct home_stats *ret_stats);
