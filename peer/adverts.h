/*
 * adverts: tells homes what this node holds: HAVE and GONE, batched by home, within a budget.
 *
 * Keeps the map of what is ready here by segment (bounded; about 150 bytes a segment), so that a
 * home that changes, restarts or asks again can be told once more. Knows no sockets: adverts_next()
 * gives the next message when time and budget allow. One thread; time from a clock.
 *
 * Budget: a bucket of ADVERTS_BYTES_PER_S (it holds ADVERTS_BURST_BYTES), and in a storm
 * ADVERTS_PER_MILLE of the payload that came; a home that is new to a segment, or came back, is
 * told at once (up to ADVERTS_CREDIT_MAX_BYTES). GONE and what is urgent (somebody waits for it) go
 * first; everything once more every 30 minutes. What cannot be told yet is told later, coalesced:
 * never more than once a chunk.
 */
#pragma once
#include "auto.h"
#include "clock.h"
#include "placement.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#define ADVERTS_SEGMENTS_MAX     65536U
#define ADVERTS_BYTES_PER_S      4000U
#define ADVERTS_BURST_BYTES      16000U
#define ADVERTS_PER_MILLE        4U
#define ADVERTS_CREDIT_MAX_BYTES (256 << 10) /* what a storm may have saved up */
#define ADVERTS_BATCH_MS         20U         /* that long news wait for company; urgent: 2 ms */
#define ADVERTS_URGENT_MS        2U
#define ADVERTS_REFRESH_MS       1800000U

struct adverts;
struct adverts_opts {
	const struct clock *clock;         /* borrowed, like the placement */
	const struct placement *placement; /* of this node */
	struct wire_id self;
};
struct adverts *adverts_new(const struct adverts_opts *opts); /* never NULL */
void adverts_free(struct adverts **a);                        /* NULL is fine */

/** Chunks became ready here: both homes are told. urgent: others wait for them. */
void adverts_ready(struct adverts *a, const struct wire_part *part, bool urgent);
/** Chunks are not here any more. */
void adverts_gone(struct adverts *a, const struct wire_part *part);

/** Payload came: in a storm adverts may take a share of it. */
void adverts_credit(struct adverts *a, uint64_t payload_bytes);
/** The placement changed: segments with another home than before are told to it, newest first. */
void adverts_moved(struct adverts *a);
/** A home may not know what it was told (it restarted, its connection was lost): tell it again. */
void adverts_again(struct adverts *a, const struct wire_id *home);

/** What of the list is ready here. set.n 0: nothing known. */
void adverts_mine(const struct adverts *a, const struct wire_id *list, struct wire_set *ret_set);

/** Was this node the last home that was told of the list? */
bool adverts_is_told(const struct adverts *a, const struct wire_id *list,
                     const struct wire_id *home);

struct adverts_out {
	struct wire_id to;
	enum wire_type type; /* WIRE_HAVE or WIRE_GONE */
	uint16_t n_parts;
	struct wire_part parts[WIRE_ADVERTS_MAX];
};
/** The next message to send now. to may be this node itself. @return false: nothing due */
bool adverts_next(struct adverts *a, struct adverts_out *ret_out);
/** When adverts_next() is worth calling again (ns); UINT64_MAX: when something happens. */
uint64_t adverts_due_ns(const struct adverts *a);
