/*
 * hex: bytes to hexadecimal text and back. Knows nothing of what the bytes mean.
 */
#include "hex.h"

void hex_encode(const uint8_t *bytes, size_t n_bytes, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n_bytes; i++) {
		ret_text[2 * i] = digits[bytes[i] >> 4];
		ret_text[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret_text[2 * n_bytes] = '\0';
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(const char *text, size_t n_bytes, uint8_t *ret_bytes)
{
	/* First all of it is looked at: outputs are written only on success. A NUL is no digit, so
	 * nothing behind the text's end is read. */
	for (size_t i = 0; i < 2 * n_bytes; i++)
		if (digit_value(text[i]) < 0)
			return false;
	if (text[2 * n_bytes] != '\0')
		return false;
	for (size_t i = 0; i < n_bytes; i++) {
		const unsigned high = (unsigned)digit_value(text[2 * i]);
		const unsigned low = (unsigned)digit_value(text[2 * i + 1]);

		ret_bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool hex_is_sha256(const char *text)
{
	size_t n = 0;

	while (n < 64 && digit_value(text[n]) >= 0 && !(text[n] >= 'A' && text[n] <= 'F'))
		n++;
	return n == 64 && text[64] == '\0';
}
