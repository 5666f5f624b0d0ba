/*
 * test_layout: both forms of a layout, sound and with each fault that must be found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "err.h"
#include "layout.h"
#include "mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_CHUNKS     4
#define CHUNK_BYTES  4096U
#define PACKED_BYTES 1000U

static void fill_head(struct blob_layout *l)
{
	memset(l->blob_id, 'a', 64);
	l->compressor = COMPRESSOR_ZSTD;
	l->plain_size_bytes = (uint64_t)N_CHUNKS * CHUNK_BYTES;
	l->packed_size_bytes = 10000;
	l->packed_data_end = (uint64_t)N_CHUNKS * PACKED_BYTES;
}

/* Four chunks, each its own unit; the third is a hole. */
static struct blob_layout *native(void)
{
	struct blob_layout *l = layout_new(N_CHUNKS);

	assert_non_null(l);
	fill_head(l);
	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		l->chunks[i] = (struct chunk_rec){
			.plain_offset = (uint64_t)i * CHUNK_BYTES,
			.plain_size_bytes = CHUNK_BYTES,
			.place = (uint64_t)i * PACKED_BYTES,
			.packed_size_bytes = PACKED_BYTES,
			.flags = CHUNK_COMPRESSED | CHUNK_HAS_DIGEST,
		};
		memset(l->chunks[i].digest, (int)i + 1, DIGEST_BYTES);
	}
	l->chunks[2] = (struct chunk_rec){ 0 };
	return l;
}

/* The same chunks: 0 and 3 in a batch, 1 alone, and a unit that nobody needs. */
static struct blob_layout *grouped(void)
{
	static const uint32_t unit_of[N_CHUNKS] = { 0, 2, 0, 0 };
	static const uint32_t members[] = { 0, 3, 1 };
	struct blob_layout *l = native();

	l->n_units = 3;
	l->units = xcalloc(l->n_units, sizeof(l->units[0]));
	l->members = xcalloc(ARRAY_LEN(members), sizeof(members[0]));
	memcpy(l->members, members, sizeof(members));
	l->units[0] = (struct unit_rec){ .packed_size_bytes = 2000,
		                         .plain_size_bytes = 3 * CHUNK_BYTES,
		                         .n_members = 2,
		                         .kind = UNIT_BATCH,
		                         .compressed = true };
	l->units[2] = (struct unit_rec){ .packed_offset = 2000,
		                         .packed_size_bytes = 2000,
		                         .plain_size_bytes = CHUNK_BYTES,
		                         .first_member = 2,
		                         .n_members = 1,
		                         .kind = UNIT_CHUNK,
		                         .compressed = true };
	for (uint32_t i = 0; i < N_CHUNKS; i++) {
		l->chunks[i].flags &= CHUNK_HAS_DIGEST;
		l->chunks[i].packed_size_bytes = 0;
		l->chunks[i].place = (uint64_t)unit_of[i] << 32;
	}
	l->chunks[3].place |= CHUNK_BYTES; /* behind chunk 0 in the batch */
	return l;
}

/* Is the layout refused, with these words? It is freed. */
static void assert_fault(struct blob_layout *l, const char *words)
{
	struct err e = { 0 };

	assert_int_equal(layout_check(l, &e), -EUCLEAN);
	if (strstr(e.msg, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.msg, words);
	layout_unref(&l);
}

static void a_sound_layout_is_taken(void **state)
{
	AUTO(layout_unref) struct blob_layout *a = native();
	AUTO(layout_unref) struct blob_layout *b = grouped();
	AUTO(layout_unref) struct blob_layout *none = layout_new(0);
	struct err e = { 0 };

	(void)state;
	assert_int_equal(layout_check(a, &e), 0);
	assert_int_equal(layout_check(b, &e), 0);
	fill_head(none);
	assert_int_equal(layout_check(none, &e), 0);
	a->packed_size_bytes = 0; /* not known */
	assert_int_equal(layout_check(a, &e), 0);
}

static void native_units_are_the_chunks_themselves(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = native();
	struct unit_rec u;

	(void)state;
	assert_int_equal(layout_unit_of(l, 3), 3);
	assert_int_equal(layout_offset_in_unit(l, 3), 0);
	assert_true(layout_unit(l, 3, &u));
	assert_int_equal(u.packed_offset, 3000);
	assert_int_equal(u.packed_size_bytes, PACKED_BYTES);
	assert_int_equal(u.plain_size_bytes, CHUNK_BYTES);
	assert_int_equal(u.n_members, 1);
	assert_true(u.compressed);
	assert_false(u.encrypted);
	assert_int_equal(layout_member(l, &u, 0), 3);
	assert_false(layout_unit(l, 2, &u));
}

static void grouped_units_know_their_members(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = grouped();
	struct unit_rec u;

	(void)state;
	assert_int_equal(layout_unit_of(l, 0), 0);
	assert_int_equal(layout_unit_of(l, 1), 2);
	assert_int_equal(layout_offset_in_unit(l, 3), CHUNK_BYTES);
	assert_true(layout_unit(l, 0, &u));
	assert_int_equal(u.n_members, 2);
	assert_int_equal(layout_member(l, &u, 0), 0);
	assert_int_equal(layout_member(l, &u, 1), 3);
	assert_false(layout_unit(l, 1, &u));
}

static void ids_that_are_no_file_names_are_refused(void **state)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "a\nb", "../x", "a\x7f" };
	struct blob_layout *l = native();

	(void)state;
	memset(l->blob_id, 'a', sizeof(l->blob_id)); /* no NUL */
	assert_fault(l, "blob id");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		l = native();
		(void)snprintf(l->blob_id, sizeof(l->blob_id), "%s", bad[i]);
		assert_fault(l, "blob id");
	}
}

static void heads_out_of_range_are_refused(void **state)
{
	struct blob_layout *l = native();

	(void)state;
	l->digest_alg = (enum digest_alg)2;
	assert_fault(l, "digest algorithm 2");
	l = native();
	l->compressor = (enum compressor)9;
	assert_fault(l, "compressor 9");
	l = native();
	l->trust = TRUST_WHOLE_BLOB;
	l->blob_id[3] = 'x';
	assert_fault(l, "no SHA-256");
	l = native();
	l->plain_size_bytes = BLOB_PLAIN_MAX_BYTES + 1;
	assert_fault(l, "sizes");
	l = native();
	l->packed_size_bytes = BLOB_PACKED_MAX_BYTES + 1;
	assert_fault(l, "sizes");
	l = native();
	l->packed_data_end = l->packed_size_bytes + 1;
	assert_fault(l, "sizes");
	l = native();
	l->n_units = 3;
	assert_fault(l, "units");
}

static void chunks_that_overlap_or_leave_the_blob_are_refused(void **state)
{
	struct blob_layout *l = native();

	(void)state;
	l->chunks[3].plain_offset = CHUNK_BYTES + 1;
	assert_fault(l, "chunk 3 begins before");
	l = native();
	l->chunks[3].plain_offset = UINT64_MAX - 10;
	assert_fault(l, "chunk 3 ends behind");
	l = native();
	l->plain_size_bytes--;
	assert_fault(l, "chunk 3 ends behind");
	l = native();
	l->chunks[1].plain_size_bytes = CHUNK_PLAIN_MAX_BYTES + 1;
	assert_fault(l, "chunk 1 is larger");
	l = native();
	l->chunks[1].flags |= 8;
	assert_fault(l, "chunk 1 has unknown flags");
	l = native();
	l->chunks[1].flags &= ~(uint32_t)CHUNK_HAS_DIGEST;
	assert_fault(l, "chunk 1 has no digest");
}

static void units_outside_the_object_are_refused(void **state)
{
	struct blob_layout *l = native();

	(void)state;
	l->chunks[1].packed_size_bytes = 0;
	assert_fault(l, "chunk 1, as packed, is empty");
	l = native();
	l->chunks[1].place = 9001;
	assert_fault(l, "ends behind the object");
	l = native();
	l->chunks[1].place = UINT64_MAX;
	assert_fault(l, "ends behind the object");
	l = native();
	l->chunks[1].flags |= CHUNK_ENCRYPTED;
	assert_fault(l, "has no key");
	l = native();
	l->compressor = COMPRESSOR_NONE;
	assert_fault(l, "without compressor");
	l = native();
	l->chunks[1].flags &= ~(uint32_t)CHUNK_COMPRESSED;
	assert_fault(l, "two sizes differ");
	l = native();
	l->packed_size_bytes = 0;
	l->packed_data_end = 0;
	l->chunks[1].place = BLOB_PACKED_MAX_BYTES;
	assert_fault(l, "ends behind the object");
}

static void members_that_do_not_belong_are_refused(void **state)
{
	struct blob_layout *l = grouped();

	(void)state;
	l->units[0].n_members = 4;
	assert_fault(l, "members that are not there");
	l = grouped();
	l->units[2].first_member = UINT32_MAX;
	assert_fault(l, "members that are not there");
	l = grouped();
	l->members[1] = 0;
	assert_fault(l, "unit 0 has members out of order");
	l = grouped();
	l->members[1] = 4;
	assert_fault(l, "unit 0 has members out of order");
	l = grouped();
	l->members[1] = 2; /* a hole */
	assert_fault(l, "belongs elsewhere");
	l = grouped();
	l->members[1] = 1;
	assert_fault(l, "belongs elsewhere");
	l = grouped();
	l->chunks[3].place += CHUNK_BYTES + 1;
	assert_fault(l, "behind its end");
	l = grouped();
	l->units[0].n_members = 1;
	assert_fault(l, "other chunks");
	l = grouped();
	l->units[1] = l->units[0];
	assert_fault(l, "belongs elsewhere");
}

static void units_of_several_chunks_keep_their_own_rules(void **state)
{
	struct blob_layout *l = grouped();

	(void)state;
	l->units[0].kind = 3;
	assert_fault(l, "unknown kind");
	l = grouped();
	l->units[0].kind = UNIT_CHUNK;
	assert_fault(l, "several members");
	l = grouped();
	l->units[2].plain_size_bytes++;
	assert_fault(l, "another size");
	l = grouped();
	l->units[0].plain_size_bytes = UNIT_PLAIN_MAX_BYTES + 1;
	assert_fault(l, "larger than 64 MiB");
	l = grouped();
	l->units[0].kind = UNIT_ZRAN;
	l->units[0].zran.n_bits = 8;
	assert_fault(l, "begins at a bit");
	l = grouped();
	l->units[0].kind = UNIT_ZRAN;
	l->units[0].zran.dict_size_bytes = 1;
	assert_fault(l, "dictionary");
	l = grouped();
	l->units[0].kind = UNIT_ZRAN;
	l->zran_dicts_size_bytes = 100000;
	l->units[0].zran.dict_size_bytes = 32769;
	assert_fault(l, "dictionary");
}

static void layouts_that_describe_different_chunks_agree(void **state)
{
	AUTO(layout_unref) struct blob_layout *a = native();
	AUTO(layout_unref) struct blob_layout *b = grouped();

	(void)state;
	assert_true(layout_agrees(a, a));
	assert_true(layout_agrees(a, b));
	a->chunks[1] = (struct chunk_rec){ 0 };
	b->chunks[3] = (struct chunk_rec){ 0 };
	b->n_chunks = 2;
	assert_true(layout_agrees(a, b));
	assert_true(layout_agrees(b, a));
}

static void layouts_that_contradict_do_not_agree(void **state)
{
	AUTO(layout_unref) struct blob_layout *a = native();
	AUTO(layout_unref) struct blob_layout *b = native();

	(void)state;
	b->chunks[3].digest[31] ^= 1;
	assert_false(layout_agrees(a, b));
	b->chunks[3].digest[31] ^= 1;
	b->chunks[3].plain_size_bytes--;
	assert_false(layout_agrees(a, b));
	b->chunks[3].plain_size_bytes++;
	b->chunks[3].flags &= ~(uint32_t)CHUNK_HAS_DIGEST;
	assert_false(layout_agrees(a, b));
	b->chunks[3].flags |= CHUNK_HAS_DIGEST;
	b->digest_alg = DIGEST_SHA256;
	assert_false(layout_agrees(a, b));
	b->digest_alg = a->digest_alg;
	assert_true(layout_agrees(a, b));
}

static void chunks_of_one_must_not_lie_over_those_of_the_other(void **state)
{
	AUTO(layout_unref) struct blob_layout *a = native();
	AUTO(layout_unref) struct blob_layout *b = native();

	(void)state;
	/* a knows chunk 1 and b does not; b's chunk 2, unknown to a, lies over it. */
	b->chunks[1] = (struct chunk_rec){ 0 };
	b->chunks[2] = b->chunks[3];
	b->chunks[2].plain_offset = CHUNK_BYTES + 100;
	b->chunks[2].plain_size_bytes = 100;
	assert_false(layout_agrees(a, b));
	assert_false(layout_agrees(b, a));
	b->chunks[2].plain_offset = (uint64_t)2 * CHUNK_BYTES;
	assert_true(layout_agrees(a, b));
}

static void a_computed_digest_can_be_added(void **state)
{
	AUTO(layout_unref) struct blob_layout *l = native();
	AUTO(layout_unref) struct blob_layout *second = layout_ref(l);
	const uint8_t digest[DIGEST_BYTES] = { 9 };

	(void)state;
	l->chunks[1].flags = 0;
	layout_set_digest(l, 1, digest);
	assert_int_equal(second->chunks[1].flags, CHUNK_HAS_DIGEST);
	assert_memory_equal(second->chunks[1].digest, digest, DIGEST_BYTES);
}

static void more_chunks_than_a_blob_may_have_are_refused(void **state)
{
	(void)state;
	assert_null(layout_new(BLOB_CHUNKS_MAX + 1));
}

static void compressors_have_names(void **state)
{
	(void)state;
	assert_string_equal(compressor_name(COMPRESSOR_NONE), "none");
	assert_string_equal(compressor_name(COMPRESSOR_ZSTD), "zstd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_layout_is_taken),
		cmocka_unit_test(native_units_are_the_chunks_themselves),
		cmocka_unit_test(grouped_units_know_their_members),
		cmocka_unit_test(ids_that_are_no_file_names_are_refused),
		cmocka_unit_test(heads_out_of_range_are_refused),
		cmocka_unit_test(chunks_that_overlap_or_leave_the_blob_are_refused),
		cmocka_unit_test(units_outside_the_object_are_refused),
		cmocka_unit_test(members_that_do_not_belong_are_refused),
		cmocka_unit_test(units_of_several_chunks_keep_their_own_rules),
		cmocka_unit_test(layouts_that_describe_different_chunks_agree),
		cmocka_unit_test(layouts_that_contradict_do_not_agree),
		cmocka_unit_test(chunks_of_one_must_not_lie_over_those_of_the_other),
		cmocka_unit_test(a_computed_digest_can_be_added),
		cmocka_unit_test(more_chunks_than_a_blob_may_have_are_refused),
		cmocka_unit_test(compressors_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
