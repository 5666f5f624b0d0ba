/*
 * test_pool: who runs when and where, with real threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mem.h"
#include "pool.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define N_MANY  200
#define N_QUIET 50

struct fixture {
	struct loop *loop;
	struct pool *pool;
	sem_t gate; /* what a gate job waits for; in another test, what tells of quiet */
	char order[16];
	unsigned n_order; /* one thread's */
	_Atomic unsigned n_worked;
	_Atomic unsigned n_quiet;
	unsigned n_after; /* loop thread */
	unsigned n_expected;
};

struct work {
	struct job job;
	struct fixture *f;
	char name;
	struct work *then; /* submitted by work */
};

static void open_pool(struct fixture *f, uint32_t n_threads)
{
	struct err e;

	assert_int_equal(pool_new(f->loop, n_threads, "test", &f->pool, &e), 0);
}

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct err e;

	assert_int_equal(loop_new(&f->loop, &e), 0);
	assert_int_equal(sem_init(&f->gate, 0, 0), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	pool_free(&f->pool);
	loop_free(&f->loop);
	(void)sem_destroy(&f->gate);
	free(f);
	return 0;
}

static void gate_work(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	while (sem_wait(&w->f->gate) != 0)
		continue;
}

static void note_work(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	w->f->order[w->f->n_order++] = w->name;
	if (w->then != NULL)
		pool_submit(job->pool, &w->then->job);
}

static void count_work(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	assert_false(loop_is_mine(w->f->loop));
	atomic_fetch_add(&w->f->n_worked, 1);
}

static void count_after(struct job *job)
{
	struct work *w = container_of(job, struct work, job);
	struct fixture *f = w->f;

	assert_true(loop_is_mine(f->loop));
	free(w);
	if (++f->n_after == f->n_expected)
		loop_stop(f->loop);
}

static struct work note(struct fixture *f, char name, enum job_prio prio)
{
	return (struct work){ .job = { .work = note_work, .prio = prio }, .f = f, .name = name };
}

static void a_blocked_reader_goes_before_all_that_waits(void **state)
{
	struct fixture *f = *state;
	struct work gate = { .job = { .work = gate_work }, .f = f };
	struct work p1 = note(f, 'p', JOB_PREFETCH);
	struct work n1 = note(f, 'n', JOB_NORMAL);
	struct work r1 = note(f, 'r', JOB_READER);
	struct work r2 = note(f, 's', JOB_READER);
	struct work n2 = note(f, 'o', JOB_NORMAL);

	open_pool(f, 1);
	pool_submit(f->pool, &gate.job);
	pool_submit(f->pool, &p1.job);
	pool_submit(f->pool, &n1.job);
	pool_submit(f->pool, &r1.job);
	pool_submit(f->pool, &r2.job);
	pool_submit(f->pool, &n2.job);
	(void)sem_post(&f->gate);
	pool_free(&f->pool);
	assert_string_equal(f->order, "rsnop");
}

static void work_runs_on_workers_and_after_on_the_loop(void **state)
{
	struct fixture *f = *state;

	open_pool(f, 4);
	f->n_expected = N_MANY;
	for (unsigned i = 0; i < N_MANY; i++) {
		struct work *w = xcalloc(1, sizeof(*w));

		w->job = (struct job){ .work = count_work, .after = count_after, .prio = i % 3 };
		w->f = f;
		pool_submit(f->pool, &w->job);
	}
	loop_run(f->loop);
	assert_int_equal(f->n_worked, N_MANY);
	assert_int_equal(f->n_after, N_MANY);
}

static void free_work(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	atomic_fetch_add(&w->f->n_worked, 1);
	free(w);
}

static void without_after_work_may_free_the_job(void **state)
{
	struct fixture *f = *state;

	open_pool(f, 2);
	for (unsigned i = 0; i < N_MANY; i++) {
		struct work *w = xcalloc(1, sizeof(*w));

		w->job = (struct job){ .work = free_work };
		w->f = f;
		pool_submit(f->pool, &w->job);
	}
	pool_free(&f->pool);
	assert_int_equal(f->n_worked, N_MANY);
}

static void ending_waits_for_work_that_work_submits(void **state)
{
	struct fixture *f = *state;
	struct work gate = { .job = { .work = gate_work }, .f = f };
	struct work c = note(f, 'c', JOB_PREFETCH);
	struct work b = note(f, 'b', JOB_READER);
	struct work a = note(f, 'a', JOB_NORMAL);

	a.then = &b;
	b.then = &c;
	open_pool(f, 1);
	pool_submit(f->pool, &gate.job);
	pool_submit(f->pool, &a.job);
	(void)sem_post(&f->gate);
	pool_free(&f->pool);
	assert_null(f->pool);
	assert_string_equal(f->order, "abc");
}

/* As whoever ends the loop looks: what is seen is what no after comes behind. */
static void its_mark_tells_when_no_after_is_to_come(void **state)
{
	struct fixture *f = *state;
	struct work *w = xcalloc(1, sizeof(*w));
	uint64_t mark;

	*w = (struct work){ .job = { .work = gate_work, .after = count_after }, .f = f };
	f->n_expected = 1;

	open_pool(f, 2);
	mark = pool_idle_mark(f->pool);
	assert_true(mark > 0);
	assert_int_equal(pool_idle_mark(f->pool), mark);
	pool_submit(f->pool, &w->job);
	assert_int_equal(pool_idle_mark(f->pool), 0); /* it waits at the gate, or for a thread */
	(void)sem_post(&f->gate);
	loop_run(f->loop); /* count_after() ends it */
	while (pool_idle_mark(f->pool) == 0)
		(void)sched_yield();
	assert_true(pool_idle_mark(f->pool) > mark);
}

static void on_quiet(void *arg)
{
	struct fixture *f = arg;

	assert_false(loop_is_mine(f->loop));
	atomic_fetch_add(&f->n_quiet, 1);
	(void)sem_post(&f->gate);
}

static void quiet_is_told_once_after_each_time_with_jobs(void **state)
{
	struct fixture *f = *state;

	open_pool(f, 3);
	pool_on_quiet(f->pool, 1, on_quiet, f);
	for (unsigned round = 1; round <= N_QUIET; round++) {
		struct work *w = xcalloc(1, sizeof(*w));

		w->job = (struct job){ .work = free_work };
		w->f = f;
		pool_submit(f->pool, &w->job);
		while (sem_wait(&f->gate) != 0)
			continue;
		assert_int_equal(f->n_worked, round);
		assert_int_equal(f->n_quiet, round); /* not again while nothing is done */
	}
}

static void no_threads_or_too_many_are_refused(void **state)
{
	struct fixture *f = *state;
	struct err e = { 0 };

	assert_int_equal(pool_new(f->loop, 0, "test", &f->pool, &e), -EINVAL);
	assert_int_equal(pool_new(f->loop, 100000, "test", &f->pool, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "100000"));
	assert_null(f->pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_blocked_reader_goes_before_all_that_waits),
		TEST(work_runs_on_workers_and_after_on_the_loop),
		TEST(without_after_work_may_free_the_job),
		TEST(ending_waits_for_work_that_work_submits),
		TEST(its_mark_tells_when_no_after_is_to_come),
		TEST(quiet_is_told_once_after_each_time_with_jobs),
		TEST(no_threads_or_too_many_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
