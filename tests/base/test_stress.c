/*
 * test_stress: pool, loop, bitmap and metrics under many threads at once; TSan looks on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bitmap.h"
#include "mem.h"
#include "metrics.h"
#include "pool.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define N_SUBMITTERS 4
#define N_ROUNDS     2000 /* jobs a submitter */
#define N_BITS       4096

struct stress {
	struct loop *loop;
	struct pool *pool;
	struct bitmap *bits;
	struct metrics *metrics;
	struct series *counted;
	_Atomic uint32_t n_set;
	uint32_t n_after; /* loop thread */
	uint32_t n_expected;
};

struct task {
	struct job job;
	struct stress *s;
	uint32_t bit;
};

static void task_work(struct job *job)
{
	struct task *t = container_of(job, struct task, job);
	static const char *const sources[] = { "cache", "dedup", "peer", "origin" };
	const char *const labels[] = { sources[t->bit % 4] };

	if (bitmap_set(t->s->bits, t->bit % N_BITS))
		atomic_fetch_add(&t->s->n_set, 1);
	(void)bitmap_next_clear(t->s->bits, t->bit % N_BITS);
	metrics_add(t->s->metrics, METRIC_CHUNKS, labels, 1);
	series_observe_ns(metrics_series(t->s->metrics, METRIC_READ_SECONDS, labels),
	                  (uint64_t)t->bit * 1000);
	series_add(t->s->counted, 1);
}

static void task_after(struct job *job)
{
	struct task *t = container_of(job, struct task, job);
	struct stress *s = t->s;

	free(t);
	if (++s->n_after == s->n_expected)
		loop_stop(s->loop);
}

static void *submit_all(void *arg)
{
	struct stress *s = arg;

	for (uint32_t i = 0; i < N_ROUNDS; i++) {
		struct task *t = xcalloc(1, sizeof(*t));

		t->job = (struct job){ .work = task_work,
			               .after = task_after,
			               .prio = i % N_JOB_PRIOS };
		t->s = s;
		t->bit = i * 7;
		pool_submit(s->pool, &t->job);
	}
	return NULL;
}

static void many_threads_lose_nothing_and_do_nothing_twice(void **state)
{
	struct stress s = { .n_expected = N_SUBMITTERS * N_ROUNDS };
	pthread_t submitters[N_SUBMITTERS];
	struct err e;
	char *page = NULL;

	(void)state;
	assert_int_equal(loop_new(&s.loop, &e), 0);
	assert_int_equal(pool_new(s.loop, 4, "stress", &s.pool, &e), 0);
	s.bits = bitmap_new(N_BITS);
	s.metrics = metrics_new();
	s.counted = metrics_series(s.metrics, METRIC_UNVERIFIED_BYTES, NULL);
	for (unsigned i = 0; i < N_SUBMITTERS; i++)
		assert_int_equal(pthread_create(&submitters[i], NULL, submit_all, &s), 0);
	page = metrics_render(s.metrics); /* while they count */
	free_str(&page);
	loop_run(s.loop);
	for (unsigned i = 0; i < N_SUBMITTERS; i++)
		assert_int_equal(pthread_join(submitters[i], NULL), 0);
	assert_int_equal(s.n_after, s.n_expected);
	assert_int_equal(s.n_set, N_ROUNDS);
	assert_int_equal(bitmap_count(s.bits), N_ROUNDS);
	assert_int_equal(metrics_sum(s.metrics, METRIC_CHUNKS), s.n_expected);
	assert_int_equal(series_get(s.counted), s.n_expected);
	pool_free(&s.pool);
	loop_free(&s.loop);
	metrics_free(&s.metrics);
	bitmap_free(&s.bits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_threads_lose_nothing_and_do_nothing_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
