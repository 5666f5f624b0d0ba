/*
 * token_answer: takes token and life out of the token service's JSON.
 *
 * Does not know who asked, nor what the token opens.
 */
#include "token_answer.h"
#include "mem.h"
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <string.h>

/* It goes into a header line as it is. */
static bool is_token(const char *text)
{
	const size_t n = strlen(text);

	if (n == 0 || n > TOKEN_MAX_BYTES)
		return false;
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

static uint64_t life_of(const json_t *root)
{
	const json_t *life = json_object_get(root, "expires_in");
	json_int_t n = TOKEN_DEFAULT_LIFE_S;

	if (json_is_integer(life))
		n = json_integer_value(life);
	if (n <= 0)
		return TOKEN_DEFAULT_LIFE_S;
	return n < TOKEN_LIFE_MAX_S ? (uint64_t)n : TOKEN_LIFE_MAX_S;
}

static int take(const json_t *root, struct token_answer *ret_answer, struct err *e)
{
	const char *token = json_string_value(json_object_get(root, "token"));

	if (token == NULL)
		token = json_string_value(json_object_get(root, "access_token"));
	if (token == NULL)
		return err_set(e, EPROTO, "the token service's answer has no token");
	if (!is_token(token))
		return err_set(e, EPROTO, "the token service's token is not one");
	ret_answer->token = xstrdup(token);
	ret_answer->life_s = life_of(root);
	return 0;
}

int token_answer_parse(const char *json, size_t size_bytes, struct token_answer *ret_answer,
                       struct err *e)
{
	json_error_t where;
	json_t *root;
	int r;

	if (size_bytes > TOKEN_ANSWER_MAX_BYTES)
		return err_set(e, EPROTO, "the token service's answer is longer than %d bytes",
		               TOKEN_ANSWER_MAX_BYTES);
	root = json_loadb(json, size_bytes, JSON_REJECT_DUPLICATES, &where);
	if (root == NULL)
		return err_set(e, EPROTO, "the token service's answer is not JSON (byte %d)",
		               where.position);
	r = take(root, ret_answer, e);
	json_decref(root);
	return r;
}
