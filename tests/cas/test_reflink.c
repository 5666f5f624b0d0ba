/*
 * Chunks that were referred to become ready ones that share extents, where the file system can.
 * Here it copies, wherever the tests run; tests/e2e/test_room.py and test_histories.py have the
 * real ones.
 */
#include "mem.h"
#include "refer.h"
#include "reflink.h"
#include "share_world.h"
#include "unconst.h"
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct clones {
	struct disk disk; /* first: clone() finds the rest by it */
	uint32_t n;
	int fails_with;             /* errno */
	struct cas_blob *then_void; /* its chunk 2 goes while a clone is made */
};

static bool can_clone(const struct disk *d, int dir_fd)
{
	(void)d;
	(void)dir_fd;
	return true;
}

static int clone_by_copy(const struct disk *d, int from_fd, off_t from, off_t size, int to_fd,
                         off_t to)
{
	struct clones *clones = unconst(d);
	uint8_t *bytes = xcalloc(1, (size_t)size);

	clones->n++;
	if (clones->fails_with != 0) {
		free(bytes);
		errno = clones->fails_with;
		return -1;
	}
	assert_int_equal(from % 4096 + size % 4096 + to % 4096, 0);
	assert_int_equal(pread(from_fd, bytes, (size_t)size, from), size);
	assert_int_equal(pwrite(to_fd, bytes, (size_t)size, to), size);
	free(bytes);
	if (clones->then_void != NULL)
		blob_void(clones->then_void, 2, VOID_UNREADABLE);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f;
	struct clones *clones = xcalloc(1, sizeof(*clones));

	if (fixture_setup(state) != 0)
		return -1;
	f = *state;
	clones->disk = *disk_real();
	clones->disk.can_clone = can_clone;
	clones->disk.clone = clone_by_copy;
	f->disk = &clones->disk;
	f->dedup = true;
	f->flush_ms = 3600 * 1000; /* it is the tests that say when */
	fixture_open(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *clones = unconst(f->disk);
	const int r = fixture_teardown(state);

	free(clones);
	return r;
}

static struct clones *clones_of(const struct fixture *f)
{
	return unconst(f->disk);
}

static uint32_t step_all(struct cas_blob *blob)
{
	uint32_t at = 0;
	uint32_t n = 0;

	while (at < cas_blob_layout(blob)->n_chunks)
		n += reflink_step(blob, &at);
	return n;
}

static bool is_referred(const struct cas_blob *blob, uint32_t idx)
{
	struct cas_blob *owner;
	uint32_t owner_idx;

	return refer_get(blob, idx, &owner, &owner_idx);
}

static struct cas_blob *owner_of_all(struct fixture *f)
{
	struct cas_blob *a = open_sample(f, SAMPLE_ID, N, 1);

	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(put_sample(a, 1, i), 0);
	return a;
}

static void refer_to_all(struct fixture *f, struct cas_blob *b)
{
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(cas_blob_share(b, i, &f->e), 0);
		assert_true(is_referred(b, i));
	}
}

static void what_was_referred_to_becomes_ready_in_few_runs(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_sample(f, OTHER_ID, N, 1);

	assert_string_equal(cas_share_way(f->cas), "reflink");
	refer_to_all(f, b);
	assert_int_equal(step_all(b), N);
	assert_in_range(clones_of(f)->n, 1, 2); /* they stand alike: as runs */
	for (uint32_t i = 0; i < N; i++) {
		assert_true(cas_blob_is_ready(b, i));
		assert_false(is_referred(b, i));
		blob_void(a, i, VOID_UNREADABLE); /* nothing of it matters any more */
		assert_int_equal(read_sample(b, 1, i), 0);
	}
	assert_int_equal(step_all(b), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void in_another_order_they_are_cloned_one_by_one(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	refer_to_all(f, b);
	assert_int_equal(step_all(b), N);
	assert_int_equal(clones_of(f)->n, N);
	for (uint32_t i = 0; i < N; i++) {
		assert_true(cas_blob_is_ready(b, i));
		blob_void(a, N - 1 - i, VOID_UNREADABLE);
		assert_true(holds(b, i, 1, N - 1 - i));
	}
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* @param gap_bytes  before every chunk @param n_hidden  the last ones are not described */
static struct cas_blob *open_moved(struct fixture *f, uint32_t gap_bytes, uint32_t n_hidden)
{
	struct blob_layout *l = sample_layout(OTHER_ID, N, 1);
	struct cas_blob *blob = NULL;
	uint64_t offset = 0;

	for (uint32_t i = 0; i < N; i++) {
		l->chunks[i].plain_offset = offset + gap_bytes;
		offset += gap_bytes + l->chunks[i].plain_size_bytes;
		offset = gap_bytes == 0 ? (offset + 4095U) & ~UINT64_C(4095) : offset;
	}
	l->plain_size_bytes = offset + 4096;
	for (uint32_t i = N - n_hidden; i < N; i++)
		l->chunks[i] = (struct chunk_rec){ .plain_size_bytes = 0 };
	assert_int_equal(cas_blob_open(f->cas, l, &blob, &f->e), 0);
	layout_unref(&l);
	return blob;
}

static void what_does_not_begin_with_a_block_stays_referred_to(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_moved(f, 1, 0);

	refer_to_all(f, b);
	assert_int_equal(step_all(b), 0);
	assert_int_equal(clones_of(f)->n, 0);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(read_sample(b, 1, i), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

/* A chunk that no image described may stand anywhere: nothing is written over it. */
static void the_last_block_before_what_is_not_known_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_moved(f, 0, 2);

	for (uint32_t i = 0; i < N - 2; i++)
		assert_int_equal(cas_blob_share(b, i, &f->e), 0);
	assert_true(cas_blob_layout(b)->chunks[N - 3].plain_size_bytes % 4096 != 0);
	assert_int_equal(step_all(b), N - 3);
	assert_true(is_referred(b, N - 3));
	assert_int_equal(read_sample(b, 1, N - 3), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void write_byte(struct fixture *f, const char *key, uint64_t offset)
{
	char *name = xasprintf("blobs/%s.blob.data", key);
	char *path = fixture_path(f, name);
	const int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_int_equal(pwrite(fd, "!", 1, (off_t)offset), 1);
	(void)close(fd);
	free(path);
	free(name);
}

static void padding_that_is_not_zero_is_not_taken_over(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	const struct chunk_rec *c = &cas_blob_layout(a)->chunks[3];

	refer_to_all(f, b);
	assert_true(c->plain_size_bytes % 4096 != 0);
	write_byte(f, SAMPLE_ID, c->plain_offset + c->plain_size_bytes);
	assert_int_equal(step_all(b), N - 1);
	assert_true(is_referred(b, N - 1 - 3));
	assert_true(holds(b, N - 1 - 3, 1, 3));
	assert_int_equal(failures(f, "dedup"), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void wrong_bytes_are_caught_before_they_have_two_places(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	refer_to_all(f, b);
	spoil(f, SAMPLE_ID, cas_blob_layout(a)->chunks[3].plain_offset);
	assert_int_equal(step_all(b), N - 1);
	assert_int_equal(clones_of(f)->n, N - 1);
	assert_false(cas_blob_is_ready(a, 3));
	assert_false(cas_blob_is_present(b, N - 1 - 3));
	assert_int_equal(failures(f, "dedup"), 1);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void what_the_owner_loses_meanwhile_is_not_ready(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);
	uint32_t at = N - 1 - 2;

	refer_to_all(f, b);
	clones_of(f)->then_void = a;
	assert_int_equal(reflink_step(b, &at), 0);
	clones_of(f)->then_void = NULL;
	assert_false(cas_blob_is_ready(b, N - 1 - 2));
	assert_false(cas_blob_is_present(b, N - 1 - 2));
	assert_int_equal(step_all(b), N - 1);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void what_is_barred_waits(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	refer_to_all(f, b);
	(void)bitmap_set(b->barred, 4);
	assert_int_equal(step_all(b), N - 1);
	assert_true(is_referred(b, 4));
	(void)bitmap_clear(b->barred, 4);
	assert_int_equal(step_all(b), 1);
	cas_blob_release(&a);
	cas_blob_release(&b);
}

struct barrier {
	struct job job;
	sem_t passed;
};

static void pass(struct job *job)
{
	struct barrier *b = container_of(job, struct barrier, job);

	(void)sem_post(&b->passed);
}

/* Until whatever was queued to happen behind everybody's back has happened. */
static void wait_for_helper(struct fixture *f)
{
	struct barrier b = { .job = { .work = pass, .prio = JOB_PREFETCH } };

	(void)sem_init(&b.passed, 0, 0);
	pool_submit(f->cas->helper, &b.job);
	(void)sem_wait(&b.passed);
	(void)sem_destroy(&b.passed);
}

static void a_file_system_that_refuses_is_asked_once(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	clones_of(f)->fails_with = EINVAL;
	refer_to_all(f, b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	wait_for_helper(f);
	assert_int_equal(clones_of(f)->n, 1);
	reflink_soon(b);
	wait_for_helper(f);
	assert_int_equal(clones_of(f)->n, 1);
	for (uint32_t i = 0; i < N; i++)
		assert_true(holds(b, i, 1, N - 1 - i));
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void trouble_of_another_kind_is_not_for_ever(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	clones_of(f)->fails_with = ENOMEM;
	refer_to_all(f, b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	wait_for_helper(f);
	assert_int_equal(clones_of(f)->n, N);
	clones_of(f)->fails_with = 0;
	reflink_soon(b);
	wait_for_helper(f);
	for (uint32_t i = 0; i < N; i++)
		assert_true(cas_blob_is_ready(b, i));
	cas_blob_release(&a);
	cas_blob_release(&b);
}

static void it_happens_behind_what_is_written_down_and_is_there_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	refer_to_all(f, b);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	wait_for_helper(f);
	for (uint32_t i = 0; i < N; i++)
		assert_true(cas_blob_is_ready(b, i));
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer_owner"), 0);
	assert_int_equal(query(f, "SELECT count(*) FROM refer"), 0);
	cas_blob_release(&a);
	cas_blob_release(&b);
	fixture_reopen(f);
	b = open_reversed(f, OTHER_ID, 1);
	assert_int_equal(cas_blob_n_ready(b), N);
	cas_blob_release(&b);
}

static void references_of_an_earlier_life_are_cloned_when_the_blob_is_opened(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *a = owner_of_all(f);
	struct cas_blob *b = open_reversed(f, OTHER_ID, 1);

	clones_of(f)->fails_with = EIO;
	refer_to_all(f, b);
	cas_blob_release(&b);
	cas_blob_release(&a);
	fixture_reopen(f);
	clones_of(f)->fails_with = 0;
	b = open_reversed(f, OTHER_ID, 1);
	wait_for_helper(f);
	assert_int_equal(cas_blob_n_ready(b), N);
	cas_blob_release(&b);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_referred_to_becomes_ready_in_few_runs),
		T(in_another_order_they_are_cloned_one_by_one),
		T(what_does_not_begin_with_a_block_stays_referred_to),
		T(the_last_block_before_what_is_not_known_is_left_alone),
		T(padding_that_is_not_zero_is_not_taken_over),
		T(wrong_bytes_are_caught_before_they_have_two_places),
		T(what_the_owner_loses_meanwhile_is_not_ready),
		T(what_is_barred_waits),
		T(a_file_system_that_refuses_is_asked_once),
		T(trouble_of_another_kind_is_not_for_ever),
		T(it_happens_behind_what_is_written_down_and_is_there_after_a_restart),
		T(references_of_an_earlier_life_are_cloned_when_the_blob_is_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
