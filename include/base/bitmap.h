/*
 * bitmap: a fixed number of bits that threads set, clear and test without a lock.
 *
 * Bit i is bit i % 64 of word i / 64, so on a little-endian machine bit i % 8 of byte i / 8.
 */
#pragma once
#include "auto.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bitmap {
	uint32_t n_bits;
	_Atomic uint64_t words[];
};

/** All clear. @return NULL when memory is out (n_bits may come from outside) */
struct bitmap *bitmap_new(uint32_t n_bits);
void bitmap_free(struct bitmap **b); /* NULL is fine */

static inline uint32_t bitmap_n_words(const struct bitmap *b)
{
	return (uint32_t)(((uint64_t)b->n_bits + 63) / 64);
}

static inline bool bitmap_get(const struct bitmap *b, uint32_t i)
{
	return atomic_load_explicit(&b->words[i / 64], memory_order_acquire) >> (i % 64) & 1;
}

/** @return was it clear before? */
static inline bool bitmap_set(struct bitmap *b, uint32_t i)
{
	const uint64_t bit = (uint64_t)1 << (i % 64);

	return !(atomic_fetch_or_explicit(&b->words[i / 64], bit, memory_order_acq_rel) & bit);
}

/** @return was it set before? */
static inline bool bitmap_clear(struct bitmap *b, uint32_t i)
{
	const uint64_t bit = (uint64_t)1 << (i % 64);

	return atomic_fetch_and_explicit(&b->words[i / 64], ~bit, memory_order_acq_rel) & bit;
}

/** Every bit. Where others set bits meanwhile, some of these may stay. */
void bitmap_clear_all(struct bitmap *b);

/** How many are set. A snapshot: others may be at work. */
uint32_t bitmap_count(const struct bitmap *b);

/** Is any bit set that is clear in the other, of the same size? */
bool bitmap_any_but(const struct bitmap *b, const struct bitmap *other);

/** The first set (or clear) bit at or after i; n_bits if there is none. */
uint32_t bitmap_next_set(const struct bitmap *b, uint32_t i);
uint32_t bitmap_next_clear(const struct bitmap *b, uint32_t i);
