/*
 * fake_source: a source that remembers what it was asked and moves only when told.
 *
 *   fake_source_init(&f->origin, "origin");
 *   ... the code under test asks ...
 *   fake_source_give(&f->origin, 0, unit_idx, bytes, size);   a unit of its first question
 *   fake_source_end(&f->origin, 0, SOURCE_OK, NULL);
 */
#pragma once
#include "source.h"
#include <stdbool.h>
#include <stddef.h>

#define FAKE_ASKS_MAX 512

struct fake_ask {
	struct unit_run run;
	const struct source_events *ev;
	void *arg;
	bool open; /* neither ended nor cancelled */
};

struct fake_source {
	struct source source; /* what the code under test gets */
	struct source_ops ops;
	struct fake_ask asks[FAKE_ASKS_MAX];
	uint32_t n_asks;
	uint32_t n_cancels;
	uint32_t n_distrusts;
	bool may_ask_again; /* what distrust() says */
	int refuse;         /* get() returns this at once, when not 0 */
};

void fake_source_init(struct fake_source *s, const char *name);

/** Give a unit of question ask_idx. bytes are copied. */
void fake_source_give(struct fake_source *s, uint32_t ask_idx, uint32_t unit_idx,
                      const uint8_t *bytes, size_t size_bytes);

/** why: NULL for none. */
void fake_source_end(struct fake_source *s, uint32_t ask_idx, int r, const char *why);
