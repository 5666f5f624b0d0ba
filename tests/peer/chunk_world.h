/*
 * chunk_world: one agent with a cache and a blob of real bytes, and actors beside it: members, on
 * real sockets, that say and send what the test tells them.
 *
 * The blob is one segment. A cast member is a stranger (peers_world.h) that keeps what it hears.
 */
#pragma once
#include "peers_world.h"
#include "proof.h"
#include "segments.h"
#include "set.h"
#include "source.h"

enum { CHUNKS = 24, CHUNK_BYTES = 20000, HEARD_MAX = 40, WANT_MS = 20000 };

struct chunk_world;

/* What an actor sends for one GET. */
struct supply {
	struct actor *actor;
	struct conn_stream *stream;
	struct wire_set left; /* to be sent */
	bool last;            /* then END with status */
	enum wire_status status;
	uint32_t n_closed;
};

struct actor {
	struct stranger stranger;
	struct chunk_world *world;
	struct wire_ask asks[HEARD_MAX];
	struct wire_get gets[HEARD_MAX]; /* by list */
	struct wire_lease last_progress, last_end;
	struct wire_set haves; /* of the segment */
	uint32_t n_asks, n_gets, n_progress, n_lease_ends, n_haves;
	struct supply supply; /* of one GET at a time */
};

struct chunk_world {
	struct peers *peers;
	struct cas_blob *blob;
	struct segments *segments;
	struct segment segment;
	struct unit_run run;
	uint64_t time_ns;        /* that the engine gives it, anew with what comes */
	uint64_t progress_bytes; /* told of it */
	uint8_t n_actors;        /* ever */
	/* what came of the question */
	struct source_req *req;
	uint32_t n_chunks, n_leases, n_ends, n_events;
	bool came[CHUNKS];
	uint32_t giver; /* of the last chunk */
	struct source_lease lease;
	bool leases; /* it is open */
	int r;
};

struct chunk_world *chunk_world_new(void);
/** No worker has looked at the blob's layout, nor will before peers_unblock(). */
struct chunk_world *chunk_world_new_jammed(void);
void chunk_world_free(struct chunk_world **w);
/** One for each test. */
int chunk_world_setup(void **state);
int chunk_world_teardown(void **state);

void chunk_bytes(uint32_t chunk_idx, uint8_t ret_bytes[CHUNK_BYTES]);
bool chunk_is(uint32_t chunk_idx, const uint8_t bytes[CHUNK_BYTES]); /* are these its? */
/** It becomes ready in the agent's cache. */
void chunk_put(struct chunk_world *w, uint32_t chunk_idx);
struct wire_set chunks_of(uint32_t first, uint32_t n); /* positions, which are indices too */

/** The agent's engine asks its peers for these. A reader is blocked on it. */
void chunks_want(struct chunk_world *w, uint32_t first, uint32_t n);

/** The lease that it was given last is over. */
void chunks_lease_end(struct chunk_world *w, bool ok);

/** An actor joins: as the home of the segment, or not. */
void actor_join(struct chunk_world *w, struct actor *a, bool as_home);
void actor_join_from(struct chunk_world *w, struct actor *a, bool as_home, const char *zone);
/** Another connection of the one before, in the same life. */
void actor_join_again(struct actor *a, const struct actor *before);
void actor_leave(struct actor *a);
/** It hangs: hears nothing, and so says nothing; until it is on again, and hears all of it. */
void actor_hang(struct actor *a, bool on);

/** One item for an ASK. node: NULL: none. */
void actor_answer(struct actor *a, const struct wire_ask *ask, enum wire_answer_kind kind,
                  const struct wire_set *set, const struct actor *node);
#define ACTOR_TOKEN 77U /* of the leases that it gives */
void actor_end(struct actor *a, uint32_t req, enum wire_status status, uint32_t retry_ms);
/** It shows that it knows the digests (right), or that it does not. */
void actor_grant(struct actor *a, const struct wire_get *get, bool right);
/** Begin to send, after the grant; END behind the last one, or not yet. */
void actor_send(struct actor *a, const struct wire_get *get, const struct wire_set *set,
                bool then_end);
void actor_send_more(struct actor *a, const struct wire_set *set, bool then_end);
/** The next bytes of the first chunk, as a frame of their own. Nothing else is sent meanwhile. */
void actor_trickle(struct actor *a, const struct wire_get *get, uint32_t offset, uint32_t n_bytes);
/** It asks the agent, as the home of the segment, for these: each a unit and a run of its own. */
void actor_ask(struct actor *a, const struct wire_set *set, const struct request_opts *opts);
/** What a GET of this actor asks, with the right proof or a wrong one. @return req */
uint32_t actor_get(struct actor *a, const struct wire_set *set, uint32_t flags, bool right,
                   const struct request_opts *opts);
