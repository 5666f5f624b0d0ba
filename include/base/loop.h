/*
 * loop: the one thread that owns sockets, curl's multi handle, timers and the API.
 *
 * A thin owner of libevent's event_base, with a door for other threads (loop_post) and timers.
 * The loop may spend 50 us at a time; never blocking disk I/O, SQLite or getaddrinfo.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct loop;

/* A call that waits to be made on the loop thread. Embedded in the poster's object; it must stay
 * until fn runs (or loop_end()), and fn may free it. */
struct loop_call {
	void (*fn)(struct loop_call *call);
	struct loop_call *next; /* the loop's */
};

MUST_CHECK int loop_new(struct loop **ret_loop, struct err *e);
void loop_free(struct loop **loop); /* NULL is fine; not from inside loop_run() */

/** libevent's base, for those who watch sockets. Borrowed. */
struct event_base *loop_base(struct loop *loop);

/** Run until loop_stop(). The calling thread is the loop thread from here on. */
void loop_run(struct loop *loop);

/** Any thread, also a signal event: loop_run() returns after the current round. */
void loop_stop(struct loop *loop);

/** Any thread: call->fn runs on the loop thread, in the order of posting. */
void loop_post(struct loop *loop, struct loop_call *call);

/** It runs no more: what is posted and did not run is let go, and so is all that is posted from now
 * on, by any thread. Owners may free what they posted. Who waits for a posted call to be made must
 * not do so after this, on any thread: it never is. NULL is fine. */
void loop_end(struct loop *loop);

/** Is this the thread that runs the loop (or, before loop_run(), that made it)? */
bool loop_is_mine(const struct loop *loop);

/* A one-shot timer on the loop thread. Zero-initialised, then timer_init(). */
struct timer {
	struct event *ev; /* libevent's */
	void (*fn)(struct timer *t);
};
void timer_init(struct timer *t, struct loop *loop, void (*fn)(struct timer *t));
void timer_start(struct timer *t, uint64_t delay_ms); /* again: replaces */
void timer_stop(struct timer *t);
void timer_fini(struct timer *t); /* stops it; fine when never initialised (all zero) */
