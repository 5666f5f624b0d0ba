/*
 * nydusd_ask: see nydusd_ask.h. HTTP/1.0: the agent hangs up behind its answer.
 */
#include "nydusd_ask.h"
#include "mem.h"
#include "unix_socket.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX_BYTES (1U << 20)

struct ask {
	struct bufferevent *io; /* NULL: it could not be asked */
	struct timer soon;      /* that is told from the loop, too */
	int status;
	struct err err;
	ask_done_fn *done;
	void *arg;
};

void ask_cancel(struct ask **ask)
{
	if (*ask == NULL)
		return;
	timer_fini(&(*ask)->soon);
	if ((*ask)->io != NULL)
		bufferevent_free((*ask)->io); /* closes the socket */
	free(*ask);
	*ask = NULL;
}

static void ask_end(struct ask *ask, int status, const json_t *document, const struct err *why)
{
	ask_done_fn *done = ask->done;
	void *arg = ask->arg;
	const struct err copy = *why;

	ask_cancel(&ask);
	done(arg, status, document, &copy);
}

static void on_soon(struct timer *t)
{
	struct ask *ask = container_of(t, struct ask, soon);

	ask_end(ask, ask->status, NULL, &ask->err);
}

/* @return 0; -EPROTO */
static int parse(struct evbuffer *bytes, json_t **ret_document, struct err *e)
{
	const struct evbuffer_ptr blank = evbuffer_search(bytes, "\r\n\r\n", 4, NULL);
	size_t n;

	if (blank.pos < 0)
		return err_set(e, EPROTO,
		               "the agent ended in the middle of its answer (see its log)");
	(void)evbuffer_drain(bytes, (size_t)blank.pos + 4);
	n = evbuffer_get_length(bytes);
	return json_parse_object((const char *)evbuffer_pullup(bytes, -1), n, ret_document, e);
}

static void answered(struct ask *ask)
{
	AUTO(json_drop) json_t *document = NULL;
	struct err e = { 0 };
	int status = SHOAL_FAILED;

	if (parse(bufferevent_get_input(ask->io), &document, &e) == 0)
		status = client_result(document, &e);
	ask_end(ask, status, status == SHOAL_DONE ? document : NULL, &e);
}

static void on_read(struct bufferevent *io, void *arg)
{
	struct ask *ask = arg;
	struct err e = { 0 };

	if (evbuffer_get_length(bufferevent_get_input(io)) <= ANSWER_MAX_BYTES)
		return;
	(void)err_set(&e, EMSGSIZE, "the agent's answer is too long (see its log)");
	ask_end(ask, SHOAL_FAILED, NULL, &e);
}

static void on_event(struct bufferevent *io, short what, void *arg)
{
	struct ask *ask = arg;
	struct err e = { 0 };

	(void)io;
	if ((what & BEV_EVENT_EOF) != 0) {
		answered(ask);
		return;
	}
	(void)err_errno(&e, errno, "the agent did not answer (see its log)");
	ask_end(ask, SHOAL_FAILED, NULL, &e);
}

/* @return 0; -errno */
static int say(struct ask *ask, const struct client_request *req)
{
	AUTO(free_str) char *body = json_dumps(req->body, JSON_COMPACT);
	struct evbuffer *out = bufferevent_get_output(ask->io);

	if (body == NULL)
		return err_set(&ask->err, EINVAL, "what is asked of the agent is not UTF-8");
	bufferevent_setcb(ask->io, on_read, NULL, on_event, ask);
	if (evbuffer_add_printf(
		    out,
		    "%s %s HTTP/1.0\r\nHost: shoal\r\nContent-Type: application/json\r\n"
		    "Content-Length: %zu\r\n\r\n",
		    req->method, req->path, strlen(body)) < 0 ||
	    evbuffer_add(out, body, strlen(body)) != 0 ||
	    bufferevent_enable(ask->io, EV_READ | EV_WRITE) != 0)
		return err_set(&ask->err, ENOMEM, "out of memory");
	return 0;
}

static int connect_to(struct ask *ask, struct loop *loop, const char *socket)
{
	const int fd = unix_connect(socket);

	if (fd == -EAGAIN)
		return err_set(&ask->err, EALREADY, "the agent at %s has too many callers", socket);
	if (fd < 0) {
		ask->status = SHOAL_NO_AGENT;
		return err_set(&ask->err, ECONNREFUSED, "no agent at %s (start shoald)", socket);
	}
	ask->io = bufferevent_socket_new(loop_base(loop), fd, BEV_OPT_CLOSE_ON_FREE);
	if (ask->io != NULL)
		return 0;
	(void)close(fd);
	return err_set(&ask->err, ENOMEM, "out of memory");
}

struct ask *ask_start(struct loop *loop, const struct client_request *req, ask_done_fn *done,
                      void *arg)
{
	struct ask *ask = xcalloc(1, sizeof(*ask));
	int r;

	*ask = (struct ask){ .status = SHOAL_FAILED, .done = done, .arg = arg };
	timer_init(&ask->soon, loop, on_soon);
	r = connect_to(ask, loop, req->socket);
	if (r == 0)
		r = say(ask, req);
	if (r < 0)
		timer_start(&ask->soon, 0);
	return ask;
}
