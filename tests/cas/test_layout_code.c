/*
 * Layouts in the database's form: what goes in comes out; what is not sound does not crash.
 */
#include "fixture.h"
#include "layout_code.h"
#include "mem.h"
#include "public_name.h"
#include <stdlib.h>
#include <string.h>

static void shift(struct blob_layout *l, uint32_t align_bytes)
{
	uint64_t offset = 5;

	for (uint32_t i = 0; i < l->n_chunks; i++) {
		l->chunks[i].plain_offset = offset;
		offset += l->chunks[i].plain_size_bytes;
		offset = (offset + align_bytes - 1) / align_bytes * align_bytes;
		offset += i % 97 == 0 ? 12345 : 0;
	}
	l->plain_size_bytes = offset;
}

static struct blob_layout *there_and_back(const struct blob_layout *l)
{
	struct blob_layout *back = layout_new(l->n_chunks);
	struct layout_part *part = xcalloc(1, sizeof(*part));
	struct err e;

	back->plain_size_bytes = l->plain_size_bytes;
	for (uint32_t i = 0; i < layout_n_parts(l->n_chunks); i++) {
		layout_part_encode(l, i, true, part);
		const struct layout_part_bytes bytes = {
			.places = part->places,
			.digests = part->digests,
			.places_size_bytes = part->places_size_bytes,
			.digests_size_bytes = part->digests_size_bytes,
		};

		assert_int_equal(layout_part_decode(back, i, &bytes, &e), 0);
	}
	free(part);
	return back;
}

static void a_layout_comes_back_as_it_went(void **state)
{
	static const uint32_t aligns[] = { 1, 4096, 16 };

	(void)state;
	for (size_t a = 0; a < ARRAY_LEN(aligns); a++) {
		struct blob_layout *l = sample_layout(SAMPLE_ID, 9000, 2);
		struct blob_layout *back = NULL;

		shift(l, aligns[a]);
		for (uint32_t i = 0; i < l->n_chunks; i += 7)
			l->chunks[i] = (struct chunk_rec){ .plain_size_bytes = 0 };
		back = there_and_back(l);
		for (uint32_t i = 0; i < l->n_chunks; i++) {
			assert_int_equal(back->chunks[i].plain_offset, l->chunks[i].plain_offset);
			assert_int_equal(back->chunks[i].plain_size_bytes,
			                 l->chunks[i].plain_size_bytes);
			assert_memory_equal(back->chunks[i].digest, l->chunks[i].digest,
			                    DIGEST_BYTES);
			assert_int_equal(back->chunks[i].flags, l->chunks[i].flags);
		}
		layout_unref(&back);
		layout_unref(&l);
	}
}

static void random_bytes_are_refused_or_lie_inside_the_blob(void **state)
{
	uint32_t random = 1;

	(void)state;
	for (uint32_t round = 0; round < 20000; round++) {
		struct blob_layout *l = layout_new(40);
		uint8_t bytes[200];
		struct layout_part_bytes part = { .places = bytes };
		struct err e;

		l->plain_size_bytes = 1U << 20;
		for (size_t i = 0; i < sizeof(bytes); i++) {
			random = random * 1664525U + 1013904223U;
			bytes[i] = (uint8_t)((random >> 24) & (round % 2 == 0 ? 0xff : 0x7f));
		}
		bytes[0] = (uint8_t)(round % 20);
		part.places_size_bytes = random % sizeof(bytes);
		if (layout_part_decode(l, 0, &part, &e) == 0)
			for (uint32_t i = 0; i < 40; i++)
				assert_true(l->chunks[i].plain_offset +
				                    l->chunks[i].plain_size_bytes <=
				            l->plain_size_bytes);
		layout_unref(&l);
	}
}

static void a_public_name_depends_on_algorithm_digest_and_size(void **state)
{
	struct public_namer *n = public_namer_new();
	const uint8_t digest[DIGEST_BYTES] = { 1, 2, 3 };
	const uint8_t other[DIGEST_BYTES] = { 1, 2, 4 };
	uint8_t names[5][PUBLIC_NAME_BYTES];

	(void)state;
	public_name(n, DIGEST_BLAKE3, digest, 4096, names[0]);
	public_name(n, DIGEST_SHA256, digest, 4096, names[1]);
	public_name(n, DIGEST_BLAKE3, other, 4096, names[2]);
	public_name(n, DIGEST_BLAKE3, digest, 4097, names[3]);
	public_name(n, DIGEST_BLAKE3, digest, 4096, names[4]);
	for (size_t i = 0; i < 4; i++)
		for (size_t j = i + 1; j < 4; j++)
			assert_memory_not_equal(names[i], names[j], PUBLIC_NAME_BYTES);
	assert_memory_equal(names[0], names[4], PUBLIC_NAME_BYTES);
	public_namer_free(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_layout_comes_back_as_it_went),
		cmocka_unit_test(random_bytes_are_refused_or_lie_inside_the_blob),
		cmocka_unit_test(a_public_name_depends_on_algorithm_digest_and_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
