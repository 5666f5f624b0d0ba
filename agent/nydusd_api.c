/*
 * nydusd_api: see nydusd_api.h. Status codes as nydusd gives them: 400 for what makes no sense on a
 * path, also a wrong method; 404 for an unknown path; 500 for what failed.
 */
#include "nydusd_api.h"
#include "http_accept.h"
#include "http_answer.h"
#include "http_json.h"
#include "http_watch.h"
#include "mem.h"
#include "unix_socket.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADERS_MAX_BYTES 16384
#define IDLE_TIMEOUT_S    (20L * 365 * 86400)
#define BODY_MAX_BYTES    (2L * NYDUSD_CONFIG_MAX_BYTES)
#define BACKLOG           128

enum body_rule { BODY_NONE, BODY_NEEDED };

static const struct route {
	enum evhttp_cmd_type method;
	enum body_rule body;
	const char *path;
	void (*handler)(struct nydusd_call *call);
} routes[] = {
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/daemon", nydusd_get_daemon },
	{ EVHTTP_REQ_PUT, BODY_NEEDED, "/api/v1/daemon", nydusd_put_daemon },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/daemon/events", nydusd_get_events },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/daemon/backend", nydusd_get_backend },
	{ EVHTTP_REQ_PUT, BODY_NONE, "/api/v1/daemon/start", nydusd_put_start },
	{ EVHTTP_REQ_PUT, BODY_NONE, "/api/v1/daemon/exit", nydusd_put_exit },
	{ EVHTTP_REQ_PUT, BODY_NONE, "/api/v1/daemon/fuse/sendfd", nydusd_put_sendfd },
	{ EVHTTP_REQ_PUT, BODY_NONE, "/api/v1/daemon/fuse/takeover", nydusd_put_takeover },
	{ EVHTTP_REQ_POST, BODY_NEEDED, "/api/v1/mount", nydusd_post_mount },
	{ EVHTTP_REQ_PUT, BODY_NEEDED, "/api/v1/mount", nydusd_put_mount },
	{ EVHTTP_REQ_DELETE, BODY_NONE, "/api/v1/mount", nydusd_delete_mount },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/metrics", nydusd_get_metrics },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/metrics/files", nydusd_get_metrics_files },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/metrics/pattern", nydusd_get_metrics_files },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/metrics/backend", nydusd_get_metrics_backend },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/metrics/blobcache", nydusd_get_metrics_blobcache },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/metrics/inflight", nydusd_get_metrics_inflight },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v1/config", nydusd_get_config },
	{ EVHTTP_REQ_PUT, BODY_NEEDED, "/api/v1/config", nydusd_put_config },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v2/daemon", nydusd_get_daemon_v2 },
	{ EVHTTP_REQ_PUT, BODY_NEEDED, "/api/v2/daemon", nydusd_put_daemon },
	{ EVHTTP_REQ_GET, BODY_NONE, "/api/v2/blobs", nydusd_no_blobs },
	{ EVHTTP_REQ_PUT, BODY_NEEDED, "/api/v2/blobs", nydusd_no_blobs },
	{ EVHTTP_REQ_DELETE, BODY_NONE, "/api/v2/blobs", nydusd_no_blobs },
};

struct nydusd_api {
	struct front *front;
	struct evhttp *http;
	char *path;
	dev_t dev; /* of the socket's file */
	ino_t ino;
};

/* ---- answers ---- */

/* What it waits for is given up: whoever hangs up asks anew, and nothing must be on its way then.
 */
static void on_close(struct evhttp_connection *connection, void *arg)
{
	struct nydusd_call *call = arg;

	(void)connection;
	call->gone = true;
	front_give_up_for(call->front, call);
}

void nydusd_give_up_when_gone(struct nydusd_call *call)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(call->req);

	evhttp_connection_set_closecb(connection, on_close, call);
	http_watch(call->req);
}

static void send_answer(struct nydusd_call *call, int status, json_t *document)
{
	if (!call->gone && evhttp_request_get_connection(call->req) != NULL)
		evhttp_connection_set_closecb(evhttp_request_get_connection(call->req), NULL, NULL);
	(void)evhttp_add_header(evhttp_request_get_output_headers(call->req), "Server",
	                        "Nydus API");
	http_answer_json(call->req, status, document, "");
	json_drop(&call->query);
	json_drop(&call->body);
	free(call);
}

void nydusd_reply(struct nydusd_call *call, json_t *document)
{
	send_answer(call, HTTP_OK, document);
}

void nydusd_reply_nothing(struct nydusd_call *call)
{
	send_answer(call, HTTP_NOCONTENT, NULL);
}

void nydusd_fail(struct nydusd_call *call, int status, const char *message)
{
	log_info(call->front->log, "refused", "path=%s status=%d why=%s",
	         LOG_Q(evhttp_request_get_uri(call->req)), status, LOG_Q(message));
	send_answer(call, status,
	            json_pack("{s:s, s:o}", "code", "UNDEFINED", "message", json_words(message)));
}

void nydusd_done(void *arg, int r, const struct err *why)
{
	if (r == 0)
		nydusd_reply_nothing(arg);
	else
		nydusd_fail(arg, HTTP_INTERNAL, why->msg);
}

/* ---- requests ---- */

/* @return 0; -EINVAL */
static int read_body(struct nydusd_call *call, enum body_rule rule, struct err *e)
{
	const bool is_there = evbuffer_get_length(evhttp_request_get_input_buffer(call->req)) > 0;

	if (is_there != (rule == BODY_NEEDED))
		return err_set(e, EINVAL,
		               is_there ? "there must be no body" : "the body is missing");
	return http_body(call->req, &call->body, e);
}

static const struct route *find_route(enum evhttp_cmd_type method, const char *path,
                                      bool *ret_other_method)
{
	*ret_other_method = false;
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (path == NULL || strcmp(routes[i].path, path) != 0)
			continue;
		if (routes[i].method == method)
			return &routes[i];
		*ret_other_method = true;
	}
	return NULL;
}

static void on_request(struct evhttp_request *req, void *arg)
{
	const struct nydusd_api *api = arg;
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
	struct nydusd_call *call = xcalloc(1, sizeof(*call));
	bool other_method = false;
	const struct route *route =
		find_route(evhttp_request_get_command(req), path, &other_method);
	struct err e = { 0 };

	call->front = api->front;
	call->req = req;
	call->query = http_query(req, false);
	if (route == NULL)
		nydusd_fail(call, other_method ? HTTP_BADREQUEST : HTTP_NOTFOUND,
		            other_method ? "not with this method" : "there is no such path");
	else if (read_body(call, route->body, &e) < 0)
		nydusd_fail(call, HTTP_BADREQUEST, e.msg);
	else
		route->handler(call);
}

/* ---- the socket ---- */

static void note_file(struct nydusd_api *api)
{
	struct stat st;

	if (lstat(api->path, &st) == 0) {
		api->dev = st.st_dev;
		api->ino = st.st_ino;
	}
}

int nydusd_api_look(const char *path, struct err *e)
{
	if (!unix_is_served(path))
		return 0;
	return err_set(e, EADDRINUSE, "--apisock %s: another one is listening there", path);
}

int nydusd_api_listen(struct front *front, const char *path, struct nydusd_api **ret_api,
                      struct err *e)
{
	const struct timeval idle = { .tv_sec = IDLE_TIMEOUT_S };
	AUTO(nydusd_api_free) struct nydusd_api *api = xcalloc(1, sizeof(*api));
	int fd = -1;
	int r;

	api->front = front;
	api->path = xstrdup(path);
	api->http = evhttp_new(loop_base(front->loop));
	if (api->http == NULL)
		return err_set(e, ENOMEM, "the API cannot be served");
	r = nydusd_api_look(path, e);
	if (r == 0)
		r = unix_listen("--apisock", path, BACKLOG, &fd, e);
	if (r < 0)
		return r;
	note_file(api);
	r = http_accept(api->http, fd, NULL, e);
	if (r < 0)
		return r;
	/* What is not known is a bad request; but of CONNECT libevent sends no answer's body. */
	evhttp_set_allowed_methods(api->http, 0xffff & ~EVHTTP_REQ_CONNECT);
	evhttp_set_max_headers_size(api->http, HEADERS_MAX_BYTES);
	evhttp_set_max_body_size(api->http, BODY_MAX_BYTES);
	evhttp_set_timeout_tv(api->http, &idle);
	evhttp_set_gencb(api->http, on_request, api);
	*ret_api = api;
	api = NULL;
	return 0;
}

void nydusd_api_free(struct nydusd_api **api)
{
	struct nydusd_api *a = *api;
	struct stat st;

	*api = NULL;
	if (a == NULL)
		return;
	if (a->ino != 0 && lstat(a->path, &st) == 0 && st.st_dev == a->dev && st.st_ino == a->ino)
		(void)unlink(a->path);
	if (a->http != NULL)
		evhttp_free(a->http);
	free_str(&a->path);
	free(a);
}
