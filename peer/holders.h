/*
 * holders: what this node knows of others: who has which chunks of which segment, how fast they
 * are, and whom not to ask.
 *
 * Learnt from answers and from what holders themselves say, forgotten on misses; so in steady state
 * a read asks no home. Bounded: HOLDERS_LISTS_MAX lists (the least recently used goes),
 * HOLDERS_NODES_MAX nodes a list. One thread; time from a clock.
 */
#pragma once
#include "auto.h"
#include "clock.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#define HOLDERS_LISTS_MAX    8192U
#define HOLDERS_NODES_MAX    8U    /* a list */
#define HOLDERS_PEERS_MAX    4096U /* of whom speed and faults are kept */
#define HOLDERS_HEDGE_MIN_NS (UINT64_C(5) * 1000 * 1000)
#define HOLDERS_BREAKER      2U     /* failures in a row */
#define HOLDERS_BREAK_MS     1000U  /* first pause of a breaker; doubles to 30 s */
#define HOLDERS_DISTRUST_MS  10000U /* after wrong bytes or a lie; doubles to 1 h */
#define HOLDERS_VAIN_MS      5000U  /* after a reader waited for nothing; doubles to 10 min */

enum holders_fault {
	HOLDERS_FAILED,      /* no answer in time, connection lost: the breaker counts it */
	HOLDERS_MISSED,      /* it said that it has not what it was said to have */
	HOLDERS_LIED,        /* a wrong MAC, an advert of its own that was not so, a broken frame */
	HOLDERS_WRONG_BYTES, /* a digest did not match */
	N_HOLDERS_FAULTS
};

struct holders;
struct holders *holders_new(const struct clock *clock, const struct wire_id *self); /* never NULL */
void holders_free(struct holders **h); /* NULL is fine */

/* ---- who has what ---- */

/** nodes have part (an ANSWER's HOLDERS, a HAVE). This node itself is passed over. */
void holders_learn(struct holders *h, const struct wire_part *part, const struct wire_id *nodes,
                   uint32_t n_nodes);
/** node has part no more, or never had (GONE, MISS). */
void holders_forget(struct holders *h, const struct wire_id *node, const struct wire_part *part);
/** node is down, or came back empty. */
void holders_forget_node(struct holders *h, const struct wire_id *node);

struct holders_pick {
	struct wire_id node;
	struct wire_set set; /* those of the wanted that it has; never empty */
};
/**
 * Whom to ask for part: the node that has most of it, of equals the quickest, then the least
 * loaded; never one that is distrusted, broken, or among avoid.
 * @return false: nobody known
 */
bool holders_pick(struct holders *h, const struct wire_part *part, const struct wire_id *avoid,
                  uint32_t n_avoid, struct holders_pick *ret_pick);

/* ---- what they are worth ---- */

/** A request of size_bytes to node began, ended well: first byte after first_byte_ns, all after
 * total_ns. */
void holders_began(struct holders *h, const struct wire_id *node, uint64_t size_bytes);
void holders_ended(struct holders *h, const struct wire_id *node, uint64_t size_bytes,
                   uint64_t first_byte_ns, uint64_t total_ns);
/** It ended otherwise (size_bytes as in began(); 0: nothing was asked). */
void holders_fault(struct holders *h, const struct wire_id *node, uint64_t size_bytes,
                   enum holders_fault fault);
/** Did it fail the last time? Then it is not waited for as long again. */
bool holders_failing(const struct holders *h, const struct wire_id *node);

/* As a home it may answer where as a holder it does not, and the other way round. */

/** Its ASK was not answered in time: a fault; it is not asked for a growing while. */
void holders_home_silent(struct holders *h, const struct wire_id *node);
/** As a holder it showed no sign of life: as a home it is not asked either, for as long. */
void holders_dead(struct holders *h, const struct wire_id *node);
/** It let a reader wait for nothing: it is not asked for a growing while, whatever it answers. */
void holders_home_vain(struct holders *h, const struct wire_id *node);
/** Something came of its words: the next while is as short as the first one. */
void holders_home_useful(struct holders *h, const struct wire_id *node);
void holders_home_answered(struct holders *h, const struct wire_id *node);
/** Neither that, nor distrusted. */
bool holders_home_usable(const struct holders *h, const struct wire_id *node);

/** Nobody's fault (cancelled). */
void holders_cancelled(struct holders *h, const struct wire_id *node, uint64_t size_bytes);

/** Did it not lie, or send wrong bytes, of late? Else it is asked for nothing, in no way. */
bool holders_trusted(const struct holders *h, const struct wire_id *node);
/** May it be asked now? The one that tries after a breaker's pause is let through alone. */
bool holders_usable(struct holders *h, const struct wire_id *node);

/** When another is to be asked as well: now + 2 x p95 of its first byte (at least 5 ms) + the bytes
 * asked before and this, at its rate. */
uint64_t holders_hedge_ns(const struct holders *h, const struct wire_id *node, uint64_t size_bytes);

struct holders_peer {               /* for `shoal peers` */
	uint64_t first_byte_p95_ns; /* 0: not known */
	uint64_t rate_bytes_per_s;  /* 0: not known */
	uint64_t asked_bytes;       /* asked and not here yet */
	uint64_t n_faults[N_HOLDERS_FAULTS];
	uint64_t distrusted_until_ns; /* 0: not */
	uint64_t broken_until_ns;     /* 0: not */
};
void holders_peer(const struct holders *h, const struct wire_id *node,
                  struct holders_peer *ret_peer);
