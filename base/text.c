/*
 * text: see text.h.
 */
#include "text.h"
#include <errno.h>
#include <stdlib.h>

bool text_is_digits(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

bool text_number(const char *text, uint64_t max, uint64_t *ret_n)
{
	uint64_t n;

	if (!text_is_digits(text))
		return false;
	errno = 0;
	n = strtoull(text, NULL, 10);
	if (errno != 0 || n > max)
		return false;
	*ret_n = n;
	return true;
}
