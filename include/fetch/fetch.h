/*
 * fetch: from "these bytes are missing" to "they are in the reader's hands and in the cache".
 *
 * Planning, single flight, the order of sources, unpacking, verification. Knows images' layouts and
 * the cache; knows sources only as struct source; knows neither FUSE nor peers.
 *
 * One fetch in flight a unit a node, whatever the number of mounts, readers and prefetchers: they
 * all wait on it. A blocked reader outranks prefetch at every queue. Bytes are verified by cas
 * before a reader sees them.
 */
#pragma once
#include "auto.h"
#include "cas.h"
#include "source.h"

struct fetch;
struct fetch_blob;

struct fetch_opts {
	struct loop *loop; /* borrowed, all of them */
	struct pool *pool; /* workers: unpack, verify, write, answer */
	struct cas *cas;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	struct source *const *sources; /* in the order in which they are asked; copied */
	uint32_t n_sources;            /* <= FETCH_SOURCES_MAX */
	uint64_t read_timeout_ms;      /* retry budget of a reader */
	uint64_t prefetch_run_bytes;   /* packed, of one question of a prefetch; 0: 4 MiB */
	uint64_t in_flight_max_bytes;  /* 0: 32 MiB; a unit that is larger goes alone */
	/* [loop] A blob is open for reads from now on. NULL: nobody wants to know. */
	void (*blob_opened)(void *arg, struct cas_blob *blob);
	void *blob_opened_arg;
	/* [worker] A chunk came packed, by itself, and is verified: its bytes as they came, in
	 * whatever form their origin has them, now the receiver's. NULL: nobody wants them. */
	void (*packed)(void *arg, struct cas_blob *blob, uint32_t chunk_idx,
	               struct chunk_bytes bytes);
	void *packed_arg;
};
#define FETCH_SOURCES_MAX 4

MUST_CHECK int fetch_new(const struct fetch_opts *opts, struct fetch **ret_fetch, struct err *e);
/** [loop] All reads must have ended and all blobs been released. NULL is fine. */
void fetch_free(struct fetch **fetch);

/** [any] As in fetch_opts, for reads and questions from now on. */
void fetch_set_read_timeout(struct fetch *f, uint64_t timeout_ms);

/** [loop] Does nobody hold a blob, workers included? After the last release that takes a moment,
 * which fetch_free() cannot wait for. */
bool fetch_is_idle(const struct fetch *f);

/** [loop] fetch's side of an open blob: one object a cas_blob, reference-counted; takes its own
 * reference of the cas_blob. */
struct fetch_blob *fetch_blob_open(struct fetch *f, struct cas_blob *blob);
void fetch_blob_release(struct fetch_blob **blob); /* [loop] NULL is fine */
/** [loop] They were just opened, for one image: how a reader goes through one of them says how he
 * will go through the others. Not so of one that another image has open, too. */
void fetch_blobs_together(struct fetch_blob *const *blobs, uint32_t n_blobs);
struct cas_blob *fetch_blob_cas(struct fetch_blob *blob);

/* Where a reader's bytes were found when it asked. */
enum fetch_found { FOUND_CACHE, FOUND_DEDUP, FOUND_PEER, FOUND_ORIGIN, N_FOUND };
extern const char *const fetch_found_names[N_FOUND]; /* "cache", "dedup", "peer", "origin" */

/* A piece of a read: bytes of one chunk, to stand at dst. Pieces never overlap in dst. */
struct fetch_piece {
	struct fetch_blob *blob; /* NULL: zeros */
	uint32_t chunk_idx;      /* checked by the caller: image_segment_fits() */
	uint32_t chunk_offset;
	uint32_t size_bytes;
	uint8_t *dst;
};

/*
 * A read. The caller's, embedded in its request; zeroed, then the first block filled in. It and
 * the pieces stay until done() or until fetch_read() returned something other than FETCH_PENDING.
 */
struct fetch_read {
	struct fetch_piece *pieces; /* borrowed */
	uint32_t n_pieces;          /* > 0 */
	bool prefetch; /* nobody is blocked on it; dst of all pieces is NULL: only make ready */
	/* Exactly once, last; on a worker (success) or on the loop (failure): must not block on the
	 * loop. result: 0; -EIO; -ETIMEDOUT is told as -EIO; -ECANCELED. *why: for the log. */
	void (*done)(struct fetch_read *r, int result, const struct err *why);

	uint64_t found_bytes[N_FOUND]; /* set when done: where the bytes were found */
	enum fetch_found found;        /* set when done: the slowest kind among them */

	struct fetch_read_state *state; /* fetch's */
};

enum { FETCH_PENDING = 1 };

/**
 * [any] Read. Everything ready: the bytes are at their dst when this returns 0, and done() is not
 * called (the warm path: no lock held across I/O, no allocation).
 *
 * @return 0; FETCH_PENDING done() follows, possibly before this returns; -EIO the disk failed
 */
MUST_CHECK int fetch_read(struct fetch *f, struct fetch_read *r, struct err *e);

/** [loop] End a pending read early: done(-ECANCELED) unless it was called already. What is being
 * fetched for it goes on as readahead. */
void fetch_cancel(struct fetch *f, struct fetch_read *r);

/* ---- the whole of some blobs, in the background ---- */

struct fetch_prefetch;
struct fetch_prefetch_opts {
	struct fetch_blob *const *blobs; /* references are taken; the array is copied */
	uint32_t n_blobs;
	/* By the same index: the chunks that are meant; NULL, or NULL for a blob: all that its
	 * layout describes. Borrowed until done(). */
	struct bitmap *const *named;
	/* [loop] From time to time and at the end. */
	void (*progress)(void *arg, uint64_t plain_bytes_done, uint64_t plain_bytes_total);
	/* [loop] Exactly once, last. 0: all of it is here and verified. The prefetch is gone then.
	 */
	void (*done)(void *arg, int result, const struct err *why);
	void *arg;
};

/** [loop] Bring all of what is meant, in blob order, behind all readers. */
struct fetch_prefetch *fetch_prefetch_start(struct fetch *f,
                                            const struct fetch_prefetch_opts *opts);
void fetch_prefetch_cancel(
	struct fetch_prefetch *p); /* [loop] done(-ECANCELED) before it returns */

/* ---- some of it, that is expected to be read soon ---- */

struct fetch_stretch {
	uint32_t blob_idx; /* of fetch_bring_opts.blobs */
	uint32_t first_chunk;
	uint32_t n_chunks;
};

struct fetch_bring;
struct fetch_bring_opts {
	struct fetch_blob *const *blobs; /* references are taken; the array is copied */
	uint32_t n_blobs;
	const struct fetch_stretch *stretches; /* soonest first; copied; what is not there is
	                                        * passed over */
	uint32_t n_stretches;
	/* [loop] Once, last: all was asked for, or as much as is asked for at all. It may still be
	 * on its way. */
	void (*done)(void *arg, uint64_t packed_bytes_asked);
	void *arg;
};

/** [loop] Ask for what is missing of these, behind all readers, 32 MiB packed at most. */
struct fetch_bring *fetch_bring_start(struct fetch *f, const struct fetch_bring_opts *opts);
void fetch_bring_cancel(struct fetch_bring *b); /* [loop] done does not follow */

/* ---- for people ---- */

enum fetch_event_kind {
	FETCH_ANSWER, /* what it came to: result */
	FETCH_STEP,   /* of the answer that follows: what a peer was asked, and said */
	FETCH_OPEN,   /* there is no answer yet; took_us: so far */
	FETCH_LEASE,  /* nobody had them: this node was let fetch them */
	FETCH_SOME,   /* it gave some of them, and it is not remembered which */
};

/* What one question to a source came to for some units, for `shoal explain`. */
struct fetch_event {
	enum fetch_event_kind kind;
	char blob_key[BLOB_ID_MAX + 16];
	uint32_t first_unit, n_units;
	const char *source; /* name of the source; FETCH_NOBODY: no question is out, see detail */
	bool reader;        /* somebody waited; else readahead or prefetch */
	int result;         /* SOURCE_OK: it gave all of them; a source_outcome or -errno */
	char detail[160];   /* what it said */
	uint64_t asked_wall_ms;
	uint32_t first_unit_us; /* until its first unit; 0: none came */
	uint32_t took_us;
};

#define FETCH_NOBODY "nobody"

/** [loop] The questions that covered this unit, oldest first: the newest of those that are
 * remembered, then those that are open. @param max  at least 2 @return how many */
uint32_t fetch_explain(const struct fetch *f, const char *blob_key, uint32_t unit_idx,
                       struct fetch_event *ret_events, uint32_t max);

/** [loop] Since when questions are remembered, in ms since 1970; 0: all of this agent's are. */
uint64_t fetch_explain_since_ms(const struct fetch *f);

/* A question that has no answer yet. */
struct fetch_question {
	char blob_key[BLOB_ID_MAX + 16];
	uint32_t first_unit, n_units;
	const char *source; /* name of the source that is asked */
	bool reader;        /* somebody waits; else readahead or prefetch */
	uint32_t since_us;
	char detail[160]; /* whom the source asks now, or the last step that it told of; "" */
};

/** [loop] How long the readers that wait now have waited so far, all together. */
uint64_t fetch_waiting_ns(const struct fetch *f);

/** [loop] The questions that are with a source now. @return how many, <= max */
uint32_t fetch_questions(const struct fetch *f, struct fetch_question *ret_questions, uint32_t max);
