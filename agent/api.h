/*
 * api: the HTTP API on the unix socket: requests in, JSON out.
 *
 * api_server.c owns sockets and routes, api_reply.c the forms of answers, api_work.c the way
 * over the desk pool, api_chore.c what takes minutes; each api_*.c beside them the handlers of one
 * subject. docs/api.md is for those who call it. All on the loop thread unless a function says
 * otherwise.
 */
#pragma once
#include "agent.h"
#include "json_util.h"

#define API_PROGRESS_EVERY_NS (100 * NS_PER_MS) /* lines of it, at most */

struct evhttp_request;
struct api_call;

struct api {
	struct agent *agent;
	struct evhttp *http;
	struct evhttp_bound_socket *accepting; /* NULL: stopping */
	struct api_call *calls;
	bool verifying, collecting; /* one of each at a time */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* One request until its answer is complete. */
struct api_call {
	struct api *api;
	struct evhttp_request *req;
	const char *what; /* "mount", for messages */
	json_t *body;     /* POST: an object, ours */
	json_t *query;    /* the URL's parameters, an object of texts */
	const char *rest; /* of the path, behind the route's; in the request */
	bool drains;      /* it waits until peers are served no more */
	bool gone;        /* the caller closed the connection: nobody reads the answer */
	/* What to stop when the caller is gone. NULL: let it end. */
	void (*on_gone)(struct api_call *call, void *arg);
	void *on_gone_arg;
	struct api_call *prev, *next;
};

/* ---- the server ---- */

/** Listen on the socket (made 0600, its directory too; a dead one is replaced). */
MUST_CHECK int api_listen(struct agent *agent, const char *socket_path, struct api **ret_api,
                          struct err *e);
/** No new calls; those that run are told that their caller is gone. done once all have ended,
 * perhaps from inside. */
void api_stop(struct api *api, void (*done)(void *arg), void *arg);
void api_free(struct api **api);          /* after api_stop(); NULL is fine */
void api_call_end(struct api_call *call); /* api_reply.c: frees it */

/* ---- answers: each of these but the first two lines ends the call ---- */

void api_stream_begin(struct api_call *call);
void api_stream_line(struct api_call *call, json_t *line); /* moved */
void api_stream_end(struct api_call *call, json_t *last);  /* moved */
void api_reply(struct api_call *call, json_t *document);   /* 200; moved */
void api_fail(struct api_call *call, int r, const struct err *why);

/** {"error": {"message", "exit"}}: what went wrong and the exit status of `shoal` for it. */
json_t *api_error_json(int r, const char *message);

/* ---- the way over the desk ---- */

/** [desk] Make a document. params: the call's own, borrowed. @return 0 or -errno */
typedef int api_work_fn(struct agent *agent, const json_t *params, json_t **ret_document,
                        struct err *e);
/** Run work on the desk, then answer with its document or its error. params: moved. */
void api_work(struct api_call *call, api_work_fn *work, json_t *params);
/** [loop] What work is to know, asked for when its turn has come. */
typedef json_t *api_params_fn(const struct api_call *call);
/** The same, once what images were to be recorded or removed before is. Until then the
 * desk is everybody else's: a slow disk holds up none but those who ask about it. params: NULL:
 * none */
void api_work_behind(struct api_call *call, api_work_fn *work, api_params_fn *params);

/* ---- handlers ---- */

void api_mounts_list(struct api_call *call);
void api_mounts_add(struct api_call *call);
void api_mounts_give(struct api_call *call);
void api_mounts_remove(struct api_call *call);
void api_mounts_requests(struct api_call *call);
void api_status(struct api_call *call);
void api_images_list(struct api_call *call);
void api_images_inspect(struct api_call *call);
void api_images_remove(struct api_call *call);
void api_pins_list(struct api_call *call);
void api_pins_add(struct api_call *call);
void api_pins_remove(struct api_call *call);
void api_blobs_list(struct api_call *call);
void api_chunks_find(struct api_call *call);
void api_prefetch(struct api_call *call);
void api_verify(struct api_call *call);
void api_gc(struct api_call *call);
void api_explain(struct api_call *call);
void api_peers(struct api_call *call);
void api_drain(struct api_call *call);
void api_live(struct api_call *call);
json_t *api_peers_list(const struct agent *agent); /* an array */
json_t *api_peers_summary(struct agent *agent);    /* for the status */
