/*
 * registry: the door: checks what is asked for, keeps what all requests share.
 *
 * Knows no HTTP and no states: see registry_req.c and registry_exchange.c.
 */
#include "mem.h"
#include "registry_impl.h"
#include "secret.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* The docker config of the user that shoal runs as. @return malloc'd; NULL: no home */
static char *user_docker_config(void)
{
	const char *dir = secure_getenv("DOCKER_CONFIG");
	const char *home = secure_getenv("HOME");
	char buf[4096];
	struct passwd pw;
	struct passwd *found = NULL;

	if (dir != NULL && *dir != '\0')
		return xasprintf("%s/config.json", dir);
	if ((home == NULL || *home == '\0') &&
	    getpwuid_r(geteuid(), &pw, buf, sizeof(buf), &found) == 0 && found != NULL)
		home = found->pw_dir;
	return home != NULL && *home != '\0' ? xasprintf("%s/.docker/config.json", home) : NULL;
}

int registry_new(const struct registry_opts *opts, struct registry **ret_registry, struct err *e)
{
	struct registry *r;

	for (uint32_t i = 0; i < opts->n_configs; i++) {
		const char *scheme = opts->configs[i].scheme;

		if (scheme != NULL && strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
			return err_set(e, EINVAL, "registry %s: the scheme is http or https",
			               opts->configs[i].host);
	}
	r = xcalloc(1, sizeof(*r));
	r->opts = *opts;
	r->hosts.configs = opts->configs;
	r->hosts.n_configs = opts->n_configs;
	r->redirects = redirects_new();
	r->auths.opts = &r->opts;
	r->auths.hosts = &r->hosts;
	r->auths.default_config = user_docker_config();
	if (getrandom(&r->random, sizeof(r->random), GRND_NONBLOCK) < 0)
		r->random = clock_now_ns(opts->clock);
	r->random |= 1; /* 0 would stay 0 */
	*ret_registry = r;
	return 0;
}

void registry_stop(struct registry *r)
{
	atomic_store(&r->auths.stopping, true);
}

void registry_free(struct registry **registry)
{
	struct registry *r = *registry;

	if (r == NULL)
		return;
	assert(r->n_requests == 0);
	ways_free(&r->auths.ways);
	free_str(&r->auths.default_config);
	registry_hosts_free(&r->hosts);
	redirects_free(&r->redirects);
	free(r);
	*registry = NULL;
}

void registry_configure(struct registry *r, const struct registry_config *configs,
                        uint32_t n_configs)
{
	registry_hosts_configure(&r->hosts, configs, n_configs);
}

void registry_give_credentials(struct registry *r, const struct registry_scope *scope,
                               const struct credentials *credentials)
{
	ways_give(&r->auths.ways, scope, credentials);
}

void registry_take_credentials(struct registry *r, const struct registry_scope *scope)
{
	ways_take(&r->auths.ways, scope);
}

void registry_hint(struct registry *r, const struct registry_scope *scope,
                   const struct registry_hints *hints)
{
	ways_say(&r->auths.ways, scope, hints);
}

bool registry_is_hinted(struct registry *r, const char *host)
{
	const struct registry_host *known = registry_host_get(&r->hosts, host);

	return known != NULL && ways_any_said(&r->auths.ways, known);
}

void registry_forget(struct registry *r, const struct registry_scope *scope)
{
	ways_forget(&r->auths.ways, scope);
}

bool registry_was_anonymous(const struct registry *r, const char *host, const char *repository)
{
	return registry_auths_anonymous(&r->auths, host, repository);
}

bool registry_users_config_is_there(const struct registry *r)
{
	const char *users = r->auths.default_config; /* the same for life */

	return users != NULL && access(users, F_OK) == 0;
}

bool registry_has_credentials(struct registry *r, const char *host, const char *repository,
                              bool users_config)
{
	const struct registry_host *known = registry_host_get(&r->hosts, host);

	return known == NULL || known->config.username != NULL ||
	       known->config.docker_config != NULL || users_config ||
	       ways_any_credentials(&r->auths.ways, known, repository);
}

/* ---- requests ---- */

/* It becomes part of a URL. */
static bool is_plain(const char *text, const char *others, size_t max_bytes)
{
	const size_t n = strlen(text);

	if (n == 0 || n > max_bytes || strstr(text, "..") != NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && strchr(others, text[i]) == NULL)
			return false;
	return true;
}

static int check(const struct registry_request *want, struct err *e)
{
	if (!is_plain(want->host, ".-:[]_", 255))
		return err_set(e, EINVAL, "not a registry host: \"%.64s\"", want->host);
	if (want->has_range &&
	    (want->range_last < want->range_first || want->range_last >= INT64_MAX))
		return err_set(e, EINVAL, "not a range: %llu-%llu",
		               (unsigned long long)want->range_first,
		               (unsigned long long)want->range_last);
	if (want->kind == REGISTRY_URL)
		return 0;
	if (!is_plain(want->repository, "._-/", 255))
		return err_set(e, EINVAL, "not a repository: \"%.64s\"", want->repository);
	if (!is_plain(want->reference, "._-:", 255))
		return err_set(e, EINVAL, "neither tag nor digest: \"%.64s\"", want->reference);
	return 0;
}

int registry_start(struct registry *r, const struct registry_request *want,
                   struct registry_req **ret_req, struct err *e)
{
	struct registry_host *asked;
	struct registry_req *req;

	assert(loop_is_mine(r->opts.loop));
	if (check(want, e) < 0)
		return -EINVAL;
	asked = registry_host_get(&r->hosts, want->host);
	if (asked == NULL)
		return err_set(e, ENOMEM, "more than %d registry hosts", HOSTS_MAX);
	req = xcalloc(1, sizeof(*req));
	req->registry = r;
	req->want = *want;
	req->host_name = xstrdup(want->host);
	req->repository = xstrdup(want->kind == REGISTRY_URL ? "" : want->repository);
	req->reference = xstrdup(want->reference);
	req->asked = asked;
	window_init(&req->window, want->has_range, want->range_first, want->range_last);
	r->n_requests++;
	registry_req_begin(req);
	*ret_req = req;
	return 0;
}

void registry_cancel(struct registry_req *req)
{
	registry_auth_unwait(&req->wait);
	registry_exchange_cancel(req);
	req->cancelled = true;
	if (!req->in_callback)
		registry_req_free(req);
}
