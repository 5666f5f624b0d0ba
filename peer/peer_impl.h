/*
 * peer_impl: what the files of the peer object share. Private to peer/.
 *
 *   peer.c          the object, its one round of work, lists for people
 *   peer_link.c     connections: listener, dials, hellos, messages to whom they concern
 *   peer_names.c    names of members to addresses, off the loop
 *   peer_home.c     this node as a home; what it tells other homes
 *   peer_meta.c     metadata of images for others                             (struct meta_serve)
 *   meta_ask.c      ... and from them                                         (struct meta_req)
 *   peer_ready.c    what became ready or went in the cache, told by any thread
 *   known.c         layouts that this node knows, and the lists in them
 *   source.c        the source: questions                                     (struct source_req)
 *   source_budget.c ... when it may begin
 *   source_seek.c   ... of one segment: holders, what is left                 (struct seek)
 *   source_ask.c    ... its ASK to the home, and the answers
 *   source_vain.c   ... for how long a reader has nothing of it
 *   source_zone.c   ... of the cluster, for what the own zone has not
 *   source_get.c    ... to one holder                                         (struct get)
 *   source_line.c   ... that is behind others on its connection
 *   source_turn.c   ... and whose turn it is there
 *   serve.c         GETs of others                                            (struct serve)
 *
 * Nothing calls back from inside another's call: what happened is noted, and peer_work() is posted;
 * it does what is due in one place. All of it is the loop thread's.
 */
#pragma once
#include "adverts.h"
#include "conn.h"
#include "holders.h"
#include "home.h"
#include "known.h"
#include "members.h"
#include "meta_source.h"
#include "packed.h"
#include "peer.h"
#include "placement.h"
#include "rate.h"
#include "send_rate.h"
#include "set.h"
#include "wire.h"
#include <pthread.h>
#include <stdatomic.h>

#define PEER_GIVERS_MAX 4096

struct source_req;
struct serve;
struct meta_serve;
struct lease_held;
struct landing;
struct ready_note;
struct renew;
struct resolve;

/* A connection, from the dial or the accept on. */
struct link {
	struct link *prev, *next;
	struct peer *p;
	struct conn *conn;
	char dialled[WIRE_ADDRESS_MAX + 1]; /* "": it called */
	bool open;
	struct wire_id id; /* open */
	uint32_t via;      /* its number: never 0, which is this node itself */
	bool retiring;     /* one too many: closed when nothing is open on it */
	uint64_t retiring_ns;
	struct conn_counts counted; /* in the metrics so far */
	uint64_t received_bytes;
	uint64_t told_ns; /* MEMBERS; 0: not yet. With these hashes: */
	uint64_t told_hash, heard_hash;
	struct send_rate rate;       /* for whether to pack what is sent */
	uint64_t rate_payload_bytes; /* of chunks, sent when it was looked at */
	uint32_t n_wrong_proofs;     /* of its GETs, in a row */
	/* Chunks that readers here asked it for (source_turn.c), as plain bytes: */
	uint64_t came_bytes; /* that came */
	uint64_t owed_bytes; /* that are still to come, of what it granted */
};

/* What was received and sent by connections that are gone, by node. */
struct peer_traffic {
	struct wire_id id;
	uint64_t received_bytes, sent_bytes;
};

/* A clock that stands still while this node's own loop does not run: others are not blamed for
 * that. So where all agents of a machine wait for its cores, none takes the others for dead. */
struct patience {
	struct clock clock;
	const struct clock *real;
	uint64_t lag_ns;   /* so far */
	uint64_t *last_ns; /* it does not go back */
};

struct peer {
	struct source source;
	struct peer_opts opts;
	char *zone;
	struct tls *tls;
	struct wire_hello self;
	char self_name[PEER_NAME_BYTES];
	struct listener *listener;
	struct link *links;
	struct members *members;
	uint64_t members_hash; /* that connections tell */
	struct placement *placement;
	uint32_t n_others; /* in placement, beside this node */
	struct home *home;
	struct holders *holders;
	struct adverts *adverts;
	struct known_table *known;
	uint64_t sweep_ns;  /* when it is looked through next */
	uint64_t queues_ns; /* when source_queues() are counted next */
	struct resolve *resolve;
	struct renew *renew; /* NULL: no certificate */
	bool stopping;
	bool draining;
	bool left; /* ... and no home any more */
	void (*drained)(void *arg);
	void *drained_arg;

	struct timer timer; /* the next thing that time brings */
	uint64_t armed_ns;  /* when it should fire; 0: it is not set */
	struct patience patience;
	uint64_t patience_last_ns;
	struct loop_call work;
	bool work_posted;

	struct source_req *reqs;
	struct lease_held *leases;
	struct landing *landings;
	uint64_t zone_ns; /* when leases of zone homes are looked at next */
	uint64_t next_token;
	uint32_t next_via;
	uint32_t next_self_req;
	uint64_t origin_first_ns; /* of the first byte of late leases: the slow ones */
	uint64_t origin_chunk_ns; /* ... until they brought their next chunk. 0: not known yet */
	uint64_t origin_kib_ns;   /* ... for each KiB of a large one: what late bytes took ... */
	uint64_t pace_ns, pace_bytes; /* ... of leases since that was learned last */
	struct wire_id givers[PEER_GIVERS_MAX];
	uint32_t n_givers, oldest_giver;

	struct serve *serves;
	uint64_t look_ns;    /* when it may be looked whether what GETs wait for still comes */
	bool look_again;     /* something happened since */
	uint64_t held_bytes; /* for sending, by all connections */
	bool packs; /* the link that was measured last is slow, or none was: a new one may be, too
	             */
	atomic_bool wants_packed; /* there are others; serve_wants_packed() */
	struct packed *packed;
	struct meta_source meta_source;
	struct meta_req *meta_reqs;
	struct meta_serve *meta_serves;
	struct rate upload;
	struct split_rate download;

	pthread_mutex_t ready_lock; /* guards the block below; pointers only */
	struct ready_note *ready;
	uint32_t n_ready, room_ready;
	bool ready_posted;
	bool scans_left; /* of the loop */
	struct loop_call ready_call;

	struct wire_id unheard[16]; /* homes that did not hear all; more than that: any */
	uint32_t n_unheard;
	struct peer_traffic *traffic;
	uint32_t n_traffic;
	struct series *received[2], *sent[2]; /* same zone, other */
	struct series *control[2];            /* in, out */
	struct series *leased[2];             /* first, again */
	uint64_t leased_counted[2];
};

static inline uint64_t peer_now_ns(const struct peer *p)
{
	return clock_now_ns(p->opts.clock);
}

/* What silence and slowness of others are measured with. */
static inline uint64_t peer_calm_ns(const struct peer *p)
{
	return clock_now_ns(&p->patience.clock);
}

/* A time of peer_calm_ns() that is to come, by the real clock. */
static inline uint64_t peer_calm_due_ns(const struct peer *p, uint64_t due_ns)
{
	return due_ns < UINT64_MAX - p->patience.lag_ns ? due_ns + p->patience.lag_ns : UINT64_MAX;
}

/** Something happened: do what is due, in the next round of the loop. */
void peer_work_soon(struct peer *p);

void wire_id_text(const struct wire_id *id, char ret_text[PEER_NAME_BYTES]);

/** A fault of its own, HOLDERS_LIED or HOLDERS_WRONG_BYTES: counted by its name, it is distrusted.
 */
void peer_blame(struct peer *p, const struct wire_id *id, uint64_t size_bytes,
                enum holders_fault fault);

/* ---- peer_link.c ---- */

MUST_CHECK int links_listen(struct peer *p, struct err *e);
void links_stop(struct peer *p);         /* byes to all */
void links_abort(struct peer *p);        /* at once */
void links_members_work(struct peer *p); /* dial, close, new placement */
uint64_t links_due_ns(const struct peer *p);
/** Ask it for a sign of life. @return after so much silence it counts as dead */
uint64_t link_probe(struct peer *p, const struct wire_id *id);
/** The open connection of that number; NULL: it ended. */
struct link *link_via(struct peer *p, uint32_t via);
struct link *link_to(struct peer *p, const struct wire_id *id); /* open, or NULL */
/** Tell news; dropped where there is no connection. */
void link_send(struct peer *p, const struct wire_id *to, const struct wire_msg *msg);
void link_count(struct link *l);

/* ---- peer_names.c ---- */

void resolve_start(struct peer *p);
void resolve_stop(struct peer *p); /* no more questions */
void resolve_free(struct peer *p); /* when the loop does not turn any more */

/* ---- peer_home.c ---- */

void home_message(struct peer *p, struct link *l, const struct wire_msg *msg);
void home_work(struct peer *p); /* answers and adverts that are due */
uint64_t home_due_ns(struct peer *p);
/** To the home that gave it. */
void home_tell_lease(struct peer *p, const struct wire_id *home, enum wire_type type,
                     const struct wire_lease *lease);
/** An answer to an ASK that was cancelled meanwhile: the leases in it go back at once, or the home
 * would wait for this node, and give it none, until their terms are over. */
void home_give_back(struct link *l, const struct wire_part *asked,
                    const struct wire_answer *answer);
/** A connection to it broke: what it was told by it last, it may not have heard. */
void home_link_lost(struct peer *p, const struct wire_id *id);
/** A connection to it is there: what could not be told it earlier is told now. */
void home_link_opened(struct peer *p, const struct wire_id *id);

/** Of a list that is known here; to may be this node. */
void home_send_names(struct peer *p, const struct wire_id *to, const struct wire_id *list);

/* ---- peer_meta.c ---- */

void meta_get(struct peer *p, struct link *l, const struct wire_meta_get *get);
void meta_cancelled(struct peer *p, const struct link *l, uint32_t req);
void meta_link_closed(struct peer *p, const struct link *l);
void meta_work(struct peer *p);
uint64_t meta_due_ns(const struct peer *p);
void meta_fini(struct peer *p);

/* ---- meta_ask.c ---- */

extern const struct meta_source_ops peer_meta_ops;
void meta_asks_work(struct peer *p);
uint64_t meta_asks_due_ns(const struct peer *p);
void meta_asks_fini(struct peer *p);

/* ---- peer_ready.c ---- */

void ready_init(struct peer *p);
void ready_on_known(struct peer *p, struct known *k);
void ready_work(struct peer *p); /* goes on looking through blobs that were here before */
void ready_fini(struct peer *p);

/* ---- source.c ---- */

extern const struct source_ops peer_source_ops;
void source_work(struct peer *p);
uint64_t source_due_ns(struct peer *p);
void source_on_known(struct peer *p, struct known *k);
/** An answer of this node as a home to itself. */
void source_self_answer(struct peer *p, const struct home_out *out);
/** Those of set that are not on their way here, so that asker should not wait on. Nor are those
 * that are waited for at asker itself; NULL: they are. */
struct wire_set source_not_coming(const struct peer *p, const struct wire_id *list,
                                  const struct wire_set *set, const struct wire_id *asker);
/** A number for who gave something. 0: there are too many. */
uint32_t source_giver(struct peer *p, const struct wire_id *node);
/** What it gave was wrong. @param ret_name  "?" where giver is nobody */
void source_distrust(struct peer *p, uint32_t giver, char ret_name[PEER_NAME_BYTES]);
/** A node is distrusted: whatever it was asked is asked elsewhere. */
void source_distrusts(struct peer *p);
/** A connection opened, the placement changed: what waits for that looks again. */
void source_on_members(struct peer *p);
void source_fini(struct peer *p);

/* ---- source_landing.c: chunks that were delivered and are not kept yet ---- */

void landing_begin(struct peer *p, const struct wire_id *list, uint16_t pos, uint16_t n);
void landing_end(struct peer *p, const struct wire_id *list, uint16_t pos);
bool landing_has(const struct peer *p, const struct wire_id *list, uint16_t pos);
/** Those of set that are not among them. */
struct wire_set landing_without(const struct peer *p, const struct wire_id *list,
                                const struct wire_set *set);
void landings_expire(struct peer *p);
void landings_free(struct peer *p);

/* ---- source_lease.c ---- */

/** Was it leased to this node, so that others may be waiting? */
bool source_is_leased(struct peer *p, const struct known *k, uint32_t segment_idx, uint16_t pos);
bool source_has_leases(const struct peer *p);
/** At how many homes, this one among them, do prefetches wait in a queue? 0: not at this one. */
uint32_t source_queues(const struct peer *p, const struct wire_id *home);
/** crossing: also those whose chunks are being looked for beyond the zone. */
bool leases_have(struct peer *p, const struct wire_id *list, uint16_t pos, bool crossing);
/** Those of set that no lease is for, of either kind. */
struct wire_set leases_without(const struct peer *p, const struct wire_id *list,
                               const struct wire_set *set);

/* ---- source_zone.c ---- */

void zone_work(struct peer *p); /* leases of zone homes: renewed, and ended with what came */
uint64_t zone_due_ns(const struct peer *p);
/** A chunk is here, verified: that is progress, too. */
void leases_kept(struct peer *p, const struct wire_id *list, uint16_t pos);
/** The placement changed: homes that did not give them hear of the leases that are open. */
void leases_moved(struct peer *p);

/* ---- serve.c ---- */

void serve_get(struct peer *p, struct link *l, const struct wire_get *get);
void serve_cancelled(struct peer *p, struct link *l, uint32_t req);
void serve_link_closed(struct peer *p, const struct link *l);
void serve_on_ready(struct peer *p, const struct known *k, uint32_t segment_idx, uint16_t pos);
void serve_work(struct peer *p); /* who waits: for what, still? */
uint64_t serve_due_ns(struct peer *p);
void serves_free(struct peer *p);
