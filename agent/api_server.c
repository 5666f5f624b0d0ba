/*
 * api_server: the unix socket, the routes, and the calls that run.
 *
 * Knows HTTP's limits and who may connect. Knows nothing of what the calls do. A caller that
 * closes its connection is noticed while its call runs, so that a mount or prefetch that nobody
 * waits for is cancelled.
 */
#include "api.h"
#include "http_accept.h"
#include "http_answer.h"
#include "http_json.h"
#include "http_watch.h"
#include "json_util.h"
#include "mem.h"
#include "unix_socket.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#define API_HEADERS_MAX_BYTES 16384
#define API_BODY_MAX_BYTES    (4L * JSON_SECRET_MAX_BYTES)
/* None, as good as: a mount or prefetch may take long, and the fronts (nydusd) tell by an idle
 * connection whether we live. The socket is root's, and who goes is noticed. 0 would be libevent's
 * 50 s. */
#define API_IDLE_TIMEOUT_S 315360000
#define API_BACKLOG        64

struct route {
	enum evhttp_cmd_type method;
	bool has_rest; /* the path goes on behind it */
	const char *path;
	const char *what;
	void (*handler)(struct api_call *call);
	/* The members that its body may have, NULL behind the last; NULL: the handler looks itself.
	 */
	const char *const *takes;
};

static const char *const nothing[] = { NULL };
static const char *const an_image[] = { "image", NULL };
static const char *const dir_and_credentials[] = { "dir", "credentials", NULL };
static const char *const image_or_dir[] = { "image", "dir", NULL };

static const struct route routes[] = {
	{ EVHTTP_REQ_GET, false, "/v1/mounts", "ls", api_mounts_list, nothing },
	{ EVHTTP_REQ_POST, false, "/v1/mounts", "mount", api_mounts_add, NULL },
	{ EVHTTP_REQ_PUT, false, "/v1/mounts/credentials", "give credentials", api_mounts_give,
	  dir_and_credentials },
	{ EVHTTP_REQ_DELETE, false, "/v1/mounts", "umount", api_mounts_remove, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/mounts/requests", "requests", api_mounts_requests, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/status", "status", api_status, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/live", "top", api_live, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/images", "image ls", api_images_list, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/images/inspect", "image inspect", api_images_inspect,
	  nothing },
	{ EVHTTP_REQ_DELETE, false, "/v1/images", "image rm", api_images_remove, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/pins", "pins", api_pins_list, nothing },
	{ EVHTTP_REQ_PUT, false, "/v1/pins", "pin", api_pins_add, an_image },
	{ EVHTTP_REQ_DELETE, false, "/v1/pins", "unpin", api_pins_remove, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/blobs", "blob ls", api_blobs_list, nothing },
	{ EVHTTP_REQ_GET, true, "/v1/chunks/", "chunk find", api_chunks_find, nothing },
	{ EVHTTP_REQ_POST, false, "/v1/prefetch", "prefetch", api_prefetch, image_or_dir },
	{ EVHTTP_REQ_POST, false, "/v1/verify", "verify", api_verify, nothing },
	{ EVHTTP_REQ_POST, false, "/v1/gc", "gc", api_gc, NULL },
	{ EVHTTP_REQ_GET, false, "/v1/explain", "explain", api_explain, nothing },
	{ EVHTTP_REQ_GET, false, "/v1/peers", "peers", api_peers, nothing },
	{ EVHTTP_REQ_POST, false, "/v1/drain", "drain", api_drain, nothing },
};

/* ---- calls ---- */

static void on_close(struct evhttp_connection *connection, void *arg)
{
	struct api_call *call = arg;

	(void)connection;
	call->gone = true;
	if (call->on_gone != NULL)
		call->on_gone(call, call->on_gone_arg);
}

void api_call_end(struct api_call *call)
{
	struct api *api = call->api;

	if (!call->gone && evhttp_request_get_connection(call->req) != NULL)
		evhttp_connection_set_closecb(evhttp_request_get_connection(call->req), NULL, NULL);
	DL_DELETE(api->calls, call);
	json_drop(&call->body);
	json_drop(&call->query);
	free(call);
	if (api->stopping && api->calls == NULL && api->stopped != NULL)
		api->stopped(api->stopped_arg);
}

static const struct route *find_route(enum evhttp_cmd_type method, const char *path,
                                      bool *ret_other_method)
{
	*ret_other_method = false;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		const struct route *route = &routes[i];
		const size_t n = strlen(route->path);

		if (route->has_rest ? strncmp(route->path, path, n) != 0
		                    : strcmp(route->path, path) != 0)
			continue;
		if (route->method == method)
			return route;
		*ret_other_method = true;
	}
	return NULL;
}

static void refuse(struct evhttp_request *req, int status, const char *message)
{
	const int r = status == HTTP_SERVUNAVAIL ? -EAGAIN : -EIO;

	http_answer_json(req, status, api_error_json(r, message), "\n");
}

static struct api_call *call_new(struct api *api, struct evhttp_request *req,
                                 const struct route *route, const char *path)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(req);
	struct api_call *call = xcalloc(1, sizeof(*call));

	call->api = api;
	call->req = req;
	call->what = route->what;
	call->rest = path + strlen(route->path);
	DL_APPEND(api->calls, call);
	evhttp_connection_set_closecb(connection, on_close, call);
	http_watch(req);
	call->query = http_query(req, true); /* names in an image need not be UTF-8 */
	return call;
}

static int check_body(const struct route *route, const json_t *body, struct err *e)
{
	size_t n = 0;

	if (route->takes == NULL)
		return 0;
	while (route->takes[n] != NULL)
		n++;
	return json_check_keys(body, route->takes, n, e);
}

static void on_request(struct evhttp_request *req, void *arg)
{
	struct api *api = arg;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
	struct err e = { 0 };
	bool other_method = false;
	const struct route *route =
		find_route(evhttp_request_get_command(req), path, &other_method);
	struct api_call *call;
	int r;

	if (route == NULL) {
		refuse(req, other_method ? HTTP_BADMETHOD : HTTP_NOTFOUND,
		       other_method ? "not with this method (see docs/api.md)"
		                    : "there is no such path (see docs/api.md)");
		return;
	}
	if (api->stopping) {
		refuse(req, HTTP_SERVUNAVAIL, "the agent is stopping");
		return;
	}
	call = call_new(api, req, route, path);
	r = http_body(req, &call->body, &e);
	if (r == 0 && call->body == NULL)
		call->body = json_object();
	if (r == 0)
		r = check_body(route, call->body, &e);
	if (r < 0)
		api_fail(call, r, &e);
	else
		route->handler(call);
}

/* ---- the socket ---- */

static int make_parent(const char *path, struct err *e)
{
	AUTO(free_str) char *parent = xstrdup(path);
	char *slash = strrchr(parent, '/');

	if (slash == NULL || slash == parent)
		return 0;
	*slash = '\0';
	if (mkdir(parent, 0755) != 0 && errno != EEXIST)
		return err_errno(e, errno, "%s cannot be made (choose another api.socket)", parent);
	return 0;
}

static int open_socket(const char *path, int *ret_fd, struct err *e)
{
	const int r = make_parent(path, e);

	if (r < 0)
		return r;
	if (unix_is_served(path))
		return err_set(
			e, EADDRINUSE,
			"api.socket %s: another agent listens there (stop it, or choose another)",
			path);
	return unix_listen("api.socket", path, API_BACKLOG, ret_fd, e);
}

int api_listen(struct agent *agent, const char *socket_path, struct api **ret_api, struct err *e)
{
	AUTO(api_free) struct api *api = xcalloc(1, sizeof(*api));
	int fd = -1;
	int r;

	api->agent = agent;
	api->http = evhttp_new(loop_base(agent->loop));
	if (api->http == NULL)
		return err_set(e, ENOMEM, "the API cannot be served");
	r = open_socket(socket_path, &fd, e);
	if (r == 0)
		r = http_accept(api->http, fd, &api->accepting, e);
	if (r < 0)
		return r;
	/* We refuse the others, in JSON; but for this one, whose answers libevent sends without
	 * their body. */
	evhttp_set_allowed_methods(api->http, 0xffff & ~EVHTTP_REQ_CONNECT);
	evhttp_set_max_headers_size(api->http, API_HEADERS_MAX_BYTES);
	evhttp_set_max_body_size(api->http, API_BODY_MAX_BYTES);
	evhttp_set_timeout(api->http, API_IDLE_TIMEOUT_S);
	evhttp_set_gencb(api->http, on_request, api);
	*ret_api = api;
	api = NULL;
	return 0;
}

void api_stop(struct api *api, void (*done)(void *arg), void *arg)
{
	struct api_call *call, *next;

	api->stopping = true;
	/* The file stays, and is dead: it says that this node has an agent, which is away. */
	evhttp_del_accept_socket(api->http, api->accepting);
	api->accepting = NULL;
	DL_FOREACH_SAFE(api->calls, call, next)
	{
		if (call->on_gone != NULL)
			call->on_gone(call, call->on_gone_arg);
	}
	api->stopped = done;
	api->stopped_arg = arg;
	if (api->calls == NULL)
		done(arg);
}

void api_free(struct api **api)
{
	if (*api == NULL)
		return;
	assert((*api)->calls == NULL);
	if ((*api)->http != NULL)
		evhttp_free((*api)->http);
	free(*api);
	*api = NULL;
}
