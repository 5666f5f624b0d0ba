/*
 * http: HTTP requests over libcurl's multi interface, driven by the loop.
 *
 * Knows URLs, headers and bytes; connection reuse, TLS, proxies, time-outs. Knows nothing of
 * registries. All on the loop thread. Redirects are told, not followed.
 */
#pragma once
#include "auto.h"
#include "clock.h"
#include "err.h"
#include "log.h"
#include "loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;
struct http_req;

struct http_opts {
	struct loop *loop; /* borrowed */
	const struct clock *clock;
	struct log *log;
	uint32_t connect_timeout_ms;       /* 0: 5000 */
	uint32_t stall_timeout_ms;         /* no byte for so long: it failed; 0: 10000 */
	uint32_t max_connections_per_host; /* 0: 8 */
	/* Of all bodies together; 0: no limit, and HTTP/2 where an https server speaks it. With a
	 * limit HTTP/1.1: an answer can wait for its turn only on a connection of its own. */
	uint64_t bytes_per_s;
};

MUST_CHECK int http_new(const struct http_opts *opts, struct http **ret_http, struct err *e);
void http_free(struct http **http); /* all requests must have ended or been cancelled */

/** As http_opts, but for what was asked for before and comes by HTTP/2. */
void http_set_budget(struct http *http, uint64_t bytes_per_s);
/** As http_opts, for requests from now on. */
void http_set_timeouts(struct http *http, uint32_t connect_ms, uint32_t stall_ms);

/* What came before the body. Strings live during the call. */
struct http_head {
	long status;
	const char *location;         /* or NULL, as all below */
	const char *www_authenticate; /* all such headers, joined by ", " */
	const char *content_type;
	const char *docker_content_digest;
	int64_t content_length; /* -1: not told */
	int64_t retry_after_s;  /* -1: not told (dates are turned into seconds) */
	bool has_content_range;
	uint64_t range_first, range_last, range_total; /* of Content-Range; total 0: "*" */
};

struct http_request {
	const char *method;         /* "GET", "HEAD", "POST" */
	const char *url;            /* copied */
	const char *const *headers; /* "Name: value"; copied; n_headers */
	uint32_t n_headers;
	const char *post_body; /* POST only; copied */
	bool has_range;
	uint64_t range_first, range_last; /* inclusive */
	const char *ca_file;              /* PEM; or several, one a line; or NULL */
	const char *proxy;                /* or NULL */
	const char *proxy_username;       /* NULL: as the proxy's URL says */
	const char *proxy_password;
	bool skip_verify; /* TLS without a look at the certificate */
	/* Of the clock; 0: none but the stall time-out. With `urgent`, it moves by the time for
	 * which the transfer rests for bytes_per_s. */
	uint64_t deadline_ns;
	/* Is somebody blocked on it? Then it comes first where bytes_per_s is short. Looked at
	 * again and again; borrowed until end(). NULL: yes. */
	const bool *urgent;
	/* Once, before the body. @return 0 go on; non-zero: drop the rest, end(r = that value) */
	int (*head)(void *arg, const struct http_head *head);
	/* 0..n times. @return as head() */
	int (*body)(void *arg, const uint8_t *bytes, size_t size_bytes);
	/* Exactly once, last, never from inside http_start(): 0 the exchange is complete, whatever
	 * the status; what head() or body() returned; -EAGAIN network trouble; -EPROTO not HTTP or
	 * bad TLS. The request is gone when this is called. */
	void (*end)(void *arg, int r, const struct err *why);
	void *arg;
};

MUST_CHECK int http_start(struct http *http, const struct http_request *req,
                          struct http_req **ret_req, struct err *e);
/** From inside head(): until when what its answer asks for (another question, with a token or
 * elsewhere) has time. Its deadline, or more: while that passed it waited for a connection, and a
 * third of its time is left from here. @return 0: none, or nobody's who is `urgent` */
uint64_t http_deadline_ns(const struct http_req *req);
/** No callback will follow; also from inside head() or body(). @return had it been sent? */
bool http_cancel(struct http_req *req);
