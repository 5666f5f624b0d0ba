/*
 * http_page: a small, read-only HTTP server beside the API.
 *
 * GET and HEAD alone, no body, short headers, short time: anybody may reach it. Knows the page, the
 * metrics' text and whether the agent is ready; nothing else of the agent.
 */
#include "http_page.h"
#include "http_accept.h"
#include "http_answer.h"
#include "http_events.h"
#include "http_watch.h"
#include "mem.h"
#include "page_html.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/util.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define PAGE_HEADERS_MAX_BYTES 8192
#define PAGE_BODY_MAX_BYTES    1024
#define PAGE_TIMEOUT_S         10
#define PAGE_SCRAPES_MAX       16 /* at once: the rest is told to come back */
#define PAGE_BACKLOG           64

struct scrape;

struct http_page {
	struct agent *agent;
	struct evhttp *http;
	struct scrape *scrapes; /* that wait for the desk */
	uint32_t n_scrapes;
	struct http_events *events;
};

static void reply_text(struct evhttp_request *req, int status, const char *type, const char *text)
{
	http_answer(req, status, type, text, strlen(text));
}

#define PLAIN "text/plain; charset=utf-8"

/* ---- /metrics: the disk is asked first, on the desk ---- */

struct scrape {
	struct job job;
	struct http_page *page;
	struct evhttp_request *req;
	struct cas *cas;
	uint64_t disk_bytes;
	int result;
	struct err err;
	struct scrape *prev, *next;
};

static void scrape_work(struct job *job)
{
	struct scrape *s = container_of(job, struct scrape, job);

	s->result = cas_disk_bytes(s->cas, &s->disk_bytes, &s->err);
}

static void scrape_after(struct job *job)
{
	struct scrape *s = container_of(job, struct scrape, job);
	struct metrics *m = s->page->agent->metrics;
	AUTO(free_str) char *text = NULL;

	if (s->result == 0)
		series_set(metrics_series(m, METRIC_CACHE_BYTES, NULL), (int64_t)s->disk_bytes);
	mounts_show(s->page->agent->mounts);
	if (s->page->agent->peer != NULL)
		peer_count(s->page->agent->peer);
	text = metrics_render(m);
	reply_text(s->req, HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text);
	DL_DELETE(s->page->scrapes, s);
	s->page->n_scrapes--;
	free(s);
}

static void on_metrics(struct evhttp_request *req, void *arg)
{
	struct http_page *page = arg;
	struct scrape *s;

	if (page->n_scrapes >= PAGE_SCRAPES_MAX || page->agent->stopping) {
		reply_text(req, HTTP_SERVUNAVAIL, PLAIN, "busy\n");
		return;
	}
	page->n_scrapes++;
	s = xcalloc(1, sizeof(*s));
	s->page = page;
	s->req = req;
	s->cas = page->agent->cas;
	s->job = (struct job){ .work = scrape_work, .after = scrape_after };
	DL_APPEND(page->scrapes, s);
	/* A caller that hangs up meanwhile: evhttp keeps the request until it is answered. */
	http_watch(req);
	pool_submit(page->agent->desk, &s->job);
}

/* ---- the rest ---- */

static void on_healthz(struct evhttp_request *req, void *arg)
{
	(void)arg;
	reply_text(req, HTTP_OK, PLAIN, "ok\n");
}

static void on_readyz(struct evhttp_request *req, void *arg)
{
	const struct http_page *page = arg;

	if (agent_is_ready(page->agent))
		reply_text(req, HTTP_OK, PLAIN, "ready\n");
	else
		reply_text(req, HTTP_SERVUNAVAIL, PLAIN, "not ready\n");
}

static void on_root(struct evhttp_request *req, void *arg)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);

	(void)arg;
	(void)evhttp_add_header(headers, "Content-Security-Policy",
	                        "default-src 'none'; style-src 'unsafe-inline'; "
	                        "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
	                        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	(void)evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
	(void)evhttp_add_header(headers, "Cache-Control", "no-cache");
	http_answer(req, HTTP_OK, "text/html; charset=utf-8", page_html, page_html_bytes);
}

static void on_events(struct evhttp_request *req, void *arg)
{
	const struct http_page *page = arg;

	if (!http_events_add(page->events, req))
		reply_text(req, HTTP_SERVUNAVAIL, PLAIN, "busy\n");
}

static void on_other(struct evhttp_request *req, void *arg)
{
	(void)arg;
	reply_text(req, HTTP_NOTFOUND, PLAIN, "not found\n");
}

static int listen_tcp(const char *text, int *ret_fd, struct err *e)
{
	struct sockaddr_storage address = { 0 };
	int address_bytes = (int)sizeof(address);
	const int on = 1;
	AUTO(close_fd) int fd = -1;

	if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&address, &address_bytes) != 0)
		return err_set(e, EINVAL, "http.listen %s is no address", text);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (const struct sockaddr *)&address, (socklen_t)address_bytes) != 0 ||
	    listen(fd, PAGE_BACKLOG) != 0)
		return err_errno(e, errno, "http.listen %s (choose another, or \"off\")", text);
	*ret_fd = take_fd(&fd);
	return 0;
}

int http_page_new(struct agent *agent, const char *listen, struct http_page **ret_page,
                  struct err *e)
{
	AUTO(http_page_free) struct http_page *page = NULL;
	int fd = -1;
	int r;

	*ret_page = NULL;
	if (strcmp(listen, "off") == 0)
		return 0;
	page = xcalloc(1, sizeof(*page));
	page->agent = agent;
	page->http = evhttp_new(loop_base(agent->loop));
	if (page->http == NULL)
		return err_set(e, ENOMEM, "the metrics page cannot be served");
	r = listen_tcp(listen, &fd, e);
	if (r == 0)
		r = http_accept(page->http, fd, NULL, e);
	if (r < 0)
		return r;
	evhttp_set_allowed_methods(page->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(page->http, PAGE_HEADERS_MAX_BYTES);
	evhttp_set_max_body_size(page->http, PAGE_BODY_MAX_BYTES);
	evhttp_set_timeout(page->http, PAGE_TIMEOUT_S);
	(void)evhttp_set_cb(page->http, "/metrics", on_metrics, page);
	(void)evhttp_set_cb(page->http, "/healthz", on_healthz, page);
	(void)evhttp_set_cb(page->http, "/readyz", on_readyz, page);
	(void)evhttp_set_cb(page->http, "/events", on_events, page);
	(void)evhttp_set_cb(page->http, "/", on_root, page);
	page->events = http_events_new(agent);
	evhttp_set_gencb(page->http, on_other, page);
	*ret_page = page;
	page = NULL;
	return 0;
}

void http_page_free(struct http_page **page)
{
	struct scrape *s, *next;

	if (*page == NULL)
		return;
	/* The desk is gone, and the loop will not turn again: nobody answers these. */
	DL_FOREACH_SAFE((*page)->scrapes, s, next)
	free(s);
	http_events_free(&(*page)->events);
	if ((*page)->http != NULL)
		evhttp_free((*page)->http);
	free(*page);
	*page = NULL;
}
