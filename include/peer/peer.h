/*
 * peer: the other agents of the cluster: who they are, what they have, chunks from them and to
 * them.
 *
 * One object a process. It is a source (base/source.h), serves what the cache holds to whom proves
 * that it knows the digest, and is the home of its share of the segments. Knows the cache; knows
 * neither images nor origins nor readers. docs/design.md, "Decisions", says why it is so,
 * docs/protocol.md what is on the wire.
 *
 * All on the loop thread but for what is marked.
 */
#pragma once
#include "cas.h"
#include "meta_source.h"
#include "source.h"
#include <stdbool.h>
#include <stdint.h>

#define PEER_NAME_BYTES 33 /* an id in hexadecimal, with the NUL */

struct peer;

struct peer_opts {
	struct loop *loop; /* borrowed, all of them */
	struct pool *pool; /* reads, hashes and unpacks chunks */
	struct pool *desk; /* reads certificates */
	struct cas *cas;
	const struct clock *clock;
	struct log *log;
	struct metrics *metrics;
	const char *state_dir;
	const char *listen; /* numeric HOST:PORT */
	const char
		*advertise; /* HOST:PORT; NULL: the first address that is not loopback, its port */
	const char *const *members;
	uint32_t n_members;
	const char *dns; /* HOST:PORT; NULL: none */
	const char *zone;
	const char *tls_ca, *tls_cert, *tls_key; /* all, or NULL with insecure */
	bool insecure;
	uint64_t upload_bytes_per_s;   /* 0: none */
	uint64_t download_bytes_per_s; /* 0: none */
	struct meta_shelf *shelf;      /* metadata for others; NULL: they get none */
};

/** Listen, and begin to look for the others.
 * @return 0; -EINVAL a file of tls, or an address; -EADDRINUSE, ... the listener */
MUST_CHECK int peer_new(const struct peer_opts *opts, struct peer **ret_peer, struct err *e);

/** No new requests in either direction; connections are closed with a bye. The loop runs on. */
void peer_stop(struct peer *p);

/** After peer_stop() or not, with the loop standing still and the pools drained; nobody asks its
 * source any more. NULL is fine. */
void peer_free(struct peer **p);

/** As in peer_opts, from now on. */
void peer_set_budgets(struct peer *p, uint64_t upload_bytes_per_s, uint64_t download_bytes_per_s);

/** As in peer_opts, from now on; copied. Who is not in it any more is not dialled again, and
 * forgotten once it is down; while it is connected it stays a member. */
void peer_set_members(struct peer *p, const char *const *members, uint32_t n_members,
                      const char *dns);

/** The files of tls are looked at once a minute; now, too. A new certificate of the same key counts
 * for connections from then on. */
void peer_look_at_certificate(struct peer *p);

struct source *peer_source(struct peer *p); /* borrowed */
struct meta_source *peer_meta_source(struct peer *p);

/** What agents have is known by layout. A blob is open here: what is ready of it is told to others
 * from now on. The reference is not kept. */
void peer_blob_opened(struct peer *p, struct cas_blob *blob);

/** [any] For cas_hooks.on_ready and on_gone. */
void peer_on_ready(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx);
void peer_on_gone(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx);

/** [any] For fetch_opts.packed: a chunk came and is verified. bytes: as it came, now the peer's:
 * for others who want the same soon. */
void peer_on_packed(struct peer *p, struct cas_blob *blob, uint32_t chunk_idx,
                    struct chunk_bytes bytes);

/** Take no new requests or leases from others. done: once none is left. Twice is fine: the last
 * done is told. */
void peer_drain(struct peer *p, void (*done)(void *arg), void *arg);
bool peer_is_draining(const struct peer *p);
/** Nobody waits for that any more: it will not be told. It drains on. */
void peer_drain_forget(struct peer *p);

/** Bring the counters of bytes up to date: before the metrics are shown. */
void peer_count(struct peer *p);
void peer_count_bytes(struct peer *p); /* without who is in which state: cheap */

struct peer_info {
	char name[PEER_NAME_BYTES]; /* its id */
	const char *state;          /* "self", "up", "draining", "suspect", "down", "heard-of" */
	const char *zone;
	const char *address;
	uint64_t rtt_us;                                    /* of the last ping; 0: not known */
	uint64_t first_byte_us;                             /* p95; 0: not known */
	uint64_t rate_bytes_per_s;                          /* 0: not known */
	uint64_t received_bytes, sent_bytes;                /* chunk payload, ever */
	uint64_t n_failed, n_missed, n_lied, n_wrong_bytes; /* faults */
	uint64_t paused_ms; /* is not asked for so long: distrusted, or failed lately */
};

/** Every member, this one among them. Texts are borrowed until fn returns. */
void peer_list(struct peer *p, void (*fn)(void *arg, const struct peer_info *info), void *arg);
const char *peer_self_name(const struct peer *p);
uint16_t peer_port(const struct peer *p); /* that it listens on */
