/*
 * segments: the runs of chunks of one blob that agents speak of.
 *
 * The rule (docs/protocol.md, "Segments"): members are the chunks that have a digest
 * and are no holes, in blob order. A segment ends before a chunk whose digest's first 8 bytes, as a
 * big-endian number, are 0 modulo 64, once it holds at least 16 chunks and 1 MiB of plain bytes,
 * and in any case before it would exceed 256 chunks or 8 MiB (one larger chunk is a segment of its
 * own). It is named by the public name of its smallest digest, so the same run in two images has
 * the same name. Positions count the members of a segment from 0.
 *
 * Knows a layout and public names; knows nothing of nodes. Immutable: any thread. Making one hashes
 * a name a chunk (about 0.1 us): [worker] for blobs of more than some hundred chunks. Costs 56
 * bytes a segment, and 4 bytes a member in blobs with holes; names are computed when asked for.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "layout.h"
#include "wire.h"
#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_MIN_CHUNKS      16U
#define SEGMENT_MIN_PLAIN_BYTES (1U << 20)
#define SEGMENT_MAX_CHUNKS      256U /* = WIRE_LIST_MAX */
#define SEGMENT_MAX_PLAIN_BYTES (8U << 20)
#define SEGMENT_MODULO          64U

struct segment {
	struct wire_id name; /* the public name of its smallest digest */
	struct wire_id list; /* wire_list_id() of all its names */
	uint32_t first_chunk;
	uint32_t last_chunk; /* index of the last member; holes may lie between */
	uint32_t first_member;
	uint16_t n_chunks; /* members: 1 .. SEGMENT_MAX_CHUNKS */
	uint16_t reserved;
};

struct segments;

/** The segments of layout (a reference is taken). @return 0; -ENOMEM */
MUST_CHECK int segments_new(struct blob_layout *layout, struct segments **ret_segments,
                            struct err *e);
void segments_free(struct segments **s); /* NULL is fine */

const struct blob_layout *segments_layout(const struct segments *s);
uint32_t segments_count(const struct segments *s);
const struct segment *segments_at(const struct segments *s, uint32_t segment_idx);

/** Where a chunk stands. O(log n). @return false: it is no member of any segment */
bool segments_find(const struct segments *s, uint32_t chunk_idx, uint32_t *ret_segment_idx,
                   uint16_t *ret_pos);

/** The chunk's index in the blob of member pos (< n_chunks). */
uint32_t segments_chunk(const struct segments *s, uint32_t segment_idx, uint16_t pos);

/** The public names of all members, in order: n_chunks of them. */
void segments_names(const struct segments *s, uint32_t segment_idx, struct wire_id *ret_names);
