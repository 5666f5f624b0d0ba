/*
 * registry_auth: one flow a repository from a refusal to the next header; everybody waits on it.
 *
 *   IDLE --refused, or ending--> READING --credentials--> ASKING --token--> IDLE
 *    ^                              `--- Basic, or nothing can be had ------>'
 *
 * A header that still has a fifth of its life is used while the next one is being fetched.
 * Does not know what the requests ask for. Credentials are kept only while the flow runs.
 */
#include "registry_auth.h"
#include "challenge.h"
#include "credentials_job.h"
#include "mem.h"
#include "secret.h"
#include "token_request.h"
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <utlist.h>

#define RENEW_AGAIN_NS (5 * NS_PER_S) /* after a renewal that failed while the old one holds */

enum state { IDLE, READING, ASKING };

struct registry_auth {
	struct registry_auths *auths;
	const struct way *way; /* its owner */
	struct registry_host *host;
	char *repository;
	enum state state;
	struct challenge
		challenge; /* the last one; NONE: the registry has not asked for anything */
	char *header;      /* a secret; NULL: none */
	bool anonymous;
	bool got_anonymously; /* the last answer, whatever the way: of the plain one's */
	bool accepted;        /* this generation was taken at least once */
	uint64_t generation;  /* one more with each change of header; 0: never had one */
	uint64_t renew_ns;
	uint64_t end_ns;
	struct credentials_job *job;
	struct token_request *request;
	struct auth_wait *waiting;
	struct registry_auth *next;
};

static const struct clock *clock_of(const struct registry_auth *auth)
{
	return auth->auths->opts->clock;
}

/* ---- the table ---- */

struct registry_auth *registry_auth_of(struct registry_auths *auths, struct way *way,
                                       struct registry_host *host, const char *repository)
{
	struct registry_auth *auth = way->auths;

	while (auth != NULL && (auth->host != host || strcmp(auth->repository, repository) != 0))
		auth = auth->next;
	if (auth != NULL)
		return auth;
	auth = xcalloc(1, sizeof(*auth));
	auth->auths = auths;
	auth->way = way;
	auth->host = host;
	auth->repository = xstrdup(repository);
	auth->next = way->auths;
	way->auths = auth;
	return auth;
}

static void drop_header(struct registry_auth *auth)
{
	free_secret(&auth->header);
	auth->accepted = false;
	auth->generation++;
}

static void auth_free(struct registry_auth *auth)
{
	assert(auth->waiting == NULL);
	if (auth->job != NULL)
		auth->job->owner = NULL;
	token_request_cancel(&auth->request);
	free_secret(&auth->header);
	free_str(&auth->repository);
	free(auth);
}

void registry_auths_free(struct registry_auth **first)
{
	while (*first != NULL) {
		struct registry_auth *auth = *first;

		*first = auth->next;
		auth_free(auth);
	}
}

/* ---- the flow ---- */

static void tell_all(struct registry_auth *auth, int r, const struct err *why)
{
	struct auth_wait *waiting = auth->waiting;
	struct auth_wait *each;

	auth->waiting = NULL; /* who asks again from inside done() waits for the next flow */
	DL_FOREACH(waiting, each)
	each->list = &waiting; /* done() of one may cancel another */
	while (waiting != NULL) {
		struct auth_wait *wait = waiting;

		registry_auth_unwait(wait);
		wait->done(wait, r, why);
	}
}

static void flow_failed(struct registry_auth *auth, int r, const struct err *why)
{
	const uint64_t now_ns = clock_now_ns(clock_of(auth));

	auth->state = IDLE;
	if (auth->header != NULL && now_ns < auth->end_ns) {
		auth->renew_ns = now_ns + RENEW_AGAIN_NS;
	} else {
		drop_header(auth);
		/* After a refusal the registry is asked again what it wants; after trouble the
		 * flow is simply tried again. */
		if (r != -EAGAIN)
			auth->challenge.scheme = CHALLENGE_NONE;
	}
	tell_all(auth, r, why);
}

/* @param header  moved */
static void flow_done(struct registry_auth *auth, char *header, uint64_t life_ns, bool anonymous)
{
	const uint64_t now_ns = clock_now_ns(clock_of(auth));

	drop_header(auth);
	auth->state = IDLE;
	auth->header = header;
	auth->anonymous = anonymous;
	auth->end_ns = life_ns == UINT64_MAX ? UINT64_MAX : now_ns + life_ns;
	auth->renew_ns = life_ns == UINT64_MAX ? UINT64_MAX : now_ns + life_ns / 5 * 4;
	tell_all(auth, 0, &(struct err){ 0 });
}

static void on_token(void *arg, int r, const struct token_answer *answer, bool anonymous,
                     const struct err *why)
{
	struct registry_auth *auth = arg;

	auth->request = NULL;
	if (r < 0) {
		flow_failed(auth, r, why);
		return;
	}
	flow_done(auth, xasprintf("Authorization: Bearer %s", answer->token),
	          answer->life_s * NS_PER_S, anonymous);
}

static void ask_token(struct registry_auth *auth, struct credentials *credentials)
{
	const struct token_request_opts opts = {
		.auths = auth->auths,
		.way = auth->way,
		.host = auth->host,
		.repository = auth->repository,
		.challenge = &auth->challenge,
		.credentials = credentials,
		.done = on_token,
		.arg = auth,
	};
	struct err e = { 0 };
	const int r = token_request_start(&opts, &auth->request, &e);

	auth->state = ASKING;
	if (r < 0)
		flow_failed(auth, r, &e);
}

static void make_basic(struct registry_auth *auth, const struct credentials *credentials)
{
	AUTO(free_secret) char *header = credentials_basic_header(credentials);
	struct err e = { 0 };

	if (header == NULL) {
		flow_failed(auth,
		            err_set(&e, EACCES,
		                    "%s asks for a user name and password for %s and none is "
		                    "configured (docker config, or username and password_file)",
		                    auth->host->name, auth->repository),
		            &e);
		return;
	}
	flow_done(auth, header, UINT64_MAX, false);
	header = NULL;
}

static void on_credentials(struct credentials_job *job)
{
	struct registry_auth *auth = job->owner;

	auth->job = NULL;
	if (job->result < 0)
		flow_failed(auth, job->result, &job->err);
	else if (job->credentials.bearer != NULL)
		flow_done(auth, xasprintf("Authorization: Bearer %s", job->credentials.bearer),
		          UINT64_MAX, false);
	else if (auth->challenge.scheme == CHALLENGE_BEARER)
		ask_token(auth, &job->credentials);
	else
		make_basic(auth, &job->credentials);
}

static void start_flow(struct registry_auth *auth)
{
	if (auth->state != IDLE)
		return;
	auth->state = READING;
	auth->job = credentials_job_start(auth->auths, auth->way, auth->host, auth->repository,
	                                  on_credentials, auth);
}

/* ---- the public calls ---- */

int registry_auth_get(struct registry_auth *auth, struct auth_wait *wait,
                      struct auth_header *ret_header)
{
	const uint64_t now_ns = clock_now_ns(clock_of(auth));
	const bool asked_for = auth->challenge.scheme != CHALLENGE_NONE;
	const bool holds = auth->header != NULL && now_ns < auth->end_ns;

	if (asked_for && (!holds || now_ns >= auth->renew_ns))
		start_flow(auth);
	if (asked_for && !holds) {
		wait->list = &auth->waiting;
		DL_APPEND(auth->waiting, wait);
		return AUTH_WAIT;
	}
	*ret_header = (struct auth_header){
		.text = auth->header,
		.generation = auth->generation,
		.anonymous = auth->header == NULL || auth->anonymous,
	};
	return 0;
}

void registry_auth_unwait(struct auth_wait *wait)
{
	if (wait->list != NULL)
		DL_DELETE(*wait->list, wait);
	wait->list = NULL;
}

int registry_auth_refused(struct registry_auth *auth, uint64_t generation,
                          const char *www_authenticate, struct err *e)
{
	struct challenge challenge;

	if (generation != auth->generation)
		return 0; /* somebody else has seen to it already */
	if (www_authenticate != NULL && challenge_parse(www_authenticate, &challenge))
		auth->challenge = challenge;
	if (auth->challenge.scheme == CHALLENGE_NONE)
		return err_set(e, EACCES,
		               "%s refuses %s and asks for nothing that shoal could answer",
		               auth->host->name, auth->repository);
	drop_header(auth);
	return 0;
}

void registry_auth_accepted(struct registry_auth *auth, uint64_t generation)
{
	if (generation == auth->generation)
		auth->accepted = true;
}

bool registry_auth_is_current(const struct registry_auth *auth, uint64_t generation)
{
	return generation == auth->generation;
}

bool registry_auth_was_accepted(const struct registry_auth *auth, uint64_t generation)
{
	return generation != auth->generation || auth->accepted;
}

void registry_auth_note_anonymous(struct registry_auths *auths, struct registry_host *host,
                                  const char *repository, bool anonymous)
{
	registry_auth_of(auths, &auths->ways.plain, host, repository)->got_anonymously = anonymous;
}

bool registry_auths_anonymous(const struct registry_auths *auths, const char *host,
                              const char *repository)
{
	for (const struct registry_auth *auth = auths->ways.plain.auths; auth != NULL;
	     auth = auth->next)
		if (strcmp(auth->host->name, host) == 0 &&
		    strcmp(auth->repository, repository) == 0)
			return auth->got_anonymously;
	return false;
}
