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
 * Who reads about all that is brought is believed more: of the blobs of an image together it is
 * counted how much of what was read ahead was touched, once the reader is past it, or
 * READAHEAD_RECENT other blobs were read of since. While that is nearly all,
 * windows of a sequence grow to READAHEAD_MAX_BYTES (never more than half of what was read of
 * late), and a blob that nobody read of before begins with credit. So what comes from far away, or
 * by way of other nodes, is on its way in time. Where the rest is swept (fetch_sweep.c), windows
 * stay small: they are what is wanted first.
 *
 * What a program reads while it is started lies here and there, a wait each, but mostly in the
 * directories of its modules: windows of READAHEAD_START_FORWARD and _BACK halve the waits. Readers
 * of files at random would pay dearly for such windows, so they need to be told of a start, and
 * what all misses since bring unasked is bounded. There is no end of a start to be told of: it is
 * over when a third of what was left came and nothing read ahead was touched meanwhile.
 * And a start has what those before it left of the same bytes, of which the rest of the program
 * (fetch_programs.c) is a part: only what is touched earns more,
 * READAHEAD_START_GAIN times as much. So who makes many programs look as if they were started, and
 * reads nothing near, has these bytes once, not with each program.
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
	(128U << 10)                         /* so much before the reader's bytes is no delay */
#define READAHEAD_STARTS_BYTES  (10U << 20)  /* unasked, by all starts of programs: */
#define READAHEAD_START_BYTES   (8U << 20)   /* ... by the windows of one, at most: */
#define READAHEAD_START_FORWARD (192U << 10) /* ... with each miss, at least */
#define READAHEAD_START_BACK    (128U << 10)
#define READAHEAD_START_GAIN    4 /* for a touched byte: import flask touches a quarter */
#define READAHEAD_START_IDLE    3 /* this part of what is left, untouched, and the start is over */
#define READAHEAD_STREAMS       8
#define READAHEAD_RECENT        8 /* blobs */
#define READAHEAD_NO_MARKER     UINT32_MAX

struct readahead;

/* What came of windows, of the blobs of an image together. Halved when it is much. */
struct readahead_record {
	uint64_t ahead_bytes;  /* read ahead in windows that the reader is past, or gave up */
	uint64_t useful_bytes; /* touched */
	struct readahead *recent[READAHEAD_RECENT]; /* the last one first; NULL: none */
	bool reads_all; /* all but a little was touched, when a reader came to a new window */
};

/* What starts of programs may bring unasked, of all blobs that one engine has. */
struct readahead_starts {
	uint64_t left_bytes; /* that the windows of this start may still bring */
	uint64_t owed_bytes; /* brought by those of all starts, and as the rest of a program, and
	                      * not earned since */
	uint64_t end_bytes;  /* when no more is left, the start is over */
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
	bool began;  /* somebody missed something */
	bool sweeps; /* what lies far ahead of who reads all is brought otherwise; the owner's word
	              */
	uint64_t credit_bytes;
	struct readahead_stream streams[READAHEAD_STREAMS];
	uint32_t next_stream;
	uint64_t demand_bytes; /* of the next window: what the reader waits for */
	uint64_t before_bytes; /* ... and of the window that it follows, read ahead */
	struct readahead_record *record;
	struct readahead_starts *starts;
};

/** record, starts: borrowed, at first all zero. They stay where they are. */
void readahead_init(struct readahead *ra, struct readahead_record *record,
                    struct readahead_starts *starts);
void readahead_fini(struct readahead *ra);

/** So many bytes that had been read ahead were touched for the first time. */
void readahead_useful(struct readahead *ra, uint64_t packed_bytes);

/** How much of the rest of a program may be asked for now, be it started or read in order. */
uint64_t readahead_rest_bytes(const struct readahead *ra);
void readahead_rest_asked(struct readahead *ra, uint64_t packed_bytes);
void readahead_rest_useful(struct readahead *ra, uint64_t packed_bytes); /* and touched since */

/**
 * A program is being started, so that others of its files are read next: of any blob. Any number of
 * these brings READAHEAD_START_BYTES and a window unasked, and what was earned since.
 */
void readahead_starts(struct readahead *ra);

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
