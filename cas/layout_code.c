/*
 * layout_code: see the header. Knows bytes; knows no database.
 */
#include "layout_code.h"
#include "bytes.h"
#include "varint.h"
#include <errno.h>
#include <string.h>

#define ALIGN_LOG2_MAX 16

bool layout_has_digests(const struct blob_layout *l)
{
	for (uint32_t i = 0; i < l->n_chunks; i++)
		if (l->chunks[i].plain_size_bytes > 0 && !(l->chunks[i].flags & CHUNK_HAS_DIGEST))
			return false;
	return true;
}

/* The end of the last chunk before this part. */
static uint64_t end_before(const struct blob_layout *l, uint32_t first)
{
	for (uint32_t i = first; i-- > 0;)
		if (l->chunks[i].plain_size_bytes > 0)
			return l->chunks[i].plain_offset + l->chunks[i].plain_size_bytes;
	return 0;
}

/* The alignment by which more of the part's offsets follow from the chunk before. */
static unsigned best_align_log2(const struct blob_layout *l, uint32_t first, uint32_t n,
                                uint64_t end)
{
	uint32_t n_packed = 0;
	uint32_t n_aligned = 0;

	for (uint32_t i = first; i < first + n; i++) {
		const struct chunk_rec *c = &l->chunks[i];

		if (c->plain_size_bytes == 0)
			continue;
		n_packed += c->plain_offset == end;
		n_aligned += c->plain_offset == align_up(end, 4096);
		end = c->plain_offset + c->plain_size_bytes;
	}
	return n_aligned >= n_packed ? 12 : 0;
}

void layout_part_encode(const struct blob_layout *l, uint32_t part, bool with_digests,
                        struct layout_part *ret_part)
{
	const uint32_t first = part * LAYOUT_PART_CHUNKS;
	const uint32_t n = layout_part_size(l->n_chunks, part);
	uint64_t end = end_before(l, first);
	const unsigned align_log2 = best_align_log2(l, first, n, end);
	uint8_t *p = ret_part->places;

	*p++ = (uint8_t)align_log2;
	p += varint_put(p, end);
	for (uint32_t i = first; i < first + n; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		const bool odd = c->plain_size_bytes > 0 &&
		                 c->plain_offset != align_up(end, UINT64_C(1) << align_log2);

		p += varint_put(p, (uint64_t)c->plain_size_bytes << 1 | odd);
		if (odd)
			p += varint_put(p, c->plain_offset - end);
		if (c->plain_size_bytes > 0)
			end = c->plain_offset + c->plain_size_bytes;
		if (with_digests)
			memcpy(ret_part->digests + (size_t)(i - first) * DIGEST_BYTES, c->digest,
			       DIGEST_BYTES);
	}
	ret_part->places_size_bytes = (size_t)(p - ret_part->places);
	ret_part->digests_size_bytes = with_digests ? (size_t)n * DIGEST_BYTES : 0;
}

struct reader {
	const uint8_t *p;
	const uint8_t *end;
	bool failed;
};

static uint64_t get_number(struct reader *in)
{
	uint64_t value = 0;

	if (!varint_get(&in->p, in->end, &value))
		in->failed = true;
	return value;
}

/* One chunk. @return false: it is not sound */
static bool get_chunk(struct reader *in, const struct blob_layout *l, unsigned align_log2,
                      uint64_t *end, struct chunk_rec *ret_chunk)
{
	const uint64_t size_and_odd = get_number(in);
	const uint64_t size = size_and_odd >> 1;
	uint64_t offset = align_up(*end, UINT64_C(1) << align_log2);

	if (size_and_odd & 1) {
		const uint64_t gap = get_number(in);

		if (gap > l->plain_size_bytes)
			return false;
		offset = *end + gap;
	}
	if (in->failed || size > CHUNK_PLAIN_MAX_BYTES)
		return false;
	if (size == 0)
		return true;
	if (!range_fits(offset, size, l->plain_size_bytes))
		return false;
	ret_chunk->plain_offset = offset;
	ret_chunk->plain_size_bytes = (uint32_t)size;
	*end = offset + size;
	return true;
}

int layout_part_decode(struct blob_layout *l, uint32_t part, const struct layout_part_bytes *bytes,
                       struct err *e)
{
	const uint32_t first = part * LAYOUT_PART_CHUNKS;
	const uint32_t n = layout_part_size(l->n_chunks, part);
	struct reader in = { .p = bytes->places + 1,
		             .end = bytes->places + bytes->places_size_bytes };
	uint64_t end;

	if (bytes->places_size_bytes < 2 || bytes->places[0] > ALIGN_LOG2_MAX ||
	    (bytes->digests_size_bytes != 0 &&
	     bytes->digests_size_bytes != (size_t)n * DIGEST_BYTES))
		return err_set(e, EUCLEAN, "CAS database: layout of %s, part %u: bad head",
		               l->blob_id, part);
	end = get_number(&in);
	if (end > l->plain_size_bytes)
		in.failed = true;
	for (uint32_t i = 0; i < n; i++) {
		struct chunk_rec *c = &l->chunks[first + i];

		if (in.failed || !get_chunk(&in, l, bytes->places[0], &end, c))
			return err_set(e, EUCLEAN, "CAS database: layout of %s: chunk %u is bad",
			               l->blob_id, first + i);
		if (bytes->digests_size_bytes == 0 || c->plain_size_bytes == 0)
			continue;
		memcpy(c->digest, bytes->digests + (size_t)i * DIGEST_BYTES, DIGEST_BYTES);
		c->flags |= CHUNK_HAS_DIGEST;
	}
	return 0;
}
