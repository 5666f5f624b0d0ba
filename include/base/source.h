/*
 * source: anything that can be asked for units of a blob: local dedup, peers, origins.
 *
 * All of it on the loop thread. What comes is not verified: the asker does that.
 *
 * A source may bring a unit as the origin packs it, or chunk by chunk, packed or not. It may say
 * that somebody else is at it, or that the sources behind it may be asked for some units in the
 * name of others too (a lease): the asker then takes these units out of the question, puts them to
 * the next source at once, and says when they are settled.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
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
	bool reader;      /* somebody is blocked on it; else prefetch. Becomes true: see hurry() */
	uint64_t deadline_ns; /* of struct clock; a source gives up by then. Moved by wait() */
	uint64_t waited_ns;   /* so long a reader was blocked on it before it was asked for */
};

/* In a note: what came was waited for at a peer that was fetching it. The note begins "peer NAME:".
 */
#define SOURCE_NOTE_WAITED ", as they came there"

/* Expected outcomes of source_ops.get and of end(); negative: -errno with *why set. */
enum source_outcome {
	SOURCE_OK = 0,
	SOURCE_MISS =
		1, /* it does not have it now; another time it may: not counted as a failure */
	SOURCE_GONE =
		2, /* final (404, 410, 403 with a fresh token): do not ask again for this blob.
	            * Of an end() or get() with *why: code EACCES where a registry refused it, EPERM
	            * where the system did (a directory that this user may not read) */
};

static inline bool source_refused(int code)
{
	return code == EACCES || code == EPERM;
}

/* -EAGAIN: failed, may work in a while (refused, reset, 429, 5xx, time-out): *why says what. */

/* Units that the asker takes over by lease(). The source's: the asker gives it back. */
struct source_lease {
	uint64_t token;
	uint32_t first_unit;
	uint32_t n_units;
};

/* One chunk by itself. */
struct chunk_bytes {
	uint8_t *data; /* malloc'd */
	uint32_t size_bytes;
	enum compressor form; /* COMPRESSOR_NONE: plain; COMPRESSOR_ZSTD: one frame of all of it */
};

struct source_events {
	/* One unit as the origin packs it. bytes: malloc'd, exactly unit.packed_size_bytes, now the
	 * receiver's. 0..n times, in any order, each unit once. */
	void (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes);
	/* One chunk of the units asked for. bytes: now the receiver's; at most
	 * chunk.plain_size_bytes, and exactly that where they are plain. A unit is settled when all
	 * its chunks are here: those that were here before need not come. giver: the source's word
	 * for whom it has them from, told again to distrust(). */
	void (*chunk)(void *arg, uint32_t chunk_idx, struct chunk_bytes bytes, uint32_t giver);
	/* It is on its way, however slowly: so many bytes of it so far, as far as is known. Where
	 * that grew, deadline_ns is moved when this returns. */
	void (*wait)(void *arg, uint64_t progress_bytes);
	/* The sources behind this one may be asked for these units (of the question, not settled):
	 * this one brings them no more. lease_end() follows exactly once, possibly from inside this
	 * call. */
	void (*lease)(void *arg, const struct source_lease *lease);
	/* For people: who was asked, what was said, how long it took. Copied. */
	void (*note)(void *arg, const char *text);
	/* Exactly once, last: SOURCE_OK when every unit was delivered or leased, else an outcome or
	 * -errno. why: never NULL; code 0 where there is nothing to say. */
	void (*end)(void *arg, int r, const struct err *why);
};

struct source_ops {
	/* "dedup", "peer", "origin": label in logs and metrics. "elsewhere" in logs is an "origin"
	 * in metrics. */
	const char *name;
	/* 0: events follow, end() last, none of them from inside get(). Non-zero: not asked, no
	 * event; outcomes and errors as for end(). run is borrowed until end() or cancel(). */
	int (*get)(struct source *s, const struct unit_run *run, const struct source_events *ev,
	           void *arg, struct source_req **ret_req, struct err *e);
	void (*cancel)(struct source_req *req); /* no event will follow */
	/* A unit of it (a chunk by giver, else giver is 0) had the wrong digest. @return may it be
	 * asked again for this unit (another origin or peer, or the same once more)? false: it is
	 * struck for this unit */
	bool (*distrust)(struct source *s, const struct unit_run *run, uint32_t unit_idx,
	                 uint32_t giver);
	/* Has it failed for this blob a moment ago, so that those behind it are better asked first?
	 * Most of the time the answer costs a look at memory. May be NULL: never. */
	bool (*is_down)(struct source *s, const struct unit_run *run);
	/* For people: whom it asks right now, in some words; "" is fine. May be NULL. */
	void (*whom)(const struct source_req *req, char *ret_text, size_t size_bytes);
	/* Of two blobs that it is asked for: would one wait for what comes of the other, since both
	 * are at the same host? May be NULL: always. */
	bool (*is_one_line)(struct source *s, const struct cas_blob *a, const struct cas_blob *b);
	/* A reader is blocked on this unit now; run->reader is true. No event from inside. May be
	 * NULL. */
	void (*hurry)(struct source_req *req, uint32_t unit_idx);
	/* Units of a lease are coming: so many bytes more came. NULL where lease() is never told.
	 */
	void (*lease_progress)(struct source *s, uint64_t token, uint32_t more_bytes);
	/* All units of a lease are settled. ok: every one is here, verified. Likewise. */
	void (*lease_end)(struct source *s, uint64_t token, bool ok);
};

struct source {
	const struct source_ops *ops;
};
