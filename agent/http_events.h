/*
 * http_events: the live document once a second to whoever looks, as server-sent events.
 * Source: WHATWG HTML, section 9.2 (Server-sent events).
 */
#pragma once
#include "agent.h"

struct evhttp_request;
struct http_events;

struct http_events *http_events_new(struct agent *agent); /* never NULL */
/** [loop] Ends what is open. Before the server that the requests are of; NULL is fine. */
void http_events_free(struct http_events **events);

/** [loop] Take a request over and answer it with events until its caller goes away. HEAD: with the
 * headers alone. @return false: too many look already, it is the caller's to answer */
bool http_events_add(struct http_events *events, struct evhttp_request *req);
