/*
 * loop: libevent's base, the door for other threads, and timers. Knows nothing of what is posted.
 *
 * The door is a list under a mutex and an eventfd that is written when the list was empty. Other
 * threads touch nothing of libevent, so it needs no locks of its own.
 */
#include "loop.h"
#include "mem.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TIMER_MAX_MS (UINT64_C(366) * 24 * 3600 * 1000) /* libevent adds without looking */

struct loop {
	struct event_base *base;
	struct event *door;
	int door_fd;
	_Atomic pthread_t owner;
	atomic_bool stop;
	pthread_mutex_t mutex; /* guards what follows */
	struct loop_call *first;
	struct loop_call **last;
	bool ended;
};

static void ring(struct loop *loop)
{
	const uint64_t one = 1;

	/* Can only fail when the counter is full, and then the door is open already. */
	while (write(loop->door_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		continue;
}

static struct loop_call *take_calls(struct loop *loop)
{
	struct loop_call *first;

	(void)pthread_mutex_lock(&loop->mutex);
	first = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	(void)pthread_mutex_unlock(&loop->mutex);
	return first;
}

static void on_door(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	struct loop_call *call;
	uint64_t n_rings;
	bool stop;

	(void)what;
	/* Emptied before the calls are taken: a post in between rings again. */
	(void)!read(fd, &n_rings, sizeof(n_rings));
	/* Looked at before the calls are taken: what was posted before the stop is run. */
	stop = atomic_exchange(&loop->stop, false);
	/* What a call posts waits for the next round, so that sockets and timers get their turn. */
	call = take_calls(loop);
	while (call != NULL) {
		struct loop_call *next = call->next;

		call->fn(call);
		call = next;
	}
	if (stop)
		(void)event_base_loopbreak(loop->base);
}

static int open_base(struct loop *loop)
{
	struct event_config *config = event_config_new();
	int r = -1;

	if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
		loop->base = event_base_new_with_config(config);
	if (config != NULL)
		event_config_free(config);
	if (loop->base != NULL && loop->door_fd >= 0)
		loop->door =
			event_new(loop->base, loop->door_fd, EV_READ | EV_PERSIST, on_door, loop);
	if (loop->door != NULL)
		r = event_add(loop->door, NULL);
	return r;
}

int loop_new(struct loop **ret_loop, struct err *e)
{
	AUTO(loop_free) struct loop *loop = xcalloc(1, sizeof(*loop));

	loop->last = &loop->first;
	atomic_init(&loop->owner, pthread_self());
	(void)pthread_mutex_init(&loop->mutex, NULL);
	loop->door_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->door_fd < 0)
		return err_errno(e, errno, "eventfd for the event loop");
	if (open_base(loop) != 0)
		return err_set(e, ENOMEM, "libevent gave no event base");
	*ret_loop = loop;
	loop = NULL;
	return 0;
}

void loop_free(struct loop **loop)
{
	struct loop *l = *loop;

	if (l == NULL)
		return;
	if (l->door != NULL)
		event_free(l->door);
	if (l->base != NULL)
		event_base_free(l->base);
	close_fd(&l->door_fd);
	(void)pthread_mutex_destroy(&l->mutex);
	free(l);
	*loop = NULL;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

void loop_run(struct loop *loop)
{
	atomic_store(&loop->owner, pthread_self());
	(void)event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	ring(loop);
}

void loop_post(struct loop *loop, struct loop_call *call)
{
	bool wakes = false;

	call->next = NULL;
	(void)pthread_mutex_lock(&loop->mutex);
	if (!loop->ended) {
		wakes = loop->first == NULL;
		*loop->last = call;
		loop->last = &call->next;
	}
	(void)pthread_mutex_unlock(&loop->mutex);
	if (wakes)
		ring(loop);
}

void loop_end(struct loop *loop)
{
	if (loop == NULL)
		return;
	(void)pthread_mutex_lock(&loop->mutex);
	loop->ended = true;
	loop->first = NULL;
	loop->last = &loop->first;
	(void)pthread_mutex_unlock(&loop->mutex);
}

bool loop_is_mine(const struct loop *loop)
{
	return pthread_equal(atomic_load_explicit(&loop->owner, memory_order_relaxed),
	                     pthread_self()) != 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct timer *t = arg;

	(void)fd;
	(void)what;
	t->fn(t);
}

void timer_init(struct timer *t, struct loop *loop, void (*fn)(struct timer *t))
{
	assert(t->ev == NULL);
	t->fn = fn;
	t->ev = evtimer_new(loop->base, on_timer, t);
	if (t->ev == NULL)
		abort(); /* memory is out: the size is our own */
}

void timer_start(struct timer *t, uint64_t delay_ms)
{
	const uint64_t ms = delay_ms < TIMER_MAX_MS ? delay_ms : TIMER_MAX_MS;
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		                    .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	(void)evtimer_add(t->ev, &tv);
}

void timer_stop(struct timer *t)
{
	(void)evtimer_del(t->ev);
}

void timer_fini(struct timer *t)
{
	if (t->ev != NULL)
		event_free(t->ev);
	t->ev = NULL;
}
