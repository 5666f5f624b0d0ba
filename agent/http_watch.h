/*
 * http_watch: requests that are at work while the loop turns: who hangs up is noticed, and what is
 * sent meanwhile harms nobody.
 *
 * evhttp stops reading until a request is answered, so that a hang-up goes unnoticed; with reading
 * merely switched on again, libevent 2.1 ends the process at the first byte that comes meanwhile.
 * All on the loop thread.
 */
#pragma once
#include <event2/http.h>

/** Until the answer: bytes that come wait for the next request; more than 64 KiB are not read, and
 * a hang-up behind these is noticed later. For an answer in pieces, behind its start. */
void http_watch(struct evhttp_request *req);

/** Before the answer, or the end of one in pieces. A request that was hung up on is fine. */
void http_unwatch(struct evhttp_request *req);
