/*
 * text: texts that may be absent, and numbers in them.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Both absent (NULL), or both there and alike. */
static inline bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/** One digit at least, and nothing else: no sign, no blank, no hexadecimal, so that nothing is read
 * as what it is not. */
bool text_is_digits(const char *text);

/** A whole number, in decimal digits alone. @return false: it is none, or above max */
bool text_number(const char *text, uint64_t max, uint64_t *ret_n);
