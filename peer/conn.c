/*
 * conn: the life of a connection: hellos, pings, deadlines, its end; requests, answers, streams.
 */
#include "conn_impl.h"
#include "mem.h"
#include "set.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_MS 5000
#define PING_MS      5000
#define STALL_MS     10000
#define CLOSE_MS     1000 /* for the bye to go out */
#define SILENT_PINGS 3
#define END_PINGS    6    /* for what was cancelled to have its END, whatever the line */
#define FRAME_RATE   1024 /* bytes a second: less of a frame that was begun is nothing */
#define TICK_MIN_MS  5
#define TICK_MAX_MS  1000

void conn_fail(struct conn *c, const struct err *why)
{
	if (!c->failed && c->state != CONN_CLOSING)
		c->fail = *why;
	c->failed = true;
	session_stop(c->session);
	conn_kick(c);
}

static void fail_with(struct conn *c, int code, const char *what)
{
	struct err e = { .code = code }; /* 0: in order, which err_set() does not know */

	(void)snprintf(e.msg, sizeof(e.msg), "%s", what);
	conn_fail(c, &e);
}

static void send_control(struct conn *c, const struct wire_msg *msg)
{
	if (!sendq_control(c->sendq, msg, &c->counts))
		fail_with(c, ETIMEDOUT, "it does not read what it is sent");
}

static void send_bye(struct conn *c, enum wire_bye_reason reason, const char *text)
{
	struct wire_msg msg = { .type = WIRE_BYE, .u.bye.reason = (uint8_t)reason };

	(void)snprintf(msg.u.bye.text, sizeof(msg.u.bye.text), "%s", text);
	/* It must be printable where it arrives; an err may quote what a file holds. */
	for (char *p = msg.u.bye.text; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	send_control(c, &msg);
}

/* ---- hellos ---- */

static void send_hello(struct conn *c, enum wire_type type)
{
	struct wire_msg msg = { .type = type, .u.hello = *c->opts.self };
	AUTO(free_bytes) unsigned char *memory = NULL;
	struct wire_member *members;

	/* The answer names the one that is spoken: the highest that both know. */
	msg.u.hello.max_version = WIRE_VERSION;
	if (type == WIRE_HELLO_ACK && c->peer.max_version < WIRE_VERSION)
		msg.u.hello.max_version = c->peer.max_version;
	msg.u.hello.min_version =
		type == WIRE_HELLO_ACK ? msg.u.hello.max_version : WIRE_VERSION_OLDEST;
	memcpy(msg.u.hello.nonce, c->own_nonce, sizeof(c->own_nonce));
	msg.u.hello.members = NULL;
	msg.u.hello.n_members = 0;
	if (type == WIRE_HELLO_ACK && c->opts.members != NULL) {
		memory = xcalloc(WIRE_MEMBERS_MAX, sizeof(*members));
		members = (struct wire_member *)(void *)memory;
		msg.u.hello.n_members = c->opts.members(c->opts.arg, members);
		msg.u.hello.members = members;
		send_control(c, &msg);
		return;
	}
	send_control(c, &msg);
}

void conn_shaken(struct conn *c)
{
	c->state = CONN_HELLO;
	(void)event_add(c->ev_read, NULL);
	if (c->connected)
		send_hello(c, WIRE_HELLO);
}

/* Is the hello one that can be answered? Else the reason is on its way. */
static bool check_hello(struct conn *c, const struct wire_hello *hello)
{
	if (hello->min_version > WIRE_VERSION || hello->max_version < WIRE_VERSION_OLDEST) {
		send_bye(c, WIRE_BYE_VERSION, "this node speaks versions 1 and 2 of the protocol");
		fail_with(c, EPROTO, "no version of the protocol in common");
	} else if (c->ssl != NULL && !id_equal(&hello->self.id, &c->tls_id)) {
		send_bye(c, WIRE_BYE_PROTOCOL, "HELLO: the id is not the certificate's");
		fail_with(c, EPROTO, "HELLO: the id is not the certificate's");
	} else if (id_equal(&hello->self.id, &c->opts.self->self.id)) {
		send_bye(c, WIRE_BYE_SELF, "");
		fail_with(c, ELOOP, "it is this node itself");
	}
	return !c->failed;
}

static void on_hello(void *arg, const struct wire_msg *msg)
{
	struct conn *c = arg;
	const struct wire_hello *hello = &msg->u.hello;

	if (!check_hello(c, hello))
		return;
	c->peer = *hello;
	c->peer.members = NULL;
	c->peer.n_members = 0;
	c->binding.connected = c->connected;
	if (c->ssl == NULL)
		proof_insecure_nonce(c->connected ? c->own_nonce : hello->nonce,
		                     c->connected ? hello->nonce : c->own_nonce, c->binding.nonce);
	if (!c->connected)
		send_hello(c, WIRE_HELLO_ACK);
	c->state = CONN_OPEN;
	c->was_open = true;
	conn_gate_passed(c);
	c->ping_ns = clock_now_ns(c->opts.clock);
	c->opts.ops->open(c->opts.arg, c, hello);
}

/* ---- messages ---- */

static void on_ping(struct conn *c, const struct wire_msg *msg)
{
	struct wire_msg pong = { .type = WIRE_PONG,
		                 .u.ping = { .stamp = msg->u.ping.stamp,
		                             .members_hash = c->members_hash } };

	send_control(c, &pong);
}

static void on_pong(struct conn *c, const struct wire_msg *msg)
{
	if (c->ping_stamp == 0 || msg->u.ping.stamp != c->ping_stamp)
		return; /* to nothing asked: harmless */
	c->counts.rtt_ns = clock_now_ns(c->opts.clock) - c->ping_stamp;
	c->pong_ns = c->ping_stamp;
	c->ping_stamp = 0;
	conn_answered(c, c->counts.rtt_ns);
}

static void on_message(void *arg, const struct wire_msg *msg)
{
	struct conn *c = arg;

	if (msg->type == WIRE_PING)
		on_ping(c, msg);
	else if (msg->type == WIRE_PONG)
		on_pong(c, msg);
	else if (msg->type == WIRE_DRAIN)
		c->peer.draining = true;
	c->opts.ops->message(c->opts.arg, c, msg);
}

static void on_cancel(void *arg, uint32_t req, void *stream)
{
	struct conn *c = arg;
	const struct wire_msg end = { .type = WIRE_END,
		                      .u.end = { .req = req, .status = WIRE_CANCELLED } };

	if (stream != NULL)
		sendq_cancel(c->sendq, stream);
	conn_send(c, &end);
	if (stream == NULL)
		c->opts.ops->cancelled(c->opts.arg, c, req);
}

static void on_late(void *arg, const struct wire_part *asked, const struct wire_msg *msg)
{
	const struct conn *c = arg;

	if (c->opts.ops->late != NULL)
		c->opts.ops->late(c->opts.arg, asked, msg);
}

static void on_bye(void *arg, const struct wire_bye *bye)
{
	struct conn *c = arg;
	const bool in_order = bye->reason != WIRE_BYE_PROTOCOL && bye->reason != WIRE_BYE_VERSION;
	char text[WIRE_TEXT_MAX + 32];

	(void)snprintf(text, sizeof(text), "the peer said bye: %s", bye->text);
	c->peer_left = bye->reason == WIRE_BYE_LEAVING;
	/* The other end hears the hello first. It is believed where it has this node's own key. */
	if (bye->reason == WIRE_BYE_SELF &&
	    (c->ssl == NULL || id_equal(&c->tls_id, &c->opts.self->self.id)))
		fail_with(c, ELOOP, text);
	else
		fail_with(c, in_order ? 0 : ECONNABORTED, text);
}

static void on_queue_ready(void *arg)
{
	struct conn *c = arg;

	if (c->in_run)
		(void)event_add(c->ev_write, NULL); /* after this turn, through the poll */
	else
		conn_kick(c);
}

static bool on_ending(void *arg, uint32_t req)
{
	struct conn *c = arg;
	const struct wire_msg end = { .type = WIRE_END, .u.end.req = req };

	return session_may_send(c->session, &end);
}

/* ---- deadlines ---- */

static uint64_t or_default(uint32_t ms, uint32_t default_ms)
{
	return ms != 0 ? ms : default_ms;
}

static bool is_over(uint64_t now, uint64_t since_ns, uint64_t ms)
{
	return now > since_ns && now - since_ns > ms * NS_PER_MS;
}

/* A slow line, shared by many, may take its time for a frame; a byte now and then is no line. */
static void check_frame(struct conn *c, uint64_t now)
{
	const uint64_t n_frames = c->counts.n_messages_in + c->counts.n_payloads_in;
	const uint64_t stall_ms = or_default(c->opts.stall_timeout_ms, STALL_MS);
	const bool is_same = session_is_partial(c->session) && n_frames == c->n_frames_seen;

	if (is_same && !is_over(now, c->frame_ns, stall_ms))
		return;
	if (is_same &&
	    c->in_bytes - c->frame_in_bytes < (now - c->frame_ns) / NS_PER_MS * FRAME_RATE / 1000) {
		fail_with(c, ETIMEDOUT, "a message was begun and does not end");
		return;
	}
	c->frame_ns = now;
	c->n_frames_seen = n_frames;
	c->frame_in_bytes = c->in_bytes;
}

static void ping(struct conn *c, uint64_t now)
{
	const struct wire_msg msg = { .type = WIRE_PING,
		                      .u.ping = { .stamp = now, .members_hash = c->members_hash } };

	c->ping_ns = now;
	c->ping_stamp = now;
	c->tls_notes.n_handshake_records = 0;
	send_control(c, &msg);
}

static void check_silence(struct conn *c, uint64_t now)
{
	const uint64_t ping_ms = or_default(c->opts.ping_interval_ms, PING_MS);
	const bool is_sending = c->out_sent_bytes < c->out.size_bytes;
	if (!c->paused && is_over(now, c->in_ns, SILENT_PINGS * ping_ms))
		fail_with(c, ETIMEDOUT, "it does not answer pings");
	else if (is_sending &&
	         is_over(now, c->out_ns, or_default(c->opts.stall_timeout_ms, STALL_MS)))
		fail_with(c, ETIMEDOUT, "it does not read what it is sent");
	else if (is_over(now, c->ping_ns, ping_ms))
		ping(c, now);
}

/* What was cancelled keeps its id until its END; when all ids are taken nothing can be asked any
 * more, of one who lives. The END follows the CANCEL at once, before the pong of any ping behind
 * it: where that is here both lines were as slow as they are. */
static void check_cancelled(struct conn *c, uint64_t now)
{
	const uint64_t ping_ms = or_default(c->opts.ping_interval_ms, PING_MS);
	const uint64_t since_ns = session_cancelled_ns(c->session);

	if (since_ns != 0 &&
	    (is_over(c->pong_ns, since_ns, ping_ms) || is_over(now, since_ns, END_PINGS * ping_ms)))
		fail_with(c, ETIMEDOUT, "it does not end what was cancelled");
}

static void start_tick(struct conn *c)
{
	uint64_t ms = or_default(c->opts.handshake_timeout_ms, HANDSHAKE_MS);

	ms = min_u64(ms, or_default(c->opts.ping_interval_ms, PING_MS));
	ms = min_u64(ms, or_default(c->opts.stall_timeout_ms, STALL_MS)) / 4;
	timer_start(&c->tick, max_u64(TICK_MIN_MS, min_u64(ms, TICK_MAX_MS)));
}

static void on_tick(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, tick);
	const uint64_t now = clock_now_ns(c->opts.clock);

	start_tick(c);
	if (!c->failed && c->state < CONN_OPEN &&
	    is_over(now, c->began_ns, or_default(c->opts.handshake_timeout_ms, HANDSHAKE_MS)))
		fail_with(c, ETIMEDOUT,
		          c->state == CONN_CONNECTING ? "no answer to the connect"
		                                      : "no hello in time");
	if (c->state == CONN_OPEN && !c->failed) {
		conn_measure(c);
		check_frame(c, now);
		check_silence(c, now);
		check_cancelled(c, now);
	}
	conn_run(c);
}

/* ---- the end ---- */

void conn_gate_unref(struct conn_gate **gate)
{
	if (*gate != NULL && --(*gate)->refs == 0)
		free(*gate);
	*gate = NULL;
}

static void leave_gate(struct conn *c)
{
	if (c->gate == NULL)
		return;
	c->gate->n_open--;
	conn_gate_passed(c);
	conn_gate_unref(&c->gate);
}

static void conn_free(struct conn *c)
{
	leave_gate(c);
	timer_fini(&c->tick);
	conn_io_stop(c);
	wire_session_free(&c->session);
	sendq_free(&c->sendq);
	wire_buf_free(&c->out);
	free(c);
}

/* Strangers could fill the log: what fails before a hello is told once a second. */
static void log_end(struct conn *c, bool was_open)
{
	const uint64_t now = clock_now_ns(c->opts.clock);
	enum log_level level = LOG_INFO;

	if (c->fail.code == EACCES || c->fail.code == EPROTO || c->fail.code == EBADMSG)
		level = LOG_WARN;
	if (c->fail.code == 0 || c->fail.code == ELOOP)
		level = LOG_DEBUG;
	if (!was_open && c->gate != NULL) {
		if (c->gate->logged_ns != 0 && now - c->gate->logged_ns < NS_PER_S)
			level = LOG_DEBUG;
		else
			c->gate->logged_ns = now;
	}
	log_line(c->opts.log, level, was_open ? "peer connection ended" : "no peer connection",
	         "peer=%s name=%s by=%s why=%s", c->address, LOG_Q(c->tls_notes.name),
	         c->connected ? "us" : "them", LOG_Q(c->fail.msg));
}

static void finish(struct conn *c)
{
	log_end(c, c->was_open);
	c->state = CONN_GONE;
	timer_stop(&c->tick);
	session_lose(c->session);
	sendq_lose(c->sendq);
	c->opts.ops->closed(c->opts.arg, c, &c->fail);
	conn_free(c);
}

/* A failure still lets a bye out, as far as the socket takes it at once. */
static bool is_finished(struct conn *c)
{
	const uint64_t now = clock_now_ns(c->opts.clock);

	if (c->failed)
		return true;
	return c->state == CONN_CLOSING &&
	       ((c->out_sent_bytes == c->out.size_bytes && sendq_control_bytes(c->sendq) == 0) ||
	        is_over(now, c->close_ns, CLOSE_MS));
}

static void say_protocol(struct conn *c)
{
	if (c->fail.code == EPROTO && c->state == CONN_OPEN) {
		send_bye(c, WIRE_BYE_PROTOCOL, c->fail.msg);
		c->state = CONN_CLOSING;
	}
	if (c->state >= CONN_HELLO && c->fail.code != ECONNRESET && c->fail.code != EPIPE &&
	    (sendq_control_bytes(c->sendq) > 0 || c->out_sent_bytes < c->out.size_bytes)) {
		c->state = CONN_CLOSING; /* no payload any more */
		conn_io_write(c);
	}
}

void conn_run(struct conn *c)
{
	assert(!c->in_run);
	c->in_run = true;
	if (!c->failed && c->state < CONN_HELLO)
		conn_io_shake(c);
	if (!c->failed && c->state >= CONN_HELLO)
		conn_io_read(c);
	if (!c->failed && c->state >= CONN_HELLO)
		conn_io_write(c);
	if (c->failed)
		say_protocol(c);
	c->in_run = false;
	if (is_finished(c))
		finish(c);
}

/* ---- the calls ---- */

struct conn *conn_make(const struct conn_opts *opts, int fd, bool connected, enum conn_state state)
{
	static const struct session_sink session_sink = {
		.hello = on_hello,
		.message = on_message,
		.cancel = on_cancel,
		.bye = on_bye,
		.late = on_late,
	};
	static const struct sendq_sink sendq_sink = { .ready = on_queue_ready,
		                                      .ending = on_ending };
	struct conn *c = xcalloc(1, sizeof(*c));

	c->opts = *opts;
	c->fd = fd;
	c->connected = connected;
	c->state = state;
	c->began_ns = clock_now_ns(opts->clock);
	c->in_ns = c->heard_ns = c->began_ns;
	c->out_ns = c->began_ns;
	c->tokens_ns = c->began_ns;
	if (RAND_bytes(c->own_nonce, sizeof(c->own_nonce)) != 1)
		abort(); /* without randomness nothing here is safe */
	c->session = wire_session_new(connected, &session_sink, c);
	c->sendq = sendq_new(&sendq_sink, c,
	                     opts->held_bytes != NULL ? opts->held_bytes : &c->held_bytes);
	timer_init(&c->tick, opts->loop, on_tick);
	start_tick(c);
	conn_io_start(c);
	return c;
}

static void set_address(struct conn *c, const struct sockaddr *sa)
{
	char host[64] = "";
	uint16_t port = 0;

	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

		(void)evutil_inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)sa;

		(void)evutil_inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
		port = ntohs(in->sin6_port);
	}
	(void)snprintf(c->address, sizeof(c->address),
	               sa->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host, port);
}

struct conn *conn_new(const struct conn_opts *opts, int fd, bool connected)
{
	struct conn *c = conn_make(opts, fd, connected, CONN_SHAKING);
	struct sockaddr_storage ss = { 0 };
	socklen_t size = sizeof(ss);

	(void)getpeername(fd, (struct sockaddr *)&ss, &size);
	set_address(c, (const struct sockaddr *)&ss);
	conn_kick(c);
	return c;
}

int conn_connect(const struct conn_opts *opts, const char *address, struct conn **ret_conn,
                 struct err *e)
{
	struct sockaddr_storage ss = { 0 };
	int size = sizeof(ss);
	struct conn *c;
	int fd;

	if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&ss, &size) != 0)
		return err_set(e, EINVAL, "%s is not an address with a port", address);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "socket for %s", address);
	if (connect(fd, (const struct sockaddr *)&ss, (socklen_t)size) != 0 &&
	    errno != EINPROGRESS) {
		const int code = errno;

		close_fd(&fd);
		return err_errno(e, code, "connect to %s", address);
	}
	c = conn_make(opts, fd, true, CONN_CONNECTING);
	set_address(c, (const struct sockaddr *)&ss);
	*ret_conn = c;
	return 0;
}

void conn_close(struct conn *c, enum wire_bye_reason reason, const char *text)
{
	if (c->failed || c->state >= CONN_CLOSING)
		return;
	if (c->state < CONN_HELLO) {
		fail_with(c, 0, "closed");
		return;
	}
	send_bye(c, reason, text);
	(void)snprintf(c->fail.msg, sizeof(c->fail.msg), "closed: %s", text);
	session_stop(c->session);
	c->state = CONN_CLOSING;
	c->close_ns = clock_now_ns(c->opts.clock);
	conn_kick(c);
}

void conn_abort(struct conn **c)
{
	if (*c == NULL)
		return;
	assert(!(*c)->in_run);
	(*c)->state = CONN_GONE;
	conn_free(*c);
	*c = NULL;
}

void conn_probe(struct conn *c)
{
	if (c->state != CONN_OPEN || c->failed)
		return;
	conn_measure(c);
	if (c->ping_stamp != 0)
		return;
	c->counts.n_probes++;
	ping(c, clock_now_ns(c->opts.clock));
}

int conn_request(struct conn *c, const struct wire_msg *msg, const struct request_opts *opts,
                 uint32_t *ret_req)
{
	struct wire_msg request = *msg;
	int r;

	if (c->state != CONN_OPEN || c->failed || c->peer.draining)
		return -ENOTCONN;
	conn_measure(c);
	if (sendq_control_bytes(c->sendq) > SENDQ_CONTROL_MAX_BYTES / 2)
		return -EBUSY;
	r = session_request(c->session, &request, opts, ret_req);
	if (r == 0)
		send_control(c, &request);
	return r;
}

void conn_cancel(struct conn *c, uint32_t req)
{
	const struct wire_msg cancel = { .type = WIRE_CANCEL, .u.cancel.req = req };
	const uint64_t now = clock_now_ns(c->opts.clock);

	if (session_cancel(c->session, req, now) && c->state == CONN_OPEN && !c->failed)
		send_control(c, &cancel);
}

void conn_send(struct conn *c, const struct wire_msg *msg)
{
	if (c->state == CONN_OPEN && !c->failed && session_may_send(c->session, msg))
		send_control(c, msg);
}

int conn_serve(struct conn *c, uint32_t req, enum conn_prio prio, const struct stream_ops *ops,
               void *arg, struct conn_stream **ret_stream)
{
	struct conn_stream *stream;

	assert(prio == CONN_READER || prio == CONN_PREFETCH);
	if (c->state != CONN_OPEN || c->failed || !session_has(c->session, req))
		return -ENOENT;
	stream = sendq_stream(c->sendq, req, prio, ops, arg);
	session_attach(c->session, req, stream);
	*ret_stream = stream;
	return 0;
}
