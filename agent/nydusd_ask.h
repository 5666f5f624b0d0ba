/*
 * nydusd_ask: a question to the agent that may take long, with no thread that waits for the answer.
 *
 * Knows HTTP as far as one question on one connection needs it. All on the loop thread.
 */
#pragma once
#include "client.h"
#include "loop.h"

struct ask;

/* status: an enum shoal_exit; other than SHOAL_DONE, why as client_call() has it. document:
 * borrowed; NULL unless SHOAL_DONE. */
typedef void ask_done_fn(void *arg, int status, const json_t *document, const struct err *why);

/** Of req, socket, method, path and body (which must be there) count; all are copied. done: once,
 * not from inside; the ask is gone then. Never NULL. */
struct ask *ask_start(struct loop *loop, const struct client_request *req, ask_done_fn *done,
                      void *arg);
/** Hang up: no done will follow, and the agent takes it back. NULL is fine. */
void ask_cancel(struct ask **ask);
