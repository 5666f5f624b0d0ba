/*
 * http_watch: see http_watch.h.
 */
#include "http_watch.h"
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stddef.h>

#define WAITING_MAX_BYTES (64U << 10)

/* NULL: nobody is there any more. */
static struct bufferevent *socket_of(struct evhttp_request *req)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(req);

	return connection != NULL ? evhttp_connection_get_bufferevent(connection) : NULL;
}

/* evhttp's own reader takes what comes now for a breach of its states; it is set again when the
 * answer has been sent. */
void http_watch(struct evhttp_request *req)
{
	struct bufferevent *socket = socket_of(req);
	bufferevent_data_cb on_write;
	bufferevent_event_cb on_event;
	void *arg;

	if (socket == NULL)
		return;
	bufferevent_getcb(socket, NULL, &on_write, &on_event, &arg);
	bufferevent_setcb(socket, NULL, on_write, on_event, arg);
	bufferevent_setwatermark(socket, EV_READ, 0, WAITING_MAX_BYTES);
	(void)bufferevent_enable(socket, EV_READ);
}

void http_unwatch(struct evhttp_request *req)
{
	struct bufferevent *socket = socket_of(req);

	if (socket != NULL) /* the next request may be longer */
		bufferevent_setwatermark(socket, EV_READ, 0, 0);
}
