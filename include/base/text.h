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

/** Of the control character that a text begins with (C0, DEL; C1 as UTF-8, where a terminal takes
 * them, too): how many bytes it has; 0: it begins with none. */
size_t text_control_bytes(const char *text);

/** Is there one anywhere in it? */
bool text_has_control(const char *text);

/** One digit at least, and nothing else: no sign, no blank, no hexadecimal, so that nothing is read
 * as what it is not. */
bool text_is_digits(const char *text);

/** A whole number, in decimal digits alone. @return false: it is none, or above max */
bool text_number(const char *text, uint64_t max, uint64_t *ret_n);
