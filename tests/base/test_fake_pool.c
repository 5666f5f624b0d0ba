/*
 * test_fake_pool: the fake keeps the promises of pool.h that tests lean on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake_pool.h"
#include "mem.h"

struct work {
	struct job job;
	char *text; /* where the steps are noted */
	char name;
};

static void note(char *text, char name)
{
	while (*text != '\0')
		text++;
	text[0] = name;
	text[1] = '\0';
}

static void work(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	note(w->text, w->name);
}

static void after(struct job *job)
{
	struct work *w = container_of(job, struct work, job);

	note(w->text, '.');
}

static void after_submits_again(struct job *job)
{
	job->after = after;
	pool_submit(job->pool, job);
}

static struct work make(char *text, char name, enum job_prio prio)
{
	return (struct work){ .job = { .work = work, .after = after, .prio = prio },
		              .text = text,
		              .name = name };
}

static void nothing_runs_until_it_is_told_to(void **state)
{
	char text[16] = "";
	struct work p = make(text, 'p', JOB_PREFETCH);
	struct work r = make(text, 'r', JOB_READER);
	AUTO(pool_free) struct pool *pool = NULL;
	struct err e;

	(void)state;
	assert_int_equal(pool_new(NULL, 4, "fake", &pool, &e), 0);
	pool_submit(pool, &p.job);
	pool_submit(pool, &r.job);
	assert_string_equal(text, "");
	assert_int_equal(fake_pool_n_waiting(pool), 2);
	assert_int_equal(fake_pool_run_one(pool), 1);
	assert_string_equal(text, "r.");
	assert_int_equal(fake_pool_drain(pool), 1);
	assert_string_equal(text, "r.p.");
	assert_int_equal(fake_pool_run_one(pool), 0);
}

static void with_a_loop_after_runs_there(void **state)
{
	char text[16] = "";
	struct work w = make(text, 'w', JOB_NORMAL);
	AUTO(loop_free) struct loop *loop = NULL;
	AUTO(pool_free) struct pool *pool = NULL;
	struct err e;

	(void)state;
	assert_int_equal(loop_new(&loop, &e), 0);
	assert_int_equal(pool_new(loop, 1, "fake", &pool, &e), 0);
	pool_submit(pool, &w.job);
	assert_int_equal(fake_pool_drain(pool), 1);
	assert_string_equal(text, "w");
	assert_int_equal(fake_pool_settle(pool), 0);
	assert_string_equal(text, "w.");
}

static void settling_follows_jobs_that_start_jobs(void **state)
{
	char text[16] = "";
	struct work w = make(text, 'w', JOB_NORMAL);
	AUTO(loop_free) struct loop *loop = NULL;
	AUTO(pool_free) struct pool *pool = NULL;
	struct err e;

	(void)state;
	assert_int_equal(loop_new(&loop, &e), 0);
	assert_int_equal(pool_new(loop, 1, "fake", &pool, &e), 0);
	w.job.after = after_submits_again;
	pool_submit(pool, &w.job);
	assert_int_equal(fake_pool_settle(pool), 2);
	assert_string_equal(text, "ww.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_runs_until_it_is_told_to),
		cmocka_unit_test(with_a_loop_after_runs_there),
		cmocka_unit_test(settling_follows_jobs_that_start_jobs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
