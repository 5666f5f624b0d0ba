/*
 * fake_source: a source that remembers what it was asked and moves only when told.
 *
 *   fake_source_init(&f->origin, "origin");
 *   ... the code under test asks ...
 *   fake_source_give(&f->origin, 0, unit_idx, bytes, size);   a unit of its first question
 *   fake_source_chunk(&f->peer, 0, chunk_idx, &bytes, giver);         or one chunk
 *   fake_source_lease(&f->peer, 0, token, first_unit, n_units);       or: ask the next source
 *   fake_source_end(&f->origin, 0, SOURCE_OK, NULL);
 */
#pragma once
#include "source.h"
#include <stdbool.h>
#include <stddef.h>

#define FAKE_ASKS_MAX   512
#define FAKE_LEASES_MAX 16

struct fake_ask {
	struct unit_run run;
	const struct unit_run *live; /* the asker's own, while open */
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
	uint32_t last_giver; /* that distrust() was told */
	uint32_t n_hurries;
	uint64_t lease_bytes; /* of progress, all leases */
	uint32_t n_lease_ends;
	struct {
		uint64_t token;
		bool ok;
	} lease_ends[FAKE_LEASES_MAX];
	bool may_ask_again; /* what distrust() says */
	bool down;          /* what is_down() says */
	bool apart;         /* is_one_line() says no */
	uint32_t n_one_line;
	int refuse;                     /* get() returns this at once, when not 0 ... */
	const struct cas_blob *refused; /* ... about this blob; NULL: about all */
};

void fake_source_init(struct fake_source *s, const char *name);

/** Questions about a blob, open or ended. */
uint32_t fake_source_n_asks(const struct fake_source *s, const struct cas_blob *blob);

/** Give a unit of question ask_idx. bytes are copied. */
void fake_source_give(struct fake_source *s, uint32_t ask_idx, uint32_t unit_idx,
                      const uint8_t *bytes, size_t size_bytes);

/** Give a chunk of it. bytes are copied. */
void fake_source_chunk(struct fake_source *s, uint32_t ask_idx, uint32_t chunk_idx,
                       const struct chunk_bytes *bytes, uint32_t giver);

void fake_source_lease(struct fake_source *s, uint32_t ask_idx, uint64_t token, uint32_t first_unit,
                       uint32_t n_units);
void fake_source_wait(struct fake_source *s, uint32_t ask_idx, uint64_t progress_bytes);

/** why: NULL for none. With SOURCE_GONE: it was refused. */
void fake_source_end(struct fake_source *s, uint32_t ask_idx, int r, const char *why);
