/*
 * varint: unsigned numbers, seven bits a byte, the lowest first (docs/on-disk.md). Private to cas/.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define VARINT_MAX_BYTES 10

/** @return how many bytes it took, <= VARINT_MAX_BYTES */
static inline uint32_t varint_put(uint8_t *to, uint64_t value)
{
	uint32_t n = 0;

	for (; value >= 0x80; value >>= 7)
		to[n++] = (uint8_t)(value | 0x80);
	to[n++] = (uint8_t)value;
	return n;
}

/** @param at  moves behind it. @return false: it ends too early, or has more than 63 bits, which no
 * number of ours has */
static inline bool varint_get(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 63 && *at < end; shift += 7) {
		const uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}
