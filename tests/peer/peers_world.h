/*
 * peers_world: whole peer objects in one process: real sockets on loopback, one loop, a shelf each.
 *
 * They have no cache, or one that is empty: for what peers say to each other besides chunks; chunks
 * are chunk_world's. A stranger is a bare connection to the first of them.
 *
 * Their clock goes on in rounds of the loop, and by a few milliseconds a round at most: on a busy
 * machine it goes slowly, and nobody loses patience with whom that machine lets wait.
 */
#pragma once
#include "cas.h"
#include "conn.h"
#include "fake_clock.h"
#include "loop.h"
#include "peer.h"
#include "pool.h"
#include <pthread.h>

#define PEERS_MAX 6

/* What a peer gives of metadata. */
struct shelf {
	struct meta_shelf shelf;
	int r; /* META_FOUND: ... */
	const uint8_t *data;
	uint64_t size_bytes;
	bool is_public;
	bool blocks; /* open() waits for peers_unblock() */
	struct peers *world;
	_Atomic uint32_t n_opened, n_closed;
	char key[META_KEY_MAX + 1];
};

/* What came of a question. */
struct answer {
	uint32_t n_done;
	int r;
	struct meta_got got; /* bytes: answer_clear() */
};

struct jam {
	struct job job;
	struct peers *world;
};

struct peers {
	struct fake_clock clock;
	uint64_t looked_ns; /* how far the real one has come, at the last look */
	struct loop *loop;
	struct pool *pool, *desk;
	char dir[64];
	uint32_t n;
	struct shelf shelves[PEERS_MAX];
	struct metrics *metrics[PEERS_MAX];
	struct peer *peers[PEERS_MAX];
	struct cas *cas; /* the first one's; NULL: none */
	struct jam jams[PEERS_MAX];
	pthread_mutex_t lock; /* guards blocked */
	pthread_cond_t unblocked;
	bool blocked;
};

/** n agents that know each other; cached: the first has a cache. */
struct peers *peers_new(uint32_t n, bool cached);
void peers_free(struct peers **world);
int peers_teardown(void **state); /* of cmocka: a state that is a world */

const struct clock *peers_clock(const struct peers *world);

/** Run the loop until *n >= want; fails after 30 s of their clock. */
void peers_until(struct peers *world, const uint32_t *n, uint32_t want);
void peers_run_ms(struct peers *world, uint64_t ms);
void peers_unblock(struct peers *world);
void peers_jam(struct peers *world); /* until peers_unblock() no worker does anything */

/** The first agent asks the others. @return the request */
struct meta_req *peers_ask(struct peers *world, uint64_t max_bytes, uint64_t timeout_ms,
                           struct answer *a);
struct meta_req *peers_ask_for(struct peers *world, enum meta_kind kind, uint64_t max_bytes,
                               uint64_t timeout_ms, struct answer *a);
void answer_clear(struct answer *a);

struct stranger {
	struct wire_hello self;
	struct conn *conn;
	uint32_t n_open, n_closed, n_cancelled;
	void (*message)(struct stranger *s,
	                const struct wire_msg *msg); /* NULL: none is answered */
};

/* What is told of a request whose end alone matters. */
struct asked_end {
	uint32_t n;
	enum wire_status status;
};

extern const struct request_ops asked_end_ops; /* arg: struct asked_end */

/** Call the first agent, until the connection is open. nr: of its id */
void stranger_call(struct peers *world, struct stranger *s, uint8_t nr);
void stranger_call_from(struct peers *world, struct stranger *s, uint8_t nr, const char *zone);
void stranger_call_as(struct peers *world, struct stranger *s, const struct wire_id *id,
                      const char *zone);
void stranger_leave(struct stranger *s);
