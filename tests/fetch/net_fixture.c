/*
 * net_fixture: starts the server, talks to its admin door, turns the loop until something is done.
 */
#include "net_fixture.h"
#include "mem.h"
#include "registry_impl.h"
#include "remove_tree.h"
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern char **environ;

/* ---- the server ---- */

static void start_server(struct net *n)
{
	char script[] = TESTS_DATA "/../fakes/faulty_origin.py";
	char dir_option[] = "--dir";
	char python[] = "python3";
	char *argv[] = { python, script, dir_option, n->dir, NULL };
	posix_spawn_file_actions_t files;
	char line[32] = "";
	int fds[2];
	ssize_t n_read = 0;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	(void)posix_spawn_file_actions_init(&files);
	(void)posix_spawn_file_actions_adddup2(&files, fds[1], STDOUT_FILENO);
	assert_int_equal(posix_spawnp(&n->server, python, &files, NULL, argv, environ), 0);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)close(fds[1]);
	while (strchr(line, '\n') == NULL) {
		const ssize_t r = read(fds[0], line + n_read, sizeof(line) - 1 - (size_t)n_read);

		assert_true(r > 0);
		n_read += r;
	}
	(void)close(fds[0]);
	line[strcspn(line, "\n")] = '\0';
	(void)snprintf(n->host, sizeof(n->host), "127.0.0.1:%s", line);
	(void)snprintf(n->alias, sizeof(n->alias), "localhost:%s", line);
}

static void stop_server(struct net *n)
{
	(void)kill(n->server, SIGKILL);
	(void)waitpid(n->server, NULL, 0);
}

struct text {
	char *bytes;
	size_t n;
};

static size_t on_admin_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct text *text = arg;

	text->bytes = xrealloc(text->bytes, text->n + size * n + 1, 1);
	memcpy(text->bytes + text->n, bytes, size * n);
	text->n += size * n;
	text->bytes[text->n] = '\0';
	return size * n;
}

static char *admin(struct net *n, const char *method, const char *path, const char *body)
{
	AUTO(free_str) char *url = xasprintf("http://%s%s", n->host, path);
	struct text text = { 0 };
	CURL *easy = curl_easy_init();

	assert_non_null(easy);
	(void)curl_easy_setopt(easy, CURLOPT_URL, url);
	(void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	if (body != NULL)
		(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_admin_bytes);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, &text);
	assert_int_equal(curl_easy_perform(easy), CURLE_OK);
	curl_easy_cleanup(easy);
	return text.bytes;
}

void net_faults(struct net *n, const char *json)
{
	AUTO(free_str) char *shown = admin(n, "PUT", "/_faults", json);

	assert_non_null(shown);
	free_str(&shown);
	shown = admin(n, "DELETE", "/_stats", NULL);
	assert_non_null(shown);
}

void net_redirect(struct net *n, const char *host)
{
	AUTO(free_str)
	char *faults = xasprintf("{\"redirect\":true,\"redirect_host\":\"%s\"}", host);

	net_faults(n, faults);
}

static json_t *stats_by(struct net *n, const char *method)
{
	AUTO(free_str) char *text = admin(n, method, "/_stats", NULL);
	json_t *stats = json_loads(text, 0, NULL);

	assert_non_null(stats);
	return stats;
}

json_t *net_stats(struct net *n)
{
	return stats_by(n, "GET");
}

json_int_t net_n_requests(struct net *n)
{
	json_t *stats = stats_by(n, "DELETE");
	const json_int_t n_requests = json_integer_value(json_object_get(stats, "requests"));

	json_decref(stats);
	return n_requests;
}

json_int_t net_stat(json_t *stats, const char *group, const char *name)
{
	return json_integer_value(json_object_get(json_object_get(stats, group), name));
}

static bool field_is(const json_t *entry, const char *field, const char *value)
{
	const json_t *has = json_object_get(entry, field);

	if (json_is_integer(has))
		return json_integer_value(has) == strtoll(value, NULL, 10);
	return json_is_string(has) && strcmp(json_string_value(has), value) == 0;
}

uint32_t net_count(struct net *n, const char *path_part, const char *field, const char *value)
{
	json_t *stats = net_stats(n);
	uint32_t n_found = 0;
	json_t *entry;
	size_t i;

	json_array_foreach(json_object_get(stats, "log"), i, entry)
	{
		const char *path = json_string_value(json_object_get(entry, "path"));

		if (path != NULL && strstr(path, path_part) != NULL &&
		    (field == NULL || field_is(entry, field, value)))
			n_found++;
	}
	json_decref(stats);
	return n_found;
}

/* ---- files ---- */

char *net_path(struct net *n, const char *name)
{
	return xasprintf("%s/%s", n->dir, name);
}

void net_write(struct net *n, const char *name, const void *data, size_t size_bytes)
{
	AUTO(free_str) char *path = net_path(n, name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size_bytes, f), size_bytes);
	assert_int_equal(fclose(f), 0);
}

/* ---- the modules ---- */

void net_new_registry(struct net *n)
{
	const struct registry_opts opts = {
		.loop = n->loop,
		.pool = n->pool,
		.http = n->http,
		.clock = clock_real(),
		.metrics = n->metrics,
		.configs = n->configs,
		.n_configs = n->n_configs,
	};
	struct err e;

	registry_free(&n->registry);
	assert_int_equal(registry_new(&opts, &n->registry, &e), 0);
}

int net_setup(void **state)
{
	struct net *n = xcalloc(1, sizeof(*n));
	struct http_opts opts = { .clock = clock_real() };
	AUTO(free_str) char *manifests = NULL;
	struct err e;

	(void)snprintf(n->dir, sizeof(n->dir), "/tmp/shoal-net-XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	manifests = net_path(n, "manifests");
	assert_int_equal(mkdir(manifests, 0700), 0);
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread */
	assert_int_equal(setenv("DOCKER_CONFIG", n->dir, 1), 0); /* not the tester's own */
	start_server(n);
	assert_int_equal(loop_new(&n->loop, &e), 0);
	assert_int_equal(pool_new(n->loop, 2, "test", &n->pool, &e), 0);
	opts.loop = n->loop;
	assert_int_equal(http_new(&opts, &n->http, &e), 0);
	n->metrics = metrics_new();
	n->configs[0] = (struct registry_config){ .host = n->host, .scheme = "http" };
	n->configs[1] = (struct registry_config){ .host = n->alias, .scheme = "http" };
	n->n_configs = 2;
	net_new_registry(n);
	*state = n;
	return 0;
}

int net_teardown(void **state)
{
	struct net *n = *state;

	stop_server(n);
	(void)remove_tree(n->dir);
	if (n->runs_on || n->registry->n_requests > 0)
		return -1;
	registry_free(&n->registry);
	http_free(&n->http);
	pool_free(&n->pool);
	loop_free(&n->loop);
	metrics_free(&n->metrics);
	free(n);
	return 0;
}

/* ---- one request ---- */

void net_lose_patience(struct net *n)
{
	http_set_timeouts(n->http, NET_DEADLINE_MS, 1000);
}

void net_regain_patience(struct net *n)
{
	http_set_timeouts(n->http, NET_DEADLINE_MS, NET_DEADLINE_MS);
}

uint64_t net_deadline(void)
{
	return clock_now_ns(clock_real()) + NET_DEADLINE_MS * NS_PER_MS;
}

void net_result_wipe(struct net_result *res)
{
	free_bytes(&res->bytes);
}

void net_on_head(void *arg, const struct http_head *head)
{
	struct net_result *res = arg;

	res->status = head->status;
	res->content_length = head->content_length;
}

int net_on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct net_result *res = arg;

	assert_false(res->done);
	res->bytes = xrealloc(res->bytes, res->n_bytes + size_bytes, 1);
	memcpy(res->bytes + res->n_bytes, bytes, size_bytes);
	res->n_bytes += size_bytes;
	return 0;
}

void net_on_end(void *arg, int r, const struct err *why)
{
	struct net_result *res = arg;

	assert_false(res->done);
	res->done = true;
	res->r = r;
	res->why = *why;
	loop_stop(res->net->loop);
}

void net_wait(struct net *n, const struct net_result *res)
{
	while (!res->done)
		loop_run(n->loop);
}

int net_start(struct net *n, struct registry_request *want, struct net_result *res)
{
	struct registry_req *req;
	struct err e = { 0 };

	*res = (struct net_result){ .net = n };
	if (want->host == NULL)
		want->host = n->host;
	if (want->repository == NULL)
		want->repository = "team/app";
	if (want->deadline_ns == 0)
		want->deadline_ns = net_deadline();
	want->head_done = net_on_head;
	want->body = net_on_body;
	want->end = net_on_end;
	want->arg = res;
	return registry_start(n->registry, want, &req, &e);
}

int net_ask(struct net *n, struct registry_request *want, struct net_result *res)
{
	const int r = net_start(n, want, res);

	if (r < 0)
		return r;
	assert_false(res->done);
	net_wait(n, res);
	return res->r;
}

int net_ask_digits(struct net *n, struct registry_request *want)
{
	struct net_result res;
	const int r = net_ask(n, want, &res);

	if (r == 0)
		assert_memory_equal(res.bytes, "0123456789", 10);
	else
		print_message("%d: %s\n", r, res.why.msg);
	net_result_wipe(&res);
	return r;
}

void net_ask_in_vain(struct net *n, struct registry_request *want, uint64_t timeout_ms,
                     const char *says)
{
	struct net_result res;

	do {
		want->deadline_ns = clock_now_ns(clock_real()) + timeout_ms * NS_PER_MS;
		assert_int_equal(net_ask(n, want, &res), -EAGAIN);
		net_result_wipe(&res);
		if (strstr(res.why.msg, says) != NULL)
			return;
		timeout_ms *= 2;
	} while (timeout_ms < NET_DEADLINE_MS);
	fail_msg("%s does not say: %s", res.why.msg, says);
}

void net_wait_all(struct net *n, struct net_result *res, uint32_t n_res, int r)
{
	for (uint32_t i = 0; i < n_res; i++) {
		net_wait(n, &res[i]);
		assert_int_equal(res[i].r, r);
		net_result_wipe(&res[i]);
	}
}
