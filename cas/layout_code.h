/*
 * layout_code: a layout as the database keeps it: where each plain chunk stands, how long it is,
 * its digest. Nothing of how an origin packs it. docs/on-disk.md, "Layouts", fixes the form.
 *
 * Pure functions on bytes. What is decoded comes from a file, so every count is checked.
 */
#pragma once
#include "err.h"
#include "layout.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_PART_CHUNKS    4096U /* a row of the layout table holds so many */
#define LAYOUT_PART_MAX_BYTES (1 + 10 + LAYOUT_PART_CHUNKS * (5 + 10))

static inline uint32_t layout_n_parts(uint32_t n_chunks)
{
	return (n_chunks + LAYOUT_PART_CHUNKS - 1) / LAYOUT_PART_CHUNKS;
}

/** How many chunks has this part? part < layout_n_parts(). */
static inline uint32_t layout_part_size(uint32_t n_chunks, uint32_t part)
{
	const uint32_t left = n_chunks - part * LAYOUT_PART_CHUNKS;

	return left < LAYOUT_PART_CHUNKS ? left : LAYOUT_PART_CHUNKS;
}

/** Does every chunk that is no hole have a digest? */
bool layout_has_digests(const struct blob_layout *l);

struct layout_part {
	size_t places_size_bytes;
	size_t digests_size_bytes; /* 0, or 32 a chunk, zeros for holes */
	uint8_t places[LAYOUT_PART_MAX_BYTES];
	uint8_t digests[LAYOUT_PART_CHUNKS * DIGEST_BYTES];
};

void layout_part_encode(const struct blob_layout *l, uint32_t part, bool with_digests,
                        struct layout_part *ret_part);

/* The same, where the database holds it. */
struct layout_part_bytes {
	const uint8_t *places;
	const uint8_t *digests;
	size_t places_size_bytes;
	size_t digests_size_bytes;
};

/** Fill in the chunks of one part of l. @return 0; -EUCLEAN */
MUST_CHECK int layout_part_decode(struct blob_layout *l, uint32_t part,
                                  const struct layout_part_bytes *bytes, struct err *e);
