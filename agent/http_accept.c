/*
 * http_accept: see the header. Knows nothing of requests.
 */
#include "http_accept.h"
#include "log.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <unistd.h>

#define PAUSE_MS 500L

static void enable(struct evhttp_bound_socket *socket, void *arg)
{
	(void)arg;
	(void)evconnlistener_enable(evhttp_bound_socket_get_listener(socket));
}

/* The listener may be gone meanwhile; the server is not. */
static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	evhttp_foreach_bound_socket(arg, enable, NULL);
}

/* Mostly out of descriptors. libevent gives what it gave the server, so there is no log of ours. */
static void on_error(struct evconnlistener *listener, void *http)
{
	const struct timeval pause = { .tv_usec = PAUSE_MS * 1000 };
	AUTO(log_free) struct log *log = log_new(STDERR_FILENO, LOG_ERROR);
	struct err e = { 0 };

	(void)err_errno(&e, errno, "accept");
	log_error(log, "nobody can connect to this process for a moment", "why=%s again_ms=%ld",
	          LOG_Q(e.msg), PAUSE_MS);
	if (event_base_once(evconnlistener_get_base(listener), -1, EV_TIMEOUT, on_again, http,
	                    &pause) == 0)
		(void)evconnlistener_disable(listener);
}

int http_accept(struct evhttp *http, int listener, struct evhttp_bound_socket **ret_socket,
                struct err *e)
{
	struct evhttp_bound_socket *socket = evhttp_accept_socket_with_handle(http, listener);

	if (socket == NULL) {
		(void)close(listener);
		return err_set(e, ENOMEM, "no memory to take connections");
	}
	evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(socket), on_error);
	if (ret_socket != NULL)
		*ret_socket = socket;
	return 0;
}
