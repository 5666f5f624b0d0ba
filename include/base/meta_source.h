/*
 * meta_source: what other nodes can give of an image's metadata, and what this one gives them.
 *
 * A meta_source is asked on the loop; what comes is not verified: the asker does that, and says so
 * where it was wrong. A meta_shelf is looked into by workers. fetch and peer meet here, as in
 * source.h: keys and bytes, no images, no wire.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

#define META_KEY_MAX 512 /* characters; what has a longer one is not asked for */

/* The numbers are those of the wire (docs/protocol.md). */
enum meta_kind {
	META_MANIFEST = 2, /* key: HOST/REPOSITORY@sha256:HEX; the manifest or index itself */
	META_BOOT_LAYER,   /* key: likewise, of the manifest; the layer that holds the bootstrap */
	META_BLOB_TAIL,    /* key: likewise, then "/" and the blob's id; fetch/blob_tail.h */
	META_FIRST_READS,  /* key: the image's public name (cas/public_name.h); a hint, asked of
	                    * few; fetch/first_reads.h */
};

/* ---- asking ---- */

enum meta_outcome {
	META_FOUND = 0,
	META_NOWHERE = 1, /* nobody who can be reached has it */
	META_WITHHELD,    /* somebody has it and may not give it: its registry is asked with
	                   * credentials */
};
/* -EAGAIN: no answer by the deadline. */

struct meta_want {
	enum meta_kind kind;
	const char *key;      /* copied */
	uint64_t max_bytes;   /* a larger one is not taken */
	uint64_t deadline_ns; /* of struct clock */
};

/* What came, whole. */
struct meta_got {
	uint8_t *bytes; /* malloc'd, the receiver's */
	uint64_t size_bytes;
	bool is_public; /* its registry gives it to everybody, says the giver */
	uint32_t giver; /* for distrust(); never 0 */
};

struct meta_req;
struct meta_source;
struct meta_source_ops {
	/* done: exactly once, not from inside. got: with META_FOUND alone. */
	struct meta_req *(*get)(struct meta_source *s, const struct meta_want *want,
	                        void (*done)(void *arg, int r, const struct meta_got *got),
	                        void *arg);
	void (*cancel)(struct meta_req *req); /* done will not follow */
	/* What it gave was wrong: it is not asked for a while. */
	void (*distrust)(struct meta_source *s, uint32_t giver);
};

struct meta_source {
	const struct meta_source_ops *ops;
};

/* ---- giving ---- */

/* Bytes that lie still until item_close(). */
struct meta_item {
	const uint8_t *data;
	uint64_t size_bytes;
	bool is_public;
};

struct meta_shelf;
struct meta_shelf_ops {
	/* [worker] key: NUL-terminated, from outside, not checked.
	 * @return META_FOUND with *ret_item; META_NOWHERE; META_WITHHELD; -errno */
	int (*open)(struct meta_shelf *shelf, enum meta_kind kind, const char *key,
	            struct meta_item *ret_item, struct err *e);
	void (*close)(struct meta_shelf *shelf, struct meta_item *item); /* [worker] */
};

struct meta_shelf {
	const struct meta_shelf_ops *ops;
};
