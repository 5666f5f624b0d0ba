/*
 * chunk_index: group a bootstrap's chunk records by blob. Knows the record's form and nothing of
 * where a format keeps them, nor of layouts.
 */
#include "chunk_index.h"
#include "bootstrap.h"
#include <errno.h>
#include <stdlib.h>

#define POSITION_UNIT_BYTES 8

void chunk_info_read(const uint8_t *record, struct chunk_info *ret_info)
{
	*ret_info = (struct chunk_info){
		.digest = record,
		.blob_idx = le32(record + 32),
		.flags = le32(record + 36),
		.packed_size_bytes = le32(record + 40),
		.plain_size_bytes = le32(record + 44),
		.packed_offset = le64(record + 48),
		.plain_offset = le64(record + 56),
		.file_offset = le64(record + 64),
		.chunk_idx = le32(record + 72),
	};
}

static const uint8_t *record_at(const struct image *im, uint32_t position)
{
	return im->data + (uint64_t)position * POSITION_UNIT_BYTES;
}

static int count_blobs(struct image *im, const uint32_t *positions, uint32_t n, struct err *e)
{
	uint32_t *first = im->chunks.first;

	for (uint32_t i = 0; i < n; i++) {
		const uint32_t blob_idx = le32(record_at(im, positions[i]) + 32);

		if (blob_idx >= im->n_blobs)
			return err_set(e, EUCLEAN,
			               "bootstrap: chunk record %u names blob %u, there are %u", i,
			               blob_idx, im->n_blobs);
		first[blob_idx + 1]++;
	}
	for (uint32_t b = 0; b < im->n_blobs; b++)
		first[b + 1] += first[b];
	return 0;
}

int chunk_index_build(struct image *im, const uint32_t *positions, uint32_t n, struct err *e)
{
	uint32_t next[IMAGE_BLOBS_MAX];
	int r;

	im->chunks.first = calloc((size_t)im->n_blobs + 1, sizeof(*im->chunks.first));
	im->chunks.positions = calloc((size_t)n + 1, sizeof(*im->chunks.positions));
	if (im->chunks.first == NULL || im->chunks.positions == NULL)
		return err_set(e, ENOMEM, "no memory for an index of %u chunks", n);
	r = count_blobs(im, positions, n, e);
	if (r < 0)
		return r;
	memcpy(next, im->chunks.first, im->n_blobs * sizeof(*next));
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t blob_idx = le32(record_at(im, positions[i]) + 32);

		im->chunks.positions[next[blob_idx]++] = positions[i];
	}
	return 0;
}

void chunk_index_fini(struct chunk_index *index)
{
	free(index->positions);
	free(index->first);
	free(index->numbers);
	*index = (struct chunk_index){ 0 };
}

uint32_t chunk_index_count(const struct image *im, uint32_t blob_idx)
{
	return im->chunks.first[blob_idx + 1] - im->chunks.first[blob_idx];
}

void chunk_index_get(const struct image *im, uint32_t blob_idx, uint32_t i,
                     struct chunk_info *ret_info)
{
	const uint32_t at = im->chunks.first[blob_idx] + i;

	chunk_info_read(record_at(im, im->chunks.positions[at]), ret_info);
	if (im->chunks.numbers != NULL)
		ret_info->chunk_idx = im->chunks.numbers[at];
}

/* ---- records without numbers ---- */

struct place {
	uint64_t plain_offset;
	uint32_t position;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a;
	const struct place *y = b;

	if (x->plain_offset != y->plain_offset)
		return x->plain_offset < y->plain_offset ? -1 : 1;
	return x->position < y->position ? -1 : x->position > y->position;
}

static uint64_t plain_offset_at(const struct image *im, uint32_t at)
{
	return le64(record_at(im, im->chunks.positions[at]) + 56);
}

static void number_blob(struct image *im, uint32_t blob_idx, struct place *places)
{
	const uint32_t first = im->chunks.first[blob_idx];
	const uint32_t n = chunk_index_count(im, blob_idx);
	uint32_t number = 0;

	for (uint32_t i = 0; i < n; i++)
		places[i] = (struct place){ plain_offset_at(im, first + i),
			                    im->chunks.positions[first + i] };
	qsort(places, n, sizeof(*places), by_place);
	for (uint32_t i = 0; i < n; i++) {
		if (i > 0 && places[i].plain_offset != places[i - 1].plain_offset)
			number++;
		im->chunks.positions[first + i] = places[i].position;
		im->chunks.numbers[first + i] = number;
	}
}

int chunk_index_number(struct image *im, struct err *e)
{
	const uint32_t n = im->chunks.first[im->n_blobs];
	struct place *places = calloc((size_t)n + 1, sizeof(*places));

	im->chunks.numbers = calloc((size_t)n + 1, sizeof(*im->chunks.numbers));
	if (places == NULL || im->chunks.numbers == NULL) {
		free(places);
		return err_set(e, ENOMEM, "no memory for the numbers of %u chunks", n);
	}
	for (uint32_t b = 0; b < im->n_blobs; b++)
		number_blob(im, b, places);
	free(places);
	return 0;
}

uint32_t chunk_index_number_of(const struct image *im, uint32_t blob_idx, uint64_t plain_offset)
{
	uint32_t low = im->chunks.first[blob_idx];
	uint32_t high = im->chunks.first[blob_idx + 1];
	const uint32_t end = high;

	while (low < high) {
		const uint32_t mid = low + (high - low) / 2;

		if (plain_offset_at(im, mid) < plain_offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low < end && plain_offset_at(im, low) == plain_offset ? im->chunks.numbers[low]
	                                                             : UINT32_MAX;
}
