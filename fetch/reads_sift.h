/*
 * reads_sift: what of a list of first reads is left for an image: each chunk once, and none that
 * the image does not say something of.
 *
 * Lists come from neighbours and from disk: bounds come before every look. At most
 * SIFT_CHUNKS_MAX / 64 words of bitmaps and a few a stretch are looked at, so that it may be done
 * on the loop. Pure.
 */
#pragma once
#include "bitmap.h"
#include "fetch.h"

#define SIFT_CHUNKS_MAX 65536U /* of all stretches together */

struct sift_opts {
	uint32_t n_blobs;
	const uint32_t *n_chunks; /* in the layout of each */
	/* By the same index: the chunks that are the image's; NULL: all. */
	struct bitmap *const *named;
};

/** Drop, in place and in order, every stretch that is empty, that names a chunk which is not there
 * or not the image's, that names one which an earlier stretch named (a list that was noted never
 * does), or with which there would be too many.
 * @return how many stretches are left; *ret_n_chunks: chunks in these */
uint32_t reads_sift(const struct sift_opts *opts, struct fetch_stretch *s, uint32_t n,
                    uint32_t *ret_n_chunks);
