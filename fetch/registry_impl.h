/*
 * registry_impl: what the files of the registry share: one request and its state.
 */
#pragma once
#include "redirects.h"
#include "registry.h"
#include "registry_answer.h"
#include "registry_auth.h"
#include "window.h"

struct registry {
	struct registry_opts opts;
	struct registry_hosts hosts;
	struct registry_auths auths;
	struct redirects *redirects;
	uint32_t n_requests;
	uint64_t random; /* for jitter; not for secrets */
};

enum req_state {
	REQ_GATE,  /* waits until this server may be asked */
	REQ_AUTH,  /* waits for an Authorization header */
	REQ_ASKED, /* waits for the answer */
	REQ_REST,  /* waits before it asks again */
	REQ_DONE,  /* waits to tell so, where it ended inside registry_start() */
	N_REQ_STATES
};

/* What one exchange brought. */
struct exchange {
	enum verdict verdict;
	long status;
	int64_t retry_after_s;
	int user_result; /* what the user's body() returned */
	int fault;       /* the head does not fit: -EPROTO or -EMSGSIZE, with err */
	struct err err;
	char *location;
	char *www_authenticate;
	uint64_t dropped_bytes; /* of a body that nobody wants */
};

struct registry_req {
	struct registry *registry;
	struct registry_request want; /* its texts are the three below */
	char *host_name;
	char *repository;
	char *reference;
	enum req_state state;
	struct window window;
	struct registry_host *asked; /* the registry of want */
	struct registry_host *host;  /* the registry or mirror that is asked now */
	struct registry_auth *auth;  /* of host */
	struct auth_header header;   /* as sent */
	uint32_t endpoint_idx;       /* the mirrors, then the host itself */
	char *target;                /* where a redirect leads; NULL: to host itself */
	bool target_cached;
	bool no_cached_target; /* it was stale once: not again in this request */
	uint32_t n_redirects;
	uint32_t n_refused;
	uint32_t n_failures; /* in a row, for the backoff */
	uint32_t n_turns;    /* to what another mount says of how the registry is reached */
	uint64_t hint_id;    /* as asked */
	bool head_told;
	bool starting;
	bool in_callback; /* of the user: a cancel from there frees it behind the callback */
	bool cancelled;
	uint64_t delivered_bytes;
	struct timer timer;
	struct auth_wait wait;
	struct http_req *http;
	struct exchange x;
	int result; /* REQ_DONE */
	struct err err;
};

/* registry_req.c: the state machine. */
void registry_req_begin(struct registry_req *req);
void registry_req_exchange_ended(struct registry_req *req, int r, const struct err *why);
void registry_req_free(struct registry_req *req);

/* registry_exchange.c: one question over HTTP. */
MUST_CHECK int registry_exchange_start(struct registry_req *req, struct err *e);
void exchange_reset(struct exchange *x);
/** How the registry of want is reached, for its repository, by what is known now. */
struct reach registry_reach(const struct registry_req *req);
/** Of the registry or mirror that is asked now, whatever the redirects. @return malloc'd */
char *registry_own_url(const struct registry_req *req);
char *registry_redirect_key(const struct registry_req *req);
