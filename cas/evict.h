/*
 * evict: make room: which chunks go, and in which order of steps. Private to cas/.
 *
 * evict.c is the thread that does it and its reasons to, evict_piles.c the choice, evict_batch.c
 * the steps for one group of chunks, measure.c what files take, garbage.c what nothing uses.
 */
#pragma once
#include "bitmap.h"
#include "err.h"
#include "pinned.h"
#include "pool.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cas;
struct cas_blob;
struct cas_gc_result;
struct blob_layout;

struct evictor {
	struct pool *pool; /* one thread: rounds, gc and chores, one after another */
	struct job round_job;
	struct job chore_job;
	atomic_bool round_queued;
	atomic_bool chore_queued;
	_Atomic uint64_t not_before_ns; /* the last round found nothing to free */
	_Atomic uint64_t next_chore_ns;
	atomic_bool cannot_punch; /* this file system has no holes */
	atomic_bool has_garbage;  /* a removed image left blobs that somebody had open */
	atomic_bool sweep_failed; /* it is tried again with the chores that are due, not at each
	                             close */
	pthread_t thread;
	int ballast_fd; /* space that is given up when the database needs it */
};

/** Before the database is opened, which needs disk space for its log: the ballast is given up. */
void evict_lend_ballast(struct cas *cas);
MUST_CHECK int evictor_start(struct cas *cas, struct err *e);
void evictor_stop(struct cas *cas); /* before the writer ends; fine when it never started */

/** [writer, no transaction open] Give up the ballast, and write over the database's log: what has
 * to be written to the database now has no other room. @return true: there was some */
bool evict_give_ballast(struct cas *cas);
void evict_kick(void *cas);              /* [any] make room, soon */
void evict_on_time(struct cas *cas);     /* [loop] every flush_ms */
void evict_chores_soon(struct cas *cas); /* [any] */

/* ---- evict_piles.c: what there is to evict, least recently used first ---- */

struct pile {
	uint32_t blob;   /* index into piles.blobs */
	uint8_t tick;    /* chunks that were used then, or before */
	uint64_t used_s; /* of the blob, as the database has it: tells first from last in a tick */
	uint64_t bytes;
};

struct pile_blob {
	char *key;
	struct cas_blob *open;         /* a reference; NULL: it was closed */
	const struct pinned_blob *pin; /* chunks of it that stay; NULL: none */
};

struct piles {
	struct pile *piles; /* in order */
	uint32_t n_piles;
	struct pile_blob *blobs;
	uint32_t n_blobs;
	struct pinned pinned;
	uint64_t pinned_bytes; /* by images, or because the kernel reads them */
	uint64_t handed_bytes; /* of it, what no image pins */
};

/** [evictor] */
MUST_CHECK int piles_collect(struct cas *cas, struct piles *ret_piles, struct err *e);
void piles_free(struct piles *piles); /* zeroed is fine; for AUTO() */

/* ---- evict_batch.c ---- */

struct evict_batch {
	struct cas_blob *blob;
	const struct blob_layout *layout; /* of all that any image described */
	const struct pinned_blob *pin;    /* what stays of it; NULL: nothing */
	struct bitmap *victims;           /* in: to go; out: gone */
	bool trim;                        /* punch whatever is not ready, too */
	struct bitmap *barred_here;       /* a map of zeros */
	uint64_t generation;              /* the blob's, before the victims went */
	uint32_t n_chunks;                /* out: gone */
	bool knows_all;                   /* out: of the layout; else nothing happened */
	uint64_t shared_bytes;            /* punched, but other files have them, too */
	uint64_t freed_bytes;             /* out */
};

/** [worker, one at a time] Take the victims back, durably, then punch. Nothing happens to a pinned
 * blob. @return 0; negative: all is as before */
MUST_CHECK int evict_batch_run(struct cas *cas, struct evict_batch *batch, struct err *e);

/* ---- measure.c ---- */

/** [worker] What blobs take on the disk, each shared extent once; room knows it then. */
MUST_CHECK int measure_blobs(struct cas *cas, uint64_t *ret_bytes, struct err *e);
uint64_t measure_fd(int fd);
/** What of [from, to) of a file other files have, too (FIEMAP): punching it frees nothing. */
uint64_t measure_shared(int fd, uint64_t from, uint64_t to);
uint64_t measure_name(int dir_fd, const char *name);

/* ---- garbage.c ---- */

/** [worker] Remove blobs that no image uses, and data files that no row names.
 * @param remove  false: count only */
MUST_CHECK int garbage_sweep(struct cas *cas, bool remove, uint64_t *ret_n, struct err *e);

/** [worker] Only the files: what a crash left, or a database that was moved aside. */
MUST_CHECK int garbage_sweep_files(struct cas *cas, uint64_t *ret_n, struct err *e);
