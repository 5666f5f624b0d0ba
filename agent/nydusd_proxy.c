/*
 * nydusd_proxy: see nydusd_proxy.h. Source: RFC 3986, 3.2.1 "User Information".
 */
#include "nydusd_proxy.h"
#include "hex.h"
#include "mem.h"
#include "secret.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>

/* What is no percent-encoding stands for itself, as with libcurl. @return NULL: a NUL in it */
static char *decode(const char *text, size_t n)
{
	AUTO(free_secret) char *plain = xcalloc(1, n + 1);
	size_t n_plain = 0;
	char *decoded;

	for (size_t i = 0; i < n; i++) {
		char digits[3] = "";
		uint8_t byte = 0;

		if (text[i] == '%' && n - i > 2)
			memcpy(digits, text + i + 1, 2);
		if (!hex_decode(digits, 1, &byte)) {
			plain[n_plain++] = text[i];
			continue;
		}
		if (byte == 0)
			return NULL;
		plain[n_plain++] = (char)byte;
		i += 2;
	}
	decoded = plain;
	plain = NULL;
	return decoded;
}

int nydusd_proxy_split(const char *url, char **ret_url, char **ret_username, char **ret_password,
                       struct err *e)
{
	const char *scheme_end = strstr(url, "://");
	const char *begin = scheme_end != NULL ? scheme_end + 3 : url;
	const char *end = begin + strcspn(begin, "/?#");
	const char *at = memrchr(begin, '@', (size_t)(end - begin));
	AUTO(free_secret) char *username = NULL;
	AUTO(free_secret) char *password = NULL;
	const char *colon;

	if (at != NULL) {
		colon = memchr(begin, ':', (size_t)(at - begin));
		username = decode(begin, (size_t)((colon != NULL ? colon : at) - begin));
		password = decode(colon != NULL ? colon + 1 : at,
		                  colon != NULL ? (size_t)(at - colon - 1) : 0);
		if (username == NULL || password == NULL)
			return err_set(e, EINVAL,
			               "the user name or the password of \"proxy.url\" has a NUL");
	}
	*ret_url = xasprintf("%.*s%s", (int)(begin - url), url, at != NULL ? at + 1 : begin);
	*ret_username = username;
	*ret_password = password;
	username = NULL;
	password = NULL;
	return 0;
}
