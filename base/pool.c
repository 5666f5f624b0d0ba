/*
 * pool: worker threads and their queues, one a priority. Knows nothing of the jobs but their
 * priority; a job's result goes back through loop_post().
 */
#include "pool.h"
#include "clock.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define POOL_THREADS_MAX 256

struct queue {
	struct job *first;
	struct job **last;
};

struct pool {
	struct loop *loop;
	pthread_mutex_t mutex; /* guards all up to n_busy */
	pthread_cond_t work_or_end;
	struct queue queues[N_JOB_PRIOS];
	bool ending;
	bool used; /* since it was quiet last */
	uint64_t n_submitted;
	uint64_t n_taken;
	uint32_t n_busy; /* jobs that run */
	uint32_t quiet_ms;
	void (*quiet)(void *arg); /* NULL: nobody wants to know */
	void *quiet_arg;
	uint32_t n_threads;
	pthread_t threads[];
};

static void push(struct queue *q, struct job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

/* The job that is due next, or NULL. With the mutex held. */
static struct job *pop(struct pool *pool)
{
	for (unsigned prio = 0; prio < N_JOB_PRIOS; prio++) {
		struct queue *q = &pool->queues[prio];
		struct job *job = q->first;

		if (job == NULL)
			continue;
		q->first = job->next;
		if (q->first == NULL)
			q->last = &q->first;
		pool->used = true;
		pool->n_taken++;
		pool->n_busy++;
		return job;
	}
	return NULL;
}

static void call_after(struct loop_call *call)
{
	struct job *job = container_of(call, struct job, call);

	job->after(job);
}

static void run(struct pool *pool, struct job *job)
{
	const bool has_after = job->after != NULL; /* without one, work may free the job */

	job->work(job);
	if (!has_after)
		return;
	job->call.fn = call_after;
	loop_post(pool->loop, &job->call);
}

static struct timespec quiet_from_now(const struct pool *pool)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += pool->quiet_ms / 1000;
	t.tv_nsec += (long)(pool->quiet_ms % 1000) * (long)NS_PER_MS;
	if (t.tv_nsec >= (long)NS_PER_S) {
		t.tv_nsec -= (long)NS_PER_S;
		t.tv_sec++;
	}
	return t;
}

/* For a job, or the end. With the mutex held. @return it is quiet: nothing ran or came for a while,
 * and this thread is the one to say so */
static bool wait_for_work(struct pool *pool)
{
	const uint64_t n_taken = pool->n_taken;
	struct timespec end;

	if (pool->quiet == NULL || !pool->used || pool->n_busy > 0) {
		(void)pthread_cond_wait(&pool->work_or_end, &pool->mutex);
		return false;
	}
	end = quiet_from_now(pool);
	if (pthread_cond_timedwait(&pool->work_or_end, &pool->mutex, &end) != ETIMEDOUT)
		return false;
	if (pool->n_taken != n_taken || !pool->used)
		return false;
	pool->used = false;
	return true;
}

static void *worker(void *arg)
{
	struct pool *pool = arg;
	struct job *job;

	(void)pthread_mutex_lock(&pool->mutex);
	for (;;) {
		job = pop(pool);
		if (job == NULL && pool->ending)
			break;
		if (job == NULL && !wait_for_work(pool))
			continue;
		(void)pthread_mutex_unlock(&pool->mutex);
		if (job != NULL)
			run(pool, job);
		else
			pool->quiet(pool->quiet_arg);
		(void)pthread_mutex_lock(&pool->mutex);
		if (job != NULL)
			pool->n_busy--;
	}
	(void)pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

/* Signals belong to the loop thread: workers are born with all of them blocked. */
static int start_threads(struct pool *pool, uint32_t n_threads, const char *name)
{
	sigset_t all;
	sigset_t before;
	int r = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	while (r == 0 && pool->n_threads < n_threads) {
		char thread_name[16]; /* the kernel's limit */

		r = pthread_create(&pool->threads[pool->n_threads], NULL, worker, pool);
		if (r != 0)
			break;
		(void)snprintf(thread_name, sizeof(thread_name), "%.11s-%u", name,
		               pool->n_threads % 1000);
		(void)pthread_setname_np(pool->threads[pool->n_threads], thread_name);
		pool->n_threads++;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t how;

	(void)pthread_condattr_init(&how);
	(void)pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
	(void)pthread_cond_init(cond, &how);
	(void)pthread_condattr_destroy(&how);
}

int pool_new(struct loop *loop, uint32_t n_threads, const char *name, struct pool **ret_pool,
             struct err *e)
{
	AUTO(pool_free) struct pool *pool = NULL;
	int r;

	if (n_threads == 0 || n_threads > POOL_THREADS_MAX)
		return err_set(e, EINVAL, "a pool of %u threads: 1 to %d are possible", n_threads,
		               POOL_THREADS_MAX);
	pool = xcalloc(1, sizeof(*pool) + n_threads * sizeof(pool->threads[0]));
	pool->loop = loop;
	(void)pthread_mutex_init(&pool->mutex, NULL);
	init_cond(&pool->work_or_end);
	for (unsigned prio = 0; prio < N_JOB_PRIOS; prio++)
		pool->queues[prio].last = &pool->queues[prio].first;
	r = start_threads(pool, n_threads, name);
	if (r != 0)
		return err_errno(e, r, "cannot start worker thread %u of %u (limit of processes?)",
		                 pool->n_threads + 1, n_threads);
	*ret_pool = pool;
	pool = NULL;
	return 0;
}

void pool_free(struct pool **pool)
{
	struct pool *p = *pool;

	if (p == NULL)
		return;
	(void)pthread_mutex_lock(&p->mutex);
	p->ending = true;
	(void)pthread_cond_broadcast(&p->work_or_end);
	(void)pthread_mutex_unlock(&p->mutex);
	for (uint32_t i = 0; i < p->n_threads; i++)
		(void)pthread_join(p->threads[i], NULL);
	(void)pthread_cond_destroy(&p->work_or_end);
	(void)pthread_mutex_destroy(&p->mutex);
	free(p);
	*pool = NULL;
}

void pool_on_quiet(struct pool *pool, uint32_t quiet_ms, void (*fn)(void *arg), void *arg)
{
	(void)pthread_mutex_lock(&pool->mutex);
	pool->quiet = fn;
	pool->quiet_arg = arg;
	pool->quiet_ms = quiet_ms;
	(void)pthread_mutex_unlock(&pool->mutex);
}

void pool_submit(struct pool *pool, struct job *job)
{
	assert((unsigned)job->prio < N_JOB_PRIOS);
	job->pool = pool;
	(void)pthread_mutex_lock(&pool->mutex);
	push(&pool->queues[job->prio], job);
	pool->n_submitted++;
	(void)pthread_cond_signal(&pool->work_or_end);
	(void)pthread_mutex_unlock(&pool->mutex);
}

uint64_t pool_idle_mark(struct pool *pool)
{
	uint64_t mark = 0;

	(void)pthread_mutex_lock(&pool->mutex);
	if (pool->n_taken == pool->n_submitted && pool->n_busy == 0)
		mark = pool->n_submitted + 1;
	(void)pthread_mutex_unlock(&pool->mutex);
	return mark;
}
