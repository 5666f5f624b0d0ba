/*
 * fake_pool: see the header. Linked in place of base/pool.c.
 */
#include "fake_pool.h"
#include "mem.h"
#include <assert.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>

struct pool {
	struct loop *loop;
	struct job *first[N_JOB_PRIOS];
	struct job **last[N_JOB_PRIOS];
	uint32_t n_waiting;
	uint64_t n_submitted;
};

int pool_new(struct loop *loop, uint32_t n_threads, const char *name, struct pool **ret_pool,
             struct err *e)
{
	struct pool *pool = xcalloc(1, sizeof(*pool));

	(void)n_threads;
	(void)name;
	(void)e;
	pool->loop = loop;
	for (unsigned prio = 0; prio < N_JOB_PRIOS; prio++)
		pool->last[prio] = &pool->first[prio];
	*ret_pool = pool;
	return 0;
}

void pool_free(struct pool **pool)
{
	if (*pool == NULL)
		return;
	(void)fake_pool_drain(*pool); /* as the real one: submitted work runs */
	free(*pool);
	*pool = NULL;
}

void pool_submit(struct pool *pool, struct job *job)
{
	assert((unsigned)job->prio < N_JOB_PRIOS);
	job->pool = pool;
	job->next = NULL;
	*pool->last[job->prio] = job;
	pool->last[job->prio] = &job->next;
	pool->n_waiting++;
	pool->n_submitted++;
}

uint64_t pool_idle_mark(struct pool *pool)
{
	return pool->n_waiting == 0 ? pool->n_submitted + 1 : 0;
}

static struct job *pop(struct pool *pool)
{
	for (unsigned prio = 0; prio < N_JOB_PRIOS; prio++) {
		struct job *job = pool->first[prio];

		if (job == NULL)
			continue;
		pool->first[prio] = job->next;
		if (job->next == NULL)
			pool->last[prio] = &pool->first[prio];
		pool->n_waiting--;
		return job;
	}
	return NULL;
}

static void call_after(struct loop_call *call)
{
	struct job *job = container_of(call, struct job, call);

	job->after(job);
}

uint32_t fake_pool_run_one(struct pool *pool)
{
	struct job *job = pop(pool);
	bool has_after;

	if (job == NULL)
		return 0;
	has_after = job->after != NULL;
	job->work(job);
	if (!has_after)
		return 1;
	job->call.fn = call_after;
	if (pool->loop != NULL)
		loop_post(pool->loop, &job->call);
	else
		job->after(job);
	return 1;
}

uint32_t fake_pool_drain(struct pool *pool)
{
	uint32_t n = 0;

	while (fake_pool_run_one(pool) != 0)
		n++;
	return n;
}

uint32_t fake_pool_n_waiting(const struct pool *pool)
{
	return pool->n_waiting;
}

/* Turn the loop until it has nothing ready. A call that posts another needs a turn more: chains of
 * posts are shorter than this. */
static void turn_loop(struct loop *loop)
{
	struct event_base *base = loop_base(loop);

	for (int i = 0; i < 8; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

uint32_t fake_pool_settle(struct pool *pool)
{
	uint32_t n = 0;
	uint32_t n_before;

	do {
		n_before = n;
		n += fake_pool_drain(pool);
		if (pool->loop != NULL)
			turn_loop(pool->loop);
	} while (n != n_before || pool->n_waiting > 0);
	return n;
}
