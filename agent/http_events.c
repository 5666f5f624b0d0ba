/*
 * http_events: the live document once a second to whoever looks.
 *
 * One timer, which runs only while somebody looks; one document a tick, whatever the number of
 * viewers. A viewer that does not read is left out until it does.
 */
#include "http_events.h"
#include "http_watch.h"
#include "live.h"
#include "mem.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define VIEWERS_MAX      16
#define TICK_MS          1000
#define UNSENT_MAX_BYTES ((size_t)256 * 1024) /* of one viewer */
#define VIEWER_TIMEOUT_S 30                   /* in which nothing could be written */

struct viewer {
	struct http_events *events;
	struct evhttp_request *req;
	struct viewer *prev, *next;
};

struct http_events {
	struct agent *agent;
	struct viewer *viewers;
	uint32_t n_viewers;
	struct timer timer;
};

static void viewer_remove(struct viewer *v)
{
	struct http_events *events = v->events;

	DL_DELETE(events->viewers, v);
	events->n_viewers--;
	free(v);
	if (events->n_viewers == 0)
		timer_stop(&events->timer);
}

/* A connection that breaks lets go of its request: whoever answers it ends it. */
static void on_close(struct evhttp_connection *connection, void *arg)
{
	struct viewer *v = arg;

	(void)connection;
	if (evhttp_request_get_connection(v->req) == NULL)
		evhttp_send_reply_end(v->req);
	viewer_remove(v);
}

static struct bufferevent *viewer_socket(const struct viewer *v)
{
	return evhttp_connection_get_bufferevent(evhttp_request_get_connection(v->req));
}

static void tell(const struct viewer *v, const char *text)
{
	struct evbuffer *event = NULL;

	if (evbuffer_get_length(bufferevent_get_output(viewer_socket(v))) > UNSENT_MAX_BYTES)
		return;
	event = evbuffer_new();
	if (event == NULL)
		return;
	(void)evbuffer_add_printf(event, "data: %s\n\n", text);
	evhttp_send_reply_chunk(v->req, event);
	evbuffer_free(event);
}

static char *text_of(json_t *document)
{
	char *text = json_dumps(document, JSON_COMPACT);

	json_decref(document);
	return text;
}

static void on_tick(struct timer *t)
{
	struct http_events *events = container_of(t, struct http_events, timer);
	struct viewer *v, *next;
	char *text = text_of(live_document(events->agent));

	if (text != NULL)
		DL_FOREACH_SAFE(events->viewers, v, next)
	tell(v, text);
	free(text);
	timer_start(&events->timer, TICK_MS);
}

struct http_events *http_events_new(struct agent *agent)
{
	struct http_events *events = xcalloc(1, sizeof(*events));

	events->agent = agent;
	timer_init(&events->timer, agent->loop, on_tick);
	return events;
}

void http_events_free(struct http_events **events)
{
	struct http_events *gone = *events;
	struct viewer *v, *next;

	*events = NULL;
	if (gone == NULL)
		return;
	timer_fini(&gone->timer);
	DL_FOREACH_SAFE(gone->viewers, v, next)
	{
		/* The server frees the request with its connection. */
		evhttp_connection_set_closecb(evhttp_request_get_connection(v->req), NULL, NULL);
		free(v);
	}
	free(gone);
}

static void begin(struct viewer *v)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(v->req);
	const struct timeval timeout = { .tv_sec = VIEWER_TIMEOUT_S };
	char *text = text_of(live_document_with_past(v->events->agent));

	evhttp_send_reply_start(v->req, HTTP_OK, NULL);
	(void)bufferevent_set_timeouts(viewer_socket(v), NULL, &timeout);
	/* Behind the start, which resets it: one that hangs up is noticed at once. */
	evhttp_connection_set_closecb(connection, on_close, v);
	http_watch(v->req);
	if (text != NULL)
		tell(v, text);
	free(text);
}

bool http_events_add(struct http_events *events, struct evhttp_request *req)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	struct viewer *v = NULL;

	if (events->n_viewers >= VIEWERS_MAX || events->agent->stopping)
		return false;
	(void)evhttp_add_header(headers, "Content-Type", "text/event-stream; charset=utf-8");
	(void)evhttp_add_header(headers, "Cache-Control", "no-store");
	if (evhttp_request_get_command(req) == EVHTTP_REQ_HEAD) {
		evhttp_send_reply(req, HTTP_OK, NULL, NULL);
		return true;
	}
	v = xcalloc(1, sizeof(*v));
	v->events = events;
	v->req = req;
	DL_APPEND(events->viewers, v);
	events->n_viewers++;
	if (events->n_viewers == 1)
		timer_start(&events->timer, TICK_MS);
	begin(v);
	return true;
}
