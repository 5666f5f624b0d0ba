/*
 * bench_wire: how fast chunks go from one agent's memory to another's, over TLS on loopback, beside
 * a bare SSL_write() / SSL_read() loop of 16 KiB in the same run: bench_wire DIR [MIB [CHUNK_KIB]].
 *
 * DIR is a new directory for certificates. Two processes each; the asker has 4 GETs in flight, as
 * the peer source has, and computes the digest of each chunk on the loop thread or not
 * ("verified").
 */
#include "clock.h"
#include "conn.h"
#include "digest.h"
#include "mem.h"
#include "pki.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define IN_FLIGHT    4
#define CHUNKS_A_GET 8
#define RECORD_BYTES 16384
#define MIB          (1U << 20)
#define DEFAULT_MIB  1024
#define DEFAULT_KIB  1024

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
	struct err why;
};

static double seconds(void)
{
	return (double)clock_now_ns(clock_real()) / (double)NS_PER_S;
}

static double cpu_seconds(int who)
{
	struct rusage u;

	(void)getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
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
	b->got_bytes += size_bytes;
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
		b->got_bytes += (uint64_t)(n > 0 ? n : 0);
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

/* @return MiB a second of CPU of the busier process: what a free CPU each would give */
static double measure(const struct bench *like, const char *how)
{
	struct bench b = *like;
	const bool bare = strcmp(how, "bare") == 0;
	const bool secure = strcmp(how, "insecure") != 0;
	const double asked_before = cpu_seconds(RUSAGE_SELF);
	const double served_before = cpu_seconds(RUSAGE_CHILDREN);
	double began, took, asked, served, rate;
	int fds[2];
	pid_t server;

	tcp_pair(fds);
	b.verify = strcmp(how, "verified") == 0;
	server = fork();
	if (server == 0) {
		(void)close(fds[0]);
		if (bare)
			run_bare(&b, fds[1], false);
		else
			run_end(&b, fds[1], false, secure);
		_exit(0);
	}
	(void)close(fds[1]);
	began = seconds();
	if (bare)
		run_bare(&b, fds[0], true);
	else
		run_end(&b, fds[0], true, secure);
	took = seconds() - began;
	if (bare)
		(void)close(fds[0]);
	(void)waitpid(server, NULL, 0);
	asked = cpu_seconds(RUSAGE_SELF) - asked_before;
	served = cpu_seconds(RUSAGE_CHILDREN) - served_before;
	rate = (double)b.got_bytes / MIB / (asked > served ? asked : served);
	(void)printf(
		"%-10s wall %5.0f MiB/s, CPU %5.0f MiB/s (asker %.3f s, server %.3f s a GiB)\n",
		how, (double)b.got_bytes / MIB / took, rate,
		asked * 1024 * MIB / (double)b.got_bytes,
		served * 1024 * MIB / (double)b.got_bytes);
	return rate;
}

int main(int argc, char **argv)
{
	struct bench b = { .dir = argc > 1 ? argv[1] : "bench_wire.pki" };
	const uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : DEFAULT_MIB;
	const uint64_t kib = argc > 3 ? strtoull(argv[3], NULL, 10) : DEFAULT_KIB;
	struct err e = { 0 };
	double bare;

	if (mib == 0 || kib == 0 || kib > CHUNK_PLAIN_MAX_BYTES / 1024) {
		(void)fputs("usage: bench_wire DIR [MIB [CHUNK_KIB]]\n", stderr);
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	b.total_bytes = mib * MIB;
	b.chunk_bytes = (uint32_t)kib * 1024;
	if (pki_make_ca(b.dir, PKI_CA_TIMES, &e) < 0 ||
	    pki_make_node(b.dir, "a", PKI_NODE_TIMES, &e) < 0 ||
	    pki_make_node(b.dir, "b", PKI_NODE_TIMES, &e) < 0) {
		(void)fprintf(stderr, "bench_wire: %s\n", e.msg);
		return 1;
	}
	bare = measure(&b, "bare");
	(void)printf("tls        %.2f x bare\n", measure(&b, "tls") / bare);
	(void)printf("verified   %.2f x bare\n", measure(&b, "verified") / bare);
	(void)measure(&b, "insecure");
	return 0;
}
