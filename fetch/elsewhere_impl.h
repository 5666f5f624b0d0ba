/*
 * elsewhere_impl: what the files of the source share. Private to fetch/.
 *
 *   elsewhere.c          a question, from blob to blob       (struct source_req)
 *   elsewhere_round.c    what one blob is asked for          (struct round)
 *   elsewhere_layouts.c  how that one is packed, as long as it is remembered
 *   elsewhere_read.c     ... from the images that use it
 */
#pragma once
#include "elsewhere.h"
#include "elsewhere_layouts.h"
#include "origin_run.h"
#include "twins.h"
#include <stdbool.h>

#define SPANS_AT_ONCE 8U

struct elsewhere {
	struct source source;
	struct elsewhere_opts opts;
	struct origin_source *origins;
	struct elsewhere_layouts *layouts;
	uint32_t n_reqs;
};

/* A chunk that is wanted, and its twin. */
struct round_pair {
	uint32_t unit_idx; /* theirs */
	uint32_t their_idx;
	uint32_t chunk_idx; /* ours */
};

/* One question to the other blob's origins. */
struct round_span {
	struct round *round;
	struct unit_run run;
	struct source_req *asked; /* the origins'; NULL: not asked yet, or ended */
	uint32_t first_chunk;     /* the first of ours that it brings */
	uint64_t packed_bytes;
	uint64_t seen_bytes; /* of its progress */
};

enum round_end {
	ROUND_OK,      /* its origins gave what they were asked for, or said a final word */
	ROUND_TROUBLE, /* another time they may give it */
};

/* What one other blob is asked for. The loop's; a worker reads layouts and pairs. */
struct round {
	struct elsewhere *s;
	const struct unit_run *asker;     /* whose deadline and urgency it has; borrowed */
	const struct blob_layout *layout; /* of the asker's blob; borrowed */
	const struct cas_twin_blob *blob; /* borrowed */
	struct blob_layout *theirs;       /* a reference */
	uint32_t n_pairs;
	struct round_pair *pairs; /* in order of unit */
	uint32_t n_spans;
	struct round_span *spans; /* in the order of our chunks: what a reader waits for is first */
	uint32_t next_span;
	uint32_t n_open;
	uint64_t open_bytes; /* asked for and not unpacked yet */
	uint32_t n_jobs;     /* units with the workers */
	bool cancelled;      /* the last job frees it */
	bool failed;         /* no more spans are asked for */
	uint32_t n_given;
	enum round_end end;
	bool again; /* some bytes were wrong, and another origin may have the right ones */
	struct err why;
	/* Never from inside round_start(). */
	void (*chunk)(void *arg, uint32_t chunk_idx, uint8_t *plain); /* plain: the receiver's */
	void (*progress)(void *arg, uint64_t more_bytes);
	void (*done)(void *arg); /* last: round_free() it */
	void *arg;
};

/** Pairs and spans for the chunks that are wanted and that this layout has.
 * @param wanted  called for each twin
 * @return false: there are none */
bool round_plan(struct round *round, bool (*wanted)(void *arg, uint32_t chunk_idx), void *arg);
/** @return done() follows, not from inside; false: it is over already */
bool round_start(struct round *round);
/** A reader waits for this chunk now: before what was not asked for yet. */
void round_hurry(struct round *round, uint32_t chunk_idx);
void round_cancel(struct round *round); /* nothing will follow; the last worker frees it */
void round_free(struct round *round);
