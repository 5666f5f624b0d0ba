/*
 * nydusd_own: an agent for a node that has none, with its state in nydusd's cache directory.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include "log.h"
#include <sys/types.h>

/** WORK_DIR/shoal/api.sock; malloc'd */
char *own_agent_socket(const char *work_dir);

/**
 * [worker] Write WORK_DIR/shoal/shoal.yaml, if there is none, and start the shoald beside our own
 * program with it, in a session of its own. It is not waited for: where another one was faster, it
 * ends by itself.
 */
MUST_CHECK int own_agent_start(const char *work_dir, struct log *log, pid_t *ret_pid,
                               struct err *e);
