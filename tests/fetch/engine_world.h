/*
 * engine_world: the fetch engine with fakes around it, for its tests: two sources, a pool and a
 * clock that stand still, one blob in memory.
 */
#pragma once
#include "fake_cas.h"
#include "fake_clock.h"
#include "fake_pool.h"
#include "fake_source.h"
#include "fetch.h"

#define WORLD_CHUNKS      512
#define WORLD_CHUNK_BYTES 4096
#define WORLD_GIVERS      7000 /* and the chunk: who gave it */

/* What a test wants to be otherwise; zeroed is fine. */
struct world_wish {
	uint32_t n_chunks;    /* 0: WORLD_CHUNKS */
	uint32_t chunk_bytes; /* 0: WORLD_CHUNK_BYTES */
	uint64_t in_flight_max_bytes;
	uint64_t read_timeout_ms; /* 0: 30 s */
	uint64_t prefetch_run_bytes;
	uint32_t chunks_per_unit; /* 0: each its own */
	bool peer_answers;        /* else it has nothing */
};

struct engine_world {
	struct fake_clock clock;
	struct loop *loop;
	struct pool *pool;
	struct metrics *metrics;
	struct fake_source peer;
	struct fake_source origin;
	struct fetch *fetch;
	struct cas_blob *cas;
	struct fetch_blob *blob;
	uint32_t n_passed_on; /* chunks, packed as they came */
	uint32_t passed_on;   /* the last one */
};

void world_open(struct engine_world *w, const struct world_wish *wish);
void world_close(struct engine_world *w);

/* A blob beside the world's own. */
struct world_blob {
	struct cas_blob *cas;
	struct fetch_blob *blob;
};

struct world_blob world_blob_open(struct engine_world *w, uint32_t n_chunks, uint32_t chunk_bytes);
void world_blob_release(struct engine_world *w, struct world_blob *b);
/** What is read, given and looked at is of *b from now on, and *b is what it was of before. */
void world_swap(struct engine_world *w, struct world_blob *b);

/** Of the world's blob, named as in its opts. What comes of it nobody is told. */
struct fetch_prefetch *world_prefetch_start(struct engine_world *w, struct bitmap *const *named);

/** For cmocka: *state is a new world, and is freed. @return 0 */
int world_set_up(void **state, const struct world_wish *wish);
int world_set_up_plain(void **state);
int world_set_up_with_a_peer(void **state); /* which answers */
int world_tear_down(void **state);

/** Everything that can move without sources or time moves. */
void world_settle(struct engine_world *w);

/** One turn of the loop: what waits on a timer, and then everything else. */
void world_turn(struct engine_world *w);

/** Turn the loop until *count has reached n: for what waits on a timer. */
void world_wait(struct engine_world *w, const uint32_t *count, uint32_t n);

/** The right bytes of a unit, or of all units of a question that were not given yet. */
void world_give(struct engine_world *w, struct fake_source *s, uint32_t ask_idx, uint32_t unit_idx);
void world_give_all(struct engine_world *w, struct fake_source *s, uint32_t ask_idx);
/** All that the origin was asked and has not answered, also what it is asked meanwhile: in order,
 * and after each everything moves. */
void world_serve(struct engine_world *w);
void world_give_wrong(struct engine_world *w, struct fake_source *s, uint32_t ask_idx,
                      uint32_t unit_idx);

/** The right (spoil 0) bytes of a chunk. */
void world_chunk(struct engine_world *w, struct fake_source *s, uint32_t ask_idx,
                 uint32_t chunk_idx, uint8_t spoil);
void world_packed_chunk(struct engine_world *w, struct fake_source *s, uint32_t ask_idx,
                        uint32_t chunk_idx, uint8_t spoil);

/** The first open question of s that covers a unit; fails the test if there is none. */
uint32_t world_ask_of(const struct fake_source *s, uint32_t unit_idx);

/* A read of whole chunks. */
struct world_read {
	struct fetch_read read;
	struct fetch_piece *pieces;
	uint8_t *bytes;
	uint32_t n_done; /* how often done() came */
	int result;
	char why[ERR_MSG_BYTES];
};

/** @return what fetch_read() returned */
int world_read_start(struct engine_world *w, struct world_read *r, uint32_t first_chunk,
                     uint32_t n_chunks);
void world_read_end(struct engine_world *w, struct world_read *r); /* frees */

/** Are these the right bytes? */
void world_read_is_right(const struct engine_world *w, const struct world_read *r);
/** It was told once that all is here, and that is so; frees. */
void world_read_ends_well(struct engine_world *w, struct world_read *r);
