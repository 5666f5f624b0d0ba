/*
 * net_fixture: a real HTTP server with faults (tests/fakes/faulty_origin.py), and the transport
 * modules on a real loop.
 */
#pragma once
#include "http.h"
#include "metrics.h"
#include "origin.h"
#include "pool.h"
#include "registry.h"
#include <jansson.h>
#include <sys/types.h>

#define NET_DEADLINE_MS 20000 /* what only a failure reaches */

struct net {
	char dir[64]; /* what the server serves; gone at the end */
	pid_t server;
	char host[64];  /* of the server: 127.0.0.1:PORT */
	char alias[64]; /* the same under another name: localhost:PORT */
	struct loop *loop;
	struct pool *pool;
	struct http *http;
	struct registry *registry;
	struct metrics *metrics;
	bool runs_on; /* something else than the registry does: the test has failed */
	struct registry_config configs[3];
	uint32_t n_configs;
};

int net_setup(void **state); /* cmocka; the registry is plain http, without credentials */
/** Where the test failed in the middle of a request, nothing is freed: it would be an abort, before
 * anybody is told of what failed. */
int net_teardown(void **state);

/** Make the registry anew, after configs[] was changed. */
void net_new_registry(struct net *n);

void net_write(struct net *n, const char *name, const void *data, size_t size_bytes);
char *net_path(struct net *n, const char *name); /* malloc'd */

void net_faults(struct net *n, const char *json);
void net_redirect(struct net *n, const char *host); /* where the bytes are from now on */
json_t *net_stats(struct net *n);                   /* the caller's */
json_int_t net_n_requests(struct net *n);           /* all of them since the last call */
json_int_t net_stat(json_t *stats, const char *group, const char *name);
/** How many requests of the log have this value in this field. */
uint32_t net_count(struct net *n, const char *path_part, const char *field, const char *value);

/** A server that says nothing for a second has failed: for what is asked from now on, until
 * patience is there again. Without this a busy machine has the time of a node. */
void net_lose_patience(struct net *n);
void net_regain_patience(struct net *n);

uint64_t net_deadline(void);

/* What came back from one request. */
struct net_result {
	struct net *net;
	bool done;
	int r;
	struct err why;
	long status;
	int64_t content_length;
	size_t n_bytes;
	uint8_t *bytes; /* grown; free_bytes() */
};
void net_result_wipe(struct net_result *res);

/** Ask the registry for a blob (or whatever want says; host and callbacks are filled in) and wait.
 */
int net_ask(struct net *n, struct registry_request *want, struct net_result *res);
/** The same, for the first ten bytes of what serves digits: those came, where it ends well. */
int net_ask_digits(struct net *n, struct registry_request *want);
/** It is trouble until the deadline (-EAGAIN), which says why: later, where a busy machine has no
 * time to see that. */
void net_ask_in_vain(struct net *n, struct registry_request *want, uint64_t timeout_ms,
                     const char *says);
/** The same without the wait. @return as registry_start() */
int net_start(struct net *n, struct registry_request *want, struct net_result *res);

void net_on_head(void *arg, const struct http_head *head);
int net_on_body(void *arg, const uint8_t *bytes, size_t size_bytes);
void net_on_end(void *arg, int r, const struct err *why);
void net_wait(struct net *n, const struct net_result *res);
/** For each of them; all end with r. They are wiped. */
void net_wait_all(struct net *n, struct net_result *res, uint32_t n_res, int r);
