/*
 * Blobs: what is put verified is ready, survives, and is never anything but the right bytes.
 */
#include "fixture.h"
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEED 7

static void what_was_put_is_read_back(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);

	assert_int_equal(read_sample(b, SEED, 3), CAS_MISS);
	assert_int_equal(put_sample(b, SEED, 3), 0);
	assert_int_equal(put_sample(b, SEED, 4), 0);
	assert_int_equal(read_sample(b, SEED, 3), 0);
	assert_int_equal(read_sample(b, SEED, 5), CAS_MISS);
	assert_int_equal(cas_blob_n_ready(b), 2);
	cas_blob_release(&b);
}

static void a_read_spans_chunks_and_the_padding_between_them(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);
	const struct chunk_rec *c = &cas_blob_layout(b)->chunks[3];
	const uint32_t n = (uint32_t)(c[1].plain_offset + 1 - c->plain_offset);
	uint8_t *got = malloc(n);
	uint8_t *second = sample_bytes(SEED, 4);

	assert_int_equal(put_sample(b, SEED, 3), 0);
	assert_int_equal(cas_blob_read(b, 3, 2, c->plain_offset, n, got, &f->e), CAS_MISS);
	assert_int_equal(put_sample(b, SEED, 4), 0);
	assert_int_equal(cas_blob_read(b, 3, 2, c->plain_offset, n, got, &f->e), 0);
	assert_int_equal(got[n - 1], second[0]);
	assert_int_equal(cas_blob_read(b, 3, 200, 0, n, got, &f->e), -EINVAL);
	assert_int_equal(cas_blob_read(b, 3, 2, c->plain_offset - 1, n, got, &f->e), -EINVAL);
	assert_int_equal(cas_blob_read(b, 3, 1, c->plain_offset, n, got, &f->e), -EINVAL);
	free(got);
	free(second);
	cas_blob_release(&b);
}

static void wrong_bytes_are_not_kept(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);
	uint8_t *bytes = sample_bytes(SEED, 3);

	bytes[0] ^= 1;
	assert_int_equal(cas_blob_put(b, 3, bytes, &f->e), CAS_MISMATCH);
	assert_false(cas_blob_is_ready(b, 3));
	free(bytes);
	cas_blob_release(&b);
}

static void what_was_ready_is_ready_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);

	assert_int_equal(put_sample(b, SEED, 3), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(read_sample(b, SEED, 3), 0);
	assert_int_equal(cas_blob_n_ready(b), 1);
	cas_blob_release(&b);
}

static void the_same_blob_opened_twice_is_one_object(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);

	assert_ptr_equal(a, b);
	cas_blob_release(&a);
	assert_int_equal(put_sample(b, SEED, 0), 0);
	cas_blob_release(&b);
}

static void a_blob_opened_right_after_its_release_has_lost_nothing(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 20; i++) {
		struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);

		assert_int_equal(cas_blob_n_ready(b), i);
		assert_int_equal(put_sample(b, SEED, i), 0);
		cas_blob_release(&b);
	}
}

static void a_layout_that_disagrees_gets_its_own_file(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED + 1);

	assert_string_equal(cas_blob_key(a), SAMPLE_ID);
	/* By this name caches of all versions have it. */
	assert_string_equal(cas_blob_key(b), SAMPLE_ID "-9f04a6aa");
	assert_int_equal(put_sample(a, SEED, 1), 0);
	assert_int_equal(put_sample(b, SEED + 1, 1), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED + 1);
	assert_int_equal(read_sample(b, SEED + 1, 1), 0);
	cas_blob_release(&b);
}

/* Images built on chunks of others describe a part of a blob. */
static struct cas_blob *open_part(struct fixture *f, uint32_t first, uint32_t n)
{
	struct blob_layout *l = sample_layout(SAMPLE_ID, 20, SEED);
	struct cas_blob *b = NULL;

	for (uint32_t i = 0; i < 20; i++)
		if (i < first || i >= first + n)
			l->chunks[i] = (struct chunk_rec){ .plain_size_bytes = 0 };
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	layout_unref(&l);
	return b;
}

static void parts_of_a_blob_from_two_images_share_its_file(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_part(f, 0, 10);
	struct cas_blob *b = open_part(f, 5, 10);
	struct cas_verify_progress total;

	assert_ptr_equal(a, b);
	assert_int_equal(put_sample(a, SEED, 14), 0);
	assert_int_equal(put_sample(a, SEED, 2), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_reopen(f);
	a = open_part(f, 0, 10);
	assert_int_equal(read_sample(a, SEED, 2), 0);
	assert_int_equal(cas_blob_n_ready(a), 1);
	assert_int_equal(cas_verify(f->cas, NULL, NULL, NULL, &total, &f->e), 0);
	assert_int_equal(total.chunks_done, 2);
	assert_int_equal(total.n_faults, 0);
	cas_blob_release(&a);
	while (query(f, "SELECT count(*) FROM chunk") != 15) /* behind everything else */
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

/* Without digests, as an image without chunk table has it; or with those that were computed here
 * from the whole blob. */
static struct cas_blob *open_whole(struct fixture *f, bool with_digests)
{
	struct blob_layout *l = sample_layout(SAMPLE_ID, 20, SEED);
	struct cas_blob *b = NULL;

	l->trust = TRUST_WHOLE_BLOB;
	for (uint32_t i = 0; i < 20 && !with_digests; i++) {
		l->chunks[i].flags = 0;
		memset(l->chunks[i].digest, 0, DIGEST_BYTES);
	}
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	layout_unref(&l);
	return b;
}

static void digests_learnt_from_the_whole_blob_complete_a_layout_without(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *bare = open_whole(f, false);
	struct cas_blob *full = NULL;

	assert_int_equal(cas_blob_layout(bare)->trust, TRUST_WHOLE_BLOB);
	assert_int_equal(put_sample(bare, SEED, 4), -EINVAL); /* not verified yet */
	full = open_whole(f, true);
	assert_ptr_equal(full, bare);
	assert_int_equal(put_sample(full, SEED, 4), 0);
	cas_blob_release(&full);
	cas_blob_release(&bare);
	fixture_reopen(f);
	bare = open_whole(f, false);
	assert_int_equal(cas_blob_layout(bare)->trust, TRUST_DIGESTS);
	assert_int_equal(read_sample(bare, SEED, 4), 0);
	assert_int_equal(put_sample(bare, SEED, 5), 0);
	cas_blob_release(&bare);
}

static void digests_that_an_image_claims_complete_nobody_elses_layout(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *claimed = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_blob *bare = NULL;

	assert_int_equal(put_sample(claimed, SEED, 4), 0);
	bare = open_whole(f, false);
	assert_int_equal(cas_blob_layout(bare)->trust, TRUST_WHOLE_BLOB);
	assert_false(cas_blob_is_ready(bare, 4));
	cas_blob_release(&bare);
	cas_blob_release(&claimed);
	fixture_reopen(f);
	bare = open_whole(f, false);
	assert_int_equal(cas_blob_layout(bare)->trust, TRUST_WHOLE_BLOB);
	assert_false(cas_blob_is_ready(bare, 4));
	cas_blob_release(&bare);
}

static void unverified_chunks_are_counted_and_kept_apart(void **state)
{
	struct fixture *f = *state;
	struct blob_layout *bare = sample_layout(SAMPLE_ID, 20, SEED);
	struct cas_blob *b = NULL;

	bare->trust = TRUST_NONE;
	for (uint32_t i = 0; i < 20; i++)
		bare->chunks[i].flags = 0;
	assert_int_equal(cas_blob_open(f->cas, bare, &b, &f->e), 0);
	assert_string_not_equal(cas_blob_key(b), SAMPLE_ID);
	assert_int_equal(put_sample(b, SEED, 4), 0);
	assert_int_equal(metrics_sum(f->metrics, METRIC_UNVERIFIED_BYTES), sample_size(SEED, 4));
	cas_blob_release(&b);
	layout_unref(&bare);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_false(cas_blob_is_ready(b, 4));
	cas_blob_release(&b);
}

static void fill_and_close(struct fixture *f)
{
	struct cas_blob *b = open_full(f, SAMPLE_ID, 20, SEED);

	cas_blob_release(&b);
	fixture_close(f);
}

static char *data_path(struct fixture *f)
{
	return fixture_path(f, "blobs/" SAMPLE_ID ".blob.data");
}

static void a_deleted_file_costs_a_refetch(void **state)
{
	struct fixture *f = *state;
	char *path = data_path(f);
	struct cas_blob *b = NULL;

	fill_and_close(f);
	assert_int_equal(unlink(path), 0);
	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(read_sample(b, SEED, 3), CAS_MISS);
	assert_int_equal(query(f, "SELECT count(*) FROM ready"), 0);
	assert_int_equal(put_sample(b, SEED, 3), 0);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 1);
	cas_blob_release(&b);
	free(path);
}

static void a_replaced_file_is_not_believed(void **state)
{
	struct fixture *f = *state;
	char *path = data_path(f);
	struct stat st;
	struct cas_blob *b = NULL;
	int fd;

	fill_and_close(f);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(unlink(path), 0);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(posix_fallocate(fd, 0, st.st_size), 0);
	assert_int_equal(close(fd), 0);
	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_blob_release(&b);
	free(path);
}

static void a_file_cut_and_grown_again_yields_no_zeros(void **state)
{
	struct fixture *f = *state;
	char *path = data_path(f);
	struct stat st;
	struct cas_blob *b = NULL;
	uint64_t cut;

	fill_and_close(f);
	{
		struct blob_layout *l = sample_layout(SAMPLE_ID, 20, SEED);

		cut = l->chunks[10].plain_offset + 100; /* inside a block: no hole at its end */
		layout_unref(&l);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, (off_t)cut), 0);
	assert_int_equal(truncate(path, st.st_size), 0);
	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(read_sample(b, SEED, i), i < 10 ? 0 : CAS_MISS);
	cas_blob_release(&b);
	free(path);
}

static void a_file_cut_while_it_is_open_yields_no_zeros(void **state)
{
	struct fixture *f = *state;
	char *path = data_path(f);
	struct stat st;
	struct cas_blob *b = open_full(f, SAMPLE_ID, 20, SEED);

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(read_sample(b, SEED, 19), CAS_MISS);
	assert_int_equal(truncate(path, st.st_size), 0);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(read_sample(b, SEED, i), CAS_MISS);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(put_sample(b, SEED, 5), 0);
	assert_int_equal(read_sample(b, SEED, 5), 0);
	cas_blob_release(&b);
	free(path);
}

static uint32_t sample_of_three_blocks(void)
{
	uint32_t i = 0;

	while (sample_size(SEED, i) <= 8192)
		i++;
	return i;
}

/* What grows it is our own next chunk. A hole begins behind the block that was cut, where no reader
 * of that block alone looks. */
static void a_file_cut_inside_a_block_yields_no_zeros_to_who_reads_that_block(void **state)
{
	struct fixture *f = *state;
	AUTO(free_str) char *path = data_path(f);
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 40, SEED);
	const uint32_t idx = sample_of_three_blocks();
	const uint64_t at = cas_blob_layout(b)->chunks[idx].plain_offset + 4096;
	uint8_t *want = sample_bytes(SEED, idx);
	uint8_t got[4096];

	assert_int_equal(put_sample(b, SEED, idx), 0);
	assert_int_equal(cas_blob_read(b, idx, 1, at, sizeof(got), got, &f->e), 0);
	assert_int_equal(truncate(path, (off_t)at + 4095), 0);
	assert_int_equal(put_sample(b, SEED, 39), 0);
	/* Before the cut all is as it was. */
	assert_int_equal(cas_blob_read(b, idx, 1, at, 4095, got, &f->e), 0);
	assert_memory_equal(got, want + 4096, 4095);
	assert_int_equal(cas_blob_read(b, idx, 1, at, sizeof(got), got, &f->e), CAS_MISS);
	assert_false(cas_blob_is_ready(b, idx));
	free(want);
	cas_blob_release(&b);
}

/* Of data that ends in a zero nothing is thought but that. */
static void a_block_that_ends_in_a_zero_is_data(void **state)
{
	static const uint8_t bytes[3 * 4096] = { [0] = 1, [4096] = 1, [8192] = 1 };
	struct fixture *f = *state;
	struct blob_layout *l = sample_layout(SAMPLE_ID, 20, SEED);
	const uint32_t idx = sample_of_three_blocks();
	struct chunk_rec *c = &l->chunks[idx];
	struct cas_blob *b = NULL;
	uint8_t got[4096];

	digest_compute(DIGEST_BLAKE3, bytes, c->plain_size_bytes, c->digest);
	assert_int_equal(cas_blob_open(f->cas, l, &b, &f->e), 0);
	assert_int_equal(cas_blob_put(b, idx, bytes, &f->e), 0);
	assert_int_equal(cas_blob_read(b, idx, 1, c->plain_offset, sizeof(got), got, &f->e), 0);
	assert_memory_equal(got, bytes, sizeof(got));
	cas_blob_release(&b);
	layout_unref(&l);
}

static int note_place(void *arg, const struct cas_chunk_place *place)
{
	*(struct cas_chunk_place *)arg = *place;
	return 0;
}

static int note_info(void *arg, const struct cas_blob_info *info)
{
	*(struct cas_blob_info *)arg = *info;
	return 0;
}

static void people_can_ask_what_is_where(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, 20, SEED);
	struct cas_chunk_place place = { .chunk_idx = 99 };
	struct cas_blob_info *info = xcalloc(1, sizeof(*info));
	uint64_t bytes = 0;

	assert_int_equal(put_sample(b, SEED, 8), 0);
	assert_int_equal(cas_chunk_find(f->cas, cas_blob_layout(b)->chunks[8].digest, note_place,
	                                &place, &f->e),
	                 0);
	assert_int_equal(place.chunk_idx, 8);
	assert_true(place.ready);
	assert_int_equal(cas_blobs(f->cas, note_info, info, &f->e), 0);
	assert_string_equal(info->blob_id, SAMPLE_ID);
	assert_int_equal(info->n_chunks, 20);
	assert_int_equal(info->n_ready, 1);
	assert_int_equal(info->ready_bytes, sample_size(SEED, 8));
	assert_true(info->open);
	assert_int_equal(cas_disk_bytes(f->cas, &bytes, &f->e), 0);
	assert_true(bytes >= 4096);
	cas_blob_release(&b);
	free(info);
}

static void a_full_disk_is_said_and_bytes_go_through_memory(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = NULL;

	f->reserve_bytes = UINT64_C(1) << 60;
	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(put_sample(b, SEED, 3), CAS_FULL);
	assert_int_equal(metrics_sum(f->metrics, METRIC_CACHE_FULL), 1);
	assert_false(cas_blob_is_ready(b, 3));
	cas_blob_release(&b);
}

struct watch {
	struct timer timer;
	struct fixture *f;
};

static void look_for_a_slice(struct timer *timer)
{
	struct watch *w = container_of(timer, struct watch, timer);

	if (query(w->f, "SELECT count(*) FROM ready") > 0)
		loop_stop(w->f->loop);
	else
		timer_start(timer, 1);
}

static void ready_bits_reach_the_database_by_themselves(void **state)
{
	struct fixture *f = *state;
	struct watch w = { .f = f };
	struct cas_blob *b = NULL;

	f->flush_ms = 1;
	fixture_open(f);
	b = open_sample(f, SAMPLE_ID, 20, SEED);
	assert_int_equal(put_sample(b, SEED, 3), 0);
	timer_init(&w.timer, f->loop, look_for_a_slice);
	timer_start(&w.timer, 1);
	loop_run(f->loop);
	timer_fini(&w.timer);
	cas_blob_release(&b);
}

#define N_BIG 40000

static void a_large_blob_has_a_row_a_chunk_and_several_slices(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, N_BIG, SEED);

	assert_int_equal(put_sample(b, SEED, N_BIG - 1), 0);
	assert_int_equal(put_sample(b, SEED, 0), 0);
	cas_blob_release(&b);
	while (query(f, "SELECT count(*) FROM blob WHERE n_named = 40000") == 0)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM chunk"), N_BIG);
	fixture_reopen(f);
	assert_int_equal(query(f, "SELECT count(*) FROM ready"), 2);
	b = open_sample(f, SAMPLE_ID, N_BIG, SEED);
	assert_int_equal(read_sample(b, SEED, N_BIG - 1), 0);
	assert_int_equal(read_sample(b, SEED, 0), 0);
	assert_int_equal(cas_blob_n_ready(b), 2);
	cas_blob_release(&b);
	fixture_close(f); /* the log is folded into the file */
	assert_true(query(f, "SELECT page_count * page_size FROM pragma_page_count,"
	                     " pragma_page_size") <= UINT64_C(80) * N_BIG);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_put_is_read_back),
		T(a_read_spans_chunks_and_the_padding_between_them),
		T(wrong_bytes_are_not_kept),
		T(what_was_ready_is_ready_after_a_restart),
		T(the_same_blob_opened_twice_is_one_object),
		T(a_blob_opened_right_after_its_release_has_lost_nothing),
		T(a_layout_that_disagrees_gets_its_own_file),
		T(parts_of_a_blob_from_two_images_share_its_file),
		T(digests_learnt_from_the_whole_blob_complete_a_layout_without),
		T(digests_that_an_image_claims_complete_nobody_elses_layout),
		T(unverified_chunks_are_counted_and_kept_apart),
		T(a_deleted_file_costs_a_refetch),
		T(a_replaced_file_is_not_believed),
		T(a_file_cut_and_grown_again_yields_no_zeros),
		T(a_file_cut_while_it_is_open_yields_no_zeros),
		T(a_file_cut_inside_a_block_yields_no_zeros_to_who_reads_that_block),
		T(a_block_that_ends_in_a_zero_is_data),
		T(people_can_ask_what_is_where),
		T(a_large_blob_has_a_row_a_chunk_and_several_slices),
		cmocka_unit_test_setup_teardown(ready_bits_reach_the_database_by_themselves,
		                                fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_is_said_and_bytes_go_through_memory,
		                                fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
