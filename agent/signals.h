/*
 * signals: the end of a program's signal events.
 *
 * libevent gives a signal back to whoever had it before: to the kernel, which ends the program. So
 * a second SIGTERM used to cut short what the first one had begun, once the loop was over.
 */
#pragma once
#include <event2/event.h>
#include <stddef.h>

/** [main] Free these signal events, NULLs are passed by, and leave NULLs. From then on their
 * signals do nothing: the program is ending. */
void signals_end(struct event **events, size_t n_events);
