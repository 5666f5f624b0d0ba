/*
 * Chunks that are taken back, against what the writer does at that very moment: the database never
 * says "ready" of them afterwards.
 */
#include "fixture.h"
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

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_void_in_two_steps_is_one_for_the_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
