/*
 * flush_timer: the loop's clock behind flush_all(). Knows when; knows nothing of rows.
 *
 * A timer belongs to the loop thread. cas_open() and cas_close() may run there, before or after the
 * loop runs, or on another thread while it runs: then they knock at its door.
 */
#include "flush_timer.h"
#include "flush.h"
#include "state.h"

static void flush_work(struct job *job)
{
	struct flush_timer *t = container_of(job, struct flush_timer, job);
	struct cas *cas = container_of(t, struct cas, flush_timer);
	struct err e;

	atomic_store(&t->queued, false);
	if (flush_all(cas, &e) == 0)
		return;
	atomic_store(&t->pending, true); /* what failed is still to be written */
	log_warn(cas->log, "ready chunks not recorded yet", "why=%s", LOG_Q(e.msg));
}

static void on_time(struct timer *timer)
{
	struct flush_timer *t = container_of(timer, struct flush_timer, timer);
	struct cas *cas = container_of(t, struct cas, flush_timer);

	timer_start(timer, t->period_ms);
	evict_on_time(cas);
	kept_let_go(&cas->kept, clock_now_ns(cas->clock));
	if (!atomic_load(&t->pending) || atomic_exchange(&t->queued, true))
		return;
	atomic_store(&t->pending, false);
	t->job = (struct job){ .work = flush_work };
	writer_submit(cas, &t->job);
}

static void start_on_loop(struct flush_timer *t)
{
	struct cas *cas = container_of(t, struct cas, flush_timer);

	timer_init(&t->timer, cas->loop, on_time);
	timer_start(&t->timer, t->period_ms);
}

static void on_start(struct loop_call *call)
{
	start_on_loop(container_of(call, struct flush_timer, start));
}

void flush_timer_start(struct cas *cas, uint64_t period_ms)
{
	struct flush_timer *t = &cas->flush_timer;

	t->period_ms = period_ms;
	(void)pthread_mutex_init(&t->mutex, NULL);
	(void)pthread_cond_init(&t->changed, NULL);
	if (loop_is_mine(cas->loop)) {
		start_on_loop(t);
		return;
	}
	t->start = (struct loop_call){ .fn = on_start };
	loop_post(cas->loop, &t->start);
}

static void on_stop(struct loop_call *call)
{
	struct flush_timer *t = container_of(call, struct flush_timer, stop);

	timer_fini(&t->timer);
	(void)pthread_mutex_lock(&t->mutex);
	t->stopped = true;
	(void)pthread_cond_signal(&t->changed);
	(void)pthread_mutex_unlock(&t->mutex);
}

void flush_timer_stop(struct cas *cas)
{
	struct flush_timer *t = &cas->flush_timer;

	if (loop_is_mine(cas->loop)) {
		timer_fini(&t->timer);
	} else {
		t->stop = (struct loop_call){ .fn = on_stop };
		loop_post(cas->loop, &t->stop); /* behind the start, if that still waits */
		(void)pthread_mutex_lock(&t->mutex);
		while (!t->stopped)
			(void)pthread_cond_wait(&t->changed, &t->mutex);
		(void)pthread_mutex_unlock(&t->mutex);
	}
	(void)pthread_cond_destroy(&t->changed);
	(void)pthread_mutex_destroy(&t->mutex);
}
