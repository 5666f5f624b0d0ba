/*
 * conn_io: a connection's socket, and TLS on it or not.
 *
 *   sendq --plain--> SSL_write() --sealed--> out --> send(2)
 *     `------------ without TLS -------------^
 *
 * A record of TLS has 16 KiB. Each of them given to the kernel alone makes as many packets,
 * wake-ups of the other side and system calls of its own; all that were taken from the queue
 * together go together. One turn takes and gives so many bytes, then the loop's others have theirs.
 */
#include "conn_impl.h"
#include "mem.h"
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_BYTES      (64U << 10)
#define TURN_BYTES      (256U << 10) /* read, and written, before others have their turn */
#define RECORD_BYTES    (1U << 10)   /* ... as which a smaller read counts: it costs as much */
#define OUT_MIN_BYTES   (16U << 10)  /* taken from the queue at a time: cannot be overtaken ... */
#define OUT_MAX_BYTES   (64U << 10)
#define OUT_MS          32U         /* ... what the line takes in that time */
#define AHEAD_MIN_BYTES (16U << 10) /* in the kernel, not on the line: cannot be overtaken */
#define AHEAD_MAX_BYTES (128U << 10)
#define WEIGHT_PER_S    20000 /* of messages that a peer may send; more waits in its own socket */

/* Bytes moved; 0: not now; negative: over, *e is set. */
static ssize_t ssl_result(struct conn *c, int n, struct err *e)
{
	const int saved_errno = errno;
	const int why = SSL_get_error(c->ssl, n);

	if (why == SSL_ERROR_WANT_READ)
		return 0;
	return tls_error(c->ssl, why, saved_errno, e);
}

static ssize_t plain_result(ssize_t n, struct err *e)
{
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0)
		return err_errno(e, errno, "TCP");
	return err_set(e, ECONNRESET, "closed without a word");
}

static ssize_t io_read(struct conn *c, uint8_t *bytes, size_t room_bytes, struct err *e)
{
	ssize_t n;

	if (c->ssl == NULL) {
		n = recv(c->fd, bytes, room_bytes, 0);
		c->in_bytes += n > 0 ? (uint64_t)n : 0;
		return n > 0 ? n : plain_result(n, e);
	}
	ERR_clear_error();
	errno = 0;
	n = SSL_read(c->ssl, bytes, (int)room_bytes);
	c->in_bytes = BIO_number_read(SSL_get_rbio(c->ssl));
	return n > 0 ? n : ssl_result(c, (int)n, e);
}

/* What lies in c->out, as far as the socket takes it. @return bytes; 0: none now; negative: over */
static ssize_t io_send(struct conn *c, struct err *e)
{
	const ssize_t n = send(c->fd, c->out.data + c->out_sent_bytes,
	                       c->out.size_bytes - c->out_sent_bytes, MSG_NOSIGNAL);

	if (n <= 0)
		return plain_result(n, e);
	c->out_ns = clock_now_ns(c->opts.clock);
	c->out_sent_bytes += (size_t)n;
	return n;
}

/* What TLS has to say itself: its handshake, its alerts. */
static void send_tls(struct conn *c)
{
	struct err e;

	if (c->out_sent_bytes < c->out.size_bytes && io_send(c, &e) >= 0 &&
	    c->out_sent_bytes < c->out.size_bytes)
		(void)event_add(c->ev_write, NULL);
}

/* All of plain into c->out. @return 0; negative: over */
static int seal(struct conn *c, struct wire_buf *plain, struct err *e)
{
	int r;

	ERR_clear_error();
	errno = 0;
	r = SSL_write(c->ssl, plain->data, (int)plain->size_bytes);
	plain->size_bytes = 0;
	if (r > 0)
		return 0;
	r = (int)ssl_result(c, r, e);
	return r < 0 ? r : err_set(e, EPROTO, "TLS: it takes nothing now");
}

static void fail_errno(struct conn *c, int code, const char *what)
{
	struct err e = { 0 };

	(void)err_errno(&e, code, "%s", what);
	conn_fail(c, &e);
}

/* Is the TCP connection there? @return false: not yet, or failed */
static bool connected(struct conn *c)
{
	int error = 0;
	socklen_t size = sizeof(error);
	struct sockaddr_storage ss;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0)
		error = errno;
	if (error != 0) {
		fail_errno(c, error, "connect");
		return false;
	}
	size = sizeof(ss);
	if (getpeername(c->fd, (struct sockaddr *)&ss, &size) != 0)
		return false; /* still on its way: a timer, not the socket, woke us */
	c->state = CONN_SHAKING;
	(void)event_add(c->ev_read, NULL); /* the answers of the handshake */
	return true;
}

void conn_io_shake(struct conn *c)
{
	struct err e = { 0 };
	int r;

	if (c->state == CONN_CONNECTING && !connected(c))
		return;
	if (c->ssl != NULL) {
		ERR_clear_error();
		errno = 0;
		r = SSL_do_handshake(c->ssl);
		if (r != 1)
			r = (int)ssl_result(c, r, &e);
		send_tls(c);
		if (r < 0)
			conn_fail(c, &e);
		if (r != 1)
			return;
		if (tls_peer(c->ssl, &c->tls_id, c->binding.nonce, &e) < 0) {
			conn_fail(c, &e);
			return;
		}
	}
	conn_shaken(c);
}

/* Take what messages cost. @return may it go on? */
static bool pay_messages(struct conn *c, uint64_t weight)
{
	const uint64_t now = clock_now_ns(c->opts.clock);
	const uint64_t earned = (now - c->tokens_ns) / (NS_PER_S / WEIGHT_PER_S);

	if (earned > 0) {
		c->tokens_ns = now;
		c->message_tokens += (int64_t)(earned < WEIGHT_PER_S ? earned : WEIGHT_PER_S);
	}
	if (c->message_tokens > WEIGHT_PER_S)
		c->message_tokens = WEIGHT_PER_S;
	c->message_tokens -= (int64_t)weight;
	return c->message_tokens >= 0;
}

static void pause_reading(struct conn *c)
{
	const struct timeval a_while = { .tv_usec = 20000 };

	c->paused = true;
	(void)event_del(c->ev_read);
	(void)event_add(c->ev_kick, &a_while);
}

/* @return false: it stays paused */
static bool resume_reading(struct conn *c)
{
	if (!c->paused)
		return true;
	if (!pay_messages(c, 0)) {
		pause_reading(c);
		return false;
	}
	c->paused = false;
	(void)event_add(c->ev_read, NULL);
	return true;
}

/* There may be more, in OpenSSL where no event tells of it. */
static void read_on(struct conn *c)
{
	const struct timeval soon = { 0 };

	(void)event_add(c->ev_kick, &soon);
}

/* n: what could be read of it; records of TLS are read when they are whole. */
static void note_bytes(struct conn *c, uint64_t had_bytes, ssize_t n)
{
	if (n > 0)
		c->in_ns = clock_now_ns(c->opts.clock);
	if (n < 0 || c->in_bytes == had_bytes)
		return;
	c->heard_ns = clock_now_ns(c->opts.clock);
	if (c->state == CONN_OPEN && c->opts.ops->bytes != NULL)
		c->opts.ops->bytes(c->opts.arg, c);
}

void conn_io_read(struct conn *c)
{
	uint8_t bytes[READ_BYTES];
	size_t turn_bytes = 0;
	struct err e = { 0 };

	if (!resume_reading(c))
		return;
	while (turn_bytes < TURN_BYTES && !c->failed) {
		const uint64_t before = c->counts.weight_in;
		const uint64_t had_bytes = c->in_bytes;
		const ssize_t n = io_read(c, bytes, sizeof(bytes), &e);

		note_bytes(c, had_bytes, n);
		if (n == 0)
			return;
		if (n < 0) {
			conn_fail(c, &e);
			return;
		}
		turn_bytes += max_u64((uint64_t)n, RECORD_BYTES);
		if (session_feed(c->session, bytes, (size_t)n, &c->counts, &e) < 0) {
			conn_fail(c, &e);
			return;
		}
		if (!pay_messages(c, c->counts.weight_in - before)) {
			pause_reading(c);
			return;
		}
		if (c->ssl == NULL && (size_t)n < sizeof(bytes))
			return; /* that was all: the socket tells when there is more */
	}
	read_on(c);
}

/* Something to send in c->out? When closing, only what was said before.
 * @param plain  a buffer, where TLS is between. @return 1; 0; negative: over */
static int refill(struct conn *c, struct wire_buf *plain, struct err *e)
{
	size_t want = c->frame_bytes;
	int r = 0;

	if (c->out_sent_bytes < c->out.size_bytes)
		return 1;
	c->out.size_bytes = 0;
	c->out_sent_bytes = 0;
	if (c->state == CONN_CLOSING)
		want = sendq_control_bytes(c->sendq);
	if (want > 0)
		sendq_fill(c->sendq, c->ssl == NULL ? &c->out : plain, want, &c->counts);
	if (plain->size_bytes > 0)
		r = seal(c, plain, e);
	if (c->out.size_bytes == 0)
		wire_buf_free(&c->out); /* an idle connection keeps no buffer */
	return r < 0 ? r : c->out.size_bytes > 0;
}

/* The kernel takes 64 KiB, whatever it may: on a slow line it has one frame of payload a turn.
 * Control it has at once, as nothing overtakes that; when closing there is nothing else. */
static bool waits_for_room(const struct conn *c, uint64_t n_payloads_before)
{
	return c->frame_bytes < OUT_MAX_BYTES && c->counts.n_payloads_out > n_payloads_before;
}

void conn_io_write(struct conn *c)
{
	AUTO(wire_buf_free) struct wire_buf plain = { 0 };
	const uint64_t n_payloads = c->counts.n_payloads_out;
	size_t turn_bytes = 0;
	struct err e = { 0 };
	ssize_t n = 1;

	while (turn_bytes < TURN_BYTES && n > 0) {
		n = refill(c, &plain, &e);
		if (n == 0)
			return;
		if (n > 0)
			n = io_send(c, &e);
		turn_bytes += n > 0 ? (size_t)n : 0;
		if (waits_for_room(c, n_payloads))
			break;
	}
	if (n < 0)
		conn_fail(c, &e);
	else
		(void)event_add(c->ev_write, NULL);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	conn_run(arg);
}

static void on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	c->kicked = false;
	conn_run(c);
}

/* Sockets that are not TCP (in tests) lack it; nothing breaks. */
static void set_ahead(struct conn *c, uint32_t n_bytes)
{
	const int low = (int)n_bytes;

	c->ahead_bytes = n_bytes;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &low, sizeof(low));
}

/* least, doubled up to most as long as the line takes it. */
static uint32_t doubled(uint32_t least, uint32_t most, uint64_t line_bytes)
{
	while (least < most && 2 * (uint64_t)least <= line_bytes)
		least *= 2;
	return least;
}

void conn_pace(struct conn *c, uint64_t bytes_per_ms)
{
	const uint32_t n_bytes = doubled(AHEAD_MIN_BYTES, AHEAD_MAX_BYTES, bytes_per_ms);

	c->frame_bytes = doubled(OUT_MIN_BYTES, OUT_MAX_BYTES,
	                         min_u64(bytes_per_ms, OUT_MAX_BYTES) * OUT_MS);
	if (n_bytes != c->ahead_bytes)
		set_ahead(c, n_bytes);
}

uint32_t conn_frame_bytes(const struct conn *c)
{
	return c->frame_bytes;
}

void conn_io_start(struct conn *c)
{
	struct event_base *base = loop_base(c->opts.loop);
	const int yes = 1;

	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	set_ahead(c, AHEAD_MIN_BYTES);
	c->frame_bytes = OUT_MIN_BYTES;
	(void)evutil_make_socket_nonblocking(c->fd);
	(void)evutil_make_socket_closeonexec(c->fd);
	c->ev_read = event_new(base, c->fd, EV_READ | EV_PERSIST, on_socket, c);
	c->ev_write = event_new(base, c->fd, EV_WRITE, on_socket, c);
	c->ev_kick = event_new(base, -1, 0, on_kick, c);
	if (c->ev_read == NULL || c->ev_write == NULL || c->ev_kick == NULL)
		abort(); /* memory is out: the sizes are our own */
	if (c->opts.tls != NULL) {
		c->ssl = tls_session(c->opts.tls, c->connected, &c->tls_notes);
		tls_attach(c->opts.tls, c->ssl, c->fd, &c->out);
	}
	(void)event_add(c->state == CONN_CONNECTING ? c->ev_write : c->ev_read, NULL);
}

void conn_kick(struct conn *c)
{
	if (c->in_run || c->kicked || c->state == CONN_GONE)
		return;
	c->kicked = true;
	event_active(c->ev_kick, EV_TIMEOUT, 0);
}

void conn_io_stop(struct conn *c)
{
	if (c->ssl != NULL && !c->failed && SSL_is_init_finished(c->ssl)) {
		(void)SSL_shutdown(c->ssl);
		send_tls(c);
	}
	SSL_free(c->ssl);
	c->ssl = NULL;
	event_free(c->ev_read);
	event_free(c->ev_write);
	event_free(c->ev_kick);
	ERR_clear_error();
	close_fd(&c->fd);
}
