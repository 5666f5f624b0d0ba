/*
 * readahead: how far a miss may reach beyond what the reader asked for, a blob each.
 *
 * Pays in the coin of evidence: bytes that were read ahead and then touched earn credit, a miss
 * somewhere else halves it. A reader at random places earns nothing and gets READAHEAD_MIN_BYTES;
 * one that walks the tree, in whatever order near that of the chunks, doubles its window at each
 * turn. A miss right at the end of what was fetched last (or right before it: some read backwards)
 * earns some credit at once, so that chunks larger than the smallest window are seen as a sequence,
 * too. Numbers were tuned on a real image's layout and orders of reading: docs/performance.md.
 *
 * Who reads about all that is brought is believed more: of all blobs together it is counted how
 * much of what was read ahead was touched, once the reader is past it, or READAHEAD_RECENT other
 * blobs were read of since. While that is nearly all,
 * windows of a sequence grow to READAHEAD_MAX_BYTES (never more than half of what was read of
 * late), and a blob that nobody read of before begins with credit. So what comes from far away, or
 * by way of other nodes, is on its way in time.
 *
 * Pure: no clock, no layout, no threads.
 */
#pragma once
#include "auto.h"
#include "plan.h"
#include <stdbool.h>
#include <stdint.h>

#define READAHEAD_MIN_BYTES      (16U << 10) /* packed, as all here */
#define READAHEAD_MISS_MAX_BYTES (1U << 20)  /* a single read moves no more beyond its chunks */
#define READAHEAD_PROVEN_BYTES   (2U << 20)  /* once a sequence is proven */
#define READAHEAD_MAX_BYTES      (8U << 20)  /* ... by who reads about all that is brought */
#define READAHEAD_SAME_REQUEST_BYTES                                                               \
	(128U << 10) /* so much before the reader's bytes is no delay */
#define READAHEAD_STREAMS   8
#define READAHEAD_RECENT    8 /* blobs */
#define READAHEAD_NO_MARKER UINT32_MAX

struct readahead;

/* What came of windows, of all blobs together. Halved when it is much. */
struct readahead_record {
	uint64_t ahead_bytes;  /* read ahead in windows that the reader is past, or gave up */
	uint64_t useful_bytes; /* touched */
	struct readahead *recent[READAHEAD_RECENT]; /* the last one first; NULL: none */
};

/* A recent window: where the next one would begin. */
struct readahead_stream {
	uint32_t first_unit, end_unit; /* end: behind the last */
	uint64_t packed_bytes;
	uint64_t ahead_bytes;  /* of it, and */
	uint64_t before_bytes; /* of the one that it follows: both are not in the record yet */
	uint32_t marker_unit;  /* when a reader touches it, the next window is due */
};

struct readahead {
	bool began; /* somebody missed something */
	uint64_t credit_bytes;
	struct readahead_stream streams[READAHEAD_STREAMS];
	uint32_t next_stream;
	uint64_t demand_bytes; /* of the next window: what the reader waits for */
	uint64_t before_bytes; /* ... and of the window that it follows, read ahead */
	struct readahead_record *record;
};

/** record: of all blobs that one engine has; borrowed, at first all zero. It stays where it is. */
void readahead_init(struct readahead *ra, struct readahead_record *record);
void readahead_fini(struct readahead *ra);

/** So many bytes that had been read ahead were touched for the first time. */
void readahead_useful(struct readahead *ra, uint64_t packed_bytes);

struct readahead_window {
	uint64_t forward_bytes;
	uint64_t backward_bytes; /* at most; and both together at most total_bytes */
	uint64_t total_bytes;
};

/** A reader missed these units. */
struct readahead_window readahead_miss(struct readahead *ra, const struct plan_span *demand);

/**
 * This is asked for now: demand and what was added.
 *
 * @param first_ahead  its first unit that nobody waits for; behind the span: there is none
 * @return the unit to mark; READAHEAD_NO_MARKER
 */
uint32_t readahead_issued(struct readahead *ra, const struct plan_span *span, uint32_t first_ahead);

/**
 * A marked unit was touched: how much should come next, and from where?
 *
 * @param touched  was this unit touched by a reader?
 * @return false: nothing (call again while it returns true)
 */
bool readahead_next(struct readahead *ra, bool (*touched)(void *arg, uint32_t unit_idx), void *arg,
                    uint32_t *ret_from_unit, uint64_t *ret_bytes);
