/*
 * bench_wire: how fast chunks go from one agent's memory to another's, over TLS on loopback, beside
 * a bare SSL_write() / SSL_read() loop of 16 KiB in the same run:
 * bench_wire DIR [MIB [CHUNK_KIB [bare|tls|verified|insecure...]]].
 *
 * DIR is for certificates, which are made where it is not there yet. Two processes each, with the
 * agent's settings of the heap; the asker has 4 GETs in flight, as the peer source has, and
 * computes the digest of each chunk on the loop thread or not ("verified"). WARM_BYTES go before
 * anything is counted: agents live long, and have the memory that they work with.
 */
#include "clock.h"
#include "conn.h"
#include "digest.h"
#include "heap.h"
#include "mem.h"
#include "pki.h"
#include "send_rate.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IN_FLIGHT    4
#define CHUNKS_A_GET 8
#define RECORD_BYTES 16384
#define MIB          (1U << 20)
#define DEFAULT_MIB  1024
#define DEFAULT_KIB  1024
#define WARM_BYTES   (UINT64_C(64) << 20)

struct bench {
	const char *dir;
	uint64_t total_bytes;
	uint32_t chunk_bytes;
	bool verify;
	struct loop *loop;
	struct tls *tls;
	struct wire_hello self;
	struct conn_opts opts;
	struct conn *conn;
	uint64_t asked_bytes, got_bytes;
	clockid_t server_clock; /* the CPU time of the other process */
	uint64_t warm_bytes;    /* what had come when the counting began; 0: not yet */
	double began, asker_began, server_began;
	struct send_rate rate; /* of who serves */
	struct err why;
};

static double seconds(void)
{
	return (double)clock_now_ns(clock_real()) / (double)NS_PER_S;
}

static double cpu_seconds(clockid_t of)
{
	struct timespec t = { 0 };

	(void)clock_gettime(of, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* So many bytes more have come. */
static void got(struct bench *b, uint64_t n_bytes)
{
	b->got_bytes += n_bytes;
	if (b->warm_bytes > 0 || b->got_bytes < WARM_BYTES)
		return;
	b->warm_bytes = b->got_bytes;
	b->began = seconds();
	b->asker_began = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
	b->server_began = cpu_seconds(b->server_clock);
}

static struct tls *load(const char *dir, const char *node)
{
	AUTO(free_str) char *ca = xasprintf("%s/ca.pem", dir);
	AUTO(free_str) char *cert = xasprintf("%s/%s.pem", dir, node);
	AUTO(free_str) char *key = xasprintf("%s/%s.key", dir, node);
	const struct tls_opts opts = { .ca_file = ca, .cert_file = cert, .key_file = key };
	struct tls *tls = NULL;
	struct err e = { 0 };

	if (tls_new(&opts, &tls, &e) < 0)
		(void)fprintf(stderr, "bench_wire: %s\n", e.msg);
	assert(tls != NULL);
	return tls;
}

/* ---- the serving process ---- */

struct serve {
	struct bench *b;
	uint32_t next, n;
};

/* As peer/serve_read.c does. */
static void pace(struct bench *b)
{
	uint64_t acked_bytes;
	uint64_t busy_us;

	if (conn_sent(b->conn, &acked_bytes, &busy_us))
		send_rate_look(&b->rate, acked_bytes, busy_us);
	if (send_rate_is_known(&b->rate))
		conn_pace(b->conn, send_rate_bytes_per_ms(&b->rate));
}

static void on_pull(void *arg, struct conn_stream *s)
{
	struct serve *sv = arg;
	const struct wire_chunk_item item = { .pos = (uint16_t)sv->next,
		                              .size_bytes = sv->b->chunk_bytes };
	uint8_t *bytes;

	if (sv->next == sv->n) {
		free(sv);
		stream_end(&s, WIRE_DONE, 0);
		return;
	}
	sv->next++;
	pace(sv->b);
	bytes = malloc(item.size_bytes);
	assert(bytes != NULL);
	memset(bytes, (int)sv->next, item.size_bytes); /* stands for the read of the file */
	stream_put_chunks(s, &item, 1, bytes);
}

static void on_stream_closed(void *arg)
{
	free(arg);
}

static void on_get(void *arg, struct conn *c, const struct wire_msg *msg)
{
	static const struct stream_ops ops = { .pull = on_pull, .closed = on_stream_closed };
	const struct wire_msg grant = { .type = WIRE_GRANT, .u.grant.req = msg->u.get.req };
	struct conn_stream *stream;
	struct serve *sv;

	if (msg->type != WIRE_GET)
		return;
	sv = xcalloc(1, sizeof(*sv));
	*sv = (struct serve){ .b = arg, .n = msg->u.get.part.set.n };
	conn_send(c, &grant);
	if (conn_serve(c, msg->u.get.req, CONN_PREFETCH, &ops, sv, &stream) < 0)
		free(sv);
}

/* ---- the asking process ---- */

static void ask(struct bench *b);

static void on_answer(void *arg, const struct wire_msg *msg)
{
	(void)arg;
	(void)msg;
}

static void on_chunk(void *arg, uint16_t pos, enum compressor form, uint8_t *bytes,
                     uint32_t size_bytes)
{
	struct bench *b = arg;
	uint8_t digest[DIGEST_BYTES];

	(void)pos;
	(void)form;
	if (b->verify)
		digest_compute(DIGEST_BLAKE3, bytes, size_bytes, digest);
	got(b, size_bytes);
	free(bytes);
}

static void on_end(void *arg, enum wire_status status, uint32_t retry_ms)
{
	struct bench *b = arg;

	(void)retry_ms;
	if (status != WIRE_DONE || b->got_bytes >= b->total_bytes)
		loop_stop(b->loop);
	else
		ask(b);
}

static void ask(struct bench *b)
{
	static const struct request_ops ops = { .answer = on_answer,
		                                .chunk = on_chunk,
		                                .end = on_end };
	struct wire_msg msg = { .type = WIRE_GET };
	uint32_t sizes[CHUNKS_A_GET];
	const struct request_opts opts = { .ops = &ops, .arg = b, .plain_sizes = sizes };
	uint32_t req;

	if (b->asked_bytes >= b->total_bytes)
		return;
	msg.u.get.part.set.n = CHUNKS_A_GET;
	for (uint32_t i = 0; i < CHUNKS_A_GET; i++) {
		wire_set_add(&msg.u.get.part.set, i);
		sizes[i] = b->chunk_bytes;
		b->asked_bytes += b->chunk_bytes;
	}
	if (conn_request(b->conn, &msg, &opts, &req) < 0)
		loop_stop(b->loop);
}

static void on_open(void *arg, struct conn *c, const struct wire_hello *peer)
{
	struct bench *b = arg;

	(void)peer;
	b->conn = c;
	if (conn_is_connected_by_us(c))
		for (int i = 0; i < IN_FLIGHT; i++)
			ask(b);
}

static void on_cancelled(void *arg, struct conn *c, uint32_t req)
{
	(void)arg;
	(void)c;
	(void)req;
}

static void on_closed(void *arg, struct conn *c, const struct err *why)
{
	struct bench *b = arg;

	(void)c;
	b->conn = NULL;
	b->why = *why;
	loop_stop(b->loop);
}

static void run_end(struct bench *b, int fd, bool asks, bool secure)
{
	static const struct conn_ops ops = {
		.open = on_open, .message = on_get, .cancelled = on_cancelled, .closed = on_closed
	};
	struct err e;
	int r = loop_new(&b->loop, &e);

	assert(r == 0);
	memset(b->self.self.id.b, asks ? 1 : 2, WIRE_ID_BYTES);
	if (secure) {
		b->tls = load(b->dir, asks ? "a" : "b");
		b->self.self.id = tls_own_id(b->tls);
	}
	(void)snprintf(b->self.self.address, sizeof(b->self.self.address), "127.0.0.1:1");
	b->opts = (struct conn_opts){ .loop = b->loop,
		                      .clock = clock_real(),
		                      .tls = b->tls,
		                      .self = &b->self,
		                      .ops = &ops,
		                      .arg = b };
	b->conn = conn_new(&b->opts, fd, asks);
	loop_run(b->loop);
	if (asks && b->got_bytes < b->total_bytes)
		(void)fprintf(stderr, "bench_wire: ended early: %s\n", b->why.msg);
	conn_abort(&b->conn);
	tls_free(&b->tls);
	loop_free(&b->loop);
}

/* ---- the bare loop ---- */

static SSL *bare_session(const struct bench *b, int fd, bool asks)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	AUTO(free_str) char *cert = xasprintf("%s/b.pem", b->dir);
	AUTO(free_str) char *key = xasprintf("%s/b.key", b->dir);
	SSL *ssl;
	int ok;

	assert(ctx != NULL);
	ok = SSL_CTX_use_certificate_chain_file(ctx, cert);
	ok = ok && SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM);
	ssl = SSL_new(ctx);
	ok = ok && SSL_set_fd(ssl, fd) && (asks ? SSL_connect(ssl) : SSL_accept(ssl)) == 1;
	assert(ok);
	SSL_CTX_free(ctx);
	return ssl;
}

static void run_bare(struct bench *b, int fd, bool asks)
{
	static uint8_t bytes[RECORD_BYTES];
	SSL *ssl = bare_session(b, fd, asks);
	int n = 1;

	while (b->got_bytes < b->total_bytes && n > 0) {
		n = asks ? SSL_read(ssl, bytes, sizeof(bytes))
		         : SSL_write(ssl, bytes, sizeof(bytes));
		got(b, (uint64_t)(n > 0 ? n : 0));
	}
	SSL_free(ssl);
}

/* ---- both ---- */

static void tcp_pair(int fds[2])
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(in);
	const int l = socket(AF_INET, SOCK_STREAM, 0);
	int ok = bind(l, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(l, 1) == 0 &&
	         getsockname(l, (struct sockaddr *)&in, &size) == 0;

	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	ok = ok && connect(fds[0], (struct sockaddr *)&in, sizeof(in)) == 0;
	fds[1] = accept(l, NULL, NULL);
	assert(ok && fds[1] >= 0);
	(void)close(l);
}

static void run(struct bench *b, int fd, bool asks, const char *how)
{
	b->verify = strcmp(how, "verified") == 0;
	if (strcmp(how, "bare") == 0)
		run_bare(b, fd, asks);
	else
		run_end(b, fd, asks, strcmp(how, "insecure") != 0);
}

static void measure(const struct bench *like, const char *how)
{
	struct bench b = *like;
	double took, asked, served, mib;
	int fds[2];
	pid_t server;

	tcp_pair(fds);
	server = fork();
	if (server == 0) {
		(void)close(fds[0]);
		run(&b, fds[1], false, how);
		_exit(0);
	}
	(void)close(fds[1]);
	if (clock_getcpuclockid(server, &b.server_clock) != 0)
		abort();
	run(&b, fds[0], true, how);
	took = seconds() - b.began;
	asked = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - b.asker_began;
	served = cpu_seconds(b.server_clock) - b.server_began; /* it is not waited for yet */
	(void)waitpid(server, NULL, 0);
	mib = (double)(b.got_bytes - b.warm_bytes) / MIB;
	(void)printf("%-10s wall %5.0f MiB/s, CPU: asker %.3f s, server %.3f s a GiB\n", how,
	             mib / took, asked * 1024 / mib, served * 1024 / mib);
}

static int make_certificates(const char *dir, struct err *e)
{
	int r = 0;

	if (access(dir, F_OK) == 0)
		return 0;
	r = pki_make_ca(dir, PKI_CA_TIMES, e);
	if (r == 0)
		r = pki_make_node(dir, "a", PKI_NODE_TIMES, e);
	if (r == 0)
		r = pki_make_node(dir, "b", PKI_NODE_TIMES, e);
	return r;
}

int main(int argc, char **argv)
{
	static const char *const all[] = { "bare", "tls", "verified", "insecure" };
	struct bench b = { .dir = argc > 1 ? argv[1] : "bench_wire.pki" };
	const uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : DEFAULT_MIB;
	const uint64_t kib = argc > 3 ? strtoull(argv[3], NULL, 10) : DEFAULT_KIB;
	struct err e = { 0 };

	if (mib == 0 || kib == 0 || kib > CHUNK_PLAIN_MAX_BYTES / 1024) {
		(void)fputs("usage: bench_wire DIR [MIB [CHUNK_KIB [HOW...]]]\n", stderr);
		return 2;
	}
	heap_configure((uint32_t)sysconf(_SC_NPROCESSORS_ONLN));
	(void)signal(SIGPIPE, SIG_IGN);
	b.total_bytes = WARM_BYTES + mib * MIB;
	b.chunk_bytes = (uint32_t)kib * 1024;
	if (make_certificates(b.dir, &e) < 0) {
		(void)fprintf(stderr, "bench_wire: %s\n", e.msg);
		return 1;
	}
	for (int i = 4; i < argc; i++)
		measure(&b, argv[i]);
	for (size_t i = 0; i < ARRAY_LEN(all) && argc <= 4; i++)
		measure(&b, all[i]);
	return 0;
}
