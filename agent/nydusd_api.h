/*
 * nydusd_api: nydusd's HTTP API on a unix socket, as nydus-snapshotter calls it.
 *
 * nydusd_api.c owns the socket, the routes and the forms of answers, nydusd_handlers.c and
 * nydusd_metrics.c what is behind them. Connections may idle for ever: that one hangs up is how the
 * snapshotter notices a death. All on the loop thread.
 */
#pragma once
#include "nydusd_front.h"

struct evhttp_request;
struct nydusd_api;

/* One request until it is answered. */
struct nydusd_call {
	struct front *front;
	struct evhttp_request *req;
	json_t *query; /* the URL's parameters, an object of texts; never NULL */
	json_t *body;  /* an object; NULL: none */
	bool gone;     /* the caller hung up: nobody reads the answer */
};

/** @return 0; -EADDRINUSE somebody listens there */
MUST_CHECK int nydusd_api_look(const char *path, struct err *e);
/** Listen on the socket (0600); a file of a dead one is replaced. */
MUST_CHECK int nydusd_api_listen(struct front *front, const char *path, struct nydusd_api **ret_api,
                                 struct err *e);
/** The socket's file goes, too, if it is still ours. NULL is fine. */
void nydusd_api_free(struct nydusd_api **api);

/** What it waits for is given up where the caller hangs up. */
void nydusd_give_up_when_gone(struct nydusd_call *call);

/* Each of these answers the call and frees it. */
void nydusd_reply(struct nydusd_call *call, json_t *document); /* 200; moved */
void nydusd_reply_nothing(struct nydusd_call *call);           /* 204 */
void nydusd_fail(struct nydusd_call *call, int status, const char *message);
/** 204, or what the errno says. For front_done_fn: arg is the call. */
void nydusd_done(void *arg, int r, const struct err *why);

/* ---- handlers ---- */

void nydusd_get_daemon(struct nydusd_call *call);
void nydusd_get_daemon_v2(struct nydusd_call *call);
void nydusd_put_daemon(struct nydusd_call *call);
void nydusd_get_events(struct nydusd_call *call);
void nydusd_get_backend(struct nydusd_call *call);
void nydusd_put_start(struct nydusd_call *call);
void nydusd_put_exit(struct nydusd_call *call);
void nydusd_put_sendfd(struct nydusd_call *call);
void nydusd_put_takeover(struct nydusd_call *call);
void nydusd_post_mount(struct nydusd_call *call);
void nydusd_put_mount(struct nydusd_call *call);
void nydusd_delete_mount(struct nydusd_call *call);
void nydusd_get_config(struct nydusd_call *call);
void nydusd_put_config(struct nydusd_call *call);
void nydusd_no_blobs(struct nydusd_call *call);
void nydusd_get_metrics(struct nydusd_call *call);
void nydusd_get_metrics_backend(struct nydusd_call *call);
void nydusd_get_metrics_blobcache(struct nydusd_call *call);
void nydusd_get_metrics_inflight(struct nydusd_call *call);
void nydusd_get_metrics_files(struct nydusd_call *call);
