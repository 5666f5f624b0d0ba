/*
 * http_json: what a request of libevent's server says, as JSON. All on the loop thread.
 */
#pragma once
#include "json_util.h"

struct evhttp_request;

/** The URL's parameters, an object of texts; without any, or where they make no sense, an empty
 * one. any_bytes: texts are as they were sent, UTF-8 or not, and not to be put into a document as
 * they are (json_words()); else what is not UTF-8 is replaced in them. */
json_t *http_query(struct evhttp_request *req, bool any_bytes);

/** The body, one object. ret_body: NULL where there is none. @return 0; -EINVAL; -ENOMEM */
MUST_CHECK int http_body(struct evhttp_request *req, json_t **ret_body, struct err *e);
