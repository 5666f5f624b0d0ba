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

/* The ways that were tried in a row, and whose word counts if none works. */
struct way_row {
	struct way *tried[WAYS_IN_A_ROW]; /* references; the last is the request's, too */
	uint32_t n_tried;
	uint32_t n_words; /* said so far; the one that counts is in result and err */
	uint64_t word_worked_at;
	bool word_may_pass;
};

struct registry_req {
	struct registry *registry;
	struct registry_request want; /* its texts are the three below */
	char *host_name;
	char *repository;
	char *reference;
	enum req_state state;
	struct window window;
	struct registry_host *asked;       /* the registry of want */
	struct registry_host *host;        /* the registry or mirror that is asked now */
	struct way *way;                   /* a reference; the same for a whole exchange */
	struct registry_config reach;      /* the settings for asked, that way */
	struct registry_config host_reach; /* for host: of a mirror nothing that mounts say */
	char *own_url;                     /* of what is wanted, at host, whatever the redirects */
	struct registry_auth *auth;        /* of host, on this way */
	struct auth_header header;         /* as sent */
	uint32_t endpoint_idx;             /* the mirrors, then the host itself */
	char *target;                      /* where a redirect leads; NULL: to host itself */
	bool target_cached;
	bool no_cached_target; /* it was stale once: not again in this request */
	uint32_t n_redirects;
	uint32_t n_refused;
	uint32_t n_failures; /* in a row, for the backoff */
	struct way_row row;
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
/** The server that is being asked is heard no more, if any is. What was sent counts. */
void registry_exchange_cancel(struct registry_req *req);
void exchange_reset(struct exchange *x);
/** Of what is wanted, at the registry or mirror that is asked now, this way. @return malloc'd */
char *registry_own_url(const struct registry_req *req);
char *registry_redirect_key(const struct registry_req *req);

/* registry_way.c: which way it goes. Both of these leave the endpoint to be set anew. */
/** The best one: a row begins. */
void registry_way_first(struct registry_req *req);
/** @return false: there is no other, or no time for it */
bool registry_way_next(struct registry_req *req, uint64_t now_ns);
/** It does not lead to an answer that can be used. may_pass: nor to any. What is told if no way in
 * the row is better is in result and err. */
void registry_way_failed(struct registry_req *req, bool may_pass, int r, const struct err *why,
                         uint64_t now_ns);
void registry_way_worked(struct registry_req *req);
void registry_way_end(struct registry_req *req); /* drop all of it */
