/*
 * fuzz_challenge: a WWW-Authenticate header.
 */
#include "challenge.h"
#include "fuzz.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
	char *text = malloc(size_bytes + 1);
	struct challenge challenge;

	if (text == NULL)
		return 0;
	memcpy(text, data, size_bytes);
	text[size_bytes] = '\0';
	if (challenge_parse(text, &challenge))
		assert(challenge.scheme != CHALLENGE_NONE);
	else
		assert(challenge.scheme == CHALLENGE_NONE);
	free(text);
	return 0;
}
