/*
 * progress: a bar on the terminal for work that takes long. Nothing where there is no terminal.
 */
#pragma once
#include "client.h"
#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;
	bool drawn;
	uint64_t started_ns;
	const char *label; /* borrowed */
};

/** @param on  false: never draw (as with --json) */
void progress_begin(struct progress *p, const char *label, bool on);
/** Begin, and draw what req streams. */
void progress_follow(struct progress *p, const char *label, bool on, struct client_request *req);
/** As client_request.line: what the agent says of its progress, drawn. @param arg  struct progress
 */
void progress_line(void *arg, const json_t *line);
void progress_end(struct progress *p); /* wipes the bar */
