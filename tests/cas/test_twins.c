/*
 * Twins: which other registered blobs describe a chunk, and where they can be had; and the images
 * that use a blob.
 */
#include "mem.h"
#include "share_world.h"
#include "twins.h"
#include <stdlib.h>
#include <string.h>

#define IMAGE_A "aa00000000000000000000000000000000000000000000000000000000000000"
#define IMAGE_B "bb00000000000000000000000000000000000000000000000000000000000000"

static void wait_for_names(struct fixture *f, uint64_t n)
{
	while (query(f, "SELECT count(*) FROM chunk") < n)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

static void wait_for_origins(struct fixture *f, uint64_t n)
{
	while (query(f, "SELECT count(*) FROM blob_origin") < n)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

static void chunks_are_found_in_blobs_that_are_not_ready_nor_open(void **state)
{
	static const uint32_t chunks[] = { 1, 5 };
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	struct cas_twins twins = { .n_blobs = 0 };

	cas_blob_add_origin(b, "registry:h/one");
	cas_blob_add_origin(b, "registry:h/two");
	wait_for_names(f, 2 * (uint64_t)N);
	wait_for_origins(f, 2);
	cas_blob_release(&b);
	assert_int_equal(cas_twins_find(f->cas, a, chunks, 2, &twins, &f->e), 0);
	assert_int_equal(twins.n_blobs, 1);
	assert_string_equal(twins.blobs[0].key, OTHER_ID);
	assert_int_equal(twins.blobs[0].n_origins, 2);
	assert_string_equal(twins.blobs[0].origins[1].text, "registry:h/two");
	assert_int_equal(twins.blobs[0].n_twins, 2);
	assert_int_equal(twins.blobs[0].twins[0].chunk_idx, 1);
	assert_int_equal(twins.blobs[0].twins[0].their_idx, N - 1 - 1);
	assert_int_equal(twins.blobs[0].twins[1].their_idx, N - 1 - 5);
	cas_twins_clear(&twins);
	cas_blob_release(&a);
}

static void a_blob_without_origins_is_no_help_and_the_best_is_first(void **state)
{
	static const uint32_t chunks[] = { 0, 1, 2, 3 };
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_sample(f, OTHER_ID, 2, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);
	struct cas_twins twins = { .n_blobs = 0 };

	cas_blob_add_origin(a, "registry:h/ours");
	wait_for_names(f, 2 * (uint64_t)N + 2);
	wait_for_origins(f, 1);
	assert_int_equal(cas_twins_find(f->cas, a, chunks, 4, &twins, &f->e), 0);
	assert_int_equal(twins.n_blobs, 0);
	cas_twins_clear(&twins);
	cas_blob_add_origin(b, "registry:h/b");
	cas_blob_add_origin(c, "registry:h/c");
	wait_for_origins(f, 3);
	assert_int_equal(cas_twins_find(f->cas, a, chunks, 4, &twins, &f->e), 0);
	assert_int_equal(twins.n_blobs, 2);
	assert_string_equal(twins.blobs[0].key, THIRD_ID);
	assert_int_equal(twins.blobs[0].n_twins, 4);
	assert_int_equal(twins.blobs[1].n_twins, 2);
	cas_twins_clear(&twins);
	cas_blob_release(&a);
	cas_blob_release(&b);
	cas_blob_release(&c);
}

/* Rows of the first chunk's name, in blobs that sort before all others. */
static void add_rows(struct fixture *f, const char *dying, int first_id)
{
	AUTO(free_str)
	char *sql = xasprintf(
		"WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d + 69)"
		" INSERT INTO blob SELECT i, 'made up ' || i, blob_id, digest_alg, trust, n_chunks,"
		" plain_size, packed_size, n_named, file_id, file_dev, file_fs, file_ino,"
		" file_btime_ns, file_size, %s FROM n, (SELECT * FROM blob LIMIT 1);"
		"INSERT INTO chunk SELECT c.name, b.id, 0 FROM blob b,"
		" (SELECT name FROM chunk WHERE idx = 0 LIMIT 1) c"
		" WHERE b.id BETWEEN %d AND %d + 69;"
		"INSERT INTO blob_origin SELECT b.id, o.id, 0 FROM blob b, origin o"
		" WHERE b.id BETWEEN %d AND %d + 69",
		first_id, first_id, dying, first_id, first_id, first_id, first_id);

	exec_on_writer(f, sql);
}

static void rows_that_are_no_help_hide_nobody_and_too_many_are_told(void **state)
{
	static const uint32_t chunks[] = { 0 };
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_sample(f, OTHER_ID, N, 1);
	struct cas_twins twins = { .n_blobs = 0 };

	cas_blob_add_origin(b, "registry:h/b");
	wait_for_names(f, 2 * (uint64_t)N);
	wait_for_origins(f, 1);
	add_rows(f, "1", -100);
	assert_int_equal(cas_twins_find(f->cas, a, chunks, 1, &twins, &f->e), 0);
	assert_int_equal(twins.n_blobs, 1);
	assert_string_equal(twins.blobs[0].key, OTHER_ID);
	assert_false(twins.is_cut);
	cas_twins_clear(&twins);
	add_rows(f, "0", -200);
	assert_int_equal(cas_twins_find(f->cas, a, chunks, 1, &twins, &f->e), 0);
	assert_int_equal(twins.n_blobs, CAS_TWIN_BLOBS_MAX);
	assert_true(twins.is_cut);
	cas_twins_clear(&twins);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

struct users {
	uint32_t n;
	char digests[4][DIGEST_TEXT_BYTES];
};

static int on_user(void *arg, const char *digest)
{
	struct users *u = arg;

	assert_true(u->n < 4);
	memcpy(u->digests[u->n++], digest, DIGEST_TEXT_BYTES);
	return 0;
}

static void the_images_of_a_blob_are_told_those_used_last_first(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	const struct image_record one = { .digest = IMAGE_A, .name = "h/a:1", .used_s = 5 };
	const struct image_record two = { .digest = IMAGE_B, .name = "h/b:1", .used_s = 7 };
	static const char *const keys[] = { SAMPLE_ID };
	struct users users = { .n = 0 };

	record_image(f, &one, keys, 1);
	record_image(f, &two, keys, 1);
	assert_int_equal(image_store_users(f->cas, SAMPLE_ID, on_user, &users, &f->e), 0);
	assert_int_equal(users.n, 2);
	assert_string_equal(users.digests[0], IMAGE_B);
	assert_string_equal(users.digests[1], IMAGE_A);
	users.n = 0;
	assert_int_equal(image_store_users(f->cas, OTHER_ID, on_user, &users, &f->e), 0);
	assert_int_equal(users.n, 0);
	cas_blob_release(&a);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, share_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(chunks_are_found_in_blobs_that_are_not_ready_nor_open),
		TEST(a_blob_without_origins_is_no_help_and_the_best_is_first),
		TEST(rows_that_are_no_help_hide_nobody_and_too_many_are_told),
		TEST(the_images_of_a_blob_are_told_those_used_last_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
