/*
 * credentials_job: credentials_find() on the pool, with copies of all it needs.
 */
#pragma once
#include "credentials.h"
#include "pool.h"
#include "registry_auth.h"
#include <stdatomic.h>

struct credentials_job {
	struct job job;
	struct credentials_query
		query; /* its texts are the job's own, but for the configuration's */
	char *host;
	char *repository;
	char *auth_file;
	struct credentials given;       /* a copy */
	struct credentials credentials; /* the result */
	struct err err;
	int result;
	const atomic_bool *stopping;               /* of all: it is not begun any more */
	void *owner;                               /* NULL: nobody waits any more */
	void (*done)(struct credentials_job *job); /* loop thread; the job is freed behind it */
};

/** Start. To give up: owner = NULL; done() is then not called. */
struct credentials_job *
credentials_job_start(const struct registry_auths *auths, const struct way *way,
                      const struct registry_host *host, const char *repository,
                      void (*done)(struct credentials_job *job), void *owner);
