/*
 * nydusd_state: what one nydusd tells the next, by way of the supervisor: which mounts there are,
 * without a secret. What is mounted is the agent's all the time.
 */
#include "mem.h"
#include "mount_record.h"
#include "nydusd_front.h"
#include "nydusd_read.h"
#include "nydusd_supervisor.h"
#include "secret.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define STATE_VERSION 1

/* ---- to JSON and back ---- */

json_t *front_state_json(const struct front *front)
{
	json_t *mounts = json_array();
	const struct instance *i;

	DL_FOREACH(front->instances, i)
	{
		json_t *mount;

		if (!i->up)
			continue;
		mount = json_pack("{s:o, s:O, s:O, s:O?, s:o, s:o, s:I, s:b}", "at",
		                  json_words(i->at), "wish", i->wish, "shown", i->shown, "blob_ids",
		                  i->blob_ids, "backend", json_words(i->backend), "work_dir",
		                  json_words(i->work_dir), "mounted_s", (json_int_t)i->mounted_s,
		                  "unsure", i->unsure);
		(void)json_array_append_new(mounts, mount);
	}
	return json_pack("{s:i, s:o, s:o}", "shoal_nydusd", STATE_VERSION, "root",
	                 json_words(front->root), "mounts", mounts);
}

/* The wish is held against the rules again by the agent; here only what we use ourselves. */
static int take_mount(const json_t *mount, struct instance **ret_instance, struct err *e)
{
	const char *at = json_str(mount, "at");
	const json_t *wish = json_object_get(mount, "wish");
	struct instance *i;

	if (at[0] != '/' || (at[1] != '\0' && !path_is_plain(at)) || !json_is_object(wish) ||
	    json_str(wish, "dir")[0] != '/' || !json_is_object(json_object_get(mount, "shown")))
		return err_set(e, EINVAL, "the state has a mount that makes no sense");
	i = xcalloc(1, sizeof(*i));
	i->at = xstrdup(at);
	i->dir = xstrdup(json_str(wish, "dir"));
	i->wish = json_deep_copy(wish);
	i->shown = json_deep_copy(json_object_get(mount, "shown"));
	i->blob_ids = json_deep_copy(json_object_get(mount, "blob_ids"));
	i->backend = xstrdup(json_str(mount, "backend"));
	if (json_str(mount, "work_dir")[0] != '\0')
		i->work_dir = xstrdup(json_str(mount, "work_dir"));
	i->mounted_s = (int64_t)json_u64(mount, "mounted_s");
	i->unsure = json_is_true(json_object_get(mount, "unsure"));
	i->up = true;
	i->taken_over = true;
	*ret_instance = i;
	return 0;
}

int front_state_take(struct front *front, const json_t *state, struct err *e)
{
	const json_t *mounts = json_object_get(state, "mounts");
	int r = 0;

	if (json_u64(state, "shoal_nydusd") != STATE_VERSION || !json_is_array(mounts))
		return err_set(e, EINVAL, "the supervisor's state is not of this nydusd");
	if (strcmp(json_str(state, "root"), front->root) != 0)
		return err_set(e, EINVAL, "the supervisor's state is of another mountpoint: %s",
		               json_str(state, "root"));
	front_free_instances(front);
	for (size_t n = 0; r == 0 && n < json_array_size(mounts); n++) {
		struct instance *i = NULL;

		r = take_mount(json_array_get(mounts, n), &i, e);
		if (r == 0)
			instance_add(&front->instances, i);
	}
	if (r < 0)
		front_free_instances(front);
	return r;
}

/* Where the snapshotter keeps what it told of a mount: ROOT/socket/ID/api.sock is our socket,
 * ROOT/config/ID/SNAPSHOT/config.json the document. malloc'd; NULL: it does not look like that */
static char *snapshotters_file(const struct front *front, const struct instance *i)
{
	AUTO(free_str) char *place = NULL;
	AUTO(free_str) char *end = NULL;
	size_t n;

	if (front->args->apisock == NULL || front->args->id == NULL)
		return NULL;
	place = xstrdup(front->args->apisock);
	end = xasprintf("/socket/%s/", front->args->id);
	n = (size_t)(strrchr(place, '/') != NULL ? strrchr(place, '/') + 1 - place : 0);
	if (n < strlen(end) || strncmp(place + n - strlen(end), end, strlen(end)) != 0)
		return NULL;
	return xasprintf("%.*s/config/%s%s/config.json", (int)(n - strlen(end)), place,
	                 front->args->id, i->at);
}

static char *config_file(const struct front *front, const struct instance *i)
{
	if (!front->whole)
		return snapshotters_file(front, i);
	return xstrdup_or_null(front->args->config);
}

/* @return 0; -errno: there is none to be had */
static int read_credentials(const struct front *front, struct instance *i, struct err *e)
{
	AUTO(free_str) char *path = config_file(front, i);
	AUTO(instance_free) struct instance *fresh = NULL;
	AUTO(free_secret) char *text = NULL;
	int r;

	if (path == NULL)
		return err_set(e, ENOENT, "its configuration is in no file that is known");
	r = nydusd_read_file(path, &text, e);
	if (r == 0)
		r = instance_new(front, i->at, json_str(i->wish, "bootstrap"), text, &fresh, e);
	if (r < 0)
		return r;
	assert(fresh != NULL);
	i->credentials = fresh->credentials;
	fresh->credentials = NULL;
	return 0;
}

/* Credentials are not handed over: read them from the configuration files, --config or the
 * snapshotter's. Blocks a moment. */
static void read_all_credentials(struct front *front)
{
	struct instance *i;

	DL_FOREACH(front->instances, i)
	{
		struct err e = { 0 };

		if (!json_is_true(json_object_get(i->wish, "credentials_given")) ||
		    i->credentials != NULL)
			continue;
		if (read_credentials(front, i, &e) < 0)
			log_warn(front->log, "taken over without credentials", "at=%s error=%s",
			         LOG_Q(i->at), LOG_Q(e.msg));
	}
}

/* ---- to the supervisor and back ---- */

struct exchange {
	struct job job;
	struct front *front;
	char *text;
	size_t size_bytes;
	int result;
	struct err err;
	front_done_fn *done;
	void *arg;
};

static struct exchange *exchange_new(struct front *front, front_done_fn *done, void *arg)
{
	struct exchange *x = xcalloc(1, sizeof(*x));

	x->front = front;
	x->done = done;
	x->arg = arg;
	return x;
}

static void exchange_end(struct exchange *x)
{
	front_done_fn *done = x->done;
	void *arg = x->arg;
	const int r = x->result;
	const struct err why = x->err;

	free_str(&x->text);
	free(x);
	done(arg, r, &why);
}

static void send_work(struct job *job) /* worker */
{
	struct exchange *x = container_of(job, struct exchange, job);

	x->result = supervisor_send(x->front->args->supervisor, x->text, x->size_bytes, &x->err);
}

static void send_after(struct job *job)
{
	exchange_end(container_of(job, struct exchange, job));
}

void front_send(struct front *front, front_done_fn *done, void *arg)
{
	struct exchange *x = exchange_new(front, done, arg);
	AUTO(json_drop) json_t *state = front_state_json(front);

	x->text = json_dumps(state, JSON_COMPACT);
	x->size_bytes = x->text != NULL ? strlen(x->text) : 0;
	x->job = (struct job){ .work = send_work, .after = send_after, .prio = JOB_NORMAL };
	pool_submit(front->pool, &x->job);
}

static void take_work(struct job *job) /* worker */
{
	struct exchange *x = container_of(job, struct exchange, job);

	x->result =
		supervisor_receive(x->front->args->supervisor, &x->text, &x->size_bytes, &x->err);
}

static void take_after(struct job *job)
{
	struct exchange *x = container_of(job, struct exchange, job);
	struct front *front = x->front;
	AUTO(json_drop) json_t *state = NULL;

	if (x->result == 0 && front->state != FRONT_INIT)
		x->result = err_set(&x->err, EINVAL, "nothing can be taken over in the state %s",
		                    front_state_name(front->state));
	if (x->result == 0)
		x->result = json_parse_object(x->text, x->size_bytes, &state, &x->err);
	if (x->result == 0)
		x->result = front_state_take(front, state, &x->err);
	if (x->result == 0) {
		read_all_credentials(front);
		front->state = FRONT_READY;
		log_info(front->log, "taken over", "bytes=%zu", x->size_bytes);
		front_watch_renew(front->watch);
	}
	exchange_end(x);
}

void front_take_over(struct front *front, front_done_fn *done, void *arg)
{
	struct exchange *x = exchange_new(front, done, arg);

	x->job = (struct job){ .work = take_work, .after = take_after, .prio = JOB_NORMAL };
	pool_submit(front->pool, &x->job);
}
