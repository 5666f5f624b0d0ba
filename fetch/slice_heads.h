/*
 * slice_heads: what two neighbouring slices of a gzip stream share, kept until the second one is
 * asked for, so that it crosses the line once.
 *
 * The end of a slice that came is the head of the next one, where that comes from the same origin:
 * so wrong bytes of a slice are always one's own. A fixed number of heads, the oldest is forgotten
 * first. Not verified: whoever unpacks the next slice does that. Pure; loop thread.
 */
#pragma once
#include "auto.h"
#include "layout.h"
#include <stdbool.h>
#include <stdint.h>

#define SLICE_HEADS_MAX      16
#define SLICE_HEAD_MAX_BYTES (64U << 10) /* more than that is fetched again */

/* Bytes of an object that the slices before and behind its end have in common. */
struct slice_head {
	uint64_t offset; /* where the second slice begins */
	uint32_t size_bytes;
};

/** What unit_idx has in common with the unit before it. @return false: nothing that can be kept */
bool slice_head_of(const struct blob_layout *l, uint32_t unit_idx, struct slice_head *ret_head);

struct slice_heads;
struct slice_heads *slice_heads_new(void); /* never NULL */
void slice_heads_free(struct slice_heads **heads);

/** bytes: head->size_bytes of them, from origin; copied. Where memory is out, nothing is kept. */
void slice_heads_keep(struct slice_heads *heads, const char *blob_key, const char *origin,
                      const struct slice_head *head, const uint8_t *bytes);
/** @return borrowed until the next call; NULL: it is not there */
const uint8_t *slice_heads_find(const struct slice_heads *heads, const char *blob_key,
                                const char *origin, const struct slice_head *head);
/** Something of this blob was wrong. */
void slice_heads_forget(struct slice_heads *heads, const char *blob_key);
