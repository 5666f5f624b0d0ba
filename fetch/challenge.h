/*
 * challenge: what a WWW-Authenticate header asks for.
 *
 * Pure; hostile input. Source: RFC 9110 section 11.6.1; distribution's docs/spec/auth/token.
 */
#pragma once
#include "auto.h"
#include <stdbool.h>

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
	enum challenge_scheme scheme;
	char realm[1024]; /* Bearer: the token service's URL */
	char service[512];
	char scope[1024];
};

/**
 * The strongest of the challenges in text (several headers joined by ", ") that shoal can answer:
 * Bearer with a realm before Basic.
 * @return false: none of them, or a value that is too long or not closed; *ret_challenge is then
 *         CHALLENGE_NONE
 */
bool challenge_parse(const char *text, struct challenge *ret_challenge);
