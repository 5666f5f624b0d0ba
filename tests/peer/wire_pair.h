/*
 * wire_pair: two ends of a connection in one loop, over a socket pair, with real TLS and
 * certificates made for the test. Each end records what it is told, and serves chunks on demand.
 */
#pragma once
#include "conn.h"
#include "conn_impl.h"
#include "loop.h"
#include "pki.h"

#define PAIR_MSGS_MAX   64
#define PAIR_CHUNKS_MAX WIRE_LIST_MAX
#define PAIR_SERVES_MAX 300

struct end_point;

/* A GET of this end, with what came. */
struct got {
	struct end_point *end;
	uint32_t req;
	uint32_t n_answers, n_grants, n_misses, n_chunks, n_ends, n_progress;
	uint16_t order[PAIR_CHUNKS_MAX]; /* positions as they came */
	uint64_t n_right;                /* chunks whose bytes were those of their position */
	uint64_t meta_bytes;
	enum wire_status status;
	uint32_t retry_ms;
	uint64_t finished; /* in the order of all ends: pair->n_finished then */
	uint32_t sizes[WIRE_LIST_MAX];
	bool cancel_at_chunk; /* the test cancels from inside chunk() */
};

/* A GET of the other end that this end serves, one chunk a piece. */
struct serve {
	struct end_point *end;
	struct conn_stream *stream;
	uint32_t req;
	struct wire_set left;
	uint32_t chunk_bytes;
	uint32_t n_pulls;
	uint32_t n_closed;
	bool waiting; /* pull() came, and the end is told to hold its pieces */
	bool open;
};

struct end_point {
	struct pair *pair;
	struct conn *conn;
	struct conn_opts opts;
	struct wire_hello self;
	uint32_t n_open, n_closed, n_cancelled;
	uint32_t n_late; /* answers to what this end cancelled */
	struct wire_part late_asked;
	struct err why;
	struct wire_hello peer;
	enum wire_type msgs[PAIR_MSGS_MAX]; /* the kinds that came, in order */
	uint32_t n_msgs;
	struct wire_get last_get;
	struct wire_ask last_ask;
	bool serves;          /* GETs are granted and served */
	bool holds;           /* ... but pieces only when the test says so */
	uint32_t chunk_bytes; /* size of each chunk that is served */
	struct serve serve[PAIR_SERVES_MAX];
	uint32_t n_serves;
	bool close_at_message;
};

struct pair {
	struct loop *loop;
	struct tls *tls[2];
	char *dir;
	struct end_point ends[2]; /* 0 connected, 1 accepted */
	uint64_t n_finished;
	bool timed_out;
};

/** With certificates of one CA; not connected yet. secure false: plain. */
struct pair *pair_new(bool secure);
void pair_free(struct pair **p);

/** cmocka's setup and teardown: *state is the pair. */
int pair_secure(void **state);
int pair_plain(void **state);
int pair_teardown(void **state);

/** Make a CA (times for the node) in a new directory below the pair's, and a context of it. */
struct tls *pair_tls(struct pair *p, const char *ca, const char *node, struct pki_times times);

void pair_connect(struct pair *p);           /* a socket pair; both ends start */
void pair_half(struct pair *p, int *ret_fd); /* end 1 accepted; the other side is the test's */
void pair_open(struct pair *p);              /* connect, and until both are open */

/** Run the loop until *n >= want, at most 30 s. */
void pair_until(struct pair *p, const uint32_t *n, uint32_t want);
void pair_spin(struct pair *p); /* whatever can happen now */

/** Until end i is closed, with this code and a word of the reason. */
void pair_expect_end(struct pair *p, int i, int code, const char *word);

/** A GET of n chunks of chunk_bytes each by end i; got is set up. @return conn_request() */
int pair_get(struct pair *p, int i, struct got *got, uint32_t n, bool reader);

/** Let end i give the piece that serve k was asked for. */
void pair_give(struct pair *p, int i, uint32_t k);

extern const struct request_ops pair_request_ops;
