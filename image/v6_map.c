/*
 * v6_map: which chunks make up a range of a regular file of a RAFS v6 bootstrap: one address of
 * eight bytes each chunk. Knows no digest: a segment is held against the blob's layout later.
 * Source: docs/rafs.md, "RAFS v6", "Chunk addresses".
 */
#include "v6.h"
#include <errno.h>
#include <inttypes.h>

#define CHUNK_ADDRESS_BYTES 8

static int segment_read(const struct image *im, const struct v6_inode *inode, uint64_t offset,
                        struct image_segment *ret_seg, struct err *e)
{
	const uint64_t k = offset / im->chunk_size_bytes;
	const uint8_t *p = im->data + inode->chunk_offset + k * CHUNK_ADDRESS_BYTES;
	const uint64_t end = min_u64((k + 1) * im->chunk_size_bytes, inode->attr.size_bytes);
	const struct image_segment seg = {
		.file_offset = offset,
		.size_bytes = (uint32_t)(end - offset),
		.blob_idx = p[2] - 1U, /* 0 is no blob: a number that is too large */
		.chunk_idx = le16(p) | (uint32_t)p[3] << 16,
		.chunk_offset = (uint32_t)(offset % im->chunk_size_bytes),
		.chunk_plain_offset = (uint64_t)le32(p + 4) * V6_BLOCK_BYTES,
	};

	if (seg.blob_idx >= im->n_blobs || seg.chunk_idx >= im->blobs[seg.blob_idx].pub.n_chunks)
		return err_set(e, EUCLEAN,
		               "inode %" PRIu64 ": piece %" PRIu64
		               " is chunk %u of blob %d, which is not there",
		               inode->nid, k, seg.chunk_idx, p[2] - 1);
	*ret_seg = seg;
	return 0;
}

int v6_map(const struct image *im, const struct map_query *q, struct err *e)
{
	struct v6_inode inode = { 0 };
	uint64_t at = q->offset;
	uint64_t end;
	uint32_t n = 0;
	int r = v6_inode_get(im, q->node, &inode, e);

	if (r < 0)
		return r;
	if (!S_ISREG(inode.attr.mode))
		return err_set(e, S_ISDIR(inode.attr.mode) ? EISDIR : EINVAL,
		               "inode %" PRIu64 " is no regular file", inode.nid);
	if (at >= inode.attr.size_bytes)
		return 0;
	end = at + min_u64(q->size_bytes, inode.attr.size_bytes - at);
	while (at < end && n < q->max_segments) {
		struct image_segment *seg = &q->segments[n];

		r = segment_read(im, &inode, at, seg, e);
		if (r < 0)
			return r;
		seg->size_bytes = (uint32_t)min_u64(seg->size_bytes, end - at);
		at += seg->size_bytes;
		n++;
	}
	return (int)n;
}
