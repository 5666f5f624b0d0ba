/*
 * known: the layouts that this node can speak of: their segments, and the lists in them.
 *
 * A layout is known from the moment somebody asked for it; its segments follow from a worker. Knows
 * neither peers nor what is ready. Loop thread.
 */
#pragma once
#include "pool.h"
#include "segments.h"
#include "wire.h"
#include <stdbool.h>

#define KNOWN_MAX      2048 /* layouts; the ones not used for longest go */
#define KNOWN_IDLE_MAX 8    /* of them, whose blobs are closed: they hold memory, and keys */

struct known_table;
struct cas_blob;

struct known {
	struct known *prev, *next;
	struct known_table *table;
	struct blob_layout *layout;
	const struct segments *segments; /* NULL: not made yet */
	bool failed;                     /* memory is out: it has no segments */
	struct cas_blob *scan;           /* the owner's: to be looked through once they are made */
	uint32_t scanned;                /* segments of it */
	uint32_t n_users;
	struct known_impl *impl;
};

struct known_table_opts {
	struct pool *pool;
	/* The segments of k are there (or k failed). Not from inside known_get(). */
	void (*made)(void *arg, struct known *k);
	void *arg;
};
struct known_table *known_table_new(const struct known_table_opts *opts); /* never NULL */
/** The pool is drained, nobody uses any. NULL is fine. */
void known_table_free(struct known_table **t);

/** One object a layout, with a use of it. A reference of layout is taken. */
struct known *known_get(struct known_table *t, const struct blob_layout *layout);
void known_put(struct known *k);
/** As known_get(), only if it is known already. NULL: it is not. */
struct known *known_find(struct known_table *t, const struct blob_layout *layout);

/** A segment with this list. No use is taken. @return false: none is known */
bool known_list(struct known_table *t, const struct wire_id *list, struct known **ret_known,
                uint32_t *ret_segment_idx);

/** Forget layouts of blobs that are closed, but for the latest few. Now and then. */
void known_sweep(struct known_table *t);

void known_each(struct known_table *t, void (*fn)(void *arg, struct known *k), void *arg);

/** A part of a segment, without chunks yet. */
struct wire_part known_part(const struct known *k, uint32_t segment_idx);
/** The part of a segment that is present in blob, which is k's. */
struct wire_part known_present(const struct known *k, uint32_t segment_idx,
                               const struct cas_blob *blob);
