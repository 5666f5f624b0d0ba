/*
 * unit_cutter: cuts the bytes of an object, as they arrive, into the units of a run.
 *
 * Units may touch, leave gaps, or overlap (zran): every byte is copied into each unit it belongs
 * to, so it has to cross the line only once. Pure; loop thread.
 */
#pragma once
#include "auto.h"
#include "source.h"
#include <stdbool.h>
#include <stddef.h>

enum cut_state {
	CUT_WANTED,
	CUT_SKIP, /* not from this origin */
	CUT_DONE, /* delivered */
};

struct cut {
	uint64_t packed_offset;
	uint32_t packed_size_bytes;
	uint32_t n_filled;
	uint8_t *bytes; /* NULL: nothing came so far */
	enum cut_state state;
	bool headless; /* its first bytes come another way: unit_cutter_head() */
};

struct unit_cutter {
	uint32_t first_unit;
	uint32_t n_cuts;
	uint32_t first_open; /* all before it are done or skipped */
	uint64_t at;         /* object offset of the next byte */
	struct cut *cuts;    /* one a unit of the run */
};

/** @return 0; -ENOMEM; -EINVAL a hole, or not in ascending order */
MUST_CHECK int unit_cutter_init(struct unit_cutter *c, const struct unit_run *run, struct err *e);
void unit_cutter_fini(struct unit_cutter *c); /* zeroed is fine */

/**
 * Begin to read from another origin: what came half is thrown away.
 * @return false: no unit is wanted; else the range that holds all wanted units
 */
bool unit_cutter_restart(struct unit_cutter *c, uint64_t *ret_offset, uint64_t *ret_size_bytes);

/**
 * The first head_bytes of the first wanted unit come another way, by unit_cutter_head(); nothing
 * was taken yet. They are fewer than the unit has, and no other unit's.
 * @return 0 the range begins behind them; -ENOMEM nothing changed
 */
MUST_CHECK int unit_cutter_behead(struct unit_cutter *c, uint32_t head_bytes);
bool unit_cutter_is_headless(const struct unit_cutter *c);

/** The head: as many bytes as were told. unit, @return: as unit_cutter_take() */
MUST_CHECK int unit_cutter_head(struct unit_cutter *c, const uint8_t *bytes, uint32_t head_bytes,
                                bool (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes),
                                void *arg);

/** Are all wanted units whole, but for a head? */
bool unit_cutter_only_head(const struct unit_cutter *c);

/** Is the unit wanted, and not whole yet? How many bytes of the stream come before its end? */
bool unit_cutter_awaits(const struct unit_cutter *c, uint32_t unit_idx, uint64_t *ret_bytes);

/**
 * The next bytes of that range.
 *
 * @param unit  gets each finished unit, its bytes are moved. It returns false to stop
 * @return 0; -ENOMEM; -ECANCELED unit() said false
 */
MUST_CHECK int unit_cutter_take(struct unit_cutter *c, const uint8_t *bytes, size_t size_bytes,
                                bool (*unit)(void *arg, uint32_t unit_idx, uint8_t *bytes),
                                void *arg);

bool unit_cutter_done(const struct unit_cutter *c); /* all delivered */
