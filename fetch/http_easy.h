/*
 * http_easy: one exchange as libcurl sees it: options in, result codes out.
 */
#pragma once
#include "http_head.h"
#include <curl/curl.h>

struct http_req {
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct head_reader head_reader;
	int (*head)(void *arg, const struct http_head *head);
	int (*body)(void *arg, const uint8_t *bytes, size_t size_bytes);
	void (*end)(void *arg, int r, const struct err *why);
	void *arg;
	int result;     /* what head() or body() returned */
	bool cancelled; /* from inside libcurl: removed when that returns */
	bool added;     /* the multi handle has it */
	bool succeeded; /* it ended as libcurl thinks it should */
	struct http_req *prev;
	struct http_req *next; /* of http's list of requests to be added or removed */
	struct http_req *all_prev, *all_next; /* of all requests */
	/* http_budget.h */
	const bool *urgent; /* borrowed; NULL: it is */
	bool rests;
	uint64_t short_bytes; /* that it rests for */
	uint64_t paid_bytes;  /* taken from the budget, and not come yet */
	struct http_req *rest_prev, *rest_next;
	struct timer late;   /* its deadline, which moves by the time for which it rests, and while
	                      * it comes slowly */
	uint64_t late_ns;    /* 0: none */
	uint64_t time_ns;    /* that it has got until then */
	uint64_t seen_bytes; /* had come when it was late */
	uint64_t came_ns;    /* the last of its body did; 0: nothing yet */
	uint64_t queued_ns;  /* was late then, and without a connection; 0: never */
	uint64_t rest_since_ns; /* 0: it does not rest */
	char url_host[128];     /* for messages: no path and no query, which may hold a secret */
	char curl_says[CURL_ERROR_SIZE];
};

/** With all defaults filled in. */
const struct http_opts *http_opts_of(const struct http *http);

/** Some of its body came, and libcurl is on the stack. @return false: it is to rest */
bool http_pay(struct http_req *req, size_t size_bytes);

/** Its answer comes by HTTP/2, so that others may come by the same connection: it cannot rest.
 * Known once the head has begun. */
bool http_easy_shares(const struct http_req *req);

/** Reset it for another request. @return false: it still holds what its transfer left, and is not
 * to be used again */
bool http_easy_renew(CURL *easy);

/** Prepare a fresh or reset handle. callbacks and user data are set, too. */
MUST_CHECK int http_easy_setup(struct http_req *req, const struct http_opts *opts,
                               const struct http_request *request, struct err *e);

/** What a finished exchange means: as http_request.end's r. */
int http_easy_result(const struct http_req *req, CURLcode code, struct err *e);
