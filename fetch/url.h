/*
 * url: the few things that shoal does with URLs. Pure; hostile input. Source: RFC 3986.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>

#define URL_MAX_BYTES       8192
#define AUTHORITY_MAX_BYTES 272

/**
 * Where a redirect leads: location, seen from base.
 *
 * @param ret_url  malloc'd
 * @return 0; -EPROTO not a URL, not http or https, with user info, or from https down to http
 */
MUST_CHECK int url_resolve(const char *base, const char *location, char **ret_url, struct err *e);

/** "HOST" or "HOST:PORT" (a scheme's own port is left out). @return 0; -EINVAL */
MUST_CHECK int url_authority(const char *url, char ret_authority[AUTHORITY_MAX_BYTES],
                             struct err *e);

/** Same scheme, host and port: credentials for one may be told to the other. */
bool url_same_server(const char *a, const char *b);

bool url_is_tls(const char *url);

/** text with everything but unreserved characters percent-encoded. @return malloc'd */
char *url_escape(const char *text);
