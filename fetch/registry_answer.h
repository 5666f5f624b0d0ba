/*
 * registry_answer: what an HTTP status means to a request. Pure.
 * Source: OCI distribution-spec 1.1; RFC 9110; RFC 6585.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdbool.h>

enum verdict {
	VERDICT_NONE,         /* no answer */
	VERDICT_BODY,         /* 200, 206: what was asked for */
	VERDICT_REDIRECT,     /* 301, 302, 303, 307, 308 */
	VERDICT_UNAUTHORIZED, /* 401 */
	VERDICT_FORBIDDEN,    /* 403 */
	VERDICT_GONE,         /* 404, 410 */
	VERDICT_BUSY,         /* 429, 503 */
	VERDICT_TROUBLE,      /* 408, 425, other 5xx */
	VERDICT_NONSENSE,     /* all the rest */
};

enum verdict verdict_of(long status);

/** May a cached redirect target that says so be stale? Then the registry is asked for a new one. */
bool verdict_is_stale(long status);

/** The error that such a status is, once nothing else can be tried. @return -errno */
int verdict_error(enum verdict verdict, long status, const char *host, struct err *e);
