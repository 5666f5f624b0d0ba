/*
 * set: arithmetic on sets of positions (struct wire_set). Pure; both sides have the same n.
 */
#pragma once
#include "wire.h"
#include <string.h>

#define SET_WORDS (WIRE_LIST_MAX / 64U)

static inline struct wire_set set_none(uint32_t n)
{
	return (struct wire_set){ .n = (uint16_t)n };
}
static inline struct wire_set set_all(uint32_t n)
{
	struct wire_set s = { .n = (uint16_t)n };

	for (uint32_t w = 0; w < n / 64; w++)
		s.words[w] = UINT64_MAX;
	if (n % 64 != 0)
		s.words[n / 64] = ((uint64_t)1 << (n % 64)) - 1;
	return s;
}
static inline struct wire_set set_and(struct wire_set a, const struct wire_set *b)
{
	for (uint32_t w = 0; w < SET_WORDS; w++)
		a.words[w] &= b->words[w];
	return a;
}
static inline struct wire_set set_or(struct wire_set a, const struct wire_set *b)
{
	for (uint32_t w = 0; w < SET_WORDS; w++)
		a.words[w] |= b->words[w];
	return a;
}
static inline struct wire_set set_minus(struct wire_set a, const struct wire_set *b)
{
	for (uint32_t w = 0; w < SET_WORDS; w++)
		a.words[w] &= ~b->words[w];
	return a;
}
static inline bool set_empty(const struct wire_set *s)
{
	uint64_t any = 0;

	for (uint32_t w = 0; w < SET_WORDS; w++)
		any |= s->words[w];
	return any == 0;
}
static inline uint32_t set_count(const struct wire_set *s)
{
	uint32_t n = 0;

	for (uint32_t w = 0; w < SET_WORDS; w++)
		n += (uint32_t)__builtin_popcountll(s->words[w]);
	return n;
}
/* The first member at or after i; s->n: none. */
static inline uint32_t set_next(const struct wire_set *s, uint32_t i)
{
	for (uint32_t w = i / 64; w < SET_WORDS && i < s->n; i = ++w * 64) {
		const uint64_t left = s->words[w] >> (i % 64);

		if (left != 0)
			return i + (uint32_t)__builtin_ctzll(left);
	}
	return s->n;
}
/* The last member at or before i; s->n: none. */
static inline uint32_t set_last(const struct wire_set *s, uint32_t i)
{
	for (uint32_t w = i / 64 + 1; w-- > 0; i = w * 64 - 1) {
		const uint64_t left = s->words[w] << (63 - i % 64);

		if (left != 0)
			return i - (uint32_t)__builtin_clzll(left);
	}
	return s->n;
}
static inline bool id_equal(const struct wire_id *a, const struct wire_id *b)
{
	return memcmp(a->b, b->b, WIRE_ID_BYTES) == 0;
}
/* Ids and names are hashes: any part of them is one, too. */
static inline uint64_t id_word(const struct wire_id *id, uint32_t half)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < 8; i++)
		v |= (uint64_t)id->b[8 * half + i] << (8 * i);
	return v;
}
/* The finalizer of splitmix64. */
static inline uint64_t mix64(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}
