/*
 * progress: a bar on the terminal for work that takes long. Nothing where there is no terminal.
 */
#pragma once
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
void progress_draw(struct progress *p, uint64_t done_bytes, uint64_t total_bytes);
void progress_end(struct progress *p); /* wipes the bar */
