/*
 * nydusd_instance: one mount of a front: from nydusd's configuration to the wish that the agent
 * understands.
 */
#include "commands.h"
#include "mem.h"
#include "mount_record.h"
#include "nydusd_front.h"
#include "secret.h"
#include "unconst.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define RENEW_TRIES   600
#define RENEW_WAIT_MS 100

static json_t *credentials_of(const struct nydusd_config *c)
{
	if (c->username != NULL)
		return json_pack("{s:o, s:o}", "username", json_words(c->username), "password",
		                 json_words(c->password));
	return c->token != NULL ? json_pack("{s:o}", "token", json_words(c->token)) : NULL;
}

int instance_credentials(const char *auth, json_t **ret_credentials, struct err *e)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	const int r = nydusd_auth_parse(auth, &c.username, &c.password, e);

	if (r == 0)
		*ret_credentials = credentials_of(&c);
	return r;
}

static json_t *wish_of(const struct nydusd_config *c, const char *bootstrap, const char *dir)
{
	json_t *wish = json_pack("{s:b}", "transient", 1);

	json_set_text(wish, "dir", dir);
	json_set_text(wish, "bootstrap", bootstrap);
	json_set_text(wish, "blobs", c->blobs);
	json_set_text(wish, "scheme", c->scheme);
	json_set_text(wish, "ca_file", c->ca_file);
	json_set_text(wish, "proxy", c->proxy);
	json_set_text(wish, "links_dir", c->work_dir);
	(void)json_object_set_new(wish, "prefetch", json_boolean(c->prefetch));
	(void)json_object_set_new(wish, "skip_verify", json_boolean(c->skip_verify));
	(void)json_object_set_new(wish, "credentials_given",
	                          json_boolean(c->username != NULL || c->token != NULL));
	return wish;
}

/* As nydusd: the environment has the word. */
static int take_environment(struct nydusd_config *c, struct err *e)
{
	const char *auth = secure_getenv("IMAGE_PULL_AUTH");

	if (auth == NULL || *auth == '\0' || strcmp(c->backend, "registry") != 0)
		return 0;
	free_secret(&c->username);
	free_secret(&c->password);
	free_secret(&c->token);
	return nydusd_auth_parse(auth, &c->username, &c->password, e) == 0
	               ? 0
	               : err_wrap(e, "IMAGE_PULL_AUTH");
}

/* Absolute, and with no symlinks: the agent stands elsewhere, and refuses "..". */
static int resolve(const char *what, const char *path, char **ret_path, struct err *e)
{
	*ret_path = realpath(path, NULL);
	return *ret_path != NULL ? 0 : err_errno(e, errno, "%s %s", what, path);
}

/* The same for what the agent can do without, or says itself what is wrong with it. */
static void settle(char **path)
{
	char *settled = *path != NULL ? absolute_path(*path) : NULL;

	if (settled == NULL)
		return;
	free_str(path);
	*path = settled;
}

static void settle_origin(char **blobs)
{
	static const char prefix[] = "dir:";
	char *dir;

	if (*blobs == NULL || strncmp(*blobs, prefix, strlen(prefix)) != 0)
		return;
	dir = xstrdup(*blobs + strlen(prefix));
	settle(&dir);
	free_str(blobs);
	*blobs = xasprintf("%s%s", prefix, dir != NULL ? dir : "");
	free_str(&dir);
}

/* As nydusd does. Where it cannot be made, the agent says so. */
static void make_dirs(const char *path)
{
	AUTO(free_str) char *parents = xstrdup(path);

	for (char *slash = strchr(parents + 1, '/'); slash != NULL;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(parents, 0755);
		*slash = '/';
	}
	(void)mkdir(path, 0755);
}

/* Where an agent of our own would have its state; nydusd's default is where it stands. */
static char *own_dir(const struct front *front, const struct nydusd_config *c)
{
	const char *dir = c->work_dir != NULL ? c->work_dir : front->args->localfs_dir;

	return absolute_path(dir != NULL ? dir : ".");
}

int instance_new(const struct front *front, const char *at, const char *bootstrap,
                 const char *config, struct instance **ret_instance, struct err *e)
{
	AUTO(nydusd_config_clear) struct nydusd_config c = { 0 };
	AUTO(instance_free) struct instance *i = xcalloc(1, sizeof(*i));
	AUTO(free_str) char *source = NULL;
	int r = resolve("bootstrap", bootstrap, &source, e);

	if (r == 0)
		r = nydusd_config_parse(config, strlen(config), &c, e);
	if (r == 0)
		r = take_environment(&c, e);
	if (r < 0)
		return err_wrap(e, "mount %s", at);
	settle(&c.work_dir);
	settle(&c.ca_file);
	settle_origin(&c.blobs);
	if (c.work_dir != NULL)
		make_dirs(c.work_dir);
	i->at = xstrdup(at);
	i->dir = strcmp(at, "/") == 0 ? xstrdup(front->root) : xasprintf("%s%s", front->root, at);
	i->wish = wish_of(&c, source, i->dir);
	i->credentials = credentials_of(&c);
	i->shown = json_incref(c.shown);
	i->backend = xstrdup(c.backend);
	i->work_dir = own_dir(front, &c);
	i->mounted_s = (int64_t)time(NULL);
	*ret_instance = i;
	i = NULL;
	return 0;
}

void instance_free(struct instance **instance)
{
	struct instance *i = *instance;

	if (i == NULL)
		return;
	free_str(&i->at);
	free_str(&i->dir);
	free_str(&i->backend);
	free_str(&i->work_dir);
	json_drop(&i->wish);
	json_drop(&i->credentials);
	json_drop(&i->shown);
	json_drop(&i->blob_ids);
	free(i);
	*instance = NULL;
}

void instance_add(struct instance **list, struct instance *instance)
{
	assert(instance != NULL);
	DL_APPEND(*list, instance);
}

/* ---- what a worker does ---- */

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
	job->done = done;
	job->arg = arg;
	return job;
}

/* Without what opens the registry, to replace would take away what the agent still has of it. */
struct instance_job *instance_renew_job(struct front *front, struct instance *instance,
                                        front_done_fn *done, void *arg)
{
	struct instance_job *job = instance_job_new(front, instance, done, arg);

	if (instance->unsure && (instance->credentials != NULL ||
	                         !json_is_true(json_object_get(job->wish, "credentials_given"))))
		(void)json_object_set_new(job->wish, "replace", json_true());
	return job;
}

void instance_renewed(struct instance_job *job)
{
	struct instance *i = job->instance;

	i->busy = false;
	i->coming = NULL;
	i->unsure = i->unsure && job->result < 0;
	if (job->blob_ids != NULL) {
		json_drop(&i->blob_ids);
		i->blob_ids = json_incref(job->blob_ids);
	}
}

void instance_job_end(struct instance_job *job)
{
	front_done_fn *done = job->done;
	void *arg = job->arg;
	const int r = job->result;
	const struct err why = job->err;

	instance_free(&job->fresh);
	json_drop(&job->wish);
	json_drop(&job->credentials);
	json_drop(&job->blob_ids);
	free_str(&job->dir);
	free_str(&job->work_dir);
	free(job);
	done(arg, r, &why);
}

static int prepare(struct instance_job *j)
{
	if (j->make_dir && mkdir(j->dir, 0755) != 0 && errno != EEXIST)
		return err_errno(&j->err, errno, "%s cannot be made", j->dir);
	return link_ensure(j->link, j->work_dir, &j->err);
}

static void learn_blobs(struct instance_job *j)
{
	AUTO(json_drop) json_t *mount = NULL;
	struct err ignored = { 0 };

	if (link_look(j->link, j->dir, &mount, &ignored) == 0)
		j->blob_ids = json_incref(json_object_get(mount, "blob_ids"));
}

/* It may be on its way up from the agent's list, or down: then the credentials go first.
 * @param given  what giving them has come to so far */
static void mount_patiently(struct instance_job *j, int given)
{
	const struct timespec pause = { .tv_nsec = RENEW_WAIT_MS * 1000000L };
	struct err ignored = { 0 };
	bool is_next = false;

	for (int i = 0; i < RENEW_TRIES; i++) {
		j->result = link_mount(j->link, j->wish, j->credentials, &j->given_up, &j->found,
		                       &j->err);
		/* It was just ending: the next one, once. */
		if (j->result == -ECONNREFUSED && !is_next &&
		    link_ensure(j->link, j->work_dir, &j->err) == 0) {
			is_next = true;
			given = -ENOENT;
			continue;
		}
		if (j->result != -EAGAIN)
			break;
		if (given == -ENOENT && j->credentials != NULL)
			given = link_give(j->link, j->dir, j->credentials, &ignored);
		(void)nanosleep(&pause, NULL);
	}
	if (j->result == 0)
		learn_blobs(j);
}

void instance_mount_work(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);
	struct err e = { 0 };

	j->result = prepare(j);
	if (j->result == 0)
		mount_patiently(j, -ENOENT);
	/* The agent takes it back: not before that is the directory free. Where it was to be in
	 * place of another one, that is unmounted next. */
	if (j->result == -ECANCELED && atomic_load(&j->given_up) && j->fresh == NULL &&
	    link_umount(j->link, j->dir, &e) < 0)
		log_warn(j->front->log, "a mount that nobody wants stays", "dir=%s error=%s",
		         LOG_Q(j->dir), LOG_Q(e.msg));
	if (j->result < 0 && j->make_dir)
		(void)rmdir(j->dir);
	/* What was there already has not taken those of the wish. */
	if (j->result == 0 && j->credentials != NULL &&
	    link_give(j->link, j->dir, j->credentials, &e) < 0)
		log_warn(j->front->log, "the agent does not take credentials", "dir=%s error=%s",
		         LOG_Q(j->dir), LOG_Q(e.msg));
}

void instance_renew_work(struct job *job)
{
	struct instance_job *j = container_of(job, struct instance_job, job);
	struct err ignored = { 0 };
	int given = 0;

	j->result = prepare(j);
	if (j->result == 0 && j->credentials != NULL)
		given = link_give(j->link, j->dir, j->credentials, &ignored);
	if (j->result == 0)
		mount_patiently(j, given);
	/* The one that took them before may have been another one, at its end. */
	if (j->result == 0 && j->credentials != NULL)
		j->result = link_give(j->link, j->dir, j->credentials, &j->err);
}
