/*
 * engine: what the files of the fetch engine share. Private to fetch/.
 *
 *   fetch.c          the object, blobs, the warm path
 *   fetch_read.c     a read that missed: waiters, answers, deadlines, cancel  (fetch_read_state)
 *   fetch_demand.c   which units to ask for: demand, readahead                (plan, readahead)
 *   fetch_flight.c   single flight: the table of units on their way           (struct flight)
 *   fetch_run.c      one question to the sources, in order, until settled     (struct run)
 *   fetch_coming.c   whether one brings anything, when a reader's time is over
 *   fetch_islands.c  what is missing between chunks that are here
 *   fetch_sweep.c    the rest of an image, for who reads all of it           (struct reading)
 *   fetch_programs.c the rest of a program that is being started
 *   fetch_lost.c     what failed, and what becomes of one that no source answers
 *   fetch_queue.c    when its turn comes
 *   fetch_batch.c    unpack, verify, keep, answer: jobs on the workers        (struct batch)
 *   fetch_piece.c    single chunks of a unit, as peers give them              (struct piece)
 *   fetch_lease.c    units that are asked for in the name of others too       (struct lease)
 *   fetch_explain.c  the ring of remembered questions
 *   prefetch.c       whole blobs in the background
 *   fetch_bring.c    what is expected to be read soon
 *
 * A unit on its way is a flight. It belongs to a run until its bytes are here, then to a batch
 * until they are verified. A unit of several chunks may also come chunk by chunk: then it stays
 * with its run until all of them are kept. All of it is the loop thread's, but for what a lock
 * below names.
 */
#pragma once
#include "bitmap.h"
#include "fetch.h"
#include "plan.h"
#include "readahead.h"
#include "share.h"
#include "slow.h"
#include <pthread.h>
#include <stdatomic.h>

#define IN_FLIGHT_DEFAULT_BYTES (UINT64_C(32) << 20)
#define RUN_MAX_BYTES           (UINT64_C(4) << 20) /* packed; a larger unit goes alone */
#define EXPLAIN_EVENTS          4096U
#define EXPLAIN_MAX_BYTES       (5U << 18) /* 1.25 MiB, of which the agent has what it has filled */
#define FLIGHT_BUCKETS          1024       /* a power of two */
#define BATCH_UNITS_MAX         64
#define DECODERS_MAX            64
#define PROGRAMS_MAX            4 /* remembered, a blob */
#define PROGRAM_NONE            UINT32_MAX

/* ---- a read that missed ---- */

/* What a read wants of one unit. */
struct waiter {
	struct fetch_read_state *st;
	struct fetch_blob *blob;
	uint32_t unit_idx;
	bool blocked; /* somebody waits for the read; else it only makes ready */
	bool placed;  /* holds its state */
	enum fetch_found found;
	struct waiter *next; /* of the same flight */
	struct job job;      /* reads what became ready meanwhile */
	int job_result;
	struct err job_err;
};

struct fetch_read_state {
	struct loop_call call;
	struct fetch *f;
	struct fetch_read *r; /* the caller's: not touched once ended */
	bool listed;
	bool reader;       /* somebody is blocked on it */
	uint64_t began_ns; /* when it was asked */
	uint64_t deadline_ns;
	struct fetch_read_state *prev, *next; /* fetch.readers: in order of deadline */
	uint64_t timeout_ms;
	uint64_t last_ns;     /* no later than this, however slowly it comes */
	struct err why;       /* the last failure that it heard of */
	uint32_t n_placed;    /* waiters that hold this object */
	pthread_mutex_t lock; /* guards ended, n_open, and against ended what r points to; never
	                       * held across I/O or a callback */
	bool ended;
	uint32_t n_open; /* waiters whose bytes are not there yet */
	uint32_t n_waiters;
	struct waiter *waiters;
	bool *filled; /* a piece each: it was ready when the reader asked */
};

/** [any] r has missed. NULL: memory is out. Then say what was filled, and post it to the loop. */
struct fetch_read_state *read_state_new(struct fetch *f, struct fetch_read *r);
void read_state_free(struct fetch_read_state *st);
void read_post(struct fetch_read_state *st);
void reads_expire(struct fetch *f); /* [loop] answer those whose deadline has passed */

/** [any] The bytes of its unit (those that it wants, at least) are here, verified. Answers the
 * reader if these were the last. */
void waiter_fill(struct waiter *w, const uint8_t *plain, enum fetch_found found);
/** [loop] The bytes of one chunk of its unit are here, verified. @return it wants no more of the
 * unit: take it out of its list and release it */
bool waiter_fill_chunk(struct waiter *w, uint32_t chunk_idx, const uint8_t *plain,
                       enum fetch_found found);
bool waiter_wants(struct waiter *w, uint32_t chunk_idx); /* [any] and does not have it yet */
bool waiter_is_here(struct waiter *w);    /* [any] all that it wants is present, or a candidate */
void waiter_read_ready(struct waiter *w); /* [loop] then: reads that; it is in no list any more */
void waiter_fail(struct waiter *w, const struct err *why); /* [loop] -EIO */
void waiter_note(struct waiter *w, const struct err *why); /* [loop] the last failure */
void waiter_release(struct waiter *w);                     /* [loop] it is in no list any more */
bool waiter_is_live(struct waiter *w);                     /* [loop] nobody answered yet */
void waiter_place(
	struct waiter *w); /* [loop] where its unit is: ready, on its way, or to be asked for */

/** [loop] Make the flights that st's waiters from i on need. At least waiter i's is there then. */
void demand_plan(struct fetch_read_state *st, uint32_t i);
void demand_ahead(struct loop_call *call); /* a marked unit was touched */

/* How much is asked for unasked, at a time. */
struct ahead_limits {
	uint64_t packed_bytes;
	uint32_t n_requests;
	uint32_t n_looks; /* units */
};

/** [loop] Ask for what is missing from there on. What is here, or on its way, is passed by: a
 * reader who goes through all of it would otherwise wait at the next unit that is not.
 * @param ret_window  from the first unit asked for to the last; its bytes without what was passed
 * by
 * @return false: nothing was asked for */
bool ahead_ask(struct fetch_blob *blob, uint32_t from_unit, const struct ahead_limits *limits,
               struct plan_span *ret_window);

/** [loop] demand was missed and is asked for, with all up to end_unit: what is missing behind that,
 * between units that are here? */
void islands_missed(struct fetch_blob *blob, const struct plan_span *demand, uint32_t end_unit);
void islands_ahead(struct fetch_blob *blob); /* [loop] a marked unit was touched */

/* What is read of an image, and lies ahead of its readers: of those blobs of it that no other image
 * had open before. The loop's, but for what is atomic. */
struct reading {
	struct reading *prev, *next; /* fetch.sweeping, where listed */
	bool listed;
	struct fetch *f;
	uint32_t n_blobs; /* each holds it */
	struct readahead_record record;
	struct fetch_blob *blobs;    /* of which more may be swept: sweep_prev, sweep_next */
	_Atomic uint64_t read_bytes; /* packed: touched, and not here before; each unit once */
	_Atomic uint64_t
		ahead_bytes; /* packed, that sweeps asked for and no reader touched since */
};

struct reading *reading_new(struct fetch *f);
void reading_add(struct reading *r, struct fetch_blob *blob);
void reading_drop(struct fetch_blob *blob); /* the last one frees it */

/** [any] A reader asked for it, for the first time (since it was brought). */
void sweep_touched(struct fetch_blob *blob, uint32_t unit_idx, const struct unit_rec *u);
/** [loop] Something came, or a place is free: what lies far ahead may be due. */
void sweeps_pump(struct fetch *f);
void sweep_is_due(struct fetch_blob *blob); /* [loop] somebody read on in it */
void sweep_on_turn(struct timer *t);
void sweep_begins(struct fetch_blob *blob, uint32_t first_unit); /* [loop] somebody reads there */
void sweep_ends(struct fetch_blob *blob); /* [loop] no more of it: windows alone */

/** [any] Is this the first of several chunks of a program? plain: the unit's bytes. */
bool programs_is_head(const struct unit_rec *u, const uint8_t *plain);
void programs_add(struct fetch_blob *blob, uint32_t unit_idx);    /* [loop] a reader has its head */
void programs_missed(struct fetch_blob *blob, uint32_t unit_idx); /* [loop] a reader misses this */

/* ---- flights ---- */

struct flight {
	struct flight *next_in_bucket;
	struct fetch_blob *blob;
	uint32_t unit_idx;
	uint32_t packed_size_bytes;
	uint32_t plain_size_bytes;
	uint32_t held_bytes; /* in fetch.in_flight_bytes: as it was asked for; as it came */
	uint32_t source_idx; /* that brought it, or is asked */
	uint32_t struck;     /* bit a source: gave a final answer or wrong bytes twice */
	uint32_t n_wrong;    /* wrong digests from source_idx */
	uint32_t n_pauses;   /* of its runs, until what came was dropped for want of memory */
	struct run *run;     /* until the bytes are here */
	struct batch *batch; /* from then on */
	struct lease *lease; /* it is asked for in the name of others, too */
	uint8_t *packed;
	bool by_chunk;        /* packed is its only chunk, as source_events.chunk gave it: */
	enum compressor form; /* ... in this form */
	uint32_t came_bytes;  /* ... so many bytes */
	uint32_t giver;       /* source_events.chunk */
	bool landed;
	struct waiter *waiters; /* guarded by batch->lock while that is with a worker */
	bool served;            /* likewise: the waiters have their bytes */
	struct waiter *late;    /* came after that */
	/* the worker's result */
	int result;
	uint32_t n_kept; /* members made ready */
	bool refused;    /* the cache took not all of them */
	uint64_t kept_bytes;
	bool program; /* one begins with it */
	struct err *why;
};

bool flight_wanted(void *blob, uint32_t unit_idx); /* plan_view.wanted */
struct plan_view flight_view(struct fetch_blob *blob);
struct flight *flight_find(struct fetch_blob *blob, uint32_t unit_idx);
struct flight *flight_new(struct fetch_blob *blob, uint32_t unit_idx);
void flight_end(struct flight *fl); /* frees it; its waiters must have been taken */
void flight_hold(struct flight *fl, uint32_t n_bytes); /* of the budget, until its end */
bool flight_is_waited_for(struct flight *fl);
bool flight_is_blocked_on(const struct flight *fl);         /* not only by who makes ready */
uint64_t flight_blocked_since_ns(struct flight *fl);        /* UINT64_MAX: nobody is */
void flight_fail(struct flight *fl, const struct err *why); /* its readers get -EIO */
void flight_drop(struct flight *fl);                        /* nobody waits for it */
/** Another blob here has it: those who wait look there. */
void flight_arrived(struct flight *fl);
/** @return false: the flight was given up, its unit has to be asked for anew */
bool flight_join(struct flight *fl, struct waiter *w);

/* ---- runs ---- */

enum run_prio { RUN_READER, RUN_AHEAD, RUN_PREFETCH, N_RUN_PRIOS };
enum run_state { RUN_QUEUED, RUN_ASK, RUN_ASKED, RUN_LOST, RUN_PAUSED, RUN_DONE, N_RUN_STATES };

struct run {
	struct run *prev, *next; /* fetch.queue[prio] while QUEUED, else fetch.runs */
	struct run *part;        /* the next of the stretches that a run fell into */
	struct fetch_blob *blob;
	enum run_prio prio;
	enum run_state state;
	uint32_t first_unit, n_units;
	uint32_t source_idx; /* that is asked; n_sources: none is left in this round */
	uint32_t struck;
	uint32_t missed;   /* bit a source: it has nothing of it in this round */
	uint32_t put_off;  /* bit a source: it is down, and is asked behind the others */
	bool last_resort;  /* now these are asked */
	bool sweeps;       /* nobody asked for it: see fetch_sweep.c */
	uint32_t n_pauses; /* since something came */
	uint32_t n_lost;   /* and before that, where it was dropped: flight.n_pauses */
	struct timer timer;
	struct unit_run ask;
	struct source_req *req;
	struct batch *open; /* units that came and wait for more */
	struct err why;
	uint64_t asked_ns, first_unit_ns, asked_wall_ms;
	uint64_t progress_bytes; /* source_events.wait ... */
	uint64_t progress_ns;    /* ... grew last then */
	uint32_t lease_unit;     /* none of its units before that has a lease */
	uint64_t lasted_ns;      /* the longest question that failed since a unit came ... */
	uint32_t lasted_at;      /* ... and whose it was */
	struct piece *pieces;    /* chunks with the workers */
	bool ended;     /* ASKED: the source has said its last word, pieces are waited for */
	bool again;     /* a piece was wrong: the same source may be asked again */
	bool disk_full; /* a piece could not be kept */
	uint8_t *fates; /* ASKED: what became of each unit of ask: enum fate; fetch_explain.c's */
	int end_result;
	struct err end_why;
};

/** Make the flights of a span and queue a question for them: runs_pump() asks. */
struct run *run_new(struct fetch_blob *blob, const struct plan_span *span, enum run_prio prio);
/** Ask anew for a unit whose bytes were wrong, or could not be looked at: that source first. */
void run_again(struct flight *fl, uint32_t source_idx);
void run_has_part(struct run *run); /* something came of it: its failures are over */
void run_brought(struct run *run, struct flight *fl); /* all of it: the run has done its part */
void run_promote(struct run *run);                    /* QUEUED: a reader waits for it now */
bool run_dissolve(struct run *run); /* QUEUED: drop it and its flights, unless somebody waits */
void run_hurry(struct run *run, uint32_t unit_idx); /* a reader waits for it now */
/** A reader waits for that unit, and its time is over: do bytes of it arrive, or those it is
 * behind? Or has a source been asked only now? */
bool run_is_coming(const struct run *run, uint32_t unit_idx, uint64_t time_ns);
void run_note_pace(const struct run *run); /* ASKED: all of it came */
void run_settled(struct run *run); /* ended, and no piece is left: go on with what is missing */
/** The flights of units [first_unit, end_unit) that are run's: to the next source, at once. */
void run_pass_on(struct run *run, uint32_t first_unit, uint32_t end_unit);
struct flight *run_flight(const struct run *run, uint32_t unit_idx); /* NULL: not this run's */
void run_start(struct run *run);                                     /* QUEUED: its turn has come */
void run_fail(struct run *run);                                      /* its readers get -EIO */
/** Give up the flights that nobody waits for. @return how many are left */
uint32_t run_drop_idle(struct run *run);
/** Go on with what is left, each stretch by itself: ask, or queue for that. With nothing left:
 * done.
 */
void run_go_on(struct run *run, enum run_state next);
enum run_state run_requeue(struct run *run); /* fetch_queue.c: of the same table */
/** The source that was asked gave nothing, or not all: what it said is that, r as in
 * source_events.end. */
void run_note_failure(struct run *run, int r, const struct err *why);
/** Some source has said its last word, and the others have nothing of it now. */
bool run_is_denied(const struct run *run);
enum run_state run_lost(struct run *run); /* fetch_lost.c: two of its states */
enum run_state run_pause(struct run *run);
/** It is with a source now, or no longer: more is 1 or -1U. Of prefetches it is counted. */
void run_count_asked(const struct run *run, uint32_t more);
void runs_pump(struct fetch *f);                    /* ask what the budget allows, readers first */
void runs_pump_soon(struct fetch *f);               /* not from inside whatever called */
uint64_t prefetch_run_bytes(const struct fetch *f); /* packed, at most */
uint32_t prefetch_runs_max(const struct fetch *f);  /* asked at a time */
bool runs_take_prefetch(const struct fetch *f); /* is there room for one more run of a prefetch? */
void runs_cancel(struct fetch *f, struct fetch_blob *blob); /* all of this blob's; NULL: all */

/* ---- batches ---- */

struct batch {
	struct batch *prev, *next; /* fetch.batches[job.prio] while ready */
	struct fetch_blob *blob;
	struct run *run; /* whose open batch this is */
	struct job job;
	bool submitted;
	uint64_t packed_bytes;
	uint32_t plain_bytes; /* of its units that are packed, as far as together: the worker's
	                         buffer */
	pthread_mutex_t lock; /* guards waiters and served of its flights; pointers only */
	uint32_t n_flights;
	struct flight *flights[BATCH_UNITS_MAX];
};

void batch_add(struct run *run, struct flight *fl); /* its bytes are here */
void batch_close(struct run *run);                  /* no more will come */
void batch_promote(struct flight *fl);              /* a reader waits for it now */
void batches_pump(struct fetch *f);
struct decoder *decoder_take(struct fetch *f); /* [worker] NULL: memory is out */
void decoder_give(struct fetch *f, struct decoder *d);
/** A flight's bytes were wrong. @return may the same source be asked for them once more? */
bool flight_was_wrong(struct flight *fl, uint32_t source_idx, uint32_t giver);
/** All chunks of a flight are here (or, on a full disk, not kept): tell all who wait, free it. */
void flight_landed(struct flight *fl);

/* ---- chunks of units that come one by one ---- */

struct piece {
	struct piece *prev, *next; /* run.pieces */
	struct run *run;           /* NULL: cancelled */
	struct fetch_blob *blob;
	struct job job;
	uint32_t unit_idx, chunk_idx;
	uint32_t source_idx;
	uint32_t giver;
	struct chunk_bytes bytes; /* as they came; plain when the worker is done with them */
	bool judged;              /* its digest was looked at, or it cannot be unpacked */
	int result;
	struct err why;
};

void run_on_chunk(void *arg, uint32_t chunk_idx, struct chunk_bytes bytes, uint32_t giver);
void pieces_forget(struct run *run); /* it is cancelled */

/* ---- leases ---- */

void run_on_lease(void *arg, const struct source_lease *granted);
void lease_advance(struct run *run, uint64_t more_bytes);
void lease_settle(struct flight *fl, bool ok); /* fl is asked in no other name any more */

/* ---- the whole ---- */

struct fetch_blob {
	struct fetch_blob *prev, *next;
	struct fetch *f;
	struct cas_blob *cas;
	/* Refreshed at each open: another image may have told more of it. Readers look from any
	 * thread. */
	const struct blob_layout *_Atomic layout;
	uint32_t n_users;                /* references given out */
	uint32_t n_inner;                /* runs and batches */
	uint32_t n_prefetch_runs;        /* asked, and no sweep's */
	struct bitmap *in_flight;        /* a bit a unit; the loop's */
	struct bitmap *touched;          /* a reader asked for it (since it was brought unasked) */
	struct bitmap *brought;          /* it was read ahead */
	struct bitmap *marked;           /* touching it makes the next window due */
	struct bitmap *sharing;          /* a bit a chunk: a reader's thread shares it right now */
	struct readahead ra;             /* the loop's */
	uint32_t programs[PROGRAMS_MAX]; /* the loop's: heads that readers had of late, or
	                                  * PROGRAM_NONE */
	uint32_t next_program;
	uint32_t islands_marker; /* the loop's: READAHEAD_NO_MARKER, or a marked unit ... */
	uint32_t islands_end;    /* ... behind this one the next islands are due then */
	struct reading *reading; /* set before anybody reads */
	struct fetch_blob *sweep_prev, *sweep_next; /* the loop's, where sweep_listed */
	bool sweep_listed;
	uint32_t sweep_unit;    /* the loop's: where the sweep goes on; it begins where the reader
	                         * did */
	struct bitmap *swept;   /* asked for by it, and not touched since */
	struct bitmap *rest;    /* asked for as the rest of a program, and not touched since */
	struct bitmap *counted; /* in reading.read_bytes */
	_Atomic uint64_t useful_bytes;
	atomic_bool ahead_posted;
	struct loop_call ahead_call;
	struct loop_call close_call;
	bool close_posted;
};

struct decoder;
struct fetch {
	struct fetch_opts opts;
	struct source *sources[FETCH_SOURCES_MAX];
	enum fetch_found found_at[FETCH_SOURCES_MAX];
	struct series *chunks[FETCH_SOURCES_MAX];
	struct series *chunk_bytes[FETCH_SOURCES_MAX];
	struct series *verify_failures[FETCH_SOURCES_MAX];
	struct series *origin_unique;
	struct series *fetches_in_flight;
	struct series *readers_waiting;
	struct series *unverified_bytes;
	bool closing;
	_Atomic uint64_t read_timeout_ms; /* as opts has it, until it is set anew */

	struct fetch_blob *blobs;
	struct flight *buckets[FLIGHT_BUCKETS];
	struct readahead_starts starts;
	_Atomic uint64_t rest_useful_bytes; /* of programs' rests, touched since it was looked at */
	uint64_t origin_bytes_per_ms;       /* as questions to them went of late; 0: nobody knows */
	uint64_t in_flight_bytes; /* bytes asked for and not done, plain bytes being made */
	struct run *queue[N_RUN_PRIOS];
	struct run *runs;
	uint32_t n_prefetch_runs;     /* asked */
	uint32_t n_sweep_runs;        /* of these */
	struct loop_call chunks_call; /* chunks that came in this round go to the workers */
	bool chunks_posted;
	struct batch *batches[N_JOB_PRIOS];
	uint32_t n_jobs; /* batches with the workers */
	uint32_t n_workers;
	uint32_t n_shares; /* of prefetches, with the workers */
	struct fetch_read_state *readers;
	struct timer reader_timer;
	uint32_t
		n_answering; /* the loop is inside done() of a read: what it walks over must stay */
	struct fetch_prefetch *prefetches; /* whose turn it is */
	struct timer prefetch_timer;
	struct fetch_bring *brings;
	struct reading *sweeping; /* images of which more may be swept; whose turn it is */
	_Atomic uint64_t ahead_plain_bytes; /* reading.ahead_bytes of all images, but plain */
	struct timer sweep_timer;
	struct timer runs_timer; /* of runs_pump_soon() */
	uint64_t n_failed_runs;  /* that nobody waited for, and no source could answer */
	uint64_t random;         /* for jitter */

	pthread_mutex_t decoders_lock; /* guards decoders and n_decoders; pointers only */
	struct decoder *decoders[DECODERS_MAX];
	uint32_t n_decoders;

	struct fetch_event events[EXPLAIN_EVENTS]; /* a ring */
	uint64_t n_events;                         /* ever */
};

/** Bytes of the read are where they belong. Under its lock, or while nobody else knows the read. */
void read_account(struct fetch_read *r, uint32_t size_bytes, enum fetch_found found);

bool unit_is_ready(const struct fetch_blob *blob, uint32_t unit_idx);
/* Present, or worth a try to share it with another blob: not asked for before that has failed. */
bool chunk_is_here(const struct fetch_blob *blob, uint32_t chunk_idx);
bool unit_is_here(const struct fetch_blob *blob, uint32_t unit_idx);

/* ---- sharing with other blobs (fetch_share.c) ---- */

#define SHARES_MAX 2 /* of prefetches, with the workers */

/** [worker] The bytes of a chunk that is here; shares it where it is not present. *ret_shared is
 * set then. @return 0; CAS_MISS it is not here after all; -EIO */
int share_read(struct fetch_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain, bool *ret_shared,
               struct err *e);
/** [any that may block] The bytes of a piece whose chunk another blob has, where its reader is: no
 * way over the loop. @return 0; CAS_MISS it has to go that way */
int share_piece(const struct fetch_piece *p, struct err *e);
/** [loop] For prefetches: share this unit and those behind it that are meant, too, as many as are
 * worth a job. Told by prefetches_on_unit(). @return how many */
uint32_t share_start(struct fetch_blob *blob, uint32_t first_unit,
                     bool (*meant)(void *arg, uint32_t unit_idx), void *arg);
/* What goes over several blobs: a copy of the array, with a reference to each. */
struct fetch_blob **blobs_use(struct fetch_blob *const *blobs, uint32_t n_blobs);
void blobs_release(struct fetch_blob ***blobs, uint32_t n_blobs);
void blob_hold(struct fetch_blob *blob); /* inner references */
void blob_drop(struct fetch_blob *blob);
void fetch_maybe_finish(struct fetch *f);

/* What became of a unit in one question. */
enum fate {
	FATE_OPEN,   /* it is still asked for, or came another way */
	FATE_PART,   /* a chunk of it came */
	FATE_GIVEN,  /* all of it */
	FATE_LEASED, /* the sources behind were asked */
};
void explain_asked(struct run *run); /* a question begins */
void explain_fate(struct run *run, uint32_t unit_idx, enum fate fate);
void explain_leased(struct run *run, uint32_t first_unit, uint32_t n_units);
void explain_record(struct run *run, int result, const struct err *why); /* it ends */
void explain_wrong(struct flight *fl);          /* what its source gave had a wrong digest */
void explain_note(void *arg, const char *text); /* source_events.note */

/* A unit of blob is settled: 0 it is ready now; CAS_MISS it could not be shared, and is to be asked
 * for; -ENOSPC it came but could not be kept; else why. */
void prefetches_on_unit(struct fetch_blob *blob, uint32_t unit_idx, int result,
                        const struct err *why);
void prefetches_pump(struct fetch *f); /* these, and brings */
void prefetches_on_turn(struct timer *t);
void brings_pump(struct fetch *f);
