/*
 * segments: see the header. One pass over the chunks cuts them; a second names the runs.
 */
#include "segments.h"
#include "mem.h"
#include "set.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct segments {
	struct blob_layout *layout;
	struct segment *all;
	uint32_t n_segments;
	uint32_t *members; /* chunk indices of all members; NULL: members have no gaps, and the
	                    * first one is the chunk first_chunk */
};

/* A segment as it grows. */
struct growing {
	uint32_t n_chunks;
	uint64_t plain_bytes;
};

static bool is_member(const struct chunk_rec *c)
{
	return c->plain_size_bytes != 0 && (c->flags & CHUNK_HAS_DIGEST) != 0;
}

/* Does the rule end the segment before this chunk? */
static bool ends_before(const struct growing *g, const struct chunk_rec *c)
{
	if (g->n_chunks == 0)
		return false;
	if (g->n_chunks == SEGMENT_MAX_CHUNKS ||
	    g->plain_bytes + c->plain_size_bytes > SEGMENT_MAX_PLAIN_BYTES)
		return true;
	/* The low bits of a big-endian number are in its last byte. */
	return g->n_chunks >= SEGMENT_MIN_CHUNKS && g->plain_bytes >= SEGMENT_MIN_PLAIN_BYTES &&
	       c->digest[7] % SEGMENT_MODULO == 0;
}

/* Count segments and members; where all is not NULL, fill them in. */
static void cut(struct segments *s, uint32_t *ret_n_segments, uint32_t *ret_n_members)
{
	struct growing g = { 0 };
	uint32_t n_segments = 0;
	uint32_t n_members = 0;

	for (uint32_t i = 0; i < s->layout->n_chunks; i++) {
		const struct chunk_rec *c = &s->layout->chunks[i];

		if (!is_member(c))
			continue;
		if (n_segments == 0 || ends_before(&g, c)) {
			g = (struct growing){ 0 };
			if (s->all != NULL)
				s->all[n_segments] = (struct segment){
					.first_chunk = i,
					.first_member = n_members,
				};
			n_segments++;
		}
		g.n_chunks++;
		g.plain_bytes += c->plain_size_bytes;
		if (s->all != NULL) {
			s->all[n_segments - 1].last_chunk = i;
			s->all[n_segments - 1].n_chunks = (uint16_t)g.n_chunks;
		}
		if (s->members != NULL)
			s->members[n_members] = i;
		n_members++;
	}
	*ret_n_segments = n_segments;
	*ret_n_members = n_members;
}

static void names_of(const struct segments *s, struct public_namer *namer, uint32_t segment_idx,
                     struct wire_id *ret_names)
{
	for (uint16_t pos = 0; pos < s->all[segment_idx].n_chunks; pos++) {
		const struct chunk_rec *c = &s->layout->chunks[segments_chunk(s, segment_idx, pos)];

		public_name(namer, s->layout->digest_alg, c->digest, c->plain_size_bytes,
		            ret_names[pos].b);
	}
}

static void name_segment(struct segments *s, struct public_namer *namer, uint32_t segment_idx)
{
	struct segment *segment = &s->all[segment_idx];
	struct wire_id names[SEGMENT_MAX_CHUNKS];
	const uint8_t *smallest = NULL;
	uint16_t smallest_pos = 0;

	names_of(s, namer, segment_idx, names);
	for (uint16_t pos = 0; pos < segment->n_chunks; pos++) {
		const uint8_t *digest =
			s->layout->chunks[segments_chunk(s, segment_idx, pos)].digest;

		if (smallest != NULL && memcmp(digest, smallest, DIGEST_BYTES) >= 0)
			continue;
		smallest = digest;
		smallest_pos = pos;
	}
	segment->name = names[smallest_pos];
	segment->list = wire_list_id(names, segment->n_chunks);
}

static void name_all(struct segments *s)
{
	struct public_namer *namer = public_namer_new();

	for (uint32_t i = 0; i < s->n_segments; i++)
		name_segment(s, namer, i);
	public_namer_free(&namer);
}

int segments_new(struct blob_layout *layout, struct segments **ret_segments, struct err *e)
{
	AUTO(segments_free) struct segments *s = xcalloc(1, sizeof(*s));
	uint32_t n_members;

	s->layout = layout_ref(layout);
	cut(s, &s->n_segments, &n_members);
	if (n_members > 0) {
		const uint32_t n_segments = s->n_segments;

		s->all = calloc(n_segments, sizeof(*s->all));
		if (n_members < layout->n_chunks)
			s->members = calloc(n_members, sizeof(*s->members));
		if (s->all == NULL || (n_members < layout->n_chunks && s->members == NULL))
			return err_set(e, ENOMEM, "segments of blob %s", layout->blob_id);
		cut(s, &s->n_segments, &n_members);
		assert(s->n_segments == n_segments);
		name_all(s);
	}
	*ret_segments = s;
	s = NULL;
	return 0;
}

void segments_free(struct segments **s)
{
	if (*s == NULL)
		return;
	layout_unref(&(*s)->layout);
	free((*s)->all);
	free((*s)->members);
	free(*s);
	*s = NULL;
}

const struct blob_layout *segments_layout(const struct segments *s)
{
	return s->layout;
}

uint32_t segments_count(const struct segments *s)
{
	return s->n_segments;
}

const struct segment *segments_at(const struct segments *s, uint32_t segment_idx)
{
	assert(segment_idx < s->n_segments);
	return &s->all[segment_idx];
}

uint32_t segments_chunk(const struct segments *s, uint32_t segment_idx, uint16_t pos)
{
	const struct segment *segment = segments_at(s, segment_idx);

	assert(pos < segment->n_chunks);
	return s->members != NULL ? s->members[segment->first_member + pos]
	                          : segment->first_chunk + pos;
}

/* The place of chunk_idx among the members of a segment. */
static bool find_member(const struct segments *s, const struct segment *segment, uint32_t chunk_idx,
                        uint16_t *ret_pos)
{
	uint32_t low = 0;
	uint32_t high = segment->n_chunks;

	if (s->members == NULL) {
		*ret_pos = (uint16_t)(chunk_idx - segment->first_chunk);
		return chunk_idx <= segment->last_chunk;
	}
	while (low < high) {
		const uint32_t middle = (low + high) / 2;

		if (s->members[segment->first_member + middle] < chunk_idx)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_pos = (uint16_t)low;
	return low < segment->n_chunks && s->members[segment->first_member + low] == chunk_idx;
}

bool segments_find(const struct segments *s, uint32_t chunk_idx, uint32_t *ret_segment_idx,
                   uint16_t *ret_pos)
{
	uint32_t low = 0;
	uint32_t high = s->n_segments; /* the first segment that begins behind the chunk */

	while (low < high) {
		const uint32_t middle = (low + high) / 2;

		if (s->all[middle].first_chunk <= chunk_idx)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || !find_member(s, &s->all[low - 1], chunk_idx, ret_pos))
		return false;
	*ret_segment_idx = low - 1;
	return true;
}

void segments_names(const struct segments *s, uint32_t segment_idx, struct wire_id *ret_names)
{
	struct public_namer *namer = public_namer_new();

	(void)segments_at(s, segment_idx);
	names_of(s, namer, segment_idx, ret_names);
	public_namer_free(&namer);
}
