/*
 * url: on top of libcurl's URL parser, so that what is checked here is what is asked there.
 */
#include "url.h"
#include "hex.h"
#include "mem.h"
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct url {
	CURLU *handle;
	char *scheme;
	char *host;
	char *port;
	char *text;
};

static void url_close(struct url *u)
{
	curl_free(u->scheme);
	curl_free(u->host);
	curl_free(u->port);
	curl_free(u->text);
	curl_url_cleanup(u->handle);
}

static bool has_part(const struct url *u, CURLUPart part)
{
	char *text = NULL;
	const bool has = curl_url_get(u->handle, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return has;
}

/* @param relative  or NULL. @return false: not a URL that shoal would ask */
static bool url_open(struct url *u, const char *base, const char *relative)
{
	*u = (struct url){ .handle = curl_url() };
	if (u->handle == NULL || strlen(base) > URL_MAX_BYTES ||
	    curl_url_set(u->handle, CURLUPART_URL, base, 0) != CURLUE_OK)
		return false;
	if (relative != NULL && (strlen(relative) > URL_MAX_BYTES ||
	                         curl_url_set(u->handle, CURLUPART_URL, relative, 0) != CURLUE_OK))
		return false;
	if (curl_url_get(u->handle, CURLUPART_SCHEME, &u->scheme, 0) != CURLUE_OK ||
	    curl_url_get(u->handle, CURLUPART_HOST, &u->host, 0) != CURLUE_OK ||
	    curl_url_get(u->handle, CURLUPART_PORT, &u->port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    curl_url_get(u->handle, CURLUPART_URL, &u->text, 0) != CURLUE_OK)
		return false;
	return (strcmp(u->scheme, "http") == 0 || strcmp(u->scheme, "https") == 0) &&
	       !has_part(u, CURLUPART_USER) && !has_part(u, CURLUPART_PASSWORD);
}

int url_resolve(const char *base, const char *location, char **ret_url, struct err *e)
{
	struct url u;
	int r = 0;

	if (!url_open(&u, base, location))
		r = err_set(e, EPROTO, "the redirect leads to no http or https address");
	else if (url_is_tls(base) && strcmp(u.scheme, "https") != 0)
		r = err_set(e, EPROTO, "the redirect leads from https down to http");
	else
		*ret_url = xstrdup(u.text);
	url_close(&u);
	return r;
}

int url_authority(const char *url, char ret_authority[AUTHORITY_MAX_BYTES], struct err *e)
{
	struct url u;
	int r = -1;

	if (url_open(&u, url, NULL)) {
		const bool usual = strcmp(u.port, url_is_tls(url) ? "443" : "80") == 0;

		r = snprintf(ret_authority, AUTHORITY_MAX_BYTES, "%s%s%s", u.host, usual ? "" : ":",
		             usual ? "" : u.port);
	}
	url_close(&u);
	if (r < 0 || r >= AUTHORITY_MAX_BYTES)
		return err_set(e, EINVAL, "not an http or https URL without user name");
	return 0;
}

bool url_same_server(const char *a, const char *b)
{
	struct url first;
	struct url second;
	const bool sound[] = { url_open(&first, a, NULL), url_open(&second, b, NULL) };
	const bool same = sound[0] && sound[1] && strcmp(first.scheme, second.scheme) == 0 &&
	                  strcasecmp(first.host, second.host) == 0 &&
	                  strcmp(first.port, second.port) == 0;

	url_close(&first);
	url_close(&second);
	return same;
}

bool url_is_tls(const char *url)
{
	return strncasecmp(url, "https:", 6) == 0;
}

char *url_escape(const char *text)
{
	char *escaped = xcalloc(strlen(text) + 1, 3);
	size_t n = 0;

	for (; *text != '\0'; text++) {
		const uint8_t c = (uint8_t)*text;

		if (isalnum(c) || strchr("-._~", c) != NULL) {
			escaped[n++] = (char)c;
			continue;
		}
		escaped[n] = '%';
		hex_encode(&c, 1, escaped + n + 1);
		n += 3;
	}
	return escaped;
}
