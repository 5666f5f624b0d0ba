/*
 * registry_req: one request through all it may take: mirrors, tokens, redirects, rests.
 *
 *   GATE --may ask--> AUTH --header--> ASKED --all came, or final--> (end)
 *    ^ `wait          | `wait             |
 *    |<-- redirect: may that be asked? ---|
 *    |<-- refused (401), stale target ----|
 *    |<-- next endpoint (after a mirror) -|
 *    |<-- another way (registry_way.c) ---|
 *    `--------- REST <-- trouble ---------'
 *
 * Every state but DONE ends by the request's deadline. Knows no HTTP: registry_exchange.c does.
 */
#include "mem.h"
#include "random.h"
#include "registry_impl.h"
#include "secret.h"
#include "url.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define REDIRECTS_MAX  5
#define REFUSALS_MAX   5 /* each after a token that had worked: they end faster than we can ask */
#define REST_FIRST_NS  (100 * NS_PER_MS)
#define REST_MAX_NS    (5 * NS_PER_S)
#define MIRROR_REST_NS (10 * NS_PER_S)

static void req_run(struct registry_req *req, enum req_state next);

static uint64_t now_ns(const struct registry_req *req)
{
	return clock_now_ns(req->registry->opts.clock);
}

static uint32_t n_mirrors(const struct registry_req *req)
{
	return req->want.kind == REGISTRY_URL ? 0 : req->asked->config.n_mirrors;
}

static bool has_mirror_next(const struct registry_req *req)
{
	return req->endpoint_idx < n_mirrors(req);
}

/* Not in the clear where the configuration says https. */
static bool may_tell_credentials(const struct registry_req *req)
{
	return req->want.kind != REGISTRY_URL || url_is_tls(req->reference) ||
	       strcmp(req->host_reach.scheme, "http") == 0;
}

void registry_req_free(struct registry_req *req)
{
	req->registry->n_requests--;
	timer_fini(&req->timer);
	exchange_reset(&req->x);
	registry_way_end(req);
	free_secret(&req->target);
	free_str(&req->own_url);
	free_str(&req->host_name);
	free_str(&req->repository);
	free_str(&req->reference);
	free(req);
}

/* ---- the end ---- */

static enum req_state done(struct registry_req *req, int r, const struct err *why)
{
	req->result = r;
	req->err = *why;
	return REQ_DONE;
}

static enum req_state enter_done(struct registry_req *req)
{
	void (*end)(void *, int, const struct err *) = req->want.end;
	void *arg = req->want.arg;
	const int r = req->result;
	struct err why = req->err;

	if (req->starting) { /* not from inside registry_start() */
		timer_start(&req->timer, 0);
		return N_REQ_STATES;
	}
	if (r < 0)
		(void)err_wrap(&why, "%s%s%s", req->repository, *req->repository ? " " : "",
		               req->want.kind == REGISTRY_URL ? "" : req->reference);
	registry_req_free(req);
	end(arg, r, &why);
	return N_REQ_STATES;
}

/* ---- which server ---- */

static void free_target(struct registry_req *req)
{
	free_secret(&req->target);
	req->target_cached = false;
}

/* A mirror is asked as is configured for it, else for whom it stands in: never as a mount says,
 * which may know no better than to go without TLS, or without a look at the certificate. */
static struct registry_config reach_of_host(const struct registry_req *req)
{
	if (req->host == req->asked)
		return req->reach;
	return req->host->own_entry ? req->host->config : req->asked->config;
}

static void set_endpoint(struct registry_req *req, uint32_t idx)
{
	const struct registry_config *config = &req->asked->config;
	struct registry_host *host = NULL;
	struct way *way;

	if (idx < n_mirrors(req))
		host = registry_host_get(&req->registry->hosts, config->mirrors[idx]);
	req->endpoint_idx = idx;
	req->host = host != NULL ? host : req->asked;
	/* A mirror is told what is configured for it, and nothing of what mounts were given. */
	way = req->host == req->asked ? req->way : &req->registry->auths.ways.plain;
	req->auth = registry_auth_of(&req->registry->auths, way, req->host, req->repository);
	req->host_reach = reach_of_host(req);
	free_str(&req->own_url);
	req->own_url = registry_own_url(req);
	req->n_refused = 0;
	req->n_redirects = 0;
	free_target(req);
}

static void use_cached_target(struct registry_req *req)
{
	AUTO(free_str) char *key = NULL;
	const char *url;

	if (req->target != NULL || req->no_cached_target || req->want.head ||
	    req->want.kind != REGISTRY_BLOB)
		return;
	key = registry_redirect_key(req);
	url = redirects_find(req->registry->redirects, key);
	if (url == NULL)
		return;
	req->target = xstrdup(url);
	req->target_cached = true;
}

static void drop_target(struct registry_req *req)
{
	AUTO(free_str) char *key = registry_redirect_key(req);

	redirects_drop(req->registry->redirects, key);
	free_target(req);
	req->no_cached_target = true;
}

/* The server that will really be asked, if it is known. make: then it is. */
static struct registry_host *gate_host(const struct registry_req *req, bool make)
{
	struct registry_hosts *hosts = &req->registry->hosts;
	char authority[AUTHORITY_MAX_BYTES];
	struct err ignored;

	if (req->target == NULL)
		return req->host;
	if (url_authority(req->target, authority, &ignored) < 0)
		return NULL;
	return make ? registry_host_led_to(hosts, authority) : registry_host_find(hosts, authority);
}

/* ---- failures ---- */

/* @return false: the deadline would be over by then */
static bool wait_ns(struct registry_req *req, uint64_t ns)
{
	const uint64_t deadline_ns = req->want.deadline_ns;

	if (deadline_ns == 0 ? ns > REST_MAX_NS : now_ns(req) + ns >= deadline_ns)
		return false;
	timer_start(&req->timer, (ns + NS_PER_MS - 1) / NS_PER_MS);
	return true;
}

/* Spreads those that failed together. */
static uint64_t jittered(struct registry *r, uint64_t ns)
{
	return ns / 2 + random_next(&r->random) % (ns / 2);
}

static uint64_t rest_ns(struct registry_req *req)
{
	uint64_t ns = REST_MAX_NS;

	if (req->n_failures < 6)
		ns = REST_FIRST_NS << req->n_failures;
	req->n_failures++;
	return jittered(req->registry, ns < REST_MAX_NS ? ns : REST_MAX_NS);
}

static enum req_state rest_or_done(const struct registry_req *req, bool may_pass)
{
	return may_pass && req->want.retry && req->want.deadline_ns != 0 ? REQ_REST : REQ_DONE;
}

/* The registry itself cannot be asked this way, or does not give it. */
static enum req_state way_failed(struct registry_req *req, bool may_pass, int r,
                                 const struct err *why)
{
	registry_way_failed(req, may_pass, r, why, now_ns(req));
	if (!registry_way_next(req, now_ns(req)))
		return rest_or_done(req, req->row.word_may_pass);
	set_endpoint(req, n_mirrors(req));
	return REQ_GATE;
}

/* A good answer, or where a redirect leads, turns out bad: the way there is not to blame. */
static enum req_state answer_failed(struct registry_req *req, bool may_pass, int r,
                                    const struct err *why)
{
	const bool was_cached = req->target_cached;

	(void)done(req, r, why); /* what is told if it cannot be asked again */
	/* A server that is gone for good must not be asked for ever: the registry may send us
	 * elsewhere by now. */
	if (may_pass && req->target != NULL) {
		drop_target(req);
		if (was_cached)
			return REQ_GATE;
	}
	return rest_or_done(req, may_pass);
}

/* It failed at this endpoint. may_pass: the same question may be answered another time. */
static enum req_state failed(struct registry_req *req, bool may_pass, int r, const struct err *why)
{
	if (has_mirror_next(req)) {
		if (may_pass)
			req->host->bad_until_ns = now_ns(req) + MIRROR_REST_NS;
		log_debug(req->registry->opts.log, "mirror passed over", "host=%s why=%s",
		          req->host->name, LOG_Q(why->msg));
		set_endpoint(req, req->endpoint_idx + 1);
		return REQ_GATE;
	}
	if (req->target != NULL || req->x.verdict == VERDICT_BODY ||
	    req->x.verdict == VERDICT_REDIRECT)
		return answer_failed(req, may_pass, r, why);
	return way_failed(req, may_pass, r, why);
}

static enum req_state enter_rest(struct registry_req *req)
{
	return wait_ns(req, rest_ns(req)) ? N_REQ_STATES : REQ_DONE;
}

/* ---- may we ask? ---- */

/* Not before ns are over. */
static enum req_state gate_is_closed(struct registry_req *req, const struct registry_host *host,
                                     uint64_t ns)
{
	struct err e;

	if (req->target != NULL && has_mirror_next(req) && now_ns(req) < host->not_before_ns) {
		set_endpoint(req, req->endpoint_idx + 1);
		return REQ_GATE;
	}
	if (wait_ns(req, ns))
		return N_REQ_STATES;
	if (req->target_cached) { /* the registry may send us elsewhere by now */
		drop_target(req);
		return REQ_GATE;
	}
	if (req->err.code == 0)
		(void)err_set(&e, EAGAIN, "%s asked not to be asked for %llu ms", host->name,
		              (unsigned long long)(ns / NS_PER_MS));
	else
		e = req->err;
	return done(req, -EAGAIN, &e);
}

static enum req_state enter_gate(struct registry_req *req)
{
	struct registry_host *host;
	uint64_t ns;

	exchange_reset(&req->x);
	while (has_mirror_next(req) &&
	       (now_ns(req) < req->host->bad_until_ns || now_ns(req) < req->host->not_before_ns))
		set_endpoint(req, req->endpoint_idx + 1);
	use_cached_target(req);
	host = gate_host(req, false);
	ns = host != NULL ? registry_host_admit(host, now_ns(req)) : 0;
	return ns == 0 ? REQ_AUTH : gate_is_closed(req, host, ns);
}

static void on_auth(struct auth_wait *wait, int r, const struct err *why)
{
	struct registry_req *req = container_of(wait, struct registry_req, wait);

	timer_stop(&req->timer);
	if (r == 0)
		req_run(req, REQ_AUTH);
	else
		req_run(req, failed(req, r == -EAGAIN, r, why));
}

/* A redirect target elsewhere carries its own right. */
static bool needs_header(const struct registry_req *req)
{
	if (!may_tell_credentials(req))
		return false;
	return req->target == NULL || url_same_server(req->own_url, req->target);
}

static enum req_state enter_auth(struct registry_req *req)
{
	const uint64_t deadline_ns = req->want.deadline_ns;
	const uint64_t now = now_ns(req);

	req->wait.done = on_auth;
	if (!needs_header(req)) {
		req->header = (struct auth_header){ .anonymous = true };
		return REQ_ASKED;
	}
	if (registry_auth_get(req->auth, &req->wait, &req->header) == 0)
		return REQ_ASKED;
	if (deadline_ns != 0)
		timer_start(&req->timer, deadline_ns > now ? (deadline_ns - now) / NS_PER_MS : 0);
	return N_REQ_STATES;
}

static enum req_state enter_asked(struct registry_req *req)
{
	struct err e = { 0 };
	const int r = registry_exchange_start(req, &e);

	return r < 0 ? done(req, r, &e) : N_REQ_STATES;
}

/* ---- what came ---- */

static enum req_state judge_body(struct registry_req *req, int r, const struct err *why)
{
	struct err e = req->x.err;

	if (req->x.user_result != 0)
		return done(req, req->x.user_result, why);
	if (req->x.fault != 0) {
		(void)err_wrap(&e, "%s", req->host->name);
		return failed(req, req->x.fault == -EPROTO, req->x.fault, &e);
	}
	if (!req->want.head && window_complete(&req->window))
		return done(req, 0, why);
	if (r == 0 && (req->want.head || req->window.end == WINDOW_TO_THE_END))
		return done(req, 0, why);
	if (r == 0)
		r = err_set(&e, EAGAIN, "%s sent less than it said", req->host->name);
	else
		e = *why;
	return failed(req, true, r, &e);
}

static enum req_state judge_redirect(struct registry_req *req)
{
	AUTO(free_secret) char *url = NULL;
	AUTO(free_str) char *key = NULL;
	const char *base = req->target != NULL ? req->target : req->own_url;
	struct err e = { 0 };
	int r = 0;

	if (req->x.location == NULL || req->n_redirects++ >= REDIRECTS_MAX)
		r = err_set(&e, EPROTO, "%s redirects to nowhere, or in a circle", req->host->name);
	if (r == 0)
		r = url_resolve(base, req->x.location, &url, &e);
	if (r < 0)
		return failed(req, false, r, &e);
	free_secret(&req->target);
	req->target = url;
	url = NULL;
	if (req->want.kind == REGISTRY_BLOB && !req->want.head) {
		key = registry_redirect_key(req);
		redirects_put(req->registry->redirects, key, req->target);
	}
	return REQ_GATE; /* it may have asked not to be asked */
}

/* Is there no sense in asking again with another header? */
static bool is_last_word(const struct registry_req *req)
{
	if (req->target != NULL || !may_tell_credentials(req))
		return true;
	/* Another request has seen to it meanwhile: there may be a better one. */
	if (!registry_auth_is_current(req->auth, req->header.generation))
		return false;
	/* 403 to a header that was made for this very request, or to none at all. */
	return req->x.verdict == VERDICT_FORBIDDEN &&
	       (req->header.text == NULL || req->n_refused > 0);
}

static enum req_state judge_refusal(struct registry_req *req)
{
	const char *asks_for =
		req->x.verdict == VERDICT_UNAUTHORIZED ? req->x.www_authenticate : NULL;
	const uint64_t generation = req->header.generation;
	const bool new_header = req->n_refused > 0 && req->header.text != NULL &&
	                        !registry_auth_was_accepted(req->auth, generation);
	struct err e = { 0 };
	int r;

	if (!is_last_word(req) && req->n_refused++ < REFUSALS_MAX) {
		r = registry_auth_refused(req->auth, generation, asks_for, &e);
		if (r == 0 && !new_header)
			return REQ_GATE;
	}
	r = verdict_error(req->x.verdict, req->x.status, req->host->name, &e);
	/* Tokens that work and end faster than we can ask are trouble, not a refusal. */
	if (req->n_refused > REFUSALS_MAX)
		r = err_set(&e, EAGAIN, "%s: its tokens end at once", req->host->name);
	return failed(req, r == -EAGAIN, r, &e);
}

static void note_good_answer(struct registry_req *req)
{
	if (req->target != NULL) /* the registry itself has not spoken */
		return;
	registry_auth_accepted(req->auth, req->header.generation);
	registry_auth_note_anonymous(&req->registry->auths, req->asked, req->repository,
	                             req->header.anonymous);
	if (req->host == req->asked)
		registry_way_worked(req);
}

static enum req_state judge_plain_failure(struct registry_req *req, int r, const struct err *why)
{
	const bool answered = req->x.verdict != VERDICT_NONE;
	const bool may_pass =
		answered ? req->x.verdict == VERDICT_BUSY || req->x.verdict == VERDICT_TROUBLE
			 : r == -EAGAIN;
	struct registry_host *host = NULL;
	struct err e = *why;

	if (answered)
		r = verdict_error(req->x.verdict, req->x.status, req->host->name, &e);
	/* A server that we were sent to has a place when there is something to remember of it. */
	if (req->x.verdict == VERDICT_BUSY)
		host = gate_host(req, req->x.retry_after_s >= 0);
	if (host != NULL)
		registry_host_busy(host, req->x.retry_after_s, now_ns(req));
	return failed(req, may_pass, r, &e);
}

static enum req_state judge(struct registry_req *req, int r, const struct err *why)
{
	if (req->target != NULL && verdict_is_stale(req->x.status) && !req->no_cached_target) {
		drop_target(req); /* the registry itself has the last word */
		return REQ_GATE;
	}
	if (req->x.verdict == VERDICT_BODY || req->x.verdict == VERDICT_REDIRECT)
		note_good_answer(req);
	switch (req->x.verdict) {
	case VERDICT_BODY:
		return judge_body(req, r, why);
	case VERDICT_REDIRECT:
		return judge_redirect(req);
	case VERDICT_UNAUTHORIZED:
	case VERDICT_FORBIDDEN:
		return judge_refusal(req);
	case VERDICT_NONE:
	case VERDICT_GONE:
	case VERDICT_BUSY:
	case VERDICT_TROUBLE:
	case VERDICT_NONSENSE:
		break;
	}
	return judge_plain_failure(req, r, why);
}

void registry_req_exchange_ended(struct registry_req *req, int r, const struct err *why)
{
	req_run(req, judge(req, r, why));
}

/* ---- the machine ---- */

static const struct {
	enum req_state (*enter)(struct registry_req *req); /* N_REQ_STATES: wait for a callback */
	unsigned may_follow;
} states[N_REQ_STATES] = {
	[REQ_GATE] = { enter_gate, BIT(REQ_GATE) | BIT(REQ_AUTH) | BIT(REQ_DONE) },
	[REQ_AUTH] = { enter_auth, BIT(REQ_AUTH) | BIT(REQ_ASKED) | BIT(REQ_GATE) | BIT(REQ_REST) |
	                                   BIT(REQ_DONE) },
	[REQ_ASKED] = { enter_asked, BIT(REQ_GATE) | BIT(REQ_REST) | BIT(REQ_DONE) },
	[REQ_REST] = { enter_rest, BIT(REQ_GATE) | BIT(REQ_DONE) },
	[REQ_DONE] = { enter_done, BIT(REQ_DONE) },
};

/* The last act of every callback: req may be gone behind it. */
static void req_run(struct registry_req *req, enum req_state next)
{
	do {
		assert(states[req->state].may_follow & BIT(next));
		req->state = next;
		next = states[next].enter(req);
	} while (next != N_REQ_STATES);
}

static void on_timer(struct timer *t)
{
	struct registry_req *req = container_of(t, struct registry_req, timer);
	struct err e = { 0 };

	switch (req->state) {
	case REQ_AUTH:
		registry_auth_unwait(&req->wait);
		(void)err_set(&e, EAGAIN, "%s: no token in time", req->host->name);
		registry_way_failed(req, true, -EAGAIN, &e, now_ns(req));
		req_run(req, REQ_DONE);
		break;
	case REQ_REST:
		registry_way_first(req);
		set_endpoint(req, n_mirrors(req)); /* the mirrors had their turn */
		req_run(req, REQ_GATE);
		break;
	case REQ_GATE:
	case REQ_ASKED:
	case REQ_DONE:
	case N_REQ_STATES:
		req_run(req, req->state);
		break;
	}
}

void registry_req_begin(struct registry_req *req)
{
	timer_init(&req->timer, req->registry->opts.loop, on_timer);
	registry_way_first(req);
	set_endpoint(req, req->want.past_mirrors ? n_mirrors(req) : 0);
	req->starting = true;
	req->state = REQ_GATE;
	req_run(req, REQ_GATE);
	req->starting = false;
}
