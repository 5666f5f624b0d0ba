/*
 * http: libcurl's multi handle on libevent: sockets and one timer drive all exchanges.
 *
 *   http_start -> (libcurl works: sockets, timer) -> head() -> body()... -> end()
 *                  `--- http_cancel, at any moment: nothing more is heard
 *
 * libcurl must not be entered from its own callbacks. Requests that are started or cancelled from
 * inside head() or body() are kept in a list and settled when libcurl has returned.
 * Knows nothing of what the requests are for.
 */
#include "bytes.h"
#include "http_budget.h"
#include "http_easy.h"
#include "mem.h"
#include "slow.h"
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SPARE_HANDLES_MAX    16
#define IDLE_CONNECTIONS_MAX 64L
#define QUEUED_AGAIN_MS      500

struct http {
	struct http_opts opts;
	CURLM *multi;
	struct timer timer;
	struct http_budget budget;
	struct timer budget_timer;
	bool inside;            /* libcurl is on the stack */
	struct http_req *later; /* to be added, or removed when cancelled */
	struct http_req *all;
	uint32_t n_spare;
	CURL *spare[SPARE_HANDLES_MAX]; /* making a handle costs more than resetting one */
};

const struct http_opts *http_opts_of(const struct http *http)
{
	return &http->opts;
}

/* ---- requests ---- */

static CURL *take_handle(struct http *http)
{
	if (http->n_spare > 0)
		return http->spare[--http->n_spare];
	return curl_easy_init();
}

/* What failed half way is not used again. */
static void give_handle(struct http *http, CURL *easy, bool succeeded)
{
	if (easy == NULL)
		return;
	if (succeeded && http->n_spare < SPARE_HANDLES_MAX && http_easy_renew(easy))
		http->spare[http->n_spare++] = easy;
	else
		curl_easy_cleanup(easy);
}

static void req_free(struct http_req *req)
{
	struct http *http = req->http;

	http_budget_forget(&http->budget, req);
	timer_fini(&req->late);
	if (req->added)
		(void)curl_multi_remove_handle(http->multi, req->easy);
	give_handle(http, req->easy, req->succeeded);
	curl_slist_free_all(req->headers);
	head_reader_reset(&req->head_reader);
	DL_DELETE2(http->all, req, all_prev, all_next);
	free(req);
}

static void req_end(struct http_req *req, CURLcode code)
{
	void (*end)(void *, int, const struct err *) = req->end;
	void *arg = req->arg;
	struct err why = { 0 };
	const int r = http_easy_result(req, code, &why);

	req->succeeded = code == CURLE_OK;
	req_free(req);
	end(arg, r, &why);
}

/* ---- libcurl's events ---- */

static void end_finished(struct http *http)
{
	struct CURLMsg *msg;
	int n_left;

	while ((msg = curl_multi_info_read(http->multi, &n_left)) != NULL) {
		const CURLcode code = msg->data.result;
		char *private = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
		req_end((struct http_req *)(void *)private, code);
	}
}

static void add_now(struct http_req *req)
{
	const CURLMcode code = curl_multi_add_handle(req->http->multi, req->easy);

	assert(code == CURLM_OK || code == CURLM_OUT_OF_MEMORY);
	req->added = code == CURLM_OK;
}

/* Do what was asked for while libcurl was on the stack. */
static void settle(struct http *http)
{
	while (http->later != NULL) {
		struct http_req *req = http->later;

		DL_DELETE(http->later, req);
		req->next = NULL;
		req->prev = NULL;
		if (req->cancelled) {
			req_free(req);
			continue;
		}
		add_now(req);
		if (!req->added)
			req_end(req, CURLE_OUT_OF_MEMORY);
	}
}

static void drive(struct http *http, curl_socket_t fd, int what)
{
	int n_running;

	http->inside = true;
	(void)curl_multi_socket_action(http->multi, fd, what, &n_running);
	http->inside = false;
	settle(http);
	end_finished(http);
}

/* Not before due_ns; 0: not at all. */
static void start_at(struct timer *t, uint64_t due_ns, uint64_t now_ns)
{
	if (due_ns != 0)
		timer_start(t, due_ns > now_ns ? (due_ns - now_ns) / NS_PER_MS + 1 : 0);
}

/* ---- the budget ---- */

static void watch_budget(struct http *http)
{
	start_at(&http->budget_timer, http->budget.due_ns, clock_now_ns(http->opts.clock));
}

/* ---- deadlines of those that may rest ---- */

static bool came_lately(const struct http_req *req, uint64_t now_ns, uint64_t time_ns)
{
	return req->came_ns != 0 && now_ns <= req->came_ns + time_ns / SILENCE_SHARE;
}

/* Another request of its host gets something. */
static bool is_line_moving(const struct http_req *req, uint64_t now_ns)
{
	const struct http_req *other;

	DL_FOREACH2(req->http->all, other, all_next)
	{
		if (other != req && came_lately(other, now_ns, req->time_ns) &&
		    strcmp(other->url_host, req->url_host) == 0)
			return true;
	}
	return false;
}

/* It may wait for a connection, behind others that rest or come slowly. */
static bool is_queued(struct http_req *req, uint64_t now_ns)
{
	curl_off_t sent_us = 0;

	(void)curl_easy_getinfo(req->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
	if (sent_us != 0 || (req->http->budget.resting == NULL && !is_line_moving(req, now_ns)))
		return false;
	req->queued_ns = now_ns;
	return true;
}

/* It got its connection late, and has had no time for an answer. */
static bool is_sent_just_now(const struct http_req *req, uint64_t now_ns)
{
	return req->queued_ns != 0 && req->came_ns == 0 &&
	       now_ns <=
	               req->queued_ns + QUEUED_AGAIN_MS * NS_PER_MS + req->time_ns / SILENCE_SHARE;
}

uint64_t http_deadline_ns(const struct http_req *req)
{
	const uint64_t now_ns = clock_now_ns(req->http->opts.clock);

	if (req->queued_ns == 0)
		return req->late_ns;
	return max_u64(req->late_ns, now_ns + req->time_ns / SILENCE_SHARE);
}

/* More of its body came since it was late before, fast enough. */
static bool is_coming(struct http_req *req)
{
	curl_off_t came = 0;
	curl_off_t all = 0;
	curl_off_t head_us = 0;
	curl_off_t total_us = 0;
	const uint64_t before = req->seen_bytes;

	(void)curl_easy_getinfo(req->easy, CURLINFO_SIZE_DOWNLOAD_T, &came);
	(void)curl_easy_getinfo(req->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &all);
	(void)curl_easy_getinfo(req->easy, CURLINFO_STARTTRANSFER_TIME_T, &head_us);
	(void)curl_easy_getinfo(req->easy, CURLINFO_TOTAL_TIME_T, &total_us);
	if (came <= 0 || all <= 0 || total_us < head_us)
		return false;
	req->seen_bytes = (uint64_t)came;
	return req->seen_bytes > before &&
	       slow_will_come(req->seen_bytes, (uint64_t)all, (uint64_t)(total_us - head_us) * 1000,
	                      req->time_ns);
}

static void on_late(struct timer *t)
{
	struct http_req *req = container_of(t, struct http_req, late);
	const uint64_t now_ns = clock_now_ns(req->http->opts.clock);

	if (is_queued(req, now_ns) || is_sent_just_now(req, now_ns)) {
		timer_start(&req->late, QUEUED_AGAIN_MS);
	} else if (is_coming(req)) {
		req->late_ns = now_ns + req->time_ns;
		start_at(&req->late, req->late_ns, now_ns);
	} else {
		req_end(req, CURLE_OPERATION_TIMEDOUT);
	}
}

static void begin_rest(struct http_req *req, uint64_t now_ns)
{
	timer_stop(&req->late);
	if (req->rest_since_ns == 0)
		req->rest_since_ns = now_ns;
}

static void end_rest(struct http_req *req)
{
	const uint64_t now_ns = clock_now_ns(req->http->opts.clock);

	if (req->late_ns != 0)
		req->late_ns += now_ns - req->rest_since_ns;
	req->rest_since_ns = 0;
	start_at(&req->late, req->late_ns, now_ns);
}

bool http_pay(struct http_req *req, size_t size_bytes)
{
	struct http *http = req->http;
	const uint64_t now_ns = clock_now_ns(http->opts.clock);

	/* It was asked for before there was a budget: see set_http_version(). */
	if (http->opts.bytes_per_s != 0 && http_easy_shares(req))
		return true;
	if (http_budget_take(&http->budget, req, size_bytes, now_ns))
		return true;
	begin_rest(req, now_ns);
	watch_budget(http);
	return false;
}

/* libcurl hands out what it kept, and reads on. */
static void go_on(struct http_req *req)
{
	struct http *http = req->http;

	end_rest(req);
	http->inside = true;
	(void)curl_easy_pause(req->easy, CURLPAUSE_CONT);
	http->inside = false;
	settle(http);
	end_finished(http);
}

static void on_budget(struct timer *t)
{
	struct http *http = container_of(t, struct http, budget_timer);
	struct http_req *req;

	while ((req = http_budget_next(&http->budget, clock_now_ns(http->opts.clock))) != NULL)
		go_on(req);
	watch_budget(http);
}

void http_set_timeouts(struct http *http, uint32_t connect_ms, uint32_t stall_ms)
{
	http->opts.connect_timeout_ms = connect_ms;
	http->opts.stall_timeout_ms = stall_ms;
}

void http_set_budget(struct http *http, uint64_t bytes_per_s)
{
	http->opts.bytes_per_s = bytes_per_s;
	http->budget.rate.bytes_per_s = bytes_per_s;
	timer_start(&http->budget_timer, 0); /* whoever rests has another turn */
}

static void on_socket(evutil_socket_t fd, short events, void *arg)
{
	struct http *http = arg;
	int what = 0;

	if (events & EV_READ)
		what |= CURL_CSELECT_IN;
	if (events & EV_WRITE)
		what |= CURL_CSELECT_OUT;
	drive(http, fd, what);
}

static void on_timer(struct timer *t)
{
	drive(container_of(t, struct http, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int watch_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http *http = arg;

	(void)multi;
	if (timeout_ms < 0)
		timer_stop(&http->timer);
	else
		timer_start(&http->timer, (uint64_t)timeout_ms);
	return 0;
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http *http = arg;
	struct event *ev = socket_arg;
	short events = EV_PERSIST;

	(void)easy;
	if (ev != NULL)
		event_free(ev);
	(void)curl_multi_assign(http->multi, fd, NULL);
	if (what == CURL_POLL_REMOVE)
		return 0;
	if (what & CURL_POLL_IN)
		events |= EV_READ;
	if (what & CURL_POLL_OUT)
		events |= EV_WRITE;
	ev = event_new(loop_base(http->opts.loop), fd, events, on_socket, http);
	if (ev == NULL || event_add(ev, NULL) < 0)
		return -1;
	(void)curl_multi_assign(http->multi, fd, ev);
	return 0;
}

/* ---- the public calls ---- */

static void setup_multi(struct http *http)
{
	const long per_host = (long)http->opts.max_connections_per_host;

	(void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
	(void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	(void)curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, watch_timer);
	(void)curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	(void)curl_multi_setopt(http->multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host);
	(void)curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS_MAX);
}

int http_new(const struct http_opts *opts, struct http **ret_http, struct err *e)
{
	struct http *http;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return err_set(e, EIO, "libcurl does not start");
	http = xcalloc(1, sizeof(*http));
	http->opts = *opts;
	if (http->opts.connect_timeout_ms == 0)
		http->opts.connect_timeout_ms = 5000;
	if (http->opts.stall_timeout_ms == 0)
		http->opts.stall_timeout_ms = 10000;
	if (http->opts.max_connections_per_host == 0)
		http->opts.max_connections_per_host = 8;
	timer_init(&http->timer, opts->loop, on_timer);
	timer_init(&http->budget_timer, opts->loop, on_budget);
	http->budget.rate.bytes_per_s = opts->bytes_per_s;
	http->multi = curl_multi_init();
	if (http->multi == NULL) {
		http_free(&http);
		return err_set(e, ENOMEM, "no memory for libcurl");
	}
	setup_multi(http);
	*ret_http = http;
	return 0;
}

void http_free(struct http **http)
{
	struct http *h = *http;

	if (h == NULL)
		return;
	assert(h->all == NULL);
	while (h->n_spare > 0)
		curl_easy_cleanup(h->spare[--h->n_spare]);
	if (h->multi != NULL)
		(void)curl_multi_cleanup(
			h->multi); /* closes what is idle: watch_socket() is called */
	timer_fini(&h->timer);
	timer_fini(&h->budget_timer);
	free(h);
	*http = NULL;
	curl_global_cleanup();
}

int http_start(struct http *http, const struct http_request *request, struct http_req **ret_req,
               struct err *e)
{
	struct http_req *req = xcalloc(1, sizeof(*req));
	int r = 0;

	assert(loop_is_mine(http->opts.loop));
	req->http = http;
	req->head = request->head;
	req->body = request->body;
	req->end = request->end;
	req->arg = request->arg;
	req->urgent = request->urgent;
	timer_init(&req->late, http->opts.loop, on_late);
	if (request->urgent != NULL && request->deadline_ns != 0) {
		const uint64_t now_ns = clock_now_ns(http->opts.clock);

		req->late_ns = request->deadline_ns;
		req->time_ns = req->late_ns > now_ns ? req->late_ns - now_ns : 0;
	}
	head_reader_reset(&req->head_reader);
	DL_APPEND2(http->all, req, all_prev, all_next);
	req->easy = take_handle(http);
	if (req->easy == NULL)
		r = err_set(e, ENOMEM, "no memory for a request");
	if (r == 0)
		r = http_easy_setup(req, &http->opts, request, e);
	if (r == 0 && !http->inside) {
		add_now(req);
		if (!req->added)
			r = err_set(e, ENOMEM, "no memory for a request");
	}
	if (r < 0) {
		req_free(req);
		return r;
	}
	if (http->inside)
		DL_APPEND(http->later, req);
	start_at(&req->late, req->late_ns, clock_now_ns(http->opts.clock));
	*ret_req = req;
	return 0;
}

bool http_cancel(struct http_req *req)
{
	struct http *http = req->http;
	long sent_bytes = 0;

	assert(loop_is_mine(http->opts.loop));
	(void)curl_easy_getinfo(req->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
	if (!http->inside) {
		req_free(req);
		return sent_bytes > 0;
	}
	assert(!req->cancelled);
	req->cancelled = true;
	req->urgent = NULL;
	http_budget_forget(&http->budget, req);
	if (req->added) /* else it stands in the list already */
		DL_APPEND(http->later, req);
	return sent_bytes > 0;
}
