/*
 * hex: bytes as lower-case hexadecimal text and back.
 */
#pragma once
#include "auto.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Write 2 * n_bytes digits and a NUL to ret_text. */
void hex_encode(const uint8_t *bytes, size_t n_bytes, char *ret_text);

/** Read exactly 2 * n_bytes lower- or upper-case digits. @return false: text is something else */
MUST_CHECK bool hex_decode(const char *text, size_t n_bytes, uint8_t *ret_bytes);

/** Is text exactly 64 lower-case hexadecimal digits, as the name of a SHA-256? */
bool hex_is_sha256(const char *text);
