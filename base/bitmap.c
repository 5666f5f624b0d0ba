/*
 * bitmap: making, counting and searching. Setting and testing are in the header, inlined.
 */
#include "bitmap.h"
#include <stdlib.h>

struct bitmap *bitmap_new(uint32_t n_bits)
{
	const size_t n_words = (size_t)(((uint64_t)n_bits + 63) / 64);
	struct bitmap *b = calloc(1, sizeof(*b) + n_words * sizeof(b->words[0]));

	if (b != NULL)
		b->n_bits = n_bits;
	return b;
}

void bitmap_free(struct bitmap **b)
{
	free(*b);
	*b = NULL;
}

void bitmap_clear_all(struct bitmap *b)
{
	const uint32_t n_words = bitmap_n_words(b);

	for (uint32_t i = 0; i < n_words; i++)
		atomic_store_explicit(&b->words[i], 0, memory_order_release);
}

uint32_t bitmap_count(const struct bitmap *b)
{
	const uint32_t n_words = bitmap_n_words(b);
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_words; i++)
		n += (uint32_t)__builtin_popcountll(
			atomic_load_explicit(&b->words[i], memory_order_acquire));
	return n;
}

/* The first bit at or after i that differs from those of `flip` (0: look for set, ~0: for clear).
 */
static uint32_t next_bit(const struct bitmap *b, uint32_t i, uint64_t flip)
{
	const uint32_t n_words = bitmap_n_words(b);
	uint64_t keep = ~(uint64_t)0 << (i % 64);

	for (uint32_t w = i / 64; w < n_words; w++) {
		const uint64_t word = atomic_load_explicit(&b->words[w], memory_order_acquire);
		const uint64_t hits = (word ^ flip) & keep;

		if (hits != 0) {
			const uint64_t bit = (uint64_t)w * 64 + (uint64_t)__builtin_ctzll(hits);

			/* Bits behind the last one are clear, and no answer. */
			return bit < b->n_bits ? (uint32_t)bit : b->n_bits;
		}
		keep = ~(uint64_t)0;
	}
	return b->n_bits;
}

bool bitmap_any_but(const struct bitmap *b, const struct bitmap *other)
{
	const uint32_t n_words = bitmap_n_words(b);
	uint32_t i = 0;

	while (i < n_words && (atomic_load_explicit(&b->words[i], memory_order_acquire) &
	                       ~atomic_load_explicit(&other->words[i], memory_order_acquire)) == 0)
		i++;
	return i < n_words;
}

uint32_t bitmap_next_set(const struct bitmap *b, uint32_t i)
{
	return next_bit(b, i, 0);
}

uint32_t bitmap_next_clear(const struct bitmap *b, uint32_t i)
{
	return next_bit(b, i, ~(uint64_t)0);
}
