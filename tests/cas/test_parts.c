/*
 * Images that describe a part of a blob each, as those do that are built on a chunk dictionary: the
 * layout of the open blob grows with each, under readers of the one before.
 */
#include "fixture.h"
#include <pthread.h>

#define PART_CHUNKS 500U

static struct cas_blob *open_part(struct fixture *f, uint32_t n, uint32_t first)
{
	return open_blocks(f, n, first, first + PART_CHUNKS, NO_BLOCK);
}

static bool describes(const struct cas_blob *b, uint32_t first)
{
	const struct chunk_rec *chunks = cas_blob_layout(b)->chunks;

	return chunks[first].plain_size_bytes == 1 &&
	       chunks[first + PART_CHUNKS - 1].plain_size_bytes == 1;
}

#define MANY_CHUNKS 100000U
#define N_IMAGES    (2 * LAYOUTS_REPLACED_MAX_BYTES / (MANY_CHUNKS * sizeof(struct chunk_rec)))

static void images_that_come_and_go_beside_one_that_stays_leave_a_bounded_trace(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *stays = open_part(f, MANY_CHUNKS, 0);
	uint32_t n_with_it = 0;

	for (uint32_t k = 1; k <= N_IMAGES; k++) {
		const uint32_t first = k * PART_CHUNKS;
		struct cas_blob *b = open_part(f, MANY_CHUNKS, first);
		uint8_t got = 0;

		n_with_it += b == stays;
		assert_true(describes(b, first));
		assert_int_equal(put_block(b, first), 0);
		assert_int_equal(
			cas_blob_read(b, first, 1, (uint64_t)first * BLOCK_BYTES, 1, &got, &f->e),
			0);
		assert_int_equal(got, block_byte(first));
		cas_blob_release(&b);
	}
	assert_true(n_with_it > 1 && n_with_it < N_IMAGES);
	assert_true(stays->replaced_bytes <= LAYOUTS_REPLACED_MAX_BYTES);
	assert_true(describes(stays, 0));
	assert_true(describes(stays, PART_CHUNKS));
	cas_blob_release(&stays);
}

#define N_AT_ONCE 8U

struct opener {
	pthread_t thread;
	pthread_barrier_t *all;
	struct fixture *f;
	uint32_t first;
	struct cas_blob *blob;
};

static void *open_with_others(void *arg)
{
	struct opener *o = arg;

	(void)pthread_barrier_wait(o->all);
	o->blob = open_part(o->f, N_AT_ONCE * PART_CHUNKS, o->first);
	return NULL;
}

static void what_images_say_at_once_is_all_in_the_layout(void **state)
{
	struct fixture *f = *state;
	pthread_barrier_t all;

	assert_int_equal(pthread_barrier_init(&all, NULL, N_AT_ONCE), 0);
	for (uint32_t round = 0; round < 50; round++) {
		struct opener o[N_AT_ONCE];

		for (uint32_t i = 0; i < N_AT_ONCE; i++) {
			o[i] = (struct opener){ .all = &all, .f = f, .first = i * PART_CHUNKS };
			assert_int_equal(
				pthread_create(&o[i].thread, NULL, open_with_others, &o[i]), 0);
		}
		for (uint32_t i = 0; i < N_AT_ONCE; i++)
			(void)pthread_join(o[i].thread, NULL);
		for (uint32_t i = 0; i < N_AT_ONCE; i++) {
			assert_ptr_equal(o[i].blob, o[0].blob);
			assert_true(describes(o[0].blob, o[i].first));
		}
		assert_int_equal(cas_blob_n_described(o[0].blob), N_AT_ONCE * PART_CHUNKS);
		for (uint32_t i = 0; i < N_AT_ONCE; i++)
			cas_blob_release(&o[i].blob);
	}
	(void)pthread_barrier_destroy(&all);
}

static int setup_without_dedup(void **state)
{
	struct fixture *f;

	if (fixture_setup(state) != 0)
		return -1;
	f = *state;
	f->dedup = false;
	fixture_open(f);
	return 0;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_without_dedup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(images_that_come_and_go_beside_one_that_stays_leave_a_bounded_trace),
		T(what_images_say_at_once_is_all_in_the_layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
