/*
 * source_impl: a question to the peers, in parts. Private to source*.c.
 *
 *   source_req   a run of units               what the engine asked
 *     seek       the part in one segment      whom to ask, and what is left
 *       get      a GET to one holder
 *       ask      the ASK to the home, while it is open
 *
 * Positions of a seek are wanted until they were delivered or leased; lost ones are wanted, but
 * nobody has them and nobody brings them. Callbacks of connections only note what they heard and
 * mark the request; source_work() takes the next step.
 */
#pragma once
#include "order.h"
#include "peer_impl.h"

struct get {
	struct get *prev, *next;
	struct seek *s;
	struct wire_id node;
	struct conn *conn;
	uint32_t req;
	struct wire_set set;    /* of the seek's positions: still expected from it */
	struct wire_set missed; /* it said that these do not come */
	uint32_t n_asked;
	uint64_t size_bytes;
	uint64_t began_ns, first_ns;
	uint64_t patience_ns; /* silence after which another is asked as well */
	uint64_t hedge_ns;    /* then */
	uint64_t dead_ns;     /* after so much silence it is given up */
	bool wait;            /* it is to come there first: silence means nothing */
	bool hedged;
	bool granted;
	bool by_names;
	uint16_t pos_of[WIRE_LIST_MAX]; /* by_names: the seek's positions */
	uint8_t key[PROOF_KEY_BYTES];
	uint8_t proof[WIRE_MAC_BYTES];
};

struct seek {
	struct source_req *req;
	uint32_t segment_idx;
	struct wire_set want;      /* not delivered, not leased */
	struct wire_set lost;      /* of want: no way is left */
	struct wire_set unpacking; /* of want: with a worker */
	struct wire_set put_off;   /* of want: its unit begins in another segment (source_unit.c) */
	struct get *gets;
	struct wire_id avoid[WIRE_AVOID_MAX];
	uint32_t n_avoid;
	uint32_t n_asks;
	uint32_t home_rank; /* that is asked: the next one where this one fails */
	bool settle;
	/* the ASK */
	bool ask_open;
	struct wire_id ask_home;
	struct conn *ask_conn; /* NULL: this node itself */
	uint32_t ask_req;
	struct wire_set asked;
	uint64_t asked_ns;
	bool ask_answered;
};

/* A chunk that came packed, with a worker. */
struct unpack {
	struct unpack *prev, *next; /* source_req.unpacks */
	struct job job;
	struct source_req *req; /* NULL: cancelled */
	struct seek *s;
	uint16_t pos;
	enum compressor form;
	uint8_t *packed;
	uint32_t packed_size_bytes;
	uint8_t *plain;
	uint32_t plain_size_bytes;
	uint32_t giver;
	bool ok;
};

struct source_req {
	struct source_req *prev, *next;
	struct peer *p;
	const struct unit_run *run;
	struct source_events ev;
	void *arg;
	struct known *known;
	struct seek *seeks;
	uint32_t n_seeks;
	struct unpack *unpacks;
	bool dirty;
	uint64_t wait_bytes; /* told by wait() */
};

static inline const struct segment *seek_segment(const struct seek *s)
{
	return segments_at(s->req->known->segments, s->segment_idx);
}
static inline uint32_t seek_chunk(const struct seek *s, uint16_t pos)
{
	return segments_chunk(s->req->known->segments, s->segment_idx, pos);
}
/** The part of its segment, set empty. */
struct wire_part seek_part(const struct seek *s, const struct wire_set *set);

void source_dirty(struct source_req *req);
/** To the asker. plain is moved. */
void source_deliver(struct seek *s, uint16_t pos, uint8_t *plain, uint32_t giver);
void source_note(struct source_req *req, const char *format, ...) PRINTF_LIKE(2, 3);

/* ---- source_seek.c ---- */

void seek_step(struct seek *s);
bool seek_is_settled(const struct seek *s);
bool seek_has_only_put_off(const struct seek *s); /* nothing else is left or open */
void seek_stop(struct seek *s);                   /* cancel all that is open */
void seek_avoid(struct seek *s, const struct wire_id *node);
void seek_on_items(struct seek *s, const struct wire_answer_item *items, uint32_t n_items);
void seek_on_ask_end(struct seek *s, enum wire_status status);
uint64_t seek_due_ns(const struct seek *s);
/** Positions that came, or are another's business now. */
void seek_settle(struct seek *s, const struct wire_set *set);

/* ---- source_get.c ---- */

/** @return false: it cannot be asked now, and is to be avoided */
bool get_start(struct seek *s, const struct wire_id *node, const struct wire_set *set, bool wait);
void get_stop(struct get *g);    /* cancelled; frees it */
void get_give_up(struct get *g); /* it is silent: a fault; frees it */

/* ---- source_unit.c ---- */

/** Those of set whose unit begins in another segment that is still being looked for. */
struct wire_set unit_put_off(struct seek *s, const struct wire_set *set);
/** Units that begin with one of set are had from node, as they come there: so are their chunks in
 * other segments that were put off. */
void unit_follow(struct seek *s, const struct wire_set *set, const struct wire_id *node);

/* ---- source_lease.c ---- */

void lease_take(struct seek *s, const struct wire_answer_item *item);
void source_lease_progress(struct source *source, uint64_t token, uint32_t more_bytes);
void source_lease_end(struct source *source, uint64_t token, bool ok);
