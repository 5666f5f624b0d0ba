/*
 * registry_exchange: asks one server once: makes the URL and headers, passes on the bytes that are
 * wanted, and keeps what the state machine needs to judge the answer.
 *
 * Does not know what happens next.
 */
#include "mem.h"
#include "registry_impl.h"
#include "secret.h"
#include "url.h"
#include <errno.h>
#include <stdio.h>

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

static int on_head(void *arg, const struct http_head *head)
{
	struct registry_req *req = arg;

	req->x.status = head->status;
	req->x.retry_after_s = head->retry_after_s;
	req->x.verdict = verdict_of(head->status);
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

static void on_end(void *arg, int r, const struct err *why)
{
	struct registry_req *req = arg;
	char code[16];

	req->http = NULL;
	(void)snprintf(code, sizeof(code), "%ld", req->x.status);
	metrics_add(req->registry->opts.metrics, METRIC_ORIGIN_REQUESTS,
	            (const char *const[]){ req->host->name, code }, 1);
	registry_req_exchange_ended(req, r, why);
}

/* ---- the question ---- */

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
