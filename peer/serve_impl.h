/*
 * serve_impl: one GET of another agent. Private to serve*.c.
 */
#pragma once
#include "peer_impl.h"

/* A chunk that is asked for. */
struct target {
	struct wire_id name;
	enum digest_alg alg;
	uint32_t plain_size_bytes; /* 0: by names, not found yet */
	uint8_t digest[DIGEST_BYTES];
};

#define PIECE_ITEMS_MAX WIRE_ITEMS_MAX

/* What a worker reads. */
struct piece {
	uint32_t n_chosen;
	uint16_t chosen[PIECE_ITEMS_MAX];
	struct wire_set missed; /* result */
	uint32_t n_items;
	struct wire_chunk_item items[PIECE_ITEMS_MAX];
	uint8_t *bytes;
	uint32_t n_bytes;
};

/* Of a GET by names. */
enum finding { FINDING_OVER, FINDING_LATER, FINDING_NOW };

struct serve {
	struct serve *prev, *next;
	struct peer *p;
	struct link *link; /* not to be looked at when closed */
	struct wire_id asker;
	uint32_t req;
	uint32_t flags; /* enum wire_get_flags */
	enum job_prio prio;
	struct known *known; /* NULL: by names */
	struct wire_id list;
	uint8_t proof[WIRE_MAC_BYTES]; /* by names: until they are found */
	struct wire_set ready;         /* to be read and sent */
	struct wire_set waiting;       /* on its way here */
	struct conn_stream *stream;    /* NULL: not granted yet, or closed */
	bool pulled;                   /* the connection has room */
	enum finding finding;
	bool busy;   /* a worker has it */
	bool closed; /* nobody listens */
	bool any_missed;
	bool packs; /* what is sent, where that makes it smaller */
	uint32_t deadline_ms;
	uint64_t end_ns; /* it is broken off then */
	/* Until then what this node waits for at the asker may be given to this node to bring: who
	 * says so to both may be heard there first. */
	uint64_t crossing_ns;
	uint64_t due_ns; /* the upload budget is used up until then */
	struct job job;
	struct piece piece;
	struct target targets[WIRE_LIST_MAX];
};

void serve_read_work(struct job *job); /* worker: the chosen chunks */
void serve_find_work(struct job *job); /* worker: what names mean */
void serve_sort(struct serve *s);      /* what is here, what is waited for */
void serve_choose_form(struct serve *s);
/** Are packed forms worth keeping? Some connection is slow, or none was measured yet. */
bool serve_wants_packed(const struct peer *p);
