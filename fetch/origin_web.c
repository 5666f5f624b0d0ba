/*
 * origin_web: registries and plain HTTP servers as origins. The registry module does the talking,
 * for plain servers too: tokens, redirects and Retry-After are theirs as well.
 */
#include "hex.h"
#include "mem.h"
#include "origin_kind.h"
#include "reference.h"
#include "url.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct web_ask {
	struct origin_ask ask;
	struct registry_req *req;
	int64_t told_size_bytes;
};

/* ---- texts ---- */

static bool is_host(const char *host)
{
	if (*host == '\0' || strlen(host) > 255)
		return false;
	for (; *host != '\0'; host++)
		if (!isalnum((unsigned char)*host) && strchr(".-_:[]", *host) == NULL)
			return false;
	return true;
}

static bool is_repository(const char *repository)
{
	const size_t n = strlen(repository);

	if (n == 0 || n > 255 || repository[0] == '/' || repository[n - 1] == '/' ||
	    strstr(repository, "..") != NULL || strstr(repository, "//") != NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!islower((unsigned char)repository[i]) &&
		    !isdigit((unsigned char)repository[i]) && strchr("._-/", repository[i]) == NULL)
			return false;
	return true;
}

/* For a message, which is logged: who asks may be in it, or a signature. */
static const char *shown(const char *text)
{
	return strpbrk(text, "@?") == NULL ? text : "(not shown)";
}

static int parse_registry(const char *text, struct origin_addr *ret_addr, struct err *e)
{
	const char *host = registry_of_origin(text);
	const char *slash = strchr(host, '/');

	if (slash != NULL) {
		ret_addr->host = strndup(host, (size_t)(slash - host));
		ret_addr->place = xstrdup(slash + 1);
	}
	if (slash == NULL || ret_addr->host == NULL || !is_host(ret_addr->host) ||
	    !is_repository(ret_addr->place)) {
		origin_addr_wipe(ret_addr);
		return err_set(e, EINVAL,
		               "\"%.100s\" is no registry: it is registry:HOST[:PORT]/REPOSITORY",
		               shown(text));
	}
	return 0;
}

static int parse_http(const char *text, struct origin_addr *ret_addr, struct err *e)
{
	char authority[AUTHORITY_MAX_BYTES];

	if (url_authority(text, authority, e) < 0 || text[strlen(text) - 1] != '/' ||
	    strpbrk(text, "?# ") != NULL)
		return err_set(e, EINVAL,
		               "\"%.100s\" is no prefix of a URL: it ends with /, and has no user "
		               "name, query or fragment",
		               shown(text));
	ret_addr->host = xstrdup(authority);
	ret_addr->place = xstrdup(text);
	return 0;
}

/* ---- asking ---- */

static void on_head(void *arg, const struct http_head *head)
{
	struct web_ask *w = arg;

	w->told_size_bytes = head->content_length;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	const struct web_ask *w = arg;

	return w->ask.body(w->ask.arg, bytes, size_bytes);
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct web_ask *w = arg;
	const struct origin_ask ask = w->ask;
	const int64_t told = w->told_size_bytes;
	struct err e = *why;

	free(w);
	if (r == 0 && ask.size_only && told < 0)
		r = err_set(&e, EPROTO, "%s does not tell sizes", ask.addr->text);
	else if (r == 0 && ask.size_only)
		ask.size(ask.arg, (uint64_t)told);
	ask.end(ask.arg, r, &e);
}

static int start(const struct origin_source_opts *opts, const struct origin_ask *ask,
                 enum registry_kind kind, const char *reference, void **ret_inner, struct err *e)
{
	struct web_ask *w = xcalloc(1, sizeof(*w));
	const struct registry_request request = {
		.host = ask->addr->host,
		.repository = ask->addr->place,
		.kind = kind,
		.reference = reference,
		.head = ask->size_only,
		.has_range = !ask->size_only,
		.range_first = ask->offset,
		.range_last = ask->offset + ask->size_bytes - 1,
		.retry = ask->retry,
		.past_mirrors = ask->gave_wrong_bytes,
		.deadline_ns = ask->deadline_ns,
		.urgent = ask->urgent,
		.head_done = on_head,
		.body = on_body,
		.end = on_end,
		.arg = w,
	};
	int r;

	w->ask = *ask;
	w->told_size_bytes = -1;
	r = registry_start(opts->registry, &request, &w->req, e);
	if (r < 0) {
		free(w);
		return r;
	}
	*ret_inner = w;
	return 0;
}

static int start_registry(const struct origin_source_opts *opts, const struct origin_ask *ask,
                          void **ret_inner, struct err *e)
{
	AUTO(free_str) char *reference = NULL;

	if (!hex_is_sha256(ask->object))
		return err_set(e, ENOENT,
		               "%s: blob \"%.64s\" has no SHA-256 for a name, so no "
		               "registry can have it",
		               ask->addr->text, ask->object);
	reference = xasprintf("sha256:%s", ask->object);
	return start(opts, ask, REGISTRY_BLOB, reference, ret_inner, e);
}

static int start_http(const struct origin_source_opts *opts, const struct origin_ask *ask,
                      void **ret_inner, struct err *e)
{
	AUTO(free_str) char *name = url_escape(ask->object);
	AUTO(free_str) char *url = xasprintf("%s%s", ask->addr->place, name);

	return start(opts, ask, REGISTRY_URL, url, ret_inner, e);
}

static void cancel(void *inner)
{
	struct web_ask *w = inner;

	registry_cancel(w->req);
	free(w);
}

static void whom(const void *inner, char *ret_text, size_t size_bytes)
{
	const struct web_ask *w = inner;

	registry_whom(w->req, ret_text, size_bytes);
}

const struct origin_kind origin_kind_registry = {
	.prefixes = { REGISTRY_ORIGIN },
	.parse = parse_registry,
	.start = start_registry,
	.cancel = cancel,
	.whom = whom,
};

const struct origin_kind origin_kind_http = {
	.prefixes = { "http://", "https://" },
	.parse = parse_http,
	.start = start_http,
	.cancel = cancel,
	.whom = whom,
};
