/*
 * source: anything that can be asked for units of a blob: local dedup, peers, origins.
 *
 * All of it on the loop thread. What comes is not verified: the asker does that.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include <stdint.h>

struct cas_blob;
struct source;
struct source_req;

/* Neighbouring missing units of one blob, asked for together. */
struct unit_run {
	struct cas_blob *blob;            /* borrowed until end() */
	const struct blob_layout *layout; /* of blob */
	uint32_t first_unit;
	uint32_t n_units; /* no hole among them; packed ranges touch or overlap, in ascending order
	                   */
	bool reader;      /* somebody is blocked on it; else prefetch */
	uint64_t deadline_ns; /* of struct clock; a source gives up by then */
};

/* Expected outcomes of source_ops.get and of end(); negative: -errno with *why set. */
enum source_outcome {
	SOURCE_OK = 0,
	SOURCE_MISS =
		1, /* it does not have it now; another time it may: not counted as a failure */
	SOURCE_GONE =
		2, /* final (404, 410, 403 with a fresh token): do not ask again for this blob */
};
/* -EAGAIN: failed, may work in a while (refused, reset, 429, 5xx, time-out): *why says what. */

struct source_events {
	/* One unit as the origin packs it. bytes: malloc'd, exactly unit.packed_size_bytes, now the
	 * receiver's. 0..n times, in any order, each unit once. */
	void (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes);
	/* Exactly once, last: SOURCE_OK when every unit was delivered, else an outcome or -errno.
	 */
	void (*end)(void *arg, int r, const struct err *why);
};

struct source_ops {
	const char *name; /* "dedup", "peer", "origin": label in logs and metrics */
	/* 0: events follow, end() last, none of them from inside get(). Non-zero: not asked, no
	 * event; outcomes and errors as for end(). run is borrowed until end() or cancel(). */
	int (*get)(struct source *s, const struct unit_run *run, const struct source_events *ev,
	           void *arg, struct source_req **ret_req, struct err *e);
	void (*cancel)(struct source_req *req); /* no event will follow */
	/* A unit of it had the wrong digest. @return may it be asked again for this unit (another
	 * origin, or the same once more)? false: it is struck for this unit */
	bool (*distrust)(struct source *s, const struct unit_run *run, uint32_t unit_idx);
};

struct source {
	const struct source_ops *ops;
};
