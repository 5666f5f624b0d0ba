/*
 * nydusd_job: one thing that is to be done about a mount of a front: see struct instance_job. What
 * blocks for a moment a worker does, the agent is asked on the loop.
 */
#include "mem.h"
#include "nydusd_front.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#define RENEW_TRIES   600
#define RENEW_WAIT_MS 100

/* jansson counts references with atomics, but a worker's copies are its own all the same. */
struct instance_job *instance_job_new(struct front *front, struct instance *instance,
                                      front_done_fn *done, void *arg)
{
	struct instance_job *job = xcalloc(1, sizeof(*job));

	job->front = front;
	job->instance = instance;
	job->link = front->link;
	job->wish = json_deep_copy(instance->wish);
	job->credentials = json_deep_copy(instance->credentials);
	job->dir = xstrdup(instance->dir);
	job->work_dir = xstrdup_or_null(instance->work_dir);
	job->make_dir = strcmp(instance->at, "/") != 0;
	job->given = -ENOENT;
	job->done = done;
	job->arg = arg;
	return job;
}

/* Without what opens the registry, to replace would take away what the agent still has of it. */
void instance_renew(struct front *front, struct instance *instance, front_done_fn *done, void *arg)
{
	struct instance_job *job = instance_job_new(front, instance, done, arg);

	job->renews = true;
	if (instance->unsure && (instance->credentials != NULL ||
	                         !json_is_true(json_object_get(job->wish, "credentials_given"))))
		(void)json_object_set_new(job->wish, "replace", json_true());
	instance_job_start(job, instance_renewed);
}

void instance_renewed(struct instance_job *job)
{
	struct instance *i = job->instance;

	instance_rests(job->front, i);
	i->unsure = i->unsure && job->result < 0;
	if (job->blob_ids != NULL) {
		json_drop(&i->blob_ids);
		i->blob_ids = json_incref(job->blob_ids);
	}
	instance_job_end(job);
}

void instance_job_end(struct instance_job *job)
{
	front_done_fn *done = job->done;
	void *arg = job->arg;
	const int r = job->result;
	const struct err why = job->err;

	assert(job->asking == NULL);
	timer_fini(&job->pause);
	instance_free(&job->fresh);
	json_drop(&job->wish);
	json_drop(&job->credentials);
	json_drop(&job->blob_ids);
	free_str(&job->dir);
	free_str(&job->work_dir);
	free(job);
	done(arg, r, &why);
}

static void ask(struct instance_job *j);

static void submit(struct instance_job *j, void (*work)(struct job *job),
                   void (*after)(struct job *job))
{
	j->job = (struct job){ .work = work, .after = after, .prio = JOB_NORMAL };
	pool_submit(j->front->mount_pool, &j->job);
}

static void learn_blobs(struct instance_job *j)
{
	AUTO(json_drop) json_t *mount = NULL;
	struct err ignored = { 0 };

	if (link_look(j->link, j->dir, &mount, &ignored) == 0)
		j->blob_ids = json_incref(json_object_get(mount, "blob_ids"));
}

/* What the agent is only about to do, it takes back when the call is cancelled. */
static bool is_to_be_unmounted(struct instance_job *j)
{
	return atomic_load(&j->to_go) ? j->n_asked > 0 : atomic_load(&j->given_up) && j->brought;
}

static void undo(struct instance_job *j)
{
	struct err e = { 0 };

	if (is_to_be_unmounted(j) && link_umount(j->link, j->dir, &e) < 0)
		log_warn(j->front->log, "a mount that nobody wants stays", "dir=%s error=%s",
		         LOG_Q(j->dir), LOG_Q(e.msg));
	if (j->make_dir)
		(void)rmdir(j->dir);
}

/* What was there already has not taken those of the wish; or another agent, at its end, has. */
static void give_behind(struct instance_job *j)
{
	struct err e = { 0 };
	const int r = link_give(j->link, j->dir, j->credentials, &e);

	if (r < 0 && !j->renews)
		log_warn(j->front->log, "the agent does not take credentials", "dir=%s error=%s",
		         LOG_Q(j->dir), LOG_Q(e.msg));
	if (r < 0 && j->renews) {
		j->result = r;
		j->err = e;
	}
}

static void end_work(struct job *job) /* worker */
{
	struct instance_job *j = container_of(job, struct instance_job, job);

	if (j->result < 0) {
		undo(j);
		return;
	}
	learn_blobs(j);
	if (j->credentials != NULL)
		give_behind(j);
}

/* Who asked for it has hung up; what was known before is known on. */
static bool has_come_in_vain(struct instance_job *j)
{
	return j->result == 0 && atomic_load(&j->given_up) && !j->renews && j->fresh == NULL;
}

static int set_unwanted(struct err *e)
{
	return err_set(e, ECANCELED, "nobody wants it any more");
}

/* While a worker was at it, too, its asker may have gone. */
static void end_after(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);

	if (!has_come_in_vain(j)) {
		j->after(j);
		return;
	}
	j->result = set_unwanted(&j->err);
	submit(j, end_work, end_after);
}

static void end(struct instance_job *j, int r, const struct err *why)
{
	j->result = r;
	j->err = *why;
	if (has_come_in_vain(j))
		j->result = set_unwanted(&j->err);
	if (j->result < 0 && (j->renews || j->fresh != NULL))
		j->after(j); /* there is nothing to undo */
	else
		submit(j, end_work, end_after);
}

static bool is_unwanted(struct instance_job *j)
{
	return atomic_load(&j->given_up) || j->front->stopping;
}

static void end_unwanted(struct instance_job *j)
{
	struct err e = { 0 };

	link_cancel(&j->asking);
	end(j, set_unwanted(&e), &e);
}

static void begin_work(struct job *job) /* worker */
{
	struct instance_job *j = container_of(job, struct instance_job, job);
	struct err ignored = { 0 };

	j->result = 0;
	if (atomic_load(&j->given_up))
		return;
	if (j->make_dir && mkdir(j->dir, 0755) != 0 && errno != EEXIST)
		j->result = err_errno(&j->err, errno, "%s cannot be made", j->dir);
	else
		j->result = link_ensure(j->link, j->work_dir, &j->given_up, &j->err);
	if (j->result == 0 && j->renews && j->credentials != NULL && !j->is_next)
		j->given = link_give(j->link, j->dir, j->credentials, &ignored);
}

static void begin_after(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);

	if (is_unwanted(j))
		end_unwanted(j);
	else if (j->result < 0)
		end(j, j->result, &j->err);
	else
		ask(j);
}

static void pause_for(struct instance_job *j, uint32_t ms)
{
	j->is_pausing = true;
	timer_start(&j->pause, ms);
}

/* It may be on its way up from the agent's list: it waits for these, perhaps. */
static void give_first_work(struct job *job) /* worker */
{
	struct instance_job *j = container_of(job, struct instance_job, job);
	struct err ignored = { 0 };

	j->given = link_give(j->link, j->dir, j->credentials, &ignored);
}

static void give_first_after(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);

	pause_for(j, is_unwanted(j) ? 0 : RENEW_WAIT_MS);
}

static void on_answer(void *arg, int r, bool found, const struct err *why)
{
	struct instance_job *j = arg;

	timer_stop(&j->pause); /* who gave it up a moment ago */
	j->asking = NULL;
	j->found = found;
	j->brought = r == 0 && !found;
	/* It was just ending: the next one, once. */
	if (r == -ECONNREFUSED && !j->is_next) {
		j->is_next = true;
		j->given = -ENOENT;
		submit(j, begin_work, begin_after);
	} else if (r != -EALREADY || j->n_asked >= RENEW_TRIES) {
		end(j, r, why);
	} else if (j->given == -ENOENT && j->credentials != NULL) {
		submit(j, give_first_work, give_first_after);
	} else {
		pause_for(j, RENEW_WAIT_MS);
	}
}

static void ask(struct instance_job *j)
{
	j->n_asked++;
	j->asking = link_mount(j->link, j->front->loop, j->wish, j->credentials, on_answer, j);
}

static void on_pause(struct timer *t)
{
	struct instance_job *j = container_of(t, struct instance_job, pause);

	j->is_pausing = false;
	if (is_unwanted(j))
		end_unwanted(j);
	else
		ask(j);
}

void instance_job_start(struct instance_job *job, void (*after)(struct instance_job *job))
{
	job->after = after;
	job->instance->busy = true;
	job->instance->coming = job;
	timer_init(&job->pause, job->front->loop, on_pause);
	submit(job, begin_work, begin_after);
}

/* A worker that is at it looks for itself. */
static void stop_asking(struct instance_job *j)
{
	if (j->asking != NULL || j->is_pausing)
		timer_start(&j->pause, 0);
}

void instance_job_give_up(struct instance_job *j)
{
	atomic_store(&j->given_up, true);
	stop_asking(j);
}

void instance_job_take_down(struct instance_job *j)
{
	atomic_store(&j->to_go, true);
	instance_job_give_up(j);
}

void front_stop_asking(struct front *front)
{
	const struct instance *i;

	DL_FOREACH(front->instances, i)
	{
		if (i->coming != NULL)
			stop_asking(i->coming);
	}
}

/* ---- credentials ---- */

static void done_nothing(void *arg, int r, const struct err *why)
{
	(void)arg;
	(void)r;
	(void)why;
}

static struct instance *find_by_dir(const struct front *front, const char *dir)
{
	struct instance *i;

	DL_FOREACH(front->instances, i)
	{
		if (strcmp(i->dir, dir) == 0)
			return i;
	}
	return NULL;
}

static void give_work(struct job *job) /* worker */
{
	struct instance_job *j = container_of(job, struct instance_job, job);

	j->result = link_give(j->link, j->dir, j->credentials, &j->err);
}

/* The agent has it no more: it is mounted again. Where a worker is at that, these go behind it. */
static void give_after(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);
	struct instance *i = NULL;

	if (j->result == -ENOENT && !j->front->stopping)
		i = find_by_dir(j->front, j->dir);
	if (i != NULL && i->busy) {
		j->result = 0;
	} else if (i != NULL) {
		instance_renew(j->front, i, j->done, j->arg);
		j->done = done_nothing;
	}
	instance_job_end(j);
}

static void give_known(struct front *front, struct instance *i, front_done_fn *done, void *arg)
{
	struct instance_job *j = instance_job_new(front, i, done, arg);

	j->job = (struct job){ .work = give_work, .after = give_after, .prio = JOB_NORMAL };
	pool_submit(front->pool, &j->job);
}

void instance_give(struct front *front, struct instance *instance, json_t *credentials,
                   front_done_fn *done, void *arg)
{
	json_drop(&instance->credentials);
	instance->credentials = credentials;
	instance->is_given_newer = instance->busy;
	(void)json_object_set_new(instance->wish, "credentials_given", json_true());
	give_known(front, instance, done, arg); /* at once: it is about the same mount */
}

static void on_given_again(void *arg, int r, const struct err *why)
{
	const struct front *front = arg;

	if (r < 0 && !front->stopping)
		log_warn(front->log, "the agent does not take the newer credentials", "error=%s",
		         LOG_Q(why->msg));
}

void instance_rests(struct front *front, struct instance *instance)
{
	instance->busy = false;
	instance->coming = NULL;
	if (!instance->is_given_newer || front->stopping)
		return;
	instance->is_given_newer = false;
	give_known(front, instance, on_given_again, front);
}
