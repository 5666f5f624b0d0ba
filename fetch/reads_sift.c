/*
 * reads_sift: see the header. What was seen is a bit a chunk, of the blobs that a stretch names.
 */
#include "reads_sift.h"
#include "mem.h"
#include <stdlib.h>

/* The stretch's bits in the word that chunk_idx is in. */
static uint64_t bits_of(uint64_t chunk_idx, uint64_t end)
{
	const uint64_t from = ~UINT64_C(0) << (chunk_idx % 64);
	const uint64_t word_end = (chunk_idx / 64 + 1) * 64;

	return end >= word_end ? from : from & ~(~UINT64_C(0) << (end % 64));
}

static bool is_in_bounds(const struct sift_opts *opts, const struct fetch_stretch *s,
                         uint32_t room_chunks)
{
	const struct bitmap *named;
	uint64_t end;

	if (s->blob_idx >= opts->n_blobs || s->n_chunks == 0 || s->n_chunks > room_chunks)
		return false;
	end = (uint64_t)s->first_chunk + s->n_chunks;
	named = opts->named[s->blob_idx];
	return end <= opts->n_chunks[s->blob_idx] && (named == NULL || end <= named->n_bits);
}

static bool is_new_and_ours(const struct bitmap *named, const uint64_t *seen,
                            const struct fetch_stretch *s)
{
	const uint64_t end = (uint64_t)s->first_chunk + s->n_chunks;

	for (uint64_t at = s->first_chunk; at < end; at = (at / 64 + 1) * 64) {
		const uint64_t bits = bits_of(at, end);

		if ((seen[at / 64] & bits) != 0)
			return false;
		if (named != NULL && (bits & ~atomic_load(&named->words[at / 64])) != 0)
			return false;
	}
	return true;
}

static void see(uint64_t *seen, const struct fetch_stretch *s)
{
	const uint64_t end = (uint64_t)s->first_chunk + s->n_chunks;

	for (uint64_t at = s->first_chunk; at < end; at = (at / 64 + 1) * 64)
		seen[at / 64] |= bits_of(at, end);
}

/* @return false: memory is out */
static bool have_seen(const struct sift_opts *opts, uint32_t blob_idx, uint64_t **seen)
{
	if (seen[blob_idx] == NULL)
		seen[blob_idx] =
			calloc(opts->n_chunks[blob_idx] / 64 + (size_t)1, sizeof(uint64_t));
	return seen[blob_idx] != NULL;
}

uint32_t reads_sift(const struct sift_opts *opts, struct fetch_stretch *s, uint32_t n,
                    uint32_t *ret_n_chunks)
{
	uint64_t **seen = xcalloc(opts->n_blobs + (size_t)1, sizeof(uint64_t *));
	uint32_t n_chunks = 0;
	uint32_t n_left = 0;

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t blob_idx = s[i].blob_idx;

		if (!is_in_bounds(opts, &s[i], SIFT_CHUNKS_MAX - n_chunks) ||
		    !have_seen(opts, blob_idx, seen) ||
		    !is_new_and_ours(opts->named[blob_idx], seen[blob_idx], &s[i]))
			continue;
		see(seen[blob_idx], &s[i]);
		n_chunks += s[i].n_chunks;
		s[n_left++] = s[i];
	}
	for (uint32_t i = 0; i < opts->n_blobs; i++)
		free(seen[i]);
	free(seen);
	*ret_n_chunks = n_chunks;
	return n_left;
}
