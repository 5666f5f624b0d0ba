/*
 * token_answer: what a registry's token service answers.
 *
 * Pure; hostile input. Source: distribution's docs/spec/auth/token and .../oauth.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stddef.h>
#include <stdint.h>

#define TOKEN_ANSWER_MAX_BYTES 65536
#define TOKEN_MAX_BYTES        32768
#define TOKEN_DEFAULT_LIFE_S   60 /* where the answer does not say */
#define TOKEN_LIFE_MAX_S       86400

struct token_answer {
	char *token; /* a secret; visible ASCII only */
	uint64_t life_s;
};

/** @return 0, the token is the caller's (free_secret); -EPROTO with what is wrong */
MUST_CHECK int token_answer_parse(const char *json, size_t size_bytes,
                                  struct token_answer *ret_answer, struct err *e);
