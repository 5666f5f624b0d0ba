/*
 * err: what went wrong, said once, where it happened.
 *
 * The struct is the caller's. A function that fails returns -errno and has filled *e; outcomes
 * that the caller must handle are positive and leave *e alone. e is never NULL.
 */
#pragma once
#include "auto.h"
#include <stdarg.h>
#include <stdbool.h>

#define ERR_MSG_BYTES 512

struct err {
	int code;                /* an errno, positive; 0: nothing set */
	char msg[ERR_MSG_BYTES]; /* what, where and what to do; cut at the end when too long */
};

/** Set *e. @return -code, so that a failing function can return it. */
int err_set(struct err *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/** As err_set(), with ": " and the errno's text at the end: for what the system says of a call. Two
 * codes become others, for they say who has to do something about it: EACCES is kept for a registry
 * that refuses (here EPERM), EINVAL for a wish that is wrong (here EIO). */
int err_errno(struct err *e, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/** Put "format: " before the message: a fact that the caller knows and e does not. @return -code */
int err_wrap(struct err *e, const char *format, ...) PRINTF_LIKE(2, 3);

/** Put " (what to do)" behind the message, unless it says so already or all of it would not fit.
 * @return -code */
int err_hint(struct err *e, const char *what_to_do);

/** Is this errno (positive) what a disk says that is full, or a quota on it that is used up? */
bool err_is_no_space(int code);
