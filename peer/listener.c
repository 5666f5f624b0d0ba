/*
 * listener: takes connections, and bounds how many there are.
 */
#include "conn_impl.h"
#include "mem.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#define CONNS_MAX     4096
#define WAITING_MAX   256 /* without a hello yet */
#define WAITING_HOST  64  /* of them, from one host */
#define BACKLOG       1024
#define OUT_OF_FDS_MS 200

struct listener {
	struct listener_opts opts;
	struct evconnlistener *ev;
	struct conn_gate *gate;
	struct timer again;
};

void conn_gate_passed(struct conn *c)
{
	if (!c->waits)
		return;
	c->waits = false;
	DL_DELETE2(c->gate->waiting, c, gate_prev, gate_next);
	c->gate->n_waiting--;
}

static bool is_same_host(const struct conn *a, const struct conn *b)
{
	const char *port = strrchr(a->address, ':');
	const size_t n = port != NULL ? (size_t)(port - a->address) + 1 : 0;

	return strncmp(a->address, b->address, n) == 0;
}

static void wait_for_hello(struct conn_gate *gate, struct conn *c)
{
	c->waits = true;
	DL_APPEND2(gate->waiting, c, gate_prev, gate_next);
	gate->n_waiting++;
}

/* Who says nothing makes room for others: of the host that has too many, else of all, the oldest.
 */
static void make_room(struct conn_gate *gate, const struct conn *newest)
{
	const struct err why = { .code = ETIMEDOUT, .msg = "no hello, and others wait" };
	struct conn *oldest_of_host = NULL;
	struct conn *oldest = gate->waiting;
	uint32_t n_of_host = 0;
	struct conn *c;

	DL_FOREACH2(gate->waiting, c, gate_next)
	{
		if (!is_same_host(newest, c))
			continue;
		n_of_host++;
		if (oldest_of_host == NULL)
			oldest_of_host = c;
	}
	if (n_of_host > WAITING_HOST)
		oldest = oldest_of_host;
	else if (gate->n_waiting <= WAITING_MAX)
		return;
	conn_gate_passed(oldest);
	conn_fail(oldest, &why);
}

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *sa, int size,
                      void *arg)
{
	struct listener *l = arg;
	const uint32_t max = l->opts.max_conns != 0 ? l->opts.max_conns : CONNS_MAX;
	struct conn *c;

	(void)ev;
	(void)sa;
	(void)size;
	if (l->gate->n_open >= max) {
		close_fd(&fd);
		return;
	}
	c = conn_new(&l->opts.conn, fd, false);
	c->gate = l->gate;
	c->gate->refs++;
	c->gate->n_open++;
	c->opts.arg = l->opts.accepted(l->opts.conn.arg, c);
	wait_for_hello(l->gate, c);
	make_room(l->gate, c);
}

/* Mostly out of file descriptors: without a pause the loop would spin. */
static void on_error(struct evconnlistener *ev, void *arg)
{
	struct listener *l = arg;
	struct err e = { 0 };

	(void)err_errno(&e, errno, "accept");
	log_warn(l->opts.conn.log, "a peer could not connect", "why=%s", LOG_Q(e.msg));
	(void)evconnlistener_disable(ev);
	timer_start(&l->again, OUT_OF_FDS_MS);
}

static void on_again(struct timer *t)
{
	struct listener *l = container_of(t, struct listener, again);

	(void)evconnlistener_enable(l->ev);
}

/* As libevent reads it, which refuses port 0: "any". */
static bool parse_address(const char *address, struct sockaddr_storage *ret_ss, int *ret_size)
{
	AUTO(free_str) char *text = xstrdup(address);
	const size_t n = strlen(text);
	const bool any_port = n > 2 && strcmp(text + n - 2, ":0") == 0;
	struct sockaddr *sa = (struct sockaddr *)ret_ss;
	struct sockaddr_in in;

	if (any_port)
		text[n - 1] = '1';
	if (evutil_parse_sockaddr_port(text, sa, ret_size) != 0)
		return false;
	memcpy(&in, ret_ss, sizeof(in)); /* the port of IPv6 stands at the same place */
	in.sin_port = any_port ? 0 : in.sin_port;
	memcpy(ret_ss, &in, sizeof(in));
	return true;
}

int listener_new(const struct listener_opts *opts, struct listener **ret_listener, struct err *e)
{
	AUTO(listener_free) struct listener *l = xcalloc(1, sizeof(*l));
	struct sockaddr_storage ss = { 0 };
	int size = sizeof(ss);

	l->opts = *opts;
	l->gate = xcalloc(1, sizeof(*l->gate));
	l->gate->refs = 1;
	timer_init(&l->again, opts->conn.loop, on_again);
	if (!parse_address(opts->address, &ss, &size))
		return err_set(e, EINVAL, "%s is not an address with a port", opts->address);
	l->ev = evconnlistener_new_bind(loop_base(opts->conn.loop), on_accept, l,
	                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC |
	                                        LEV_OPT_REUSEABLE,
	                                BACKLOG, (const struct sockaddr *)&ss, size);
	if (l->ev == NULL)
		return err_errno(e, errno, "listen on %s", opts->address);
	evconnlistener_set_error_cb(l->ev, on_error);
	l->opts.address = NULL; /* was borrowed for this call */
	*ret_listener = l;
	l = NULL;
	return 0;
}

uint16_t listener_port(const struct listener *l)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in in;
	socklen_t size = sizeof(ss);

	if (getsockname(evconnlistener_get_fd(l->ev), (struct sockaddr *)&ss, &size) != 0)
		return 0;
	memcpy(&in, &ss, sizeof(in)); /* the port of IPv6 stands at the same place */
	return ntohs(in.sin_port);
}

void listener_free(struct listener **lp)
{
	struct listener *l = *lp;

	if (l == NULL)
		return;
	if (l->ev != NULL)
		evconnlistener_free(l->ev);
	timer_fini(&l->again);
	conn_gate_unref(&l->gate);
	free(l);
	*lp = NULL;
}
