/*
 * token_request: one question to a registry's token service.
 *
 * GET with Basic credentials or none; POST (OAuth2) where an identity token calls for it or GET is
 * not offered. All on the loop thread.
 * Source: distribution's docs/spec/auth/token and .../oauth.
 */
#pragma once
#include "challenge.h"
#include "docker_config.h"
#include "registry_auth.h"
#include "token_answer.h"

struct token_request;

struct token_request_opts {
	struct registry_auths *auths;
	const struct way *way; /* the registry and its token service are both asked that way */
	const struct registry_host *host; /* of the registry */
	const char *repository;
	const struct challenge *challenge; /* borrowed during the start alone */
	struct credentials *credentials;   /* moved */
	/* Once, not from inside. 0; -EACCES; -EAGAIN; -EPROTO. The answer lives during the call;
	 * the request is gone then. */
	void (*done)(void *arg, int r, const struct token_answer *answer, bool anonymous,
	             const struct err *why);
	void *arg;
};

MUST_CHECK int token_request_start(const struct token_request_opts *opts,
                                   struct token_request **ret_request, struct err *e);
void token_request_cancel(struct token_request **request); /* NULL is fine */

/** "Authorization: Basic ...". @return malloc'd, a secret; NULL: no user name and password */
char *credentials_basic_header(const struct credentials *c);
