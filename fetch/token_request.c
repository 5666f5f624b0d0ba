/*
 * token_request: asks a token service once, by GET or by POST, and reads its answer.
 *
 * Credentials go to the address that the registry named, but never from an https registry to an
 * http token service. Does not know for how long the token will be used, nor by whom.
 */
#include "token_request.h"
#include "mem.h"
#include "secret.h"
#include "url.h"
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define TOKEN_TIMEOUT_NS (15 * NS_PER_S)

struct token_request {
	struct token_request_opts opts;
	struct credentials credentials;
	char *realm;
	char *service; /* these two percent-encoded */
	char *scope;
	char authority[AUTHORITY_MAX_BYTES]; /* of the token service */
	bool post;
	long status;
	int64_t retry_after_s;
	struct http_req *http;
	char *body;
	size_t body_bytes;
};

static int ask(struct token_request *t, struct err *e);

static void request_free(struct token_request *t)
{
	credentials_wipe(&t->credentials);
	free_str(&t->realm);
	free_str(&t->service);
	free_str(&t->scope);
	if (t->body != NULL)
		explicit_bzero(t->body, t->body_bytes);
	free(t->body);
	free(t);
}

/* ---- what is sent ---- */

char *credentials_basic_header(const struct credentials *c)
{
	AUTO(free_secret) char *plain = NULL;
	AUTO(free_secret) char *text = NULL;
	size_t n;

	if (c->username == NULL || c->password == NULL)
		return NULL;
	plain = xasprintf("%s:%s", c->username, c->password);
	n = strlen(plain);
	text = xcalloc(n / 3 + 1, 4 + 1);
	(void)EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)plain, (int)n);
	return xasprintf("Authorization: Basic %s", text);
}

static bool is_anonymous(const struct token_request *t)
{
	return t->credentials.username == NULL && t->credentials.identity_token == NULL;
}

static char *get_url(const struct token_request *t)
{
	const char *joint = strchr(t->realm, '?') != NULL ? "&" : "?";

	return xasprintf("%s%sservice=%s&scope=%s", t->realm, joint, t->service, t->scope);
}

static char *post_body(const struct token_request *t)
{
	const struct credentials *c = &t->credentials;
	AUTO(free_secret)
	char *secret = url_escape(c->identity_token != NULL ? c->identity_token : c->password);
	AUTO(free_str) char *user = NULL;

	if (c->identity_token != NULL)
		return xasprintf("grant_type=refresh_token&service=%s&scope=%s&client_id=shoal"
		                 "&refresh_token=%s",
		                 t->service, t->scope, secret);
	user = url_escape(c->username);
	return xasprintf("grant_type=password&service=%s&scope=%s&client_id=shoal"
	                 "&username=%s&password=%s",
	                 t->service, t->scope, user, secret);
}

/* ---- what comes back ---- */

static int on_head(void *arg, const struct http_head *head)
{
	struct token_request *t = arg;

	t->status = head->status;
	t->retry_after_s = head->retry_after_s;
	return 0;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct token_request *t = arg;

	if (size_bytes > TOKEN_ANSWER_MAX_BYTES - t->body_bytes)
		return -EMSGSIZE;
	if (t->body == NULL)
		t->body = xcalloc(1, TOKEN_ANSWER_MAX_BYTES);
	memcpy(t->body + t->body_bytes, bytes, size_bytes);
	t->body_bytes += size_bytes;
	return 0;
}

static void finish(struct token_request *t, int r, const struct token_answer *answer,
                   const struct err *why)
{
	const struct token_request_opts opts = t->opts;
	const bool anonymous = is_anonymous(t);

	request_free(t);
	opts.done(opts.arg, r, answer, anonymous, why);
}

static void count(const struct token_request *t)
{
	registry_host_count(t->opts.auths->opts->metrics, t->authority, t->status);
}

static void note_answer(struct token_request *t)
{
	const struct registry_opts *opts = t->opts.auths->opts;
	struct registry_host *host;

	count(t);
	if (t->status != 429 && t->status != 503)
		return; /* any registry names any service: only what has to be remembered has a
		           place */
	host = registry_host_led_to(t->opts.auths->hosts, t->authority);
	if (host != NULL)
		registry_host_busy(host, t->retry_after_s, clock_now_ns(opts->clock));
}

/* A GET that is not offered is asked again as a POST. @return was it? */
static bool ask_by_post(struct token_request *t)
{
	struct err e = { 0 };

	if ((t->status != 404 && t->status != 405) || t->post || t->credentials.password == NULL)
		return false;
	t->post = true;
	t->body_bytes = 0;
	return ask(t, &e) == 0;
}

static int judge(const struct token_request *t, struct err *e)
{
	const char *who = is_anonymous(t) ? "without credentials" : "with these credentials";

	if (t->status >= 200 && t->status < 300)
		return 0;
	if (t->status == 408 || t->status == 429 || t->status >= 500)
		return err_set(e, EAGAIN, "token service %s says %ld", t->authority, t->status);
	if (t->status >= 400 && t->status < 500)
		return err_set(e, EACCES,
		               "token service %s gives no token for %s %s (%ld): check the "
		               "credentials for %s",
		               t->authority, t->opts.repository, who, t->status,
		               t->opts.host->name);
	return err_set(e, EPROTO, "token service %s says %ld", t->authority, t->status);
}

static void on_end(void *arg, int r, const struct err *why)
{
	struct token_request *t = arg;
	struct token_answer answer = { 0 };
	struct err e = *why;

	t->http = NULL;
	note_answer(t);
	if (r == 0 && ask_by_post(t))
		return;
	if (r == 0)
		r = judge(t, &e);
	if (r == 0)
		r = token_answer_parse(t->body != NULL ? t->body : "", t->body_bytes, &answer, &e);
	else
		(void)err_wrap(&e, "token for %s", t->opts.host->name);
	finish(t, r, &answer, &e);
	free_secret(&answer.token);
}

void token_request_cancel(struct token_request **request)
{
	struct token_request *t = *request;

	if (t == NULL)
		return;
	if (t->http != NULL && http_cancel(t->http))
		count(t);
	request_free(t);
	*request = NULL;
}

/* ---- starting ---- */

static int ask(struct token_request *t, struct err *e)
{
	const struct registry_opts *opts = t->opts.auths->opts;
	const struct registry_host *own = registry_host_find(t->opts.auths->hosts, t->authority);
	const struct registry_config config =
		own != NULL && own->own_entry ? own->config : way_reach(t->opts.way, t->opts.host);
	AUTO(free_secret) char *body = t->post ? post_body(t) : NULL;
	AUTO(free_str) char *url = t->post ? xstrdup(t->realm) : get_url(t);
	AUTO(free_secret) char *header = t->post ? NULL : credentials_basic_header(&t->credentials);
	const char *const headers[] = { header };
	const struct http_request request = {
		.method = t->post ? "POST" : "GET",
		.url = url,
		.headers = headers,
		.n_headers = header != NULL,
		.post_body = body,
		.ca_file = config.ca_file,
		.proxy = config.proxy,
		.proxy_username = config.proxy_username,
		.proxy_password = config.proxy_password,
		.skip_verify = config.skip_verify,
		.deadline_ns = clock_now_ns(opts->clock) + TOKEN_TIMEOUT_NS,
		.head = on_head,
		.body = on_body,
		.end = on_end,
		.arg = t,
	};

	t->status = 0;
	return http_start(opts->http, &request, &t->http, e);
}

/* May the credentials go where the registry sends us, and is it time? */
static int check_realm(struct token_request *t, const struct registry_host *registry, struct err *e)
{
	const struct registry_opts *opts = t->opts.auths->opts;
	const struct registry_host *host;
	int r = url_authority(t->realm, t->authority, e);

	if (r < 0)
		return err_set(e, EPROTO, "%s names a token service that is no URL",
		               registry->name);
	if (strcmp(way_reach(t->opts.way, registry).scheme, "https") == 0 &&
	    !url_is_tls(t->realm) && !is_anonymous(t))
		return err_set(e, EACCES,
		               "%s wants the credentials told to %s without TLS: not done",
		               registry->name, t->authority);
	host = registry_host_find(t->opts.auths->hosts, t->authority);
	if (host != NULL && clock_now_ns(opts->clock) < host->not_before_ns)
		return err_set(e, EAGAIN, "token service %s asked not to be asked now",
		               t->authority);
	return 0;
}

int token_request_start(const struct token_request_opts *opts, struct token_request **ret_request,
                        struct err *e)
{
	struct token_request *t = xcalloc(1, sizeof(*t));
	const struct challenge *challenge = opts->challenge;
	AUTO(free_str)
	char *scope = challenge->scope[0] != '\0'
	                      ? xstrdup(challenge->scope)
	                      : xasprintf("repository:%s:pull", opts->repository);
	int r;

	t->opts = *opts;
	t->credentials = *opts->credentials;
	*opts->credentials = (struct credentials){ 0 };
	t->post = t->credentials.identity_token != NULL;
	t->realm = xstrdup(challenge->realm);
	t->service = url_escape(challenge->service);
	t->scope = url_escape(scope);
	r = check_realm(t, opts->host, e);
	if (r == 0)
		r = ask(t, e);
	if (r < 0) {
		request_free(t);
		return r;
	}
	*ret_request = t;
	return 0;
}
