/*
 * Eviction against those who are at the file right now: a reader in the middle of its pread, a
 * verification, and a writer in the middle of its write are waited for before anything is punched.
 * And against images that describe more of the blob meanwhile.
 */
#include "fixture.h"
#include "gate.h"
#include "gc.h"
#include "mem.h"
#include "unconst.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SEED     41
#define N_CHUNKS 40
#define HELD     7 /* the chunk that is being read, or written ... */
#define HELD_ROW 3 /* ... or the row of them */
#define GRACE_NS (50 * NS_PER_MS)

/* A disk on which one call can be held up. */
struct slow_disk {
	struct disk disk;
	struct gate gate;
	atomic_uint n_punched_under;
	atomic_uint n_punched;
};

static struct slow_disk *slow(const struct disk *d)
{
	return unconst(d);
}

static ssize_t slow_pread(const struct disk *d, int fd, void *buf, size_t n, off_t at)
{
	ssize_t done;

	gate_pass(&slow(d)->gate);
	done = disk_real()->pread(d, fd, buf, n, at);
	gate_leave(&slow(d)->gate);
	return done;
}

static ssize_t slow_pwrite(const struct disk *d, int fd, const void *buf, size_t n, off_t at)
{
	const ssize_t done = disk_real()->pwrite(d, fd, buf, n, at);

	gate_pass(&slow(d)->gate);
	gate_leave(&slow(d)->gate);
	return done;
}

static ssize_t slow_pwritev(const struct disk *d, int fd, const struct iovec *pieces, int n_pieces,
                            off_t at)
{
	const ssize_t done = disk_real()->pwritev(d, fd, pieces, n_pieces, at);

	gate_pass(&slow(d)->gate);
	gate_leave(&slow(d)->gate);
	return done;
}

static int slow_punch(const struct disk *d, int fd, off_t offset, off_t size)
{
	atomic_fetch_add(&slow(d)->n_punched, 1);
	if (atomic_load(&slow(d)->gate.inside))
		atomic_fetch_add(&slow(d)->n_punched_under, 1);
	return disk_real()->punch(d, fd, offset, size);
}

static void open_slow(struct fixture *f, struct slow_disk **ret_s)
{
	struct slow_disk *s = xcalloc(1, sizeof(*s));

	*ret_s = s;
	s->disk = *disk_real();
	s->disk.pread = slow_pread;
	s->disk.pwrite = slow_pwrite;
	s->disk.pwritev = slow_pwritev;
	s->disk.punch = slow_punch;
	f->disk = &s->disk;
	fixture_open(f);
}

static struct cas_blob *open_on(struct fixture *f, struct slow_disk **ret_s)
{
	open_slow(f, ret_s);
	return open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
}

struct call {
	pthread_t thread;
	struct fixture *f;
	struct cas_blob *blob;
	int r;
	uint64_t n_faults;
	struct cas_gc_result result;
};

static void *read_it(void *arg)
{
	struct call *c = arg;

	c->r = read_sample(c->blob, SEED, HELD);
	return NULL;
}

static void *put_it(void *arg)
{
	struct call *c = arg;

	c->r = put_sample(c->blob, SEED, HELD);
	return NULL;
}

static void *put_row_of_it(void *arg)
{
	struct call *c = arg;

	c->r = put_samples(c->blob, SEED, HELD, HELD_ROW) ? 0 : CAS_FULL;
	return NULL;
}

static void *evict_all(void *arg)
{
	const struct cas_gc_opts opts = { .to_bytes = 0 };
	struct call *c = arg;
	struct err e;

	c->r = cas_gc(c->f->cas, &opts, &c->result, &e);
	return NULL;
}

/* Hold one call up, evict everything, let the call go on. */
static void race(struct slow_disk *s, struct call *held, void *(*call)(void *), struct call *gc)
{
	uint64_t until_ns;

	gate_close(&s->gate);
	assert_int_equal(pthread_create(&held->thread, NULL, call, held), 0);
	gate_await(&s->gate);
	assert_int_equal(pthread_create(&gc->thread, NULL, evict_all, gc), 0);
	while (query(gc->f, "SELECT count(*) FROM ready WHERE length(bits) > 0") > 0)
		(void)sched_yield(); /* until the transaction is through */
	until_ns = clock_now_ns(clock_real()) + GRACE_NS;
	while (atomic_load(&s->n_punched) == 0 && clock_now_ns(clock_real()) < until_ns)
		(void)sched_yield(); /* it would come now */
	gate_open(&s->gate);
	assert_int_equal(pthread_join(held->thread, NULL), 0);
	assert_int_equal(pthread_join(gc->thread, NULL), 0);
	assert_int_equal(gc->r, 0);
	assert_int_equal(atomic_load(&s->n_punched_under), 0);
	assert_true(atomic_load(&s->n_punched) > 0);
}

static void a_reader_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct slow_disk *s = NULL;
	struct cas_blob *b = open_on(f, &s);
	struct call reader = { .f = f, .blob = b };
	struct call gc = { .f = f };

	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	race(s, &reader, read_it, &gc);
	assert_true(reader.r == 0 || reader.r == CAS_MISS); /* never a wrong byte */
	assert_int_equal(gc.result.n_chunks, N_CHUNKS);
	assert_int_equal(cas_blob_n_ready(b), 0);
	assert_int_equal(gc.result.after_bytes, 0);
	cas_blob_release(&b);
	fixture_close(f);
	free(s);
}

static void *verify_it(void *arg)
{
	struct call *c = arg;
	struct cas_verify_progress seen = { .n_faults = 0 };
	struct err e;

	c->r = cas_verify(c->f->cas, NULL, NULL, NULL, &seen, &e);
	c->n_faults = seen.n_faults;
	return NULL;
}

static void a_verification_is_waited_for_and_finds_no_fault(void **state)
{
	struct fixture *f = *state;
	struct slow_disk *s = NULL;
	struct cas_blob *b = open_on(f, &s);
	struct call verification = { .f = f, .blob = b };
	struct call gc = { .f = f };

	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	race(s, &verification, verify_it, &gc);
	assert_int_equal(verification.r, 0);
	assert_int_equal(verification.n_faults, 0);
	assert_int_equal(gc.result.n_chunks, N_CHUNKS);
	cas_blob_release(&b);
	fixture_close(f);
	free(s);
}

/* @param put  writes those n chunks from HELD on */
static void is_not_punched_while_written(struct fixture *f, uint32_t n, void *(*put)(void *arg))
{
	struct slow_disk *s = NULL;
	struct cas_blob *b = open_on(f, &s);
	struct call writer = { .f = f, .blob = b };
	struct call gc = { .f = f };

	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_true((i >= HELD && i < HELD + n) || put_sample(b, SEED, i) == 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	race(s, &writer, put, &gc);
	assert_int_equal(writer.r, 0);
	/* they may have gone afterwards, like any other */
	assert_int_equal(gc.result.n_chunks + cas_blob_n_ready(b), N_CHUNKS);
	for (uint32_t i = HELD; i < HELD + n; i++)
		assert_int_equal(read_sample(b, SEED, i), cas_blob_is_ready(b, i) ? 0 : CAS_MISS);
	cas_blob_release(&b);
	fixture_close(f);
	free(s);
}

static void a_chunk_that_is_being_written_is_not_punched(void **state)
{
	is_not_punched_while_written(*state, 1, put_it);
}

static void a_row_that_is_being_written_is_not_punched(void **state)
{
	is_not_punched_while_written(*state, HELD_ROW, put_row_of_it);
}

/* ---- more is described meanwhile ---- */

#define N_MANY 12000U /* blocks: more than one group of victims */
#define N_STAY 2000U
#define N_NEW  10U
#define LATE   9000U /* with the second group */

static void put_blocks(struct cas_blob *b, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		assert_int_equal(put_block(b, i), 0);
}

#define TO_BYTES(n_blocks) ((uint64_t)(n_blocks)*BLOCK_BYTES)

/* So much was evicted as was asked for, and no more: the file system may have had blocks of its own
 * in the file. */
static void evicted_down_to(const struct cas_blob *b, const struct cas_gc_result *result,
                            uint32_t n_blocks)
{
	assert_in_range(result->after_bytes, 0, TO_BYTES(n_blocks));
	assert_in_range(bitmap_count(b->ready), n_blocks - 4, n_blocks);
}

struct second_image {
	struct fixture *f;
	struct cas_blob *blob;
};

static int open_second(void *arg, const struct cas_gc_progress *p)
{
	struct second_image *second = arg;

	(void)p;
	if (second->blob != NULL)
		return 0;
	second->blob = open_blocks(second->f, N_MANY + N_NEW, N_MANY, N_MANY + N_NEW, NO_BLOCK);
	use_clock_wrote(&second->f->cas->use, 2, 64); /* it is read later than all others */
	put_blocks(second->blob, N_MANY, N_MANY + N_NEW);
	return 0;
}

static void an_image_that_describes_more_between_two_groups_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct second_image second = { .f = f };
	const struct cas_gc_opts opts = { .to_bytes = TO_BYTES(N_STAY),
		                          .progress = open_second,
		                          .arg = &second };
	struct cas_gc_result result = { .n_chunks = 0 };
	struct cas_blob *b;

	fixture_open(f);
	b = open_blocks(f, N_MANY + N_NEW, 0, N_MANY, NO_BLOCK);
	put_blocks(b, 0, N_MANY);
	record_image_of(f, SAMPLE_ID);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	evicted_down_to(b, &result, N_STAY);
	for (uint32_t i = N_MANY; i < N_MANY + N_NEW; i++)
		assert_true(cas_blob_is_ready(b, i));
	cas_blob_release(&b);
	cas_blob_release(&second.blob);
	fixture_close(f);
}

struct late_chunk {
	struct call call; /* of the second image, for this chunk; held up */
	struct call gc;
	struct slow_disk *slow;
};

static void *put_late(void *arg)
{
	struct late_chunk *late = arg;

	late->call.r = put_block(late->call.blob, LATE);
	return NULL;
}

static int begin_late(void *arg, const struct cas_gc_progress *p)
{
	struct late_chunk *late = arg;

	(void)p;
	if (late->call.blob != NULL)
		return 0;
	late->call.blob = open_blocks(late->call.f, N_MANY, LATE, LATE + 1, NO_BLOCK);
	use_clock_wrote(&late->call.f->cas->use, 2, 64);
	gate_close(&late->slow->gate);
	if (pthread_create(&late->call.thread, NULL, put_late, late) != 0)
		return -1;
	gate_await(&late->slow->gate);
	return 0;
}

static void *evict_around_late(void *arg)
{
	struct late_chunk *late = arg;
	const struct cas_gc_opts opts = { .to_bytes = TO_BYTES(N_STAY),
		                          .progress = begin_late,
		                          .arg = late };
	struct err e;

	late->gc.r = cas_gc(late->gc.f->cas, &opts, &late->gc.result, &e);
	return NULL;
}

/* Where it stands the eviction does not know: nothing around it may be punched. The group is given
 * back, and goes once more. */
static void a_chunk_that_only_the_new_image_describes_is_not_punched(void **state)
{
	struct fixture *f = *state;
	struct late_chunk late = { .call = { .f = f }, .gc = { .f = f } };
	uint8_t got = 0;
	struct cas_blob *b;

	open_slow(f, &late.slow);
	b = open_blocks(f, N_MANY, 0, N_MANY, LATE);
	put_blocks(b, 0, LATE);
	put_blocks(b, LATE + 1, N_MANY);
	record_image_of(f, SAMPLE_ID);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(pthread_create(&late.gc.thread, NULL, evict_around_late, &late), 0);
	while (!bitmap_get(b->barred, LATE)) /* with the second group, and it is being written */
		(void)sched_yield();
	gate_open(&late.slow->gate);
	assert_int_equal(pthread_join(late.gc.thread, NULL), 0);
	assert_int_equal(pthread_join(late.call.thread, NULL), 0);
	assert_int_equal(late.gc.r, 0);
	assert_int_equal(late.call.r, 0);
	evicted_down_to(b, &late.gc.result, N_STAY);
	assert_true(cas_blob_is_ready(b, LATE));
	assert_int_equal(cas_blob_read(b, LATE, 1, TO_BYTES(LATE), 1, &got, &f->e), 0);
	assert_int_equal(got, block_byte(LATE));
	cas_blob_release(&b);
	cas_blob_release(&late.call.blob);
	fixture_close(f);
	free(late.slow);
}

/* Neither the database nor the images that are open know all of it, but both together do. */
static void what_the_database_could_not_be_told_of_is_evicted_all_the_same(void **state)
{
	struct fixture *f = *state;
	const struct cas_gc_opts opts = { .to_bytes = TO_BYTES(60) };
	struct cas_gc_result result = { .n_chunks = 0 };
	struct cas_blob *b;

	fixture_open(f);
	b = open_blocks(f, 200, 0, 100, NO_BLOCK);
	put_blocks(b, 0, 100);
	record_image_of(f, SAMPLE_ID);
	cas_blob_release(&b);
	fixture_reopen(f);
	refuse_rows(f, "layout");
	b = open_blocks(f, 200, 100, 200, NO_BLOCK);
	writer_is_done(f); /* it is not registered */
	take_rows_again(f);
	put_blocks(b, 100, 110);
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	evicted_down_to(b, &result, 60);
	cas_blob_release(&b);
	fixture_close(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_reader_is_waited_for),
		T(a_verification_is_waited_for_and_finds_no_fault),
		T(a_chunk_that_is_being_written_is_not_punched),
		T(a_row_that_is_being_written_is_not_punched),
		T(an_image_that_describes_more_between_two_groups_changes_nothing),
		T(a_chunk_that_only_the_new_image_describes_is_not_punched),
		T(what_the_database_could_not_be_told_of_is_evicted_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
