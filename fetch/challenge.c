/*
 * challenge: walks the comma-separated schemes and parameters of WWW-Authenticate.
 *
 * Knows the header's grammar. Does not know who sent it or what is done with it.
 */
#include "challenge.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define CHALLENGES_MAX_ITEMS 64 /* schemes and parameters; more is nonsense */

struct param {
	char name[32];
	char value[1024];
};

static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static const char *skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

/* The token at p, cut to fit. @return behind it; p itself if there is none */
static const char *read_token(const char *p, char *ret_text, size_t max_bytes)
{
	size_t n = 0;

	for (; is_token_char(*p); p++)
		if (n + 1 < max_bytes)
			ret_text[n++] = *p;
	ret_text[n] = '\0';
	return p;
}

/* A quoted string or bare value. @return behind it; NULL: not closed, or too long */
static const char *read_value(const char *p, char *ret_text, size_t max_bytes)
{
	const bool quoted = *p == '"';
	size_t n = 0;

	for (p += quoted; *p != '\0' && (quoted ? *p != '"' : *p != ',' && *p != ' '); p++) {
		if (quoted && *p == '\\' && p[1] != '\0')
			p++;
		if (n + 1 >= max_bytes)
			return NULL;
		ret_text[n++] = *p;
	}
	ret_text[n] = '\0';
	if (quoted && *p != '"')
		return NULL;
	return p + quoted;
}

static void keep_param(struct challenge *c, const struct param *param)
{
	const struct {
		const char *name;
		char *field;
		size_t field_bytes;
	} fields[] = {
		{ "realm", c->realm, sizeof(c->realm) },
		{ "service", c->service, sizeof(c->service) },
		{ "scope", c->scope, sizeof(c->scope) },
	};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const size_t size_bytes = strlen(param->value) + 1;

		if (strcasecmp(param->name, fields[i].name) == 0 &&
		    size_bytes <= fields[i].field_bytes)
			memcpy(fields[i].field, param->value, size_bytes);
	}
}

static void keep_best(struct challenge *best, const struct challenge *now)
{
	if (now->scheme == CHALLENGE_BEARER && now->realm[0] == '\0')
		return;
	if (now->scheme > best->scheme)
		*best = *now;
}

static void begin_scheme(struct challenge *c, const char *name)
{
	memset(c, 0, sizeof(*c));
	if (strcasecmp(name, "Bearer") == 0)
		c->scheme = CHALLENGE_BEARER;
	else if (strcasecmp(name, "Basic") == 0)
		c->scheme = CHALLENGE_BASIC;
}

bool challenge_parse(const char *text, struct challenge *ret_challenge)
{
	struct challenge best = { 0 };
	struct challenge now = { 0 };
	const char *p = text;

	*ret_challenge = best;
	for (int i = 0; i < CHALLENGES_MAX_ITEMS; i++) {
		struct param param = { 0 };
		const char *end;

		p += strspn(p, " \t,");
		end = skip_blanks(read_token(p, param.name, sizeof(param.name)));
		if (end == p)
			break;
		p = end;
		if (*p != '=') {
			keep_best(&best, &now);
			begin_scheme(&now, param.name);
			continue;
		}
		p = read_value(skip_blanks(p + 1), param.value, sizeof(param.value));
		if (p == NULL)
			return false;
		keep_param(&now, &param);
	}
	keep_best(&best, &now);
	*ret_challenge = best;
	return best.scheme != CHALLENGE_NONE;
}
