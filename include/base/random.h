/*
 * random: numbers for spreading load and mixing orders. Not for secrets: they can be guessed.
 */
#pragma once
#include <stdint.h>

/** xorshift64: Marsaglia, "Xorshift RNGs", 2003.
 * @param state  never 0. @return the next number, which is the state, too */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
