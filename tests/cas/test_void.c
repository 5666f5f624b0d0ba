/*
 * Chunks that are taken back, against what the writer or a reader does at that very moment: the
 * database never says "ready" of them afterwards, and no reader believes it.
 */
#include "fixture.h"
#include "gc.h"
#include "mem.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define SEED     43
#define N_CHUNKS 8
#define WRONG    3 /* taken back by a thread that the scheduler stops in the middle */
#define OTHER    5 /* ... while this one was, by another */
#define GRACE_NS (50 * NS_PER_MS)

struct call {
	pthread_t thread;
	struct fixture *f;
	struct cas_blob *blob;
	int r;
	atomic_bool done;
};

/* What the writer has in its queue: the job of the other void, then the next flush. */
static void *clear_then_flush(void *arg)
{
	struct call *c = arg;
	struct err e;

	c->r = blob_clear_now(c->blob, &e);
	if (c->r == 0)
		c->r = cas_flush(c->f->cas, &e);
	atomic_store(&c->done, true);
	return NULL;
}

static uint64_t ready_bits(struct fixture *f)
{
	return query(f, "SELECT coalesce(max(unhex), 0) FROM (SELECT instr("
	                "'123456789ABCDEF', substr(hex(bits), 1, 1)) * 16 + instr("
	                "'123456789ABCDEF', substr(hex(bits), 2, 1)) AS unhex FROM ready)");
}

static void a_void_in_two_steps_is_one_for_the_writer(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	struct call writer = { .f = f, .blob = b };
	uint64_t until_ns;

	for (uint32_t i = 0; i < N_CHUNKS; i++)
		assert_int_equal(put_sample(b, SEED, i), 0);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(ready_bits(f), 0xff);

	/* blob_void(), stopped between its two bits. */
	(void)pthread_mutex_lock(&b->mutex);
	(void)bitmap_set(b->barred, WRONG);
	(void)bitmap_set(b->barred, OTHER);
	(void)bitmap_clear(b->ready, OTHER);
	(void)bitmap_set(b->dirty, 0);
	assert_int_equal(pthread_create(&writer.thread, NULL, clear_then_flush, &writer), 0);
	until_ns = clock_now_ns(clock_real()) + GRACE_NS;
	while (!atomic_load(&writer.done) && clock_now_ns(clock_real()) < until_ns)
		(void)sched_yield(); /* it would be through now */
	(void)bitmap_clear(b->ready, WRONG);
	(void)pthread_mutex_unlock(&b->mutex);

	assert_int_equal(pthread_join(writer.thread, NULL), 0);
	assert_int_equal(writer.r, 0);
	assert_int_equal(blob_clear_now(b, &f->e), 0); /* the job that this blob_void() queues */
	assert_int_equal(ready_bits(f), 0xff & ~(1 << WRONG | 1 << OTHER));
	assert_int_equal(put_sample(b, SEED, WRONG), 0); /* and it can come back */
	cas_blob_release(&b);
}

static void find_it_wrong(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	atomic_bool *found = arg;

	if (chunk_idx == WRONG && !atomic_exchange(found, true))
		blob_void(blob, WRONG, VOID_WRONG_BYTES);
}

/* A reader of before finds it wrong while it is evicted, in one of these calls, and the database
 * takes no change. */
static void evict_in_vain(struct fixture *f, const struct cas_hooks *hooks)
{
	const struct cas_gc_opts opts = { .to_bytes = 0 };
	const atomic_bool *found = hooks->arg;
	struct cas_gc_result result;
	struct cas_blob *b = open_full(f, SAMPLE_ID, N_CHUNKS, SEED);

	record_image_of(f, SAMPLE_ID);
	assert_int_equal(cas_flush(f->cas, &f->e), 0);
	assert_int_equal(ready_bits(f), 0xff);
	cas_hooks_on(f->cas, hooks);
	exec_on_writer(f, "PRAGMA query_only=1");
	assert_true(cas_gc(f->cas, &opts, &result, &f->e) < 0);
	exec_on_writer(f, "PRAGMA query_only=0");
	assert_true(atomic_load(found));
	assert_false(cas_blob_is_ready(b, WRONG));
	assert_int_equal(blob_clear_now(b, &f->e), 0); /* or by the job of the next one */
	assert_int_equal(ready_bits(f) >> WRONG & 1, 0);
	assert_int_equal(put_sample(b, SEED, WRONG), 0);
	assert_int_equal(cas_gc(f->cas, &opts, &result, &f->e), 0);
	assert_int_equal(cas_blob_n_ready(b), 0);
	cas_hooks_off(f->cas);
	cas_blob_release(&b);
}

static void what_an_eviction_gives_back_is_not_what_was_found_wrong_meanwhile(void **state)
{
	atomic_bool found = false;
	const struct cas_hooks hooks = { .on_gone = find_it_wrong, .arg = &found };

	evict_in_vain(*state, &hooks);
}

/* ... before all that is given back is told of. */
static void what_is_found_wrong_while_it_is_given_back_stays_barred(void **state)
{
	atomic_bool found = false;
	const struct cas_hooks hooks = { .on_ready = find_it_wrong, .arg = &found };

	evict_in_vain(*state, &hooks);
}

#define N_VOIDS 100000U

/* One that takes a chunk back, again and again, and one that looks at it at that moment. */
struct duel {
	struct cas_blob *blob;
	_Atomic uint64_t ready_for;
	_Atomic uint64_t seen;
	uint64_t n_wrong;
};

static void *look_while_it_goes(void *arg)
{
	struct duel *d = arg;
	const struct cas_blob *b = d->blob;

	for (uint64_t k = 1; k <= N_VOIDS; k++) {
		while (atomic_load(&d->ready_for) != k)
			(void)sched_yield();
		while (atomic_load(&b->generation) != k)
			(void)bitmap_get(b->ready, WRONG); /* so that both have it at hand */
		d->n_wrong += bitmap_get(b->ready, WRONG);
		atomic_store(&d->seen, k);
	}
	return NULL;
}

/* A reader that has the new generation and sees "ready" would take what is being replaced for
 * what stood there before. */
static void who_sees_that_something_went_sees_that_it_is_not_ready(void **state)
{
	struct fixture *f = *state;
	struct cas_blob *b = open_sample(f, SAMPLE_ID, N_CHUNKS, SEED);
	struct duel duel = { .blob = b };
	pthread_t looker;

	assert_int_equal(pthread_create(&looker, NULL, look_while_it_goes, &duel), 0);
	for (uint64_t k = 1; k <= N_VOIDS; k++) {
		(void)bitmap_set(b->ready, WRONG);
		atomic_store(&duel.ready_for, k);
		blob_void(b, WRONG, VOID_NO_DATA);
		while (atomic_load(&duel.seen) != k)
			(void)sched_yield();
	}
	assert_int_equal(pthread_join(looker, NULL), 0);
	assert_int_equal(duel.n_wrong, 0);
	cas_blob_release(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_void_in_two_steps_is_one_for_the_writer),
		T(what_an_eviction_gives_back_is_not_what_was_found_wrong_meanwhile),
		T(what_is_found_wrong_while_it_is_given_back_stays_barred),
		T(who_sees_that_something_went_sees_that_it_is_not_ready),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
