/*
 * http_accept: a listening socket for libevent's server, that can do without descriptors for a
 * while.
 *
 * Left to itself, libevent 2.1 turns without a pause when accept() fails, with a line on stderr
 * each time, until a descriptor is free. All on the loop thread.
 */
#pragma once
#include "err.h"

struct evhttp;
struct evhttp_bound_socket;

/**
 * Take callers from there. While that fails, a pause stands before the next try, and log lines say
 * why.
 *
 * @param http       lives for as long as the loop turns
 * @param listener   http's from here on; closed in case of an error, too
 * @param ret_socket for evhttp_del_accept_socket(); NULL: not wanted
 * @return 0; -ENOMEM
 */
MUST_CHECK int http_accept(struct evhttp *http, int listener,
                           struct evhttp_bound_socket **ret_socket, struct err *e);
