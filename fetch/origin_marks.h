/*
 * origin_marks: what went wrong at which origin, remembered for a while.
 *
 * A fixed number of marks, the oldest is forgotten first. All of them end by themselves: what was
 * refused, missing or wrong may have been repaired. Pure but for the clock values; loop thread.
 */
#pragma once
#include "auto.h"
#include <stdbool.h>
#include <stdint.h>

#define ORIGIN_STRIKES_OUT                                                                         \
	2 /* so many wrong deliveries of a unit, and the origin is not asked for it */

struct origin_marks;
struct origin_marks *origin_marks_new(void); /* never NULL */
void origin_marks_free(struct origin_marks **m);

/** Has there ever been a mark? What is remembered of good days costs nothing. */
bool origin_marks_any(const struct origin_marks *m);

/** It had trouble (refused, 5xx, time-out): others are asked before it for a while, longer each
 * time. of_host: the same goes for other repositories at its host. */
void origin_marks_trouble(struct origin_marks *m, const char *origin, bool of_host,
                          uint64_t now_ns);
bool origin_marks_has_trouble(const struct origin_marks *m, const char *origin, uint64_t now_ns);

/** Are both at one host? A directory is a host by itself. */
bool origin_is_same_host(const char *a, const char *b);

/** It delivered: its trouble is over. */
void origin_marks_well(struct origin_marks *m, const char *origin, const char *blob_key);

/** Is it in trouble, or was it the last time that it was asked? probe: whoever asks can wait, so
 * that it is told false once in a while, to find out. */
bool origin_marks_is_down(struct origin_marks *m, const char *origin, bool probe, uint64_t now_ns);

/** It does not have this blob, or does not give it to us. */
void origin_marks_gone(struct origin_marks *m, const char *origin, const char *blob_key,
                       uint64_t now_ns);
bool origin_marks_is_gone(const struct origin_marks *m, const char *origin, const char *blob_key,
                          uint64_t now_ns);

/** It delivered this unit with wrong bytes. @return how often by now */
uint32_t origin_marks_strike(struct origin_marks *m, const char *origin, const char *blob_key,
                             uint32_t unit_idx, uint64_t now_ns);
uint32_t origin_marks_strikes(const struct origin_marks *m, const char *origin,
                              const char *blob_key, uint32_t unit_idx, uint64_t now_ns);

/* Who delivered which units last: wrong bytes are found out after the run has ended. */
void origin_marks_delivered(struct origin_marks *m, const char *origin, const char *blob_key,
                            uint32_t first_unit, uint32_t last_unit);
/** @return borrowed until the next delivery is noted; NULL: too long ago */
const char *origin_marks_deliverer(const struct origin_marks *m, const char *blob_key,
                                   uint32_t unit_idx);
