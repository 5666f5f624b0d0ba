/*
 * v5_map: which chunks make up a range of a regular file of a RAFS v5 bootstrap: chunk records in
 * file order, with zeros where none stands.
 * Source: docs/rafs.md, "RAFS v5" and "Chunk records".
 */
#include "v5.h"
#include <errno.h>
#include <inttypes.h>

static void record_read(const struct image *im, const struct v5_inode *inode, uint32_t i,
                        struct chunk_info *ret_info)
{
	chunk_info_read(im->data + inode->chunk_offset + (uint64_t)i * CHUNK_INFO_BYTES, ret_info);
}

/* Where the record has none. */
static void set_number(const struct image *im, struct chunk_info *c)
{
	if (im->chunks.numbers != NULL && c->blob_idx < im->n_blobs)
		c->chunk_idx = chunk_index_number_of(im, c->blob_idx, c->plain_offset);
}

/* A file without holes has its chunks where arithmetic says; else look for the place. */
static uint32_t first_record_at(const struct image *im, const struct v5_inode *inode,
                                uint64_t offset)
{
	const uint64_t guess = offset / im->chunk_size_bytes;
	struct chunk_info c;
	uint32_t low = 0;
	uint32_t high = inode->n_chunks;

	if (guess < inode->n_chunks) {
		record_read(im, inode, (uint32_t)guess, &c);
		if (c.file_offset == guess * im->chunk_size_bytes)
			return (uint32_t)guess;
	}
	while (low < high) { /* the first record that ends behind offset */
		const uint32_t mid = low + (high - low) / 2;

		record_read(im, inode, mid, &c);
		if (c.file_offset <= offset && offset - c.file_offset >= c.plain_size_bytes)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct image_segment zeros(uint64_t from, uint64_t to)
{
	return (struct image_segment){
		.file_offset = from,
		.size_bytes = (uint32_t)min_u64(to - from, CHUNK_PLAIN_MAX_BYTES),
		.blob_idx = IMAGE_BLOB_NONE,
	};
}

static bool record_is_sound(const struct image *im, const struct chunk_info *c)
{
	return c->plain_size_bytes > 0 && c->plain_size_bytes <= im->chunk_size_bytes &&
	       c->file_offset <= INT64_MAX &&
	       (c->flags & CHUNK_INFO_HOLE ||
	        (c->blob_idx < im->n_blobs && c->chunk_idx < im->blobs[c->blob_idx].pub.n_chunks));
}

/* The piece at offset, up to end: of record c, which ends behind offset, or zeros before it. */
static struct image_segment segment_of(const struct chunk_info *c, uint64_t offset, uint64_t end)
{
	const uint64_t chunk_end = c->file_offset + c->plain_size_bytes;

	if (offset < c->file_offset)
		return zeros(offset, min_u64(c->file_offset, end));
	if (c->flags & CHUNK_INFO_HOLE)
		return zeros(offset, min_u64(chunk_end, end));
	return (struct image_segment){
		.file_offset = offset,
		.size_bytes = (uint32_t)(min_u64(chunk_end, end) - offset),
		.blob_idx = c->blob_idx,
		.chunk_idx = c->chunk_idx,
		.chunk_offset = (uint32_t)(offset - c->file_offset),
		.chunk_plain_offset = c->plain_offset,
	};
}

/* Fill segments from q's offset to end; records that do not go on in file order are a fault. */
static int map_range(const struct image *im, const struct v5_inode *inode,
                     const struct map_query *q, uint64_t end, struct err *e)
{
	uint64_t at = q->offset;
	uint64_t least = 0; /* where the next record may begin: not before the end of the last */
	uint32_t i = first_record_at(im, inode, at);
	uint32_t n = 0;

	for (; at < end && n < q->max_segments; n++) {
		struct chunk_info c;

		if (i >= inode->n_chunks) {
			q->segments[n] = zeros(at, end);
			at += q->segments[n].size_bytes;
			continue;
		}
		record_read(im, inode, i, &c);
		set_number(im, &c);
		if (!record_is_sound(im, &c) || c.file_offset < least ||
		    c.file_offset + c.plain_size_bytes <= at)
			return err_set(e, EUCLEAN, "inode %" PRIu64 ": bad chunk record %u",
			               inode->ino, i);
		q->segments[n] = segment_of(&c, at, end);
		at += q->segments[n].size_bytes;
		if (at >= c.file_offset + c.plain_size_bytes) {
			least = at;
			i++;
		}
	}
	return (int)n;
}

int v5_map(const struct image *im, const struct map_query *q, struct err *e)
{
	struct v5_inode inode = { 0 };
	uint64_t size_bytes;
	int r = v5_inode_get(im, q->node, &inode, e);

	if (r < 0)
		return r;
	if (!S_ISREG(inode.attr.mode))
		return err_set(e, S_ISDIR(inode.attr.mode) ? EISDIR : EINVAL,
		               "inode %" PRIu64 " is no regular file", inode.ino);
	size_bytes = inode.attr.size_bytes;
	if (q->offset >= size_bytes)
		return 0;
	return map_range(im, &inode, q, q->offset + min_u64(q->size_bytes, size_bytes - q->offset),
	                 e);
}
