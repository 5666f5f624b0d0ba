/*
 * text: texts that may be absent.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Both absent (NULL), or both there and alike. */
static inline bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}
