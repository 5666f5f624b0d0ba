/*
 * keeping: see keeping.h.
 *
 *   WATCHING --the keeper hangs up--> RENEWING (a job: call again, or start one; give it all)
 *      ^------------- there is one ------'  ^ `-- there is none --> WAITING
 *                                           `--- 0.1 s, 0.2 ... 5 s ---'
 *   A start without a keeper is WAITING. While it is renewing, nothing is watched: the connection
 *   that the job made says afterwards whether the keeper has gone since.
 */
#include "keeping.h"
#include "bytes.h"
#include "mem.h"
#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define RENEW_FIRST_MS 100 /* one that is being restarted is there in a moment */
#define RENEW_AGAIN_MS 5000
#define REAP_AGAIN_MS  100
#define ENDED_MAX      16 /* keepers that end within REAP_AGAIN_MS */

/* What the job works on. */
struct renewal {
	struct job job;
	const struct keeping_opts *opts;
	uint32_t n_kept;
	struct kept *kept;
	int watch_fd;
	int pid; /* of a keeper that it started; 0: none */
	int result;
	struct err err;
};

struct keeping {
	struct keeping_opts opts;
	struct kept *left[KEEPER_ITEMS_MAX]; /* what the earlier agent left; NULL: taken */
	uint32_t n_left;
	bool has_list;      /* a listed mount was asked for */
	struct event *gone; /* of the watched connection, -1 when there is none */
	int watch_fd;
	int pid;              /* of the keeper, when it is our child; else 0 */
	int ended[ENDED_MAX]; /* pids of those before it, that may not have ended quite yet */
	uint32_t n_ended;
	struct timer reaper;
	struct timer again;
	uint64_t miss_ms; /* after the last miss; 0: there is one */
	bool waiting;     /* for the timer */
	bool busy;        /* the renewal is a worker's */
	bool wanted;      /* another one is, after that */
	bool is_stale;    /* ... in a moment: it has what a mount has taken the place of */
	bool missed;      /* that there is none was told */
	struct renewal renewal;
};

static int find_or_start(const struct keeping_opts *o, int *ret_watch_fd, int *ret_pid,
                         struct err *e)
{
	int r = keeper_watch(o->socket, ret_watch_fd, e);

	if (r == 0 || o->program == NULL)
		return r;
	r = keeper_start(o->program, o->socket, ret_pid, e);
	if (r < 0)
		return r;
	log_info(o->log, "started a keeper", "socket=%s pid=%d", LOG_Q(o->socket), *ret_pid);
	return keeper_watch(o->socket, ret_watch_fd, e);
}

/* ---- the renewal ---- */

static void renew_work(struct job *job) /* worker */
{
	struct renewal *n = container_of(job, struct renewal, job);

	n->result = find_or_start(n->opts, &n->watch_fd, &n->pid, &n->err);
	for (uint32_t i = 0; n->result == 0 && i < n->n_kept; i++)
		n->result = keeper_keep(n->opts->socket, &n->kept[i], &n->err);
}

/* What ended while it was given away must not be held for ever. */
static void drop_work(struct job *job) /* worker */
{
	struct renewal *n = container_of(job, struct renewal, job);

	for (uint32_t i = 0; i < n->n_kept; i++)
		n->result = keeper_drop(n->opts->socket, n->kept[i].key, &n->err);
}

static void renewal_clear(struct renewal *n)
{
	for (uint32_t i = 0; i < n->n_kept; i++)
		kept_close(&n->kept[i]);
	free(n->kept);
	n->kept = NULL;
	n->n_kept = 0;
}

/* ---- watching ---- */

static void renew(struct keeping *k);

static void show(const struct keeping *k, bool there)
{
	series_set(metrics_series(k->opts.metrics, METRIC_KEEPER, NULL), there);
}

static void unwatch(struct keeping *k)
{
	if (k->gone != NULL)
		event_free(k->gone);
	k->gone = NULL;
	close_fd(&k->watch_fd);
}

/* It hangs up a moment before it can be waited for. */
static void reap(struct keeping *k)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < k->n_ended; i++) {
		if (waitpid(k->ended[i], NULL, WNOHANG) == 0)
			k->ended[n++] = k->ended[i];
	}
	k->n_ended = n;
	if (n > 0)
		timer_start(&k->reaper, REAP_AGAIN_MS);
}

/* @param pid  of the keeper from now on; 0: it is not our child, or there is none */
static void set_pid(struct keeping *k, int pid)
{
	if (k->pid > 0 && k->n_ended < ENDED_MAX)
		k->ended[k->n_ended++] = k->pid;
	k->pid = pid;
	reap(k);
}

static void on_reaper(struct timer *t)
{
	reap(container_of(t, struct keeping, reaper));
}

static void on_gone(evutil_socket_t fd, short what, void *arg)
{
	struct keeping *k = arg;

	(void)fd;
	(void)what;
	unwatch(k);
	show(k, false);
	set_pid(k, 0);
	log_warn(k->opts.log, "the keeper is gone", "socket=%s", LOG_Q(k->opts.socket));
	renew(k);
}

/* @param fd  moved */
static void watch(struct keeping *k, int *fd)
{
	k->watch_fd = *fd;
	*fd = -1;
	k->missed = false;
	k->miss_ms = 0;
	show(k, true);
	k->gone = event_new(loop_base(k->opts.loop), k->watch_fd, EV_READ, on_gone, k);
	if (k->gone == NULL || event_add(k->gone, NULL) != 0)
		log_error(k->opts.log, "the keeper cannot be watched", "socket=%s",
		          LOG_Q(k->opts.socket));
}

static void wait_for_one(struct keeping *k, uint64_t at_most_ms)
{
	k->waiting = true;
	timer_start(&k->again, at_most_ms);
}

static void miss(struct keeping *k, const struct err *why)
{
	show(k, false);
	if (!k->missed)
		log_warn(k->opts.log, "there is no keeper: mounts do not outlive the agent",
		         "error=%s again_ms=%d", LOG_Q(why->msg), RENEW_FIRST_MS);
	k->missed = true;
	k->miss_ms = k->miss_ms == 0 ? RENEW_FIRST_MS : min_u64(2 * k->miss_ms, RENEW_AGAIN_MS);
	wait_for_one(k, k->miss_ms);
}

/* ---- the renewal's end ---- */

static void settle(struct keeping *k)
{
	struct renewal *n = &k->renewal;

	renewal_clear(n);
	k->busy = false;
	watch(k, &n->watch_fd);
	if (k->is_stale || k->wanted)
		wait_for_one(k, k->is_stale ? RENEW_FIRST_MS : RENEW_AGAIN_MS);
}

static void dropped_after(struct job *job)
{
	settle(container_of(container_of(job, struct renewal, job), struct keeping, renewal));
}

static void keep_only_ended(struct keeping *k)
{
	struct renewal *n = &k->renewal;
	uint32_t n_ended = 0;

	for (uint32_t i = 0; i < n->n_kept; i++) {
		const enum keep_outcome outcome = k->opts.given(k->opts.arg, &n->kept[i]);

		kept_close(&n->kept[i]);
		k->is_stale = k->is_stale || outcome == KEEP_AGAIN;
		if (outcome != KEEP_HOLD)
			n->kept[n_ended++] = n->kept[i];
	}
	n->n_kept = n_ended;
}

static void renew_after(struct job *job)
{
	struct renewal *n = container_of(job, struct renewal, job);
	struct keeping *k = container_of(n, struct keeping, renewal);

	if (n->pid > 0)
		set_pid(k, n->pid);
	if (n->result < 0) {
		close_fd(&n->watch_fd);
		renewal_clear(n);
		k->busy = false;
		miss(k, &n->err);
		return;
	}
	log_info(k->opts.log, "a keeper holds the mounts", "mounts=%u", n->n_kept);
	keep_only_ended(k);
	if (n->n_kept == 0) {
		settle(k);
		return;
	}
	n->job = (struct job){ .work = drop_work, .after = dropped_after, .prio = JOB_NORMAL };
	pool_submit(k->opts.pool, &n->job);
}

static void renew(struct keeping *k)
{
	struct renewal *n = &k->renewal;

	assert(!k->busy);
	unwatch(k);
	timer_stop(&k->again);
	k->waiting = false;
	k->wanted = false;
	k->is_stale = false;
	k->busy = true;
	*n = (struct renewal){ .opts = &k->opts, .watch_fd = -1 };
	n->n_kept = k->opts.all(k->opts.arg, &n->kept);
	n->job = (struct job){ .work = renew_work, .after = renew_after, .prio = JOB_NORMAL };
	pool_submit(k->opts.pool, &n->job);
}

static void on_again(struct timer *t)
{
	renew(container_of(t, struct keeping, again));
}

void keeping_renew(struct keeping *keeping)
{
	if (keeping->busy)
		keeping->wanted = true;
	else if (!keeping->waiting)
		wait_for_one(keeping, RENEW_AGAIN_MS);
}

/* ---- start and end ---- */

static int fetch_left(struct keeping *k, struct err *e)
{
	const char *socket = k->opts.socket;
	uint32_t idx = 0;

	while (idx < KEEPER_ITEMS_MAX) {
		struct kept kept = { .fd = -1 };
		const int r = keeper_get(socket, idx, &kept, e);

		if (r == 1)
			return 0;
		if (r == -EUCLEAN) {
			log_warn(k->opts.log, "a kept mount cannot be taken on", "error=%s",
			         LOG_Q(e->msg));
			if (keeper_drop(socket, kept.key, e) < 0)
				return -e->code;
			continue; /* what was behind it moved up */
		}
		if (r < 0)
			return r;
		k->left[k->n_left] = xcalloc(1, sizeof(kept));
		*k->left[k->n_left++] = kept;
		idx++;
	}
	return 0;
}

struct keeping *keeping_new(const struct keeping_opts *opts)
{
	struct keeping *k = xcalloc(1, sizeof(*k));
	int fd = -1;
	struct err e = { 0 };
	int r;

	k->opts = *opts;
	k->watch_fd = -1;
	k->renewal.watch_fd = -1;
	timer_init(&k->again, opts->loop, on_again);
	timer_init(&k->reaper, opts->loop, on_reaper);
	r = find_or_start(opts, &fd, &k->pid, &e);
	if (r == 0)
		r = fetch_left(k, &e);
	if (r == 0) {
		watch(k, &fd);
	} else {
		close_fd(&fd);
		miss(k, &e);
	}
	return k;
}

void keeping_free(struct keeping **keeping)
{
	struct keeping *k = *keeping;

	*keeping = NULL;
	if (k == NULL)
		return;
	for (uint32_t i = 0; i < k->n_left; i++)
		kept_free(&k->left[i]);
	timer_fini(&k->again);
	timer_fini(&k->reaper);
	unwatch(k);
	close_fd(&k->renewal.watch_fd);
	renewal_clear(&k->renewal);
	free(k);
}

bool keeping_has_left(const struct keeping *keeping)
{
	return keeping->n_left > 0;
}

/* The keeper holds it under another key from now on; the old one stays where that fails. */
static void rekey(const struct keeping *k, struct kept *kept, const char *key)
{
	struct kept again = *kept;
	struct err e = { 0 };
	int r;

	memcpy(again.key, key, sizeof(again.key));
	r = keeper_keep(k->opts.socket, &again, &e);
	if (r == 0)
		r = keeper_drop(k->opts.socket, kept->key, &e);
	if (r == 0)
		*kept = again;
	else
		log_warn(k->opts.log, "the keeper does not name a mount anew", "error=%s",
		         LOG_Q(e.msg));
}

struct kept *keeping_take(struct keeping *keeping, const char *dir)
{
	char key[KEEPER_KEY_BYTES], elsewhere[KEEPER_KEY_BYTES];

	keeping->has_list = true;
	kept_key(dir, key);
	kept_key_elsewhere(key, elsewhere);
	for (uint32_t i = 0; i < keeping->n_left; i++) {
		struct kept *kept = keeping->left[i];

		if (kept == NULL ||
		    (strcmp(kept->key, key) != 0 && strcmp(kept->key, elsewhere) != 0))
			continue;
		keeping->left[i] = NULL;
		if (kept_is_elsewhere(kept))
			rekey(keeping, kept, key);
		return kept;
	}
	return NULL;
}

static void drop(const struct keeping *k, struct kept *kept)
{
	struct err e = { 0 };

	if (keeper_drop(k->opts.socket, kept->key, &e) < 0) {
		log_warn(k->opts.log, "the keeper does not let go of a mount", "error=%s",
		         LOG_Q(e.msg));
		return;
	}
	log_info(k->opts.log, "let go of a kept mount that is not listed", "key=%s", kept->key);
	kept_close(kept);
	kept_detach(kept, k->opts.log);
}

void keeping_let_go(struct keeping *keeping, const char *dir)
{
	struct kept *kept = keeping_take(keeping, dir);

	if (kept != NULL)
		drop(keeping, kept);
	kept_free(&kept);
}

/* For the agent of another state directory. */
static void leave(const struct keeping *k, struct kept *kept)
{
	char elsewhere[KEEPER_KEY_BYTES];

	if (kept_is_elsewhere(kept))
		return;
	kept_key_elsewhere(kept->key, elsewhere);
	rekey(k, kept, elsewhere);
}

void keeping_drop_rest(struct keeping *keeping)
{
	uint32_t n_elsewhere = 0;

	for (uint32_t i = 0; i < keeping->n_left; i++) {
		struct kept *kept = keeping->left[i];

		if (kept == NULL)
			continue;
		if (kept_is_alive(kept) && (!keeping->has_list || kept_is_elsewhere(kept))) {
			leave(keeping, kept);
			n_elsewhere++;
		} else {
			drop(keeping, kept);
		}
		kept_free(&keeping->left[i]);
	}
	if (n_elsewhere > 0)
		log_warn(keeping->opts.log,
		         "the keeper holds mounts that this state_dir does not list: who reads "
		         "them waits for an agent with the state_dir that does, or gets an error "
		         "when the keeper is restarted",
		         "mounts=%u keeper=%s", n_elsewhere, LOG_Q(keeping->opts.socket));
}
