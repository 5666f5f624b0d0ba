/*
 * err: fills the caller's struct err. Knows text and errno, nothing else.
 *
 * Every message is built aside first, so that the old message may be one of its arguments.
 */
#include "err.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Put text behind what msg holds, as far as it fits. */
static void append(char msg[ERR_MSG_BYTES], const char *text)
{
	const size_t n = strlen(msg);
	const size_t fits = strnlen(text, ERR_MSG_BYTES - 1 - n);

	memcpy(msg + n, text, fits);
	msg[n + fits] = '\0';
}

static int keep(struct err *e, int code, const char msg[ERR_MSG_BYTES])
{
	assert(code > 0);
	e->code = code;
	memcpy(e->msg, msg, ERR_MSG_BYTES);
	return -code;
}

int err_set(struct err *e, int code, const char *format, ...)
{
	char msg[ERR_MSG_BYTES] = "";
	va_list args;

	va_start(args, format);
	(void)vsnprintf(msg, sizeof(msg), format, args);
	va_end(args);
	return keep(e, code, msg);
}

int err_errno(struct err *e, int code, const char *format, ...)
{
	const char *text = strerrordesc_np(code);
	char msg[ERR_MSG_BYTES] = "";
	va_list args;

	va_start(args, format);
	(void)vsnprintf(msg, sizeof(msg), format, args);
	va_end(args);
	append(msg, ": ");
	append(msg, text != NULL ? text : "unknown error");
	return keep(e, code == EACCES ? EPERM : code == EINVAL ? EIO : code, msg);
}

int err_wrap(struct err *e, const char *format, ...)
{
	char msg[ERR_MSG_BYTES] = "";
	va_list args;

	va_start(args, format);
	(void)vsnprintf(msg, sizeof(msg), format, args);
	va_end(args);
	append(msg, ": ");
	append(msg, e->msg);
	return keep(e, e->code, msg);
}

int err_hint(struct err *e, const char *what_to_do)
{
	const size_t n = strlen(e->msg);

	if ((n > 0 && e->msg[n - 1] == ')') ||
	    n + strlen(what_to_do) + strlen(" ()") >= sizeof(e->msg))
		return -e->code;
	append(e->msg, " (");
	append(e->msg, what_to_do);
	append(e->msg, ")");
	return -e->code;
}

bool err_is_no_space(int code)
{
	return code == ENOSPC || code == EDQUOT;
}
