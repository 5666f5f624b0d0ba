/*
 * Images that agree on a blob's chunks and not on how an origin packs them: none is served by
 * another's word.
 */
#include "fixture.h"
#include <stdlib.h>
#include <string.h>

#define SEED 7

/* True places and digests, which are public, and packed elsewhere than the origin has it. */
static struct cas_blob *open_packed_at(struct fixture *f, uint64_t chunk_7)
{
	AUTO(layout_unref) struct blob_layout *l = sample_layout(SAMPLE_ID, 20, SEED);
	struct cas_blob *b = NULL;

	l->chunks[7].place = chunk_7;
	assert_int_equal(layout_check(l, &f->e), 0);
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	return b;
}

static uint64_t packed_at(const struct cas_blob *b)
{
	struct unit_rec u = { .packed_offset = 1 };

	assert_true(layout_unit(cas_blob_layout(b), 7, &u));
	return u.packed_offset;
}

static void an_image_that_lies_about_packing_spoils_nobody_elses_reads(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *liars[] = { open_packed_at(f, 0), open_packed_at(f, 8) };
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_blob *again = open_sample(f, SAMPLE_ID, 20, SEED);
	const uint64_t true_place = cas_blob_layout(b)->chunks[7].plain_offset;

	assert_string_equal(cas_blob_key(liars[0]), SAMPLE_ID);
	assert_int_equal(packed_at(b), true_place);
	assert_int_equal(packed_at(liars[0]), 0);
	assert_int_equal(packed_at(liars[1]), 8);
	assert_ptr_equal(again, b);
	assert_int_equal(put_sample(liars[0], SEED, 1), 0);
	assert_int_equal(put_sample(b, SEED, 2), 0);
	cas_blob_release(&again);
	cas_blob_release(&b);
	cas_blob_release(&liars[0]);
	cas_blob_release(&liars[1]);
	fixture_reopen(f);
	/* Whose packing was wrong is not remembered, and need not be: what is in the file is right.
	 */
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_string_equal(cas_blob_key(b), SAMPLE_ID);
	assert_int_equal(packed_at(b), true_place);
	assert_int_equal(read_sample(b, SEED, 1), 0);
	liars[0] = open_packed_at(f, 0);
	assert_int_equal(packed_at(liars[0]), 0);
	assert_int_equal(packed_at(b), true_place);
	cas_blob_release(&b);
	cas_blob_release(&liars[0]);
}

/* As slices of a stream, with what one of them begins with. */
static struct cas_blob *open_sliced(struct fixture *f, uint8_t dict_byte)
{
	AUTO(layout_unref) struct blob_layout *l = sample_layout(SAMPLE_ID, 20, SEED);
	struct cas_blob *b = NULL;

	l->units = calloc(20, sizeof(*l->units));
	l->members = calloc(20, sizeof(*l->members));
	l->zran_dicts = malloc(1);
	l->zran_dicts[0] = dict_byte;
	l->zran_dicts_size_bytes = 1;
	for (uint32_t i = 0; i < 20; i++) {
		struct chunk_rec *c = &l->chunks[i];

		l->members[i] = i;
		l->units[i] = (struct unit_rec){ .kind = UNIT_ZRAN,
			                         .packed_offset = c->place,
			                         .packed_size_bytes = c->packed_size_bytes,
			                         .plain_size_bytes = c->plain_size_bytes,
			                         .first_member = i,
			                         .n_members = 1,
			                         .zran = { .dict_size_bytes = i == 7 } };
		c->place = (uint64_t)i << 32;
		c->packed_size_bytes = 0;
	}
	assert_int_equal(layout_check(l, &f->e), 0);
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	return b;
}

static void a_stream_s_slices_that_begin_otherwise_are_another_packing(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sliced(f, 1);
	struct cas_blob *b = open_sliced(f, 2);
	struct cas_blob *c = open_sliced(f, 2);
	struct cas_blob *d = open_sample(f, SAMPLE_ID, 20, SEED);

	assert_ptr_not_equal(b, a);
	assert_ptr_equal(c, b);
	assert_int_equal(cas_blob_layout(a)->zran_dicts[0], 1);
	assert_int_equal(cas_blob_layout(b)->zran_dicts[0], 2);
	assert_null(cas_blob_layout(d)->units);
	cas_blob_release(&a);
	cas_blob_release(&b);
	cas_blob_release(&c);
	cas_blob_release(&d);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_image_that_lies_about_packing_spoils_nobody_elses_reads),
		T(a_stream_s_slices_that_begin_otherwise_are_another_packing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
