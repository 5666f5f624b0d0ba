/*
 * Sharing chunks between blobs: what one has the others find, verified when it is shared.
 */
#include "digest_count.h"
#include "mem.h"
#include "share_world.h"
#include "state.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void what_was_here_before_is_a_candidate_of_a_new_blob(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b;

	assert_int_equal(put_sample(a, 1, 2), 0);
	b = open_reversed(f, OTHER_ID, 1);
	assert_true(cas_blob_is_candidate(b, N - 1 - 2) && !cas_blob_is_candidate(b, 2));
	assert_false(cas_blob_is_candidate(a, 2));
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void what_comes_later_reaches_the_other_open_blobs(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	static const uint8_t zeros[9001]; /* no sample is larger */

	assert_false(cas_blob_is_candidate(a, 3));
	assert_int_equal(cas_blob_put(b, 3, zeros, &f->e), CAS_MISMATCH);
	assert_false(cas_blob_is_candidate(a, N - 1 - 3));
	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_true(cas_blob_is_candidate(b, N - 1 - 3));
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), 0);
	assert_true(cas_blob_is_present(b, N - 1 - 3));
	assert_false(cas_blob_is_candidate(b, N - 1 - 3));
	assert_true(holds(b, N - 1 - 3, 1, 3));
	assert_int_equal(cas_blob_share(b, 0, &f->e), CAS_MISS);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void wrong_bytes_are_caught_when_they_are_shared(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	assert_int_equal(put_sample(a, 1, 3), 0);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[3].plain_offset);
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), CAS_MISS);
	assert_int_equal(failures(f, "dedup"), 1);
	assert_false(cas_blob_is_present(a, 3));
	assert_false(cas_blob_is_present(b, N - 1 - 3));
	assert_false(cas_blob_is_candidate(b, N - 1 - 3));
	assert_int_equal(put_sample(a, 1, 3), 0); /* fetched anew */
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), 0);
	assert_true(holds(b, N - 1 - 3, 1, 3));
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void a_bad_place_does_not_hide_a_good_one(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_int_equal(put_sample(c, 1, 3), 0);
	spoil(f, THIRD_ID, cas_blob_layout(c)->chunks[3].plain_offset);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[3].plain_offset);
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), CAS_MISS);
	assert_int_equal(failures(f, "dedup"), 2);
	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_int_equal(put_sample(c, 1, 3), 0);
	spoil(f, THIRD_ID, cas_blob_layout(c)->chunks[3].plain_offset);
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), 0);
	assert_true(holds(b, N - 1 - 3, 1, 3));
	cas_blob_release(&a);
	cas_blob_release(&b);
	cas_blob_release(&c);
}

static void set_state(struct cas_blob *blob, enum blob_state state)
{
	(void)pthread_mutex_lock(&blob->cas->table.mutex);
	blob->state = state;
	(void)pthread_mutex_unlock(&blob->cas->table.mutex);
}

static void who_cannot_be_had_makes_no_candidate_again(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_true(cas_blob_is_candidate(b, N - 1 - 3));
	set_state(a, BLOB_ACTIVATING); /* its map comes or goes */
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), CAS_MISS);
	assert_false(cas_blob_is_candidate(b, N - 1 - 3)); /* whoever waits would try for ever */
	set_state(a, BLOB_OPEN);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* It is closed otherwise, and what is here would be fetched again. */
static void who_has_what_another_may_want_stays_open(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_true(cas_blob_is_candidate(b, N - 1 - 3));
	cas_blob_release(&a);
	while (query(f, "SELECT count(*) FROM chunk") < (uint64_t)2 * N)
		assert_int_equal(cas_flush(f->cas, &f->e),
		                 0); /* until nothing else keeps it open */
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(cas_blob_share(b, N - 1 - 3, &f->e), 0);
	assert_true(holds(b, N - 1 - 3, 1, 3));
	cas_blob_release(&b);
	do { /* nobody wants it any more: it is closed when its rows are made */
		cas_blob_release(&a);
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
		a = blob_table_find(f->cas, SAMPLE_ID);
	} while (a != NULL);
}

#define LOOKS_MAX 1000

struct pair {
	struct cas_blob *a, *b;
};

/* [writer] Is either of them still to be closed? */
static int are_queued(struct cas *cas, void *arg, struct err *e)
{
	const struct pair *pair = arg;
	int queued;

	(void)e;
	(void)pthread_mutex_lock(&cas->table.mutex);
	queued = pair->a->close_queued || pair->b->close_queued;
	(void)pthread_mutex_unlock(&cas->table.mutex);
	return queued;
}

/* A third one has what both have to be open for. */
static void two_that_nobody_uses_do_not_call_each_other_back(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	struct cas_blob *c = open_sample(f, THIRD_ID, N, 1);
	struct pair pair = { .a = a, .b = b };
	uint8_t *last = sample_bytes(1, N - 1); /* b's first */
	uint32_t n_looks = 0;

	assert_int_equal(put_sample(a, 1, 3), 0);
	assert_int_equal(cas_blob_put(b, 0, last, &f->e), 0);
	free(last);
	assert_true(cas_blob_is_candidate(b, N - 1 - 3));
	assert_true(cas_blob_is_candidate(a, N - 1));
	while (query(f, "SELECT count(*) FROM chunk") < (uint64_t)3 * N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	while (writer_do(f->cas, are_queued, &pair, &f->e) != 0 && ++n_looks < LOOKS_MAX)
		continue;
	assert_in_range(n_looks, 0, LOOKS_MAX - 1);
	assert_int_equal(cas_blob_share(c, 3, &f->e), 0); /* they are open, and of use */
	assert_int_equal(cas_blob_share(c, N - 1, &f->e), 0);
	cas_blob_release(&c);
}

/* An image was removed: requests are not to end at each chunk that it had. */
static void where_nobody_has_one_any_more_its_neighbours_are_looked_at_again(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b;

	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(put_sample(a, 1, i), 0);
	b = open_sample(f, OTHER_ID, N, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_true(cas_blob_is_candidate(b, i));
	for (uint32_t i = 0; i < N; i++)
		if (i != 5)
			blob_void(a, i, VOID_NO_DATA);
	assert_int_equal(cas_blob_share(b, 1, &f->e), CAS_MISS);
	for (uint32_t i = 1; i < N; i++)
		assert_int_equal(cas_blob_is_candidate(b, i), i == 5);
	assert_int_equal(cas_blob_share(b, 5, &f->e), 0);
	assert_true(cas_blob_is_candidate(b, 0)); /* not behind it: until somebody asks */
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void where_readers_wait_an_opening_does_not_wait_for_its_join(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *b;
	struct stopper stopper;

	assert_int_equal(put_sample(a, 1, 4), 0);
	while (query(f, "SELECT count(*) FROM chunk") < N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	fixture_reopen(f); /* so that only the database knows */
	stopper_begin(&stopper, f->cas->helper, JOB_NORMAL);
	cas_join_behind(f->cas, true);
	b = open_sample(f, OTHER_ID, N, 1);
	assert_true(cas_blob_is_joining(b));
	assert_false(cas_blob_is_candidate(b, 4));
	stopper_let_go(&stopper);
	while (cas_blob_is_joining(b)) /* in vain: ctest's time-out */
		(void)sched_yield();
	assert_true(cas_blob_is_candidate(b, 4));
	cas_blob_release(&b);
	stopper_end(&stopper);
}

static void an_open_blob_is_found_by_a_chunks_name(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *found = NULL;
	uint8_t name[PUBLIC_NAME_BYTES];
	uint32_t idx = 0;

	name_of(a, 4, name);
	assert_int_equal(cas_find_open(f->cas, name, &found, &idx), CAS_MISS);
	assert_int_equal(put_sample(a, 1, 4), 0);
	assert_int_equal(cas_find_open(f->cas, name, &found, &idx), 0);
	assert_ptr_equal(found, a);
	assert_int_equal(idx, 4);
	cas_blob_release(&found);
	cas_blob_release(&a);
}

static void a_closed_blob_is_found_through_the_database(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *found = NULL;
	uint8_t name[PUBLIC_NAME_BYTES];
	uint8_t other[PUBLIC_NAME_BYTES];
	uint8_t *plain = malloc(sample_size(1, 4));
	uint8_t *want = sample_bytes(1, 4);
	uint32_t idx = 0;

	name_of(a, 4, name);
	name_of(a, 5, other);
	assert_int_equal(put_sample(a, 1, 4), 0);
	while (query(f, "SELECT count(*) FROM chunk") < N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0); /* behind it, rows are made */
	cas_blob_release(&a);
	fixture_reopen(f);
	assert_int_equal(cas_find_open(f->cas, name, &found, &idx), CAS_MISS);
	assert_int_equal(cas_find_ready(f->cas, other, &found, &idx, &f->e), CAS_MISS);
	assert_int_equal(cas_find_ready(f->cas, name, &found, &idx, &f->e), 0);
	assert_int_equal(idx, 4);
	assert_int_equal(cas_blob_read_checked(found, 4, plain, &f->e), 0);
	assert_memory_equal(plain, want, sample_size(1, 4));
	assert_int_equal(cas_blob_read_checked(found, 5, plain, &f->e), CAS_MISS);
	spoil(f, SAMPLE_ID, cas_blob_layout(found)->chunks[4].plain_offset);
	assert_int_equal(cas_blob_read_checked(found, 4, plain, &f->e), CAS_MISMATCH);
	assert_int_equal(failures(f, "cache"), 1);
	assert_int_equal(cas_blob_read_checked(found, 4, plain, &f->e), CAS_MISS);
	cas_blob_release(&found);
	free(plain);
	free(want);
}

static void what_is_given_again_and_again_is_checked_each_time(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	uint8_t *plain = malloc(sample_size(1, 4));
	unsigned before;

	assert_int_equal(put_sample(a, 1, 4), 0);
	before = digest_count();
	for (int i = 0; i < 6; i++)
		assert_int_equal(cas_blob_read_checked(a, 4, plain, &f->e), 0);
	assert_int_equal(digest_count(), before + 2);
	assert_int_equal(cas_blob_check(a, 4, &f->e), 0);
	assert_int_equal(digest_count(), before + 3);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[4].plain_offset);
	assert_int_equal(cas_blob_read_checked(a, 4, plain, &f->e), CAS_MISMATCH);
	assert_int_equal(failures(f, "cache"), 1);
	assert_int_equal(cas_blob_read_checked(a, 4, plain, &f->e), CAS_MISS);
	cas_blob_release(&a);
	free(plain);
}

static void what_was_found_stays_open_for_a_while_and_costs_no_names(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);
	struct cas_blob *found = NULL;
	uint8_t name[PUBLIC_NAME_BYTES];
	uint32_t idx = 0;
	uint64_t now_ns;

	name_of(a, 4, name);
	assert_int_equal(put_sample(a, 1, 4), 0);
	while (query(f, "SELECT count(*) FROM chunk") < N)
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
	cas_blob_release(&a);
	fixture_reopen(f);
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(cas_find_ready(f->cas, name, &found, &idx, &f->e), 0);
		assert_null(atomic_load(&found->entries));
		cas_blob_release(&found);
	}
	now_ns = clock_now_ns(clock_real());
	kept_let_go(&f->cas->kept, now_ns);
	assert_int_equal(cas_flush(f->cas, &f->e), 0); /* behind whatever would close it */
	assert_true(is_open(f, SAMPLE_ID));
	/* An image that has it finds and is found as ever. */
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(cas_find_open(f->cas, name, &found, &idx), 0);
	cas_blob_release(&found);
	cas_blob_release(&a);
	kept_let_go(&f->cas->kept, now_ns + KEPT_MS * NS_PER_MS + 1);
	while (is_open(f, SAMPLE_ID))
		assert_int_equal(cas_flush(f->cas, &f->e), 0);
}

struct heard {
	uint32_t n_ready;
	uint32_t n_gone;
	uint32_t idx;
};

static void on_ready(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct heard *heard = arg;

	(void)blob;
	heard->n_ready++;
	heard->idx = chunk_idx;
}

static void on_gone(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct heard *heard = arg;

	(void)blob;
	heard->n_gone++;
	heard->idx = chunk_idx;
}

static void what_comes_and_goes_is_told(void **state)
{
	struct fixture *f = *state;
	struct heard heard = { .n_ready = 0 };
	struct cas_blob *a;

	fixture_close(f);
	f->hooks.on_ready = on_ready;
	f->hooks.on_gone = on_gone;
	f->hooks.arg = &heard;
	fixture_open(f);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(put_sample(a, 1, 5), 0);
	assert_int_equal(put_sample(a, 1, 5), 0);
	assert_int_equal(heard.n_ready, 1);
	assert_int_equal(heard.idx, 5);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[5].plain_offset);
	assert_int_equal(cas_blob_check(a, 5, &f->e), CAS_MISMATCH);
	assert_int_equal(heard.n_gone, 1);
	cas_blob_release(&a);
}

static void with_dedup_off_nothing_is_a_candidate(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a;
	struct cas_blob *b;

	fixture_close(f);
	f->dedup = false;
	fixture_open(f);
	a = open_sample(f, SAMPLE_ID, N, 1);
	assert_int_equal(put_sample(a, 1, 2), 0);
	b = open_reversed(f, OTHER_ID, 1);
	assert_int_equal(put_sample(a, 1, 3), 0);
	for (uint32_t i = 0; i < N; i++)
		assert_false(cas_blob_is_candidate(b, i));
	assert_int_equal(cas_blob_share(b, N - 1 - 2, &f->e), CAS_MISS);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, share_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_here_before_is_a_candidate_of_a_new_blob),
		T(what_comes_later_reaches_the_other_open_blobs),
		T(wrong_bytes_are_caught_when_they_are_shared),
		T(a_bad_place_does_not_hide_a_good_one),
		T(who_cannot_be_had_makes_no_candidate_again),
		T(who_has_what_another_may_want_stays_open),
		T(two_that_nobody_uses_do_not_call_each_other_back),
		T(where_nobody_has_one_any_more_its_neighbours_are_looked_at_again),
		T(where_readers_wait_an_opening_does_not_wait_for_its_join),
		T(an_open_blob_is_found_by_a_chunks_name),
		T(a_closed_blob_is_found_through_the_database),
		T(what_is_given_again_and_again_is_checked_each_time),
		T(what_was_found_stays_open_for_a_while_and_costs_no_names),
		T(what_comes_and_goes_is_told),
		T(with_dedup_off_nothing_is_a_candidate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
