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
	uint64_t began_ns;    /* when it was first told how far it is; 0: not yet */
	uint64_t began_bytes; /* ... and how far: what had been done before is not this run's */
	const char *label;    /* borrowed */
};

/** @param on  false: never draw (as with --json) */
void progress_begin(struct progress *p, const char *label, bool on);
/** Begin, and draw what req streams. */
void progress_follow(struct progress *p, const char *label, bool on, struct client_request *req);
/** As client_request.line: what the agent says of its progress, drawn. @param arg  struct progress
 */
void progress_line(void *arg, const json_t *line);
/** Bytes a second since the first time that this was asked; 0: not known yet. now_ns > 0 */
double progress_rate(struct progress *p, uint64_t done_bytes, uint64_t now_ns);
void progress_end(struct progress *p); /* wipes the bar */
