/*
 * slow: is what comes slowly on its way, or has it failed? A line of 1 Mbit/s takes half a minute
 * for what others have in a moment, and that is no error; a few bytes now and then are.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SLOW_TIMES    10 /* the time that it has got */
#define SILENCE_SHARE 3  /* of that time without a byte: nothing comes any more */

/** At the pace so far, is all of it here within SLOW_TIMES of its time?
 * @param came, all  bytes of it; all 0: nobody knows, and the answer is no
 * @param took_ns    for what came */
static inline bool slow_will_come(uint64_t came, uint64_t all, uint64_t took_ns, uint64_t time_ns)
{
	return all > 0 &&
	       (double)took_ns * (double)all <= (double)time_ns * SLOW_TIMES * (double)came;
}
