/*
 * fuzz_token: a token service's answer: an error, or a token that fits into a header.
 */
#include "fuzz.h"
#include "secret.h"
#include "token_answer.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	struct token_answer answer = { 0 };
	struct err e;

	if (token_answer_parse((const char *)data, size_bytes, &answer, &e) != 0)
		return 0;
	assert(answer.life_s > 0 && answer.life_s <= TOKEN_LIFE_MAX_S);
	assert(strpbrk(answer.token, "\r\n ") == NULL && answer.token[0] != '\0');
	free_secret(&answer.token);
	return 0;
}
