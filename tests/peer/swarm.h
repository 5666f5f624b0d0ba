/*
 * swarm: whole clusters without sockets: nodes made of home, adverts and placement, a network with
 * delays and links, an origin that counts. Time is a fake clock that jumps from event to event.
 *
 * A node of it wants all chunks of one image; it asks homes, gets from other nodes (or waits
 * there), asks the origin with a lease alone, tells homes what it has: what the peer source and the
 * serving side do, in small. Control bytes are those that wire_encode() makes.
 */
#pragma once
#include "adverts.h"
#include "fake_clock.h"
#include "home.h"
#include "names.h"
#include "order.h"
#include "segments.h"

enum { SWARM_NODES_MAX = 128, SWARM_AVOID_MS = 300 };

struct swarm_opts {
	uint32_t n_nodes;
	uint32_t n_chunks;         /* of 28000 bytes, packed 14000 */
	uint32_t batch;            /* chunks a fetch unit; 0: 1 */
	uint64_t link_bytes_per_s; /* of each node, each way */
	uint64_t origin_bytes_per_s;
	bool readers;          /* all read in the same order, blocked; else a prefetch storm */
	uint32_t loss_percent; /* of control messages */
	uint64_t seed;
};

struct swarm_segment { /* at one node */
	struct wire_set have;
	struct wire_set coming; /* asked for: by lease or from a node */
	uint64_t retry_ns;
	uint64_t began_ns; /* first asked */
	uint32_t req;      /* open ask; 0: none */
	uint32_t ask_home;
	struct wire_id avoid[WIRE_AVOID_MAX];
	uint32_t n_avoid;
	bool settle;
};

struct swarm_get { /* what a node waits for from another */
	struct wire_set set;
	uint64_t heard_ns;
	uint32_t segment_idx, from;
	bool used;
};

struct swarm_lease {
	struct wire_set set, left;
	uint64_t token, bytes, began_ns;
	uint32_t segment_idx, home;
	bool used;
};

struct swarm_parked {
	struct wire_set set;
	uint32_t segment_idx, asker;
	struct swarm_parked *next;
};

enum { SWARM_GETS = 512, SWARM_LEASES = 32 };

struct swarm_node {
	struct wire_id id;
	struct placement *placement;
	struct home *home;
	struct adverts *adverts;
	struct swarm_segment *segments;
	uint32_t *order;
	struct swarm_get gets[SWARM_GETS];
	struct swarm_lease leases[SWARM_LEASES];
	struct swarm_parked *parked;
	uint64_t up_free_ns, down_free_ns, up_bytes;
	uint64_t home_due_ns, adverts_due_ns;
	uint64_t done_ns;       /* 0: not yet */
	uint64_t slowest_ns;    /* of a segment: from the first ask to the last chunk */
	uint64_t first_unit_ns; /* the slowest of late, from the origin */
	uint32_t n_have, next_req;
	bool dead, idle;
};

enum swarm_event_kind {
	EV_MESSAGE,
	EV_CHUNK,  /* from another node */
	EV_ORIGIN, /* a unit of a lease */
	EV_TICK,   /* of a node */
	EV_KILL,
	EV_NOTICE, /* others see that a node is dead */
};

struct swarm_packet { /* what is between two nodes */
	struct wire_msg msg;
	struct wire_answer_item items[HOME_ITEMS_MAX];
	struct wire_part parts[WIRE_ADVERTS_MAX];
	uint32_t segment_idx;
};

struct swarm_event {
	uint64_t at_ns, number;
	enum swarm_event_kind kind;
	uint32_t from, to, segment_idx, pos, slot;
	uint64_t token;
	uint32_t bytes;              /* still to cross the receiver's link; 0: they did */
	struct swarm_packet *packet; /* EV_MESSAGE */
};

struct swarm {
	struct swarm_opts opts;
	struct fake_clock clock;
	struct blob_layout *layout;
	struct segments *segments;
	struct wire_set *units, *runs;
	struct swarm_node nodes[SWARM_NODES_MAX];
	struct swarm_event *heap;
	uint32_t n_events, room;
	uint64_t n_numbers, random;
	uint64_t origin_free_ns;
	uint32_t *n_fetched; /* from the origin, a chunk */
	uint64_t control_bytes, payload_bytes, n_messages;
	uint64_t bytes_of_type[N_WIRE_TYPES];
	uint32_t n_lost; /* chunks that died with a node: nobody else had them or fetched them */
	struct wire_buf buf;
};

struct swarm *swarm_new(const struct swarm_opts *opts);
void swarm_free(struct swarm **s);
/** Node idle wants nothing (it may be home all the same). Before swarm_run(). */
void swarm_kill(struct swarm *s, uint32_t node, uint64_t after_ms);
/** Until all living nodes have all, or max_ms passed: then a call goes on. @return have they? */
bool swarm_run(struct swarm *s, uint64_t max_ms);

uint64_t swarm_bytes_of(struct swarm *s, const struct wire_msg *msg); /* encoded */
uint64_t swarm_now_ns(const struct swarm *s);
uint64_t swarm_fetched_bytes(const struct swarm *s); /* packed, from the origin */
uint32_t swarm_refetched(const struct swarm *s);     /* chunks, above once each */
uint64_t swarm_ms(const struct swarm *s);            /* since the start */

/* ---- inside ---- */
struct swarm_event *swarm_at(struct swarm *s, uint64_t at_ns, enum swarm_event_kind kind);
/* Send msg (its lists are copied); delays, losses and bytes are counted. */
void swarm_send(struct swarm *s, uint32_t from, uint32_t to, uint32_t segment_idx,
                const struct wire_msg *msg);
void swarm_send_chunk(struct swarm *s, uint32_t from, uint32_t to, uint32_t segment_idx,
                      uint32_t pos);
void swarm_from_origin(struct swarm *s, uint32_t to, uint32_t slot);
uint32_t swarm_node_of(const struct swarm *s, const struct wire_id *id);
void swarm_node_start(struct swarm *s, uint32_t node);
void swarm_node_message(struct swarm *s, uint32_t node, uint32_t from,
                        const struct swarm_packet *p);
void swarm_node_chunk(struct swarm *s, uint32_t node, uint32_t from, uint32_t segment_idx,
                      uint32_t pos);
void swarm_node_unit(struct swarm *s, uint32_t node, const struct swarm_event *ev);
void swarm_home_message(struct swarm *s, uint32_t node, uint32_t from,
                        const struct swarm_packet *p);
/* What a GET or a lease was to bring will not come that way. */
void swarm_not_coming(const struct swarm *s, struct swarm_node *n, uint32_t segment_idx,
                      const struct wire_set *set);
void swarm_tell_names(struct swarm *s, uint32_t from, uint32_t to, uint32_t segment_idx);
void swarm_home_drain(struct swarm *s, uint32_t node, uint32_t segment_idx);
void swarm_node_tick(struct swarm *s, uint32_t node);
void swarm_node_lost(struct swarm *s, uint32_t node, uint32_t lost);
