/*
 * wire: what agents say to each other: every message, its limits, and how it becomes bytes.
 *
 * Knows bytes and limits; knows no sockets, no members, no chunks on disk. Pure; any thread.
 * A frame is an 8-byte prefix (sizes of header and payload, big-endian), the header (msgpack, an
 * array: type first, then the fields of the message in order; a receiver ignores fields behind
 * those that it knows) and the payload (raw bytes; CHUNK and META only). docs/protocol.md is the
 * specification.
 *
 * A *segment* is a run of chunks; a *list* is its chunks' public names in order, known by a hash of
 * them (wire_list_id()). Positions count within the list (or within the names that a GET holds).
 */
#pragma once
#include "auto.h"
#include "layout.h"
#include "public_name.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION_OLDEST 1 /* hellos name a range of versions */
#define WIRE_VERSION        2 /* since 2 a kind of metadata that is not known is not here, no breach */

#define WIRE_PREFIX_BYTES      8
#define WIRE_HEADER_MAX_BYTES  (64U << 10)
#define WIRE_PAYLOAD_MAX_BYTES (64U << 10) /* of a frame: so that a reader's chunk can overtake */
#define WIRE_DEPTH_MAX         4           /* arrays in arrays */
#define WIRE_OBJECTS_MAX       4096        /* msgpack objects in a header */

#define WIRE_ID_BYTES       16 /* a node's id, a segment's name, a list's id */
#define WIRE_NONCE_BYTES    32
#define WIRE_MAC_BYTES      32
#define WIRE_LIST_MAX       256 /* chunks in a list, names in a GET */
#define WIRE_ZONE_MAX       63  /* characters */
#define WIRE_ADDRESS_MAX    255 /* characters of HOST:PORT */
#define WIRE_TEXT_MAX       200 /* characters of a reason or an agent's version */
#define WIRE_META_KEY_MAX   512 /* characters */
#define WIRE_MEMBERS_MAX    128 /* in one message; more follow in further messages */
#define WIRE_NODES_MAX      8   /* holders told for one set of chunks */
#define WIRE_ITEMS_MAX      64  /* sets in an ANSWER */
#define WIRE_AVOID_MAX      4   /* nodes that an ASK wants not to be sent to */
#define WIRE_ADVERTS_MAX    64  /* lists in a HAVE or GONE */
#define WIRE_TERM_MAX_MS    60000U
#define WIRE_RETRY_MAX_MS   60000U
#define WIRE_REQUESTS_MAX   256 /* open at once, each way, on one connection */
#define WIRE_META_MAX_BYTES (UINT64_C(1) << 30)

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_HELLO_ACK,
	WIRE_PING,
	WIRE_PONG,
	WIRE_MEMBERS,
	WIRE_ASK,
	WIRE_ANSWER,
	WIRE_WANT_NAMES,
	WIRE_NAMES,
	WIRE_HAVE,
	WIRE_GONE,
	WIRE_GET,
	WIRE_GRANT,
	WIRE_CHUNK,
	WIRE_MISS,
	WIRE_REDIRECT,
	WIRE_END,
	WIRE_CANCEL,
	WIRE_LEASE_PROGRESS,
	WIRE_LEASE_END,
	WIRE_META_GET,
	WIRE_META,
	WIRE_DRAIN,
	WIRE_BYE,
	WIRE_COMING, /* as HAVE: on its way to the sender, by a lease of a home that is gone */
	N_WIRE_TYPES
};
const char *wire_type_name(enum wire_type t); /* "HELLO" ...; "?" for others */

/* How a request ended: exactly one END answers each ASK, GET and META_GET, last. */
enum wire_status {
	WIRE_DONE,
	WIRE_NOT_HERE,     /* nothing, or nothing more, of it is here */
	WIRE_UNKNOWN_LIST, /* ask again by names (ASK: after NAMES) */
	WIRE_IS_BUSY,      /* not before retry_ms */
	WIRE_DENIED,       /* the proof is wrong, or the metadata is not for peers */
	WIRE_CANCELLED,
	WIRE_DRAINING,
	WIRE_FAILED,
	WIRE_LOST, /* never sent: the connection ended first */
	N_WIRE_STATUSES
};
const char *wire_status_name(enum wire_status s);

/* A set of positions in a list. Bits at and above n are clear. */
struct wire_set {
	uint16_t n; /* 1 .. WIRE_LIST_MAX */
	uint64_t words[WIRE_LIST_MAX / 64];
};
static inline bool wire_set_has(const struct wire_set *s, uint32_t i)
{
	return i < s->n && (s->words[i / 64] >> (i % 64) & 1) != 0;
}
static inline void wire_set_add(struct wire_set *s, uint32_t i) /* i < s->n */
{
	s->words[i / 64] |= (uint64_t)1 << (i % 64);
}
static inline void wire_set_remove(struct wire_set *s, uint32_t i) /* i < s->n */
{
	s->words[i / 64] &= ~((uint64_t)1 << (i % 64));
}
bool wire_set_holds(const struct wire_set *s, const struct wire_set *part); /* same n */

/** The id of a list: the first 16 bytes of BLAKE3 ("shoal list v1" as context) of its names. */
struct wire_id {
	uint8_t b[WIRE_ID_BYTES];
};
struct wire_id wire_list_id(const struct wire_id *names, uint32_t n_names);

/* Chunks of a list. */
struct wire_part {
	struct wire_id segment;
	struct wire_id list;
	struct wire_set set; /* set.n: chunks in the list */
};

struct wire_member {
	struct wire_id id;
	uint64_t generation;
	char address[WIRE_ADDRESS_MAX + 1]; /* HOST:PORT; checked: no control byte, no blank */
	char zone[WIRE_ZONE_MAX + 1];
};

/* HELLO (by who connected, first), HELLO_ACK (the answer). */
struct wire_hello {
	uint16_t min_version, max_version; /* ACK: both the one that is spoken from here on */
	struct wire_member self;
	uint8_t nonce[WIRE_NONCE_BYTES];
	bool draining;
	char agent[WIRE_TEXT_MAX + 1];     /* "shoal 0.1.0": for people */
	const struct wire_member *members; /* ACK only; borrowed from the decoder */
	uint16_t n_members;
};

struct wire_ping {
	uint64_t stamp;        /* comes back in PONG */
	uint64_t members_hash; /* of the sender's member list: differs? send MEMBERS */
};

struct wire_members {
	const struct wire_member *members; /* borrowed from the decoder */
	uint16_t n_members;
};

enum wire_ask_flags {
	WIRE_ASK_READER = 1 << 0,  /* somebody is blocked on it */
	WIRE_ASK_SETTLE = 1 << 1,  /* another said ELSEWHERE, or the home does not answer: settle it
	                            * there, whatever that node's view is */
	WIRE_ASK_STALLED = 1 << 2, /* a reader saw no progress of the lease holder: lease again */
	WIRE_ASK_NO_LEASE = 1 << 3, /* only holders: the asker cannot ask the origin, or not now */
	WIRE_ASK_CLUSTER =
		1 << 4, /* asks the home of the cluster, with a zone home's lease in hand */
};

enum wire_avoid_why {
	WIRE_AVOID_FAILED, /* it does not answer, is not reached, or is not trusted */
	WIRE_AVOID_MISSED, /* it said that it has them not: those of missed */
	WIRE_AVOID_SLOW,   /* it has them and is at it: another holder is welcome, the origin not */
	N_WIRE_AVOID_WHYS
};

/* Positions of have, units, runs and missed count as those of part.set (same n). */
struct wire_ask {
	uint32_t req;
	uint32_t flags;        /* enum wire_ask_flags */
	struct wire_part part; /* wanted */
	struct wire_set have;  /* ready at the asker: an advert on the way */
	struct wire_set units; /* where a fetch unit begins, in the asker's layout: only what such a
	                        * unit of this list holds can be leased by this ask */
	struct wire_set runs;  /* where a run begins: a row of whole units of <= 256 KiB packed (or
	                        * one  larger unit); a part of units */
	uint32_t deadline_ms;  /* no use after that; 0: HOME_ASK_MAX_MS */
	uint32_t patience_ms;  /* a reader: without progress that long, a second lease */
	uint8_t n_avoid;
	struct wire_id avoid[WIRE_AVOID_MAX]; /* holders that are not to be named */
	uint8_t avoid_why[WIRE_AVOID_MAX];    /* enum wire_avoid_why */
	struct wire_set missed;
	uint32_t usual_ms; /* a reader: so long at most a lease usually takes here to bring
	                    * something; after that progress that is only told counts no more. 0: no
	                    * word */
	uint32_t via;      /* not on the wire: the receiver's number of the connection it came on */
};

enum wire_answer_kind {
	WIRE_HOLDERS = 1, /* nodes have it */
	WIRE_WAIT,        /* nodes[0] is bringing it, progress_bytes so far: GET it from there, with
	                   * WIRE_GET_WAIT. n_nodes 0: in the queue for a lease; news follow */
	WIRE_LEASE,       /* the asker may ask the origin: token, term_ms */
	WIRE_NOBODY,      /* no holder known, no lease given */
	WIRE_ELSEWHERE, /* nodes[0] is its home, as I see it: ask there, with WIRE_ASK_SETTLE; where
	                 * that node is not known or does not answer: here, with WIRE_ASK_SETTLE */
	N_WIRE_ANSWER_KINDS
};

struct wire_answer_item {
	uint8_t kind; /* enum wire_answer_kind */
	uint8_t n_nodes;
	uint16_t reserved;
	uint32_t term_ms;
	uint64_t token;
	uint64_t progress_bytes;
	struct wire_id nodes[WIRE_NODES_MAX];
	struct wire_set set;
};

/* 0..n for one ASK (WAIT may be followed by news); an END is last. */
struct wire_answer {
	uint32_t req;
	uint16_t n_items;
	const struct wire_answer_item *items; /* borrowed from the decoder */
};

/* WANT_NAMES: the receiver of an ASK, HAVE or GET does not know the list. NAMES: here it is; may
 * also come unasked, ahead of an ASK. Checked: the names hash to list. */
struct wire_names {
	struct wire_id segment;
	struct wire_id list;
	uint16_t n_names;            /* NAMES only */
	const struct wire_id *names; /* NAMES only; borrowed from the decoder */
};

struct wire_adverts { /* HAVE: ready here from now on; GONE: not any more */
	uint16_t n_parts;
	const struct wire_part *parts; /* borrowed from the decoder */
};

enum wire_get_flags {
	WIRE_GET_READER = 1 << 0,
	WIRE_GET_WAIT = 1 << 1,    /* what is not here yet but on its way: send it when it comes */
	WIRE_GET_NO_HOPS = 1 << 2, /* no REDIRECT: answer with the chunk or a MISS */
	WIRE_GET_PLAIN = 1 << 3,   /* no compressed forms */
};

struct wire_get {
	uint32_t req;
	uint32_t flags;       /* enum wire_get_flags */
	uint32_t deadline_ms; /* no use after that; 0: none */
	bool by_names;
	struct wire_part part; /* !by_names: set of the list; by_names: set holds all n_names */
	const struct wire_id *names;   /* by_names: part.set.n of them; borrowed */
	uint8_t proof[WIRE_MAC_BYTES]; /* proof.h */
};

struct wire_grant { /* before the first CHUNK of a GET: the holder knows the digests, too */
	uint32_t req;
	uint8_t mac[WIRE_MAC_BYTES]; /* proof.h */
};

struct wire_chunk_item {
	uint16_t pos;
	uint8_t form; /* enum compressor: how the payload is packed */
	uint8_t reserved;
	uint32_t size_bytes; /* packed */
};

/* Several small chunks whole, one after the other; or one fragment of one chunk. The fragments of a
 * chunk come in order and no other chunk of the same request between them. */
struct wire_chunk {
	uint32_t req;
	uint32_t offset; /* of the fragment in its chunk; 0 where n_items > 1 */
	uint16_t n_items;
	const struct wire_chunk_item *items; /* borrowed from the decoder */
};

struct wire_miss {
	uint32_t req;
	struct wire_set set; /* positions that will not come */
};

struct wire_redirect {
	uint32_t req;
	struct wire_set set; /* positions that will not come from here, but from nodes */
	uint8_t n_nodes;
	struct wire_id nodes[WIRE_NODES_MAX];
};

struct wire_end {
	uint32_t req;
	uint8_t status; /* enum wire_status, not WIRE_LOST */
	uint32_t retry_ms;
};

struct wire_cancel {
	uint32_t req; /* an END (CANCELLED, or what was on its way) still follows */
};

struct wire_lease { /* PROGRESS: renews the term; END: over */
	uint64_t token;
	uint64_t progress_bytes;
	bool failed;           /* END: the origin failed or refused: pass it on */
	struct wire_part part; /* END: what of it is ready at the sender */
};

enum wire_meta_kind {
	WIRE_META_MANIFEST = 2, /* key: HOST/REPOSITORY@sha256:... */
	WIRE_META_BOOTSTRAP, /* key: HOST/REPOSITORY@sha256:... of the manifest; payload: the layer
	                      * that holds the bootstrap, as the registry has it */
	WIRE_META_BLOB,      /* key: that and "/", blob id; payload: the blob's tail */
	WIRE_META_READS,     /* key: public name of the image; payload: which chunks its readers
	                      * ask for first */
	N_WIRE_META_KINDS
};

struct wire_meta_get {
	uint32_t req;
	uint32_t kind; /* enum wire_meta_kind, or one that this agent does not know */
	char key[WIRE_META_KEY_MAX + 1];
};

struct wire_meta { /* one piece; pieces come in order */
	uint32_t req;
	uint64_t offset;
	uint64_t total_bytes; /* the same in each */
	bool is_public;       /* the sender's registry gave it to everybody: so may the receiver */
};

struct wire_bye {
	uint8_t reason; /* enum wire_bye_reason */
	char text[WIRE_TEXT_MAX + 1];
};
enum wire_bye_reason {
	WIRE_BYE_LEAVING = 1,
	WIRE_BYE_VERSION,  /* no version in common */
	WIRE_BYE_SELF,     /* connected to itself */
	WIRE_BYE_TWICE,    /* there is another connection between the two */
	WIRE_BYE_PROTOCOL, /* the receiver of this broke the protocol */
	WIRE_BYE_FULL,     /* too many connections */
	N_WIRE_BYE_REASONS
};

struct wire_msg {
	enum wire_type type;
	uint32_t payload_size_bytes; /* of the frame; CHUNK and META, else 0 */
	union {
		struct wire_hello hello; /* HELLO, HELLO_ACK */
		struct wire_ping ping;   /* PING, PONG */
		struct wire_members members;
		struct wire_ask ask;
		struct wire_answer answer;
		struct wire_names names;     /* WANT_NAMES, NAMES */
		struct wire_adverts adverts; /* HAVE, GONE */
		struct wire_get get;
		struct wire_grant grant;
		struct wire_chunk chunk;
		struct wire_miss miss;
		struct wire_redirect redirect;
		struct wire_end end;
		struct wire_cancel cancel;
		struct wire_lease lease; /* LEASE_PROGRESS, LEASE_END */
		struct wire_meta_get meta_get;
		struct wire_meta meta;
		struct wire_bye bye;
	} u;
};

/* Bytes that grow. Zero-initialised. */
struct wire_buf {
	uint8_t *data;
	size_t size_bytes;
	size_t room_bytes;
};
/** What is appended has a bound of its own: that there is no memory for it is fatal. */
void wire_buf_append(struct wire_buf *b, const void *bytes, size_t n_bytes);
void wire_buf_free(struct wire_buf *b);

/** Append the frame of msg: prefix and header; msg->payload_size_bytes of payload are to follow.
 * Counts above the limits are our own bug (assert). */
void wire_encode(const struct wire_msg *msg, struct wire_buf *buf);

/* Keeps the memory that a decoded message borrows. */
struct wire_decoder;
struct wire_decoder *wire_decoder_new(void); /* never NULL */
void wire_decoder_free(struct wire_decoder **d);

/**
 * One header, checked: every count, length, enum and text held against its limit. What *ret_msg
 * borrows lives until the next call, and no longer than header.
 * @param header  header_size_bytes; not walked yet
 * @return 0; -EPROTO with the first fault
 */
struct err;
MUST_CHECK int wire_decode(struct wire_decoder *d, const uint8_t *header, size_t header_size_bytes,
                           uint32_t payload_size_bytes, struct wire_msg *ret_msg, struct err *e);

/** What a decoded message costs who receives it; at least 1. The more chunks it names, the more. */
#define WIRE_WEIGHT_CHUNKS 32U
uint32_t wire_weight(const struct wire_msg *msg);
