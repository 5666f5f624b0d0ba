/*
 * http_answer: the answer to a request of libevent's server, whole, to whatever method.
 *
 * Of HEAD's, libevent leaves out the length, and sends the bytes, which are the next answer then:
 * here it gets the length alone. All on the loop thread.
 */
#pragma once
#include "json_util.h"

struct evhttp_request;

/** Ends the request, and what http_watch() began. bytes: borrowed. */
void http_answer(struct evhttp_request *req, int status, const char *type, const void *bytes,
                 size_t size_bytes);

/** The same in JSON. document: moved; NULL: there is no body. end: what stands behind it. */
void http_answer_json(struct evhttp_request *req, int status, json_t *document, const char *end);
