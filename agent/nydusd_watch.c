/*
 * nydusd_watch: notices that the agent is gone, and wishes everything again when there is one.
 *
 *   (no agent yet) --front_watch_agent()--> WATCHING --hang-up--> RENEWING (a job an instance)
 *                                              ^                   |   | not: again in 0.5, 1 ... 8
 * s
 *                                              `---- all back -----'   | wished meanwhile: again
 *
 * What it wishes is there already after a restart of the agent, but for the credentials: those are
 * in nobody's memory but ours.
 */
#include "bytes.h"
#include "mem.h"
#include "nydusd_front.h"
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#define AGAIN_FIRST_MS 500
#define AGAIN_MAX_MS   8000

struct front_watch {
	struct front *front;
	struct event *gone;
	int fd;
	struct timer again;
	uint64_t again_ms;
	uint32_t n_renewing;
	bool wanted; /* once more, when that is over */
	bool failed;
};

static void renew_all(struct front_watch *w);

static void unwatch(struct front_watch *w)
{
	if (w->gone != NULL)
		event_free(w->gone);
	w->gone = NULL;
	close_fd(&w->fd);
}

static void on_gone(evutil_socket_t fd, short what, void *arg)
{
	struct front_watch *w = arg;

	(void)fd;
	(void)what;
	unwatch(w);
	if (w->front->stopping)
		return;
	log_warn(w->front->log, "the agent is gone: waiting for the next one", "pid=%d",
	         (int)getpid());
	renew_all(w);
}

void front_watch_agent(struct front_watch *w)
{
	if (w->fd >= 0 || w->front->stopping)
		return;
	w->fd = link_watch(w->front->link);
	if (w->fd < 0) {
		timer_start(&w->again, AGAIN_FIRST_MS);
		return;
	}
	w->gone = event_new(loop_base(w->front->loop), w->fd, EV_READ, on_gone, w);
	if (w->gone != NULL)
		(void)event_add(w->gone, NULL);
}

static void settled(struct front_watch *w)
{
	if (w->front->stopping)
		return;
	if (!w->failed) {
		w->again_ms = 0;
		if (w->wanted)
			timer_start(&w->again, 0);
		else
			front_watch_agent(w);
		return;
	}
	w->again_ms = w->again_ms == 0 ? AGAIN_FIRST_MS : min_u64(2 * w->again_ms, AGAIN_MAX_MS);
	timer_start(&w->again, w->again_ms);
}

/* What is to be unmounted is not missed. */
static void on_renewed(void *arg, int r, const struct err *why)
{
	struct front_watch *w = arg;
	const bool failed = r < 0 && r != -ECANCELED;

	if (failed && !w->failed)
		log_warn(w->front->log, "a mount cannot be made again", "error=%s",
		         LOG_Q(why->msg));
	w->failed = w->failed || failed;
	if (--w->n_renewing == 0)
		settled(w);
}

static void renew_all(struct front_watch *w)
{
	struct instance *i;

	w->wanted = w->n_renewing > 0;
	if (w->wanted || w->front->stopping)
		return;
	w->failed = false;
	DL_FOREACH(w->front->instances, i)
	{
		if (i->busy || !i->up)
			continue;
		w->n_renewing++;
		instance_renew(w->front, i, on_renewed, w);
	}
	if (w->n_renewing == 0)
		settled(w);
}

static void on_again(struct timer *t)
{
	renew_all(container_of(t, struct front_watch, again));
}

void front_watch_renew(struct front_watch *w)
{
	unwatch(w);
	renew_all(w);
}

struct front_watch *front_watch_new(struct front *front)
{
	struct front_watch *w = xcalloc(1, sizeof(*w));

	w->front = front;
	w->fd = -1;
	timer_init(&w->again, front->loop, on_again);
	return w;
}

void front_watch_free(struct front_watch **watch)
{
	if (*watch == NULL)
		return;
	timer_fini(&(*watch)->again);
	unwatch(*watch);
	free(*watch);
	*watch = NULL;
}
