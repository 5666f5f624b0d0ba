/*
 * nydusd_front: see nydusd_front.h.
 */
#include "nydusd_front.h"
#include "leaving.h"
#include "mem.h"
#include "mount_record.h"
#include "secret.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utlist.h>

#define TMPFS_MAGIC_NUMBER 0x01021994
#define INSTANCES_MAX      10000U
#define BUSY_LOOK_MS       20U
#define BUSY_LOOKS_MAX     1500U

static const char *const state_names[N_FRONT_STATES] = { "INIT", "READY", "RUNNING", "STOPPED" };

const char *front_state_name(enum front_state state)
{
	return state_names[state];
}

struct instance *front_find(const struct front *front, const char *at)
{
	struct instance *i;

	DL_FOREACH(front->instances, i)
	{
		if (strcmp(i->at, at) == 0)
			return i;
	}
	return NULL;
}

void front_free_instances(struct front *front)
{
	struct instance *i, *next;

	DL_FOREACH_SAFE(front->instances, i, next)
	{
		DL_DELETE(front->instances, i);
		instance_free(&i);
	}
}

/* ---- what is known at once is told from the loop, as everything else ---- */

struct refusal {
	struct loop_call call;
	struct err why;
	front_done_fn *done;
	void *arg;
};

static void on_told(struct loop_call *call)
{
	struct refusal *refusal = container_of(call, struct refusal, call);

	refusal->done(refusal->arg, -refusal->why.code, &refusal->why);
	free(refusal);
}

static void tell(struct front *front, const struct err *why, front_done_fn *done, void *arg)
{
	struct refusal *refusal = xcalloc(1, sizeof(*refusal));

	refusal->why = *why;
	refusal->done = done;
	refusal->arg = arg;
	refusal->call.fn = on_told;
	loop_post(front->loop, &refusal->call);
}

/* ---- places ---- */

/* "/" for an image of its own, else one directory below the root. */
static int check_place(const struct front *front, const char *at, struct err *e)
{
	const bool whole = front->whole;

	if (strcmp(at, "/") == 0)
		return whole ? 0
		             : err_set(e, EINVAL,
		                       "this nydusd has directories below \"/\": "
		                       "mount there");
	if (whole)
		return err_set(e, EINVAL, "this nydusd has one image at \"/\"");
	if (!path_is_plain(at) || strchr(at + 1, '/') != NULL)
		return err_set(e, EINVAL, "not a mountpoint: \"%.100s\" (\"/NAME\")", at);
	return 0;
}

static void mount_after(struct instance_job *j)
{
	struct front *front = j->front;
	struct instance *i = j->instance;

	if (j->result < 0) {
		DL_DELETE(front->instances, i);
		instance_free(&i);
	} else {
		instance_rests(front, i);
		i->up = true;
		i->found = j->found;
		json_drop(&i->blob_ids);
		i->blob_ids = json_incref(j->blob_ids);
		front_watch_agent(front->watch);
		log_info(front->log, "mounted", "at=%s dir=%s", LOG_Q(i->at), LOG_Q(i->dir));
	}
	instance_job_end(j);
}

/* ---- credentials ---- */

/* Others for the registry say nothing of its proxy. */
static void keep_proxys(const json_t *known, json_t *fresh)
{
	static const char *const keys[] = { "proxy_username", "proxy_password" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		json_t *value = json_object_get(known, keys[i]);

		if (value != NULL)
			(void)json_object_set(fresh, keys[i], value);
	}
}

void front_give(struct front *front, const char *at, const char *auth, front_done_fn *done,
                void *arg)
{
	struct instance *i = front_find(front, at);
	json_t *credentials = NULL;
	struct err e = { 0 };

	if (i == NULL)
		(void)err_set(&e, ENOENT, "nothing is mounted at %.100s", at);
	if (i == NULL || instance_credentials(auth, &credentials, &e) < 0) {
		tell(front, &e, done, arg);
		return;
	}
	keep_proxys(i->credentials, credentials);
	instance_give(front, i, credentials, done, arg);
}

/* ---- mount ---- */

/* The snapshotter mounts again what a new nydusd has taken over: the state had no credentials, this
 * has. */
static void mount_again(struct front *front, struct instance *i, struct instance *fresh,
                        front_done_fn *done, void *arg)
{
	json_t *credentials;
	struct err e = { 0 };

	assert(fresh != NULL);
	credentials = fresh->credentials;
	fresh->credentials = NULL;
	if (strcmp(json_str(i->wish, "bootstrap"), json_str(fresh->wish, "bootstrap")) != 0)
		(void)err_set(&e, EEXIST, "something else is mounted at %s", i->at);
	if (e.code == 0 && credentials != NULL) {
		instance_give(front, i, credentials, done, arg);
		return;
	}
	json_drop(&credentials);
	tell(front, &e, done, arg);
}

void front_mount(struct front *front, const char *at, const char *bootstrap, const char *config,
                 front_done_fn *done, void *arg)
{
	struct instance *there = front_find(front, at);
	struct instance *i = NULL;
	struct instance *other;
	struct err e = { 0 };
	uint32_t n = 0;
	int r = check_place(front, at, &e);

	DL_COUNT(front->instances, other, n);
	if (r == 0 && front->stopping)
		r = err_set(&e, ESHUTDOWN, "nydusd is stopping");
	else if (r == 0 && n >= INSTANCES_MAX)
		r = err_set(&e, ENOSPC, "there are %u mounts already", INSTANCES_MAX);
	else if (r == 0 && there != NULL && !there->taken_over)
		r = err_set(&e, EEXIST, "something is mounted at %s already", at);
	if (r == 0)
		r = instance_new(front, at, bootstrap, config, &i, &e);
	if (r < 0) {
		tell(front, &e, done, arg);
		return;
	}
	if (there != NULL) {
		mount_again(front, there, i, done, arg);
		instance_free(&i);
		return;
	}
	assert(i != NULL);
	instance_add(&front->instances, i);
	instance_job_start(instance_job_new(front, i, done, arg), mount_after);
}

/* ---- umount ---- */

static void umount_work(struct job *job) /* worker */
{
	struct instance_job *j = container_of(job, struct instance_job, job);

	j->result = link_ensure(j->link, NULL, NULL, &j->err); /* it may be away for a moment */
	if (j->result == 0)
		j->result = link_umount(j->link, j->dir, &j->err);
	if (j->result == 0 && j->make_dir)
		(void)rmdir(j->dir);
}

static void umount_after(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);
	struct front *front = j->front;
	struct instance *i = j->instance;

	if (j->result == 0) {
		log_info(front->log, "unmounted", "at=%s dir=%s", LOG_Q(i->at), LOG_Q(i->dir));
		DL_DELETE(front->instances, i);
		instance_free(&i);
	} else {
		instance_rests(front, i);
	}
	instance_job_end(j);
}

static void umount_it(struct instance_job *j)
{
	j->instance->busy = true;
	j->job = (struct job){ .work = umount_work, .after = umount_after, .prio = JOB_NORMAL };
	pool_submit(j->front->pool, &j->job);
}

/* ---- remount ---- */

/* The same place with another bootstrap or configuration: what the agent has done, we know. */
static void take_fresh(struct instance *i, struct instance *fresh)
{
	struct instance *const prev = i->prev, *const next = i->next;
	struct instance old = *i;

	*i = *fresh;
	i->prev = prev;
	i->next = next;
	i->up = true;
	i->is_given_newer = old.is_given_newer;
	if (old.is_given_newer) {
		i->credentials = old.credentials;
		old.credentials = fresh->credentials;
		(void)json_object_set_new(i->wish, "credentials_given", json_true());
	}
	*fresh = old;
}

static void on_confirmed(void *arg, int r, const struct err *why)
{
	const struct front *front = arg;

	if (r == 0 || r == -ECANCELED || front->stopping)
		return;
	log_warn(front->log, "the mount that was to be replaced cannot be confirmed", "error=%s",
	         LOG_Q(why->msg));
	front_watch_renew(front->watch);
}

/* The agent has said of the new one what opens the registry, and mounts the old one again; or it
 * was away, and nobody has told the next one. Where only its answer was lost, it has the new one,
 * and is told in earnest what is to be there. */
static void confirm(struct front *front, struct instance *i)
{
	struct instance_job *j = instance_job_new(front, i, on_confirmed, front);

	i->unsure = true;
	j->renews = true;
	instance_job_start(j, instance_renewed);
}

static void remount_after(struct instance_job *j)
{
	struct front *front = j->front;
	struct instance *i = j->instance;

	if (j->result == 0)
		take_fresh(i, j->fresh);
	instance_rests(front, i);
	if (j->result == 0) {
		i->blob_ids = json_incref(j->blob_ids);
		log_info(front->log, "mounted with another bootstrap or configuration",
		         "at=%s dir=%s", LOG_Q(i->at), LOG_Q(i->dir));
	} else if (!front->stopping && !atomic_load(&j->to_go)) {
		confirm(front, i);
	}
	instance_job_end(j);
}

/* @param fresh  moved */
static struct instance_job *remount_job(struct front *front, struct instance *i,
                                        struct instance *fresh, front_done_fn *done, void *arg)
{
	struct instance_job *j = instance_job_new(front, fresh, done, arg);

	(void)json_object_set_new(j->wish, "replace", json_true());
	j->make_dir = false; /* it is there */
	j->instance = i;
	j->fresh = fresh;
	return j;
}

/* ---- one that waits until the agent was asked what it is being asked about a mount ---- */

struct patience {
	struct timer timer;
	struct front *front;
	char *at;
	struct instance *fresh; /* for a remount; NULL: it is to be unmounted */
	bool gave_up;           /* it was on its way: it need not come */
	bool is_unheard;        /* nobody reads the answer */
	uint32_t n_looks;
	front_done_fn *done;
	void *arg;
	struct patience *prev, *next;
};

static void patience_end(struct patience *p)
{
	DL_DELETE(p->front->patient, p);
	timer_fini(&p->timer);
	instance_free(&p->fresh);
	free_str(&p->at);
	free(p);
}

static void go_on(struct patience *p, struct instance *i)
{
	if (p->fresh == NULL)
		umount_it(instance_job_new(p->front, i, p->done, p->arg));
	else
		instance_job_start(remount_job(p->front, i, p->fresh, p->done, p->arg),
		                   remount_after);
	p->fresh = NULL;
}

static void on_patience(struct timer *t)
{
	struct patience *p = container_of(t, struct patience, timer);
	struct instance *i = front_find(p->front, p->at);
	struct err e = { 0 };

	if (i != NULL && i->coming != NULL && p->fresh == NULL) {
		instance_job_take_down(i->coming);
		p->gave_up = true;
	}
	if (!p->is_unheard && i != NULL && i->busy && p->n_looks++ < BUSY_LOOKS_MAX) {
		timer_start(&p->timer, BUSY_LOOK_MS);
		return;
	}
	if (p->is_unheard)
		(void)err_set(&e, ECANCELED, "nobody wants it any more");
	else if (i == NULL && p->gave_up)
		p->done(p->arg, 0, &e);
	else if (i == NULL)
		(void)err_set(&e, ENOENT, "nothing is mounted at %.100s", p->at);
	else if (i->busy)
		(void)err_set(&e, EBUSY, "%.100s is being mounted or unmounted", p->at);
	else if (p->fresh != NULL && p->front->stopping)
		(void)err_set(&e, ESHUTDOWN, "nydusd is stopping");
	if (e.code != 0)
		p->done(p->arg, -e.code, &e);
	else if (i != NULL)
		go_on(p, i);
	patience_end(p);
}

static void be_patient(struct front *front, const char *at, struct instance *fresh,
                       front_done_fn *done, void *arg)
{
	struct patience *p = xcalloc(1, sizeof(*p));

	*p = (struct patience){
		.front = front, .at = xstrdup(at), .fresh = fresh, .done = done, .arg = arg
	};
	DL_APPEND(front->patient, p);
	timer_init(&p->timer, front->loop, on_patience);
	timer_start(&p->timer, 0);
}

void front_umount(struct front *front, const char *at, front_done_fn *done, void *arg)
{
	be_patient(front, at, NULL, done, arg);
}

void front_remount(struct front *front, const char *at, const char *bootstrap, const char *config,
                   front_done_fn *done, void *arg)
{
	struct instance *fresh = NULL;
	struct err e = { 0 };

	if (instance_new(front, at, bootstrap, config, &fresh, &e) < 0)
		tell(front, &e, done, arg);
	else
		be_patient(front, at, fresh, done, arg);
}

void front_give_up_for(struct front *front, const void *arg)
{
	const struct instance *i;
	struct patience *p;

	DL_FOREACH(front->instances, i)
	{
		if (i->coming != NULL && i->coming->arg == arg)
			instance_job_give_up(i->coming);
	}
	DL_FOREACH(front->patient, p)
	{
		if (p->arg == arg) {
			p->is_unheard = true;
			timer_start(&p->timer, 0);
		}
	}
}

/* ---- the root, and the end ---- */

/* A small file system of our own: it holds empty directories, and outlives us. One that an earlier
 * nydusd left is taken. */
int front_make_root(struct front *front, struct err *e)
{
	struct statfs fs;
	struct stat st;
	struct stat parent;
	AUTO(free_str) char *above = xasprintf("%s/..", front->root);

	if (stat(front->root, &st) != 0 || stat(above, &parent) != 0)
		return err_errno(e, errno, "mountpoint %s", front->root);
	if (st.st_dev != parent.st_dev && statfs(front->root, &fs) == 0 &&
	    fs.f_type == TMPFS_MAGIC_NUMBER)
		return 0;
	if (mount("rafs", front->root, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
	          "mode=0755,size=4m") != 0)
		return err_errno(e, errno, "mountpoint %s", front->root);
	front->made_root = true;
	return 0;
}

struct stopping {
	struct job job;
	struct timer timer;
	struct front *front;
	bool only_new; /* what was there before stays */
	uint32_t n_looks;
	uint32_t n_dirs;
	char **dirs;
	front_done_fn *done;
	void *arg;
};

/* It may have died in the middle of an answer. */
static bool agent_answers(const struct front *front)
{
	AUTO(close_fd) int fd = link_watch(front->link);

	return fd >= 0;
}

/* Nobody comes back for it: where the agent is away, the kernel is told, and the agent finds a note
 * when it is back. Of an agent that is there and keeps it, no note says that it is gone. */
static void take_down(const struct front *front, const char *dir, bool is_there)
{
	struct err e = { 0 };
	const int r = is_there ? link_umount(front->link, dir, &e)
	                       : err_set(&e, ECONNREFUSED, "the agent does not answer");
	bool works;

	if (r >= 0)
		return;
	works = umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0;
	if (works || r == -ECONNREFUSED || !agent_answers(front))
		link_note_ended(front->link, dir);
	log_warn(front->log, "unmounted without the agent", "dir=%s works=%s error=%s", LOG_Q(dir),
	         works ? "yes" : "no", LOG_Q(e.msg));
}

static void stop_work(struct job *job) /* worker */
{
	struct stopping *s = container_of(job, struct stopping, job);
	struct err why = { 0 };
	const bool is_there = s->n_dirs > 0 && link_ensure(s->front->link, NULL, NULL, &why) == 0;

	for (uint32_t i = 0; i < s->n_dirs; i++)
		take_down(s->front, s->dirs[i], is_there);
	if (s->front->args->mode == NYDUSD_FUSE && !s->front->whole &&
	    (s->front->made_root || !s->only_new))
		(void)umount2(s->front->root, MNT_DETACH | UMOUNT_NOFOLLOW);
	link_leave(s->front->link);
}

static void stop_after(struct job *job)
{
	struct stopping *s = container_of(job, struct stopping, job);
	const struct err none = { 0 };
	front_done_fn *done = s->done;
	void *arg = s->arg;

	for (uint32_t i = 0; i < s->n_dirs; i++)
		free_str(&s->dirs[i]);
	free(s->dirs);
	timer_fini(&s->timer);
	free(s);
	done(arg, 0, &none);
}

/* Is a worker at any of its mounts? */
static bool is_busy(const struct front *front)
{
	const struct instance *i;

	DL_FOREACH(front->instances, i)
	{
		if (i->busy)
			return true;
	}
	return false;
}

uint64_t front_idle_mark(const struct front *front)
{
	struct pool *const pools[] = { front->pool, front->mount_pool };

	if (is_busy(front) || front->patient != NULL)
		return 0;
	return pools_idle_mark(pools, ARRAY_LEN(pools));
}

static void on_stop_timer(struct timer *t)
{
	struct stopping *s = container_of(t, struct stopping, timer);
	struct instance *i;
	uint32_t n = 0;

	if (is_busy(s->front) && s->n_looks++ < BUSY_LOOKS_MAX) {
		timer_start(&s->timer, BUSY_LOOK_MS);
		return;
	}
	DL_COUNT(s->front->instances, i, n);
	s->dirs = xcalloc(n + (size_t)1, sizeof(*s->dirs));
	DL_FOREACH(s->front->instances, i)
	{
		if (!i->found || !s->only_new)
			s->dirs[s->n_dirs++] = xstrdup(i->dir);
	}
	s->job = (struct job){ .work = stop_work, .after = stop_after, .prio = JOB_NORMAL };
	pool_submit(s->front->pool, &s->job);
}

void front_begin_to_end(struct front *front)
{
	front->state = FRONT_STOPPED;
	front->stopping = true;
	link_stop_waiting(front->link);
	front_stop_asking(front);
}

static void stop(struct front *front, bool only_new, front_done_fn *done, void *arg)
{
	struct stopping *s = xcalloc(1, sizeof(*s));

	front_begin_to_end(front);
	*s = (struct stopping){ .front = front, .only_new = only_new, .done = done, .arg = arg };
	timer_init(&s->timer, front->loop, on_stop_timer);
	timer_start(&s->timer, 0);
}

void front_stop(struct front *front, front_done_fn *done, void *arg)
{
	stop(front, false, done, arg);
}

void front_give_up(struct front *front, front_done_fn *done, void *arg)
{
	stop(front, true, done, arg);
}
