/*
 * text: see text.h.
 */
#include "text.h"
#include <errno.h>
#include <stdlib.h>

size_t text_control_bytes(const char *text)
{
	const unsigned char byte = (unsigned char)text[0];

	if (byte == 0xc2)
		return (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] <= 0x9f ? 2 : 0;
	return byte != '\0' && (byte < ' ' || byte == 0x7f) ? 1 : 0;
}

bool text_has_control(const char *text)
{
	while (*text != '\0' && text_control_bytes(text) == 0)
		text++;
	return *text != '\0';
}

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
