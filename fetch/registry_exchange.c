/*
 * registry_exchange: asks one server once: makes the URL and headers, passes on the bytes that are
 * wanted, and keeps what the state machine needs to judge the answer.
 *
 * Does not know what happens next.
 */
#include "bytes.h"
#include "mem.h"
#include "registry_impl.h"
#include "secret.h"
#include "url.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Reading a short answer to its end saves the connection. */
#define DROP_MAX_BYTES 65536
enum { STOP = -ECANCELED }; /* enough of this body; never told to the user */

#define ACCEPT_MANIFESTS                                                                           \
	"Accept: application/vnd.oci.image.manifest.v1+json, "                                     \
	"application/vnd.docker.distribution.manifest.v2+json, "                                   \
	"application/vnd.oci.image.index.v1+json, "                                                \
	"application/vnd.docker.distribution.manifest.list.v2+json, */*;q=0.1"

void exchange_reset(struct exchange *x)
{
	free_secret(&x->location);
	free_str(&x->www_authenticate);
	*x = (struct exchange){ 0 };
}

char *registry_redirect_key(const struct registry_req *req)
{
	return xasprintf("%llu %s %s %s", (unsigned long long)req->way->id, req->host->name,
	                 req->repository, req->reference);
}

/* Docker Hub's images are not at the host that names them. */
static const char *api_host(const char *name)
{
	return strcmp(name, "docker.io") == 0 ? "registry-1.docker.io" : name;
}

char *registry_own_url(const struct registry_req *req)
{
	if (req->want.kind == REGISTRY_URL)
		return xstrdup(req->reference);
	return xasprintf("%s://%s/v2/%s/%s/%s", req->host_reach.scheme, api_host(req->host->name),
	                 req->repository, req->want.kind == REGISTRY_BLOB ? "blobs" : "manifests",
	                 req->reference);
}

/* ---- libcurl's answers ---- */

/* Behind a callback of the user. @return STOP: it was cancelled there, and is gone */
static int after_callback(struct registry_req *req)
{
	req->in_callback = false;
	if (!req->cancelled)
		return 0;
	registry_req_free(req);
	return STOP;
}

static int tell_head(struct registry_req *req, const struct http_head *head)
{
	if (req->head_told || req->want.head_done == NULL)
		return 0;
	req->head_told = true;
	req->in_callback = true;
	req->want.head_done(req->want.arg, head);
	return after_callback(req);
}

static void note_ignored_range(struct registry_req *req)
{
	if (req->host->ranges_ignored)
		return;
	req->host->ranges_ignored = true;
	log_warn(req->registry->opts.log, "the registry ignores Range: lazy reads are slow there",
	         "host=%s", req->host->name);
}

static int on_good_head(struct registry_req *req, const struct http_head *head)
{
	const uint64_t max_bytes = req->want.max_body_bytes;
	int r = 0;

	if (!req->want.head) {
		r = window_head(&req->window, head, &req->x.err);
		if (r == WINDOW_RANGE_IGNORED)
			note_ignored_range(req);
	}
	if (r >= 0 && !req->want.has_range && !req->want.head && max_bytes != 0 &&
	    head->content_length > 0 && (uint64_t)head->content_length > max_bytes)
		r = err_set(&req->x.err, EMSGSIZE, "%s sends %lld bytes, at most %llu are taken",
		            req->host->name, (long long)head->content_length,
		            (unsigned long long)max_bytes);
	if (r < 0) {
		req->x.fault = r;
		return STOP;
	}
	return tell_head(req, head);
}

/* The answer asks for another question, which has time, too. Trouble does not: each try would
 * have more than the one before. */
static bool leads_on(const struct registry_req *req)
{
	switch (req->x.verdict) {
	case VERDICT_REDIRECT:
	case VERDICT_UNAUTHORIZED:
	case VERDICT_FORBIDDEN:
	case VERDICT_GONE: /* the next endpoint is asked, if there is one */
		return true;
	case VERDICT_NONE:
	case VERDICT_BODY:
	case VERDICT_BUSY:
	case VERDICT_TROUBLE:
	case VERDICT_NONSENSE:
		break;
	}
	return req->target != NULL && !req->no_cached_target && verdict_is_stale(req->x.status);
}

static int on_head(void *arg, const struct http_head *head)
{
	struct registry_req *req = arg;

	req->x.status = head->status;
	req->x.retry_after_s = head->retry_after_s;
	req->x.verdict = verdict_of(head->status);
	if (leads_on(req))
		req->want.deadline_ns = max_u64(req->want.deadline_ns, http_deadline_ns(req->http));
	if (head->location != NULL)
		req->x.location = xstrdup(head->location);
	if (head->www_authenticate != NULL)
		req->x.www_authenticate = xstrdup(head->www_authenticate);
	return req->x.verdict == VERDICT_BODY ? on_good_head(req, head) : 0;
}

static int tell_body(struct registry_req *req, const uint8_t *bytes, size_t size_bytes)
{
	const uint64_t max_bytes = req->want.max_body_bytes;
	int r;

	if (max_bytes != 0 && size_bytes > max_bytes - req->delivered_bytes) {
		req->x.fault = err_set(&req->x.err, EMSGSIZE, "%s sends more than %llu bytes",
		                       req->host->name, (unsigned long long)max_bytes);
		return STOP;
	}
	req->delivered_bytes += size_bytes;
	req->n_failures = 0;
	if (req->want.body == NULL)
		return 0;
	req->in_callback = true;
	r = req->want.body(req->want.arg, bytes, size_bytes);
	if (after_callback(req) != 0)
		return STOP;
	req->x.user_result = r;
	return r != 0 ? STOP : 0;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct registry_req *req = arg;
	size_t first = 0;
	size_t n;
	int r = 0;

	if (req->x.verdict != VERDICT_BODY) {
		req->x.dropped_bytes += size_bytes;
		return req->x.dropped_bytes > DROP_MAX_BYTES ? STOP : 0;
	}
	n = window_take(&req->window, size_bytes, &first);
	if (n > 0)
		r = tell_body(req, bytes + first, n);
	/* A server that ignores Range goes on to the end of the object: not with us. */
	if (r == 0 && n < size_bytes && window_complete(&req->window))
		r = STOP;
	return r;
}

static void count(const struct registry_req *req)
{
	registry_host_count(req->registry->opts.metrics, req->host->name, req->x.status);
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct registry_req *req = arg;

	req->http = NULL;
	count(req);
	registry_req_exchange_ended(req, r, why);
}

void registry_exchange_cancel(struct registry_req *req)
{
	if (req->http != NULL && http_cancel(req->http))
		count(req);
	req->http = NULL;
}

/* ---- which way ---- */

/* The settings for the server that is asked: its own entry, else those of who sends us there. */
static struct registry_config config_for(const struct registry_req *req, const char *url)
{
	char authority[AUTHORITY_MAX_BYTES];
	const struct registry_host *host = NULL;
	struct err ignored;

	if (req->target != NULL && url_authority(url, authority, &ignored) == 0)
		host = registry_host_find(&req->registry->hosts, authority);
	return host != NULL && host->own_entry ? host->config : req->host_reach;
}

/* ---- for people ---- */

/* "HOST[:PORT]" of a URL, without what may be secret of it. */
static void put_server(const char *url, char ret_server[AUTHORITY_MAX_BYTES])
{
	struct err ignored;

	if (url_authority(url, ret_server, &ignored) < 0)
		(void)snprintf(ret_server, AUTHORITY_MAX_BYTES, "(not shown)");
}

static void put_proxy(const char *proxy, char ret_server[AUTHORITY_MAX_BYTES])
{
	const char *scheme_end = strstr(proxy, "://");
	const char *host = scheme_end != NULL ? scheme_end + 3 : proxy;
	const char *user_end = strrchr(host, '@');

	host = user_end != NULL ? user_end + 1 : host;
	(void)snprintf(ret_server, AUTHORITY_MAX_BYTES, "%.*s", (int)strcspn(host, "/"), host);
}

static const char *what_it_waits_for(const struct registry_req *req)
{
	switch (req->state) {
	case REQ_GATE:
		return ": waits until it may be asked";
	case REQ_AUTH:
		return ": waits for a token";
	case REQ_REST:
		return ": failed, and is asked again in a moment";
	case REQ_ASKED:
	case REQ_DONE:
	case N_REQ_STATES:
		break;
	}
	return "";
}

void registry_whom(const struct registry_req *req, char *ret_text, size_t size_bytes)
{
	const char *url = req->target != NULL ? req->target : req->own_url;
	const char *proxy = config_for(req, url).proxy;
	const bool is_mirror = req->host != req->asked;
	char target[AUTHORITY_MAX_BYTES] = "";
	char through[AUTHORITY_MAX_BYTES] = "";

	if (req->target != NULL)
		put_server(req->target, target);
	if (proxy != NULL)
		put_proxy(proxy, through);
	(void)snprintf(ret_text, size_bytes, "%s%s%s%s%s%s%s%s", target,
	               target[0] != '\0' ? ", where the bytes are, by " : "", req->host->name,
	               is_mirror ? ", a mirror of " : "", is_mirror ? req->asked->name : "",
	               proxy != NULL ? ", through the proxy " : "", through,
	               what_it_waits_for(req));
}

/* ---- the question ---- */

int registry_exchange_start(struct registry_req *req, struct err *e)
{
	const char *url = req->target != NULL ? req->target : req->own_url;
	const struct registry_config config = config_for(req, url);
	const char *headers[2];
	struct http_request request = {
		.method = req->want.head ? "HEAD" : "GET",
		.url = url,
		.headers = headers,
		.ca_file = config.ca_file,
		.proxy = config.proxy,
		.proxy_username = config.proxy_username,
		.proxy_password = config.proxy_password,
		.skip_verify = config.skip_verify,
		.deadline_ns = req->want.deadline_ns,
		.urgent = req->want.urgent,
		.head = on_head,
		.body = on_body,
		.end = on_end,
		.arg = req,
	};

	exchange_reset(&req->x);
	if (!req->want.head)
		window_ask(&req->window, &request);
	/* Nobody but the registry itself gets to see what opens it. */
	if (req->header.text != NULL &&
	    (req->target == NULL || url_same_server(req->own_url, req->target)))
		headers[request.n_headers++] = req->header.text;
	if (req->want.kind == REGISTRY_MANIFEST)
		headers[request.n_headers++] = ACCEPT_MANIFESTS;
	return http_start(req->registry->opts.http, &request, &req->http, e);
}
