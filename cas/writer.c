/*
 * writer: the serial queue, and waiting for it. Knows nothing of what runs there.
 *
 * Everything that must keep its order goes in with one priority, the first, because jobs of others
 * that were not given any have that one too.
 */
#include "state.h"
#include <assert.h>

struct waiting {
	struct job job;
	struct cas *cas;
	int (*fn)(struct cas *cas, void *arg, struct err *e);
	void *arg;
	struct err *e;
	int result;
	bool done;
	pthread_mutex_t mutex; /* guards done */
	pthread_cond_t is_done;
};

void writer_submit(struct cas *cas, struct job *job)
{
	job->prio = JOB_READER;
	pool_submit(cas->writer, job);
}

static void wait_work(struct job *job)
{
	struct waiting *w = container_of(job, struct waiting, job);

	w->result = w->fn(w->cas, w->arg, w->e);
	(void)pthread_mutex_lock(&w->mutex);
	w->done = true;
	(void)pthread_cond_signal(&w->is_done);
	(void)pthread_mutex_unlock(&w->mutex);
}

int queue_do(struct cas *cas, struct pool *queue,
             int (*fn)(struct cas *cas, void *arg, struct err *e), void *arg, struct err *e)
{
	struct waiting w = { .cas = cas, .fn = fn, .arg = arg, .e = e };

	(void)pthread_mutex_init(&w.mutex, NULL);
	(void)pthread_cond_init(&w.is_done, NULL);
	w.job = (struct job){ .work = wait_work, .prio = JOB_READER };
	pool_submit(queue, &w.job);
	(void)pthread_mutex_lock(&w.mutex);
	while (!w.done)
		(void)pthread_cond_wait(&w.is_done, &w.mutex);
	(void)pthread_mutex_unlock(&w.mutex);
	(void)pthread_cond_destroy(&w.is_done);
	(void)pthread_mutex_destroy(&w.mutex);
	return w.result;
}

static int note_thread(struct cas *cas, void *arg, struct err *e)
{
	(void)cas;
	(void)e;
	*(pthread_t *)arg = pthread_self();
	return 0;
}

int queue_thread(struct cas *cas, struct pool *queue, pthread_t *ret_thread, struct err *e)
{
	return queue_do(cas, queue, note_thread, ret_thread, e);
}

int writer_do(struct cas *cas, int (*fn)(struct cas *cas, void *arg, struct err *e), void *arg,
              struct err *e)
{
	if (pthread_equal(pthread_self(), cas->writer_thread))
		return fn(cas, arg, e);
	return queue_do(cas, cas->writer, fn, arg, e);
}

static int nothing(struct cas *cas, void *arg, struct err *e)
{
	(void)cas;
	(void)arg;
	(void)e;
	return 0;
}

void writer_wait(struct cas *cas)
{
	struct err e;
	const int r = writer_do(cas, nothing, NULL, &e);

	assert(r == 0);
	(void)r;
}
