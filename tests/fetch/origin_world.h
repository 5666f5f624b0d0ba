/*
 * origin_world: a blob of a few units at a real server and in its directory, and the origin source
 * that gets it. Includes nothing of cmocka.
 */
#pragma once
#include "fake_cas_origins.h"
#include "net_fixture.h"
#include "source.h"

#define BLOB       "3333333333333333333333333333333333333333333333333333333333333333"
#define N_UNITS    8
#define UNIT_BYTES 20000U
#define BLOB_BYTES (N_UNITS * (size_t)UNIT_BYTES)

struct world {
	struct net *net;
	struct source *source;
	struct cas_blob blob;
	struct blob_layout *layout;
	uint8_t bytes[BLOB_BYTES];
	struct source_req *req;
	/* what came */
	uint32_t n_units;
	bool got[N_UNITS];
	bool wrong[N_UNITS];
	bool cancel_at_first;
	uint32_t n_others; /* whose ends are not waited for */
	struct net_result end;
};

/** Units side by side, or (zran) each with so many bytes of the next one. @return the caller's */
struct blob_layout *origin_layout(uint32_t overlap_bytes);
/* cmocka: *state is the world, its units side by side, without an origin. */
int origin_setup(void **state);
int origin_teardown(void **state);
/* Origins of the blob: the real server by this name, a directory of it. */
void origin_add_registry(struct world *w, const char *host);
void origin_add_dir(struct world *w, const char *name);
/* source_events, arg: the world; units are compared, and the end stops the loop. */
void origin_on_unit(void *arg, uint32_t unit_idx, uint8_t *bytes);
void origin_on_end(void *arg, int r, const struct err *why);
/** A reader's, borrowed from the world. */
struct unit_run origin_run_of(struct world *w, uint32_t first, uint32_t n);
/** Ask for these units and wait. @return how it ended */
int origin_get(struct world *w, uint32_t first, uint32_t n);
/** @return may it be asked for again? */
bool origin_distrust_unit(struct world *w, uint32_t unit_idx);
/** Units that came with wrong bytes. */
uint32_t origin_n_wrong(const struct world *w);
