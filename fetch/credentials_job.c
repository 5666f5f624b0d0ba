/*
 * credentials_job: the door between the loop and the worker that reads credentials.
 */
#include "credentials_job.h"
#include "mem.h"
#include <errno.h>
#include <stdlib.h>

#define HELPER_TIMEOUT_MS 10000

static void job_free(struct credentials_job *j)
{
	credentials_wipe(&j->credentials);
	credentials_wipe(&j->given);
	free_str(&j->auth_file);
	free_str(&j->host);
	free_str(&j->repository);
	free(j);
}

static void read_them(struct job *job) /* worker thread */
{
	struct credentials_job *j = container_of(job, struct credentials_job, job);

	if (atomic_load(j->stopping)) /* a helper that hangs takes all of its time */
		j->result = err_set(&j->err, EAGAIN, "the agent stops");
	else
		j->result = credentials_find(&j->query, &j->credentials, &j->err);
}

static void after(struct job *job)
{
	struct credentials_job *j = container_of(job, struct credentials_job, job);

	if (j->owner != NULL)
		j->done(j);
	job_free(j);
}

struct credentials_job *
credentials_job_start(const struct registry_auths *auths, const struct way *way,
                      const struct registry_host *host, const char *repository,
                      void (*done)(struct credentials_job *job), void *owner)
{
	struct credentials_job *j = xcalloc(1, sizeof(*j));

	j->owner = owner;
	j->done = done;
	j->stopping = &auths->stopping;
	j->host = xstrdup(host->name);
	j->repository = xstrdup(repository);
	j->auth_file = xstrdup_or_null(way->auth_file);
	credentials_copy(&j->given, &way->credentials);
	j->query.given = way->given ? &j->given : NULL;
	j->query.to_come = way->to_come;
	j->query.host = j->host;
	j->query.repository = j->repository;
	j->query.auth_file = j->auth_file;
	j->query.username = host->config.username;
	j->query.password_file = host->config.password_file;
	j->query.docker_config = host->config.docker_config;
	j->query.default_config = auths->default_config;
	j->query.helper_timeout_ms = HELPER_TIMEOUT_MS;
	j->query.log = auths->opts->log;
	j->job = (struct job){ .work = read_them, .after = after, .prio = JOB_READER };
	pool_submit(auths->opts->pool, &j->job);
	return j;
}
