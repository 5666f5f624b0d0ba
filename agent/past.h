/*
 * past: the sums of the last minutes, one every few seconds, so that who looks sees them at once.
 *
 * Of fixed size; knows no time but what stands in the sums.
 */
#pragma once
#include "sums.h"

#define PAST_STEP_MS UINT64_C(5000)
#define PAST_STEPS   60U /* five minutes of them */

struct past;
struct past *past_new(void);        /* never NULL; it begins with zeros, at 0 */
void past_free(struct past **past); /* NULL is fine */

/** sums: later than all before. The oldest go. */
void past_add(struct past *past, const struct sums *sums);

/** Of what is kept: the sums of five minutes ago, or the first after that. */
const struct sums *past_begin(const struct past *past, uint64_t now_ms);

/** All of it from past_begin() on, as a list of sums_tell()'s members; owned by the caller. */
json_t *past_tell(const struct past *past, uint64_t now_ms);
