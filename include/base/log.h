/*
 * log: logfmt lines on a file descriptor, one write(2) a line; any thread.
 *
 *   log_info(log, "mounted", "image=%s dir=%s", image, dir);
 *   -> ts=2026-01-02T03:04:05.678Z level=info msg="mounted" image=... dir=...
 *
 * Values that may hold spaces, quotes or control bytes are passed through log_quote().
 * Never a secret: no token, password, key or Authorization header goes through here.
 */
#pragma once
#include "auto.h"
#include "err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, N_LOG_LEVELS };

struct log;

struct log *log_new(int fd, enum log_level level); /* fd borrowed; never NULL */
void log_free(struct log **log);                   /* NULL is fine */
void log_set_level(struct log *log, enum log_level level);
const char *log_level_name(enum log_level level);

/** fields: a logfmt printf format, "" for none. log may be NULL: nothing is written. */
void log_line(struct log *log, enum log_level level, const char *msg, const char *fields, ...)
	PRINTF_LIKE(4, 5);

#define log_error(log, msg, ...) log_line((log), LOG_ERROR, (msg), __VA_ARGS__)
#define log_warn(log, msg, ...)  log_line((log), LOG_WARN, (msg), __VA_ARGS__)
#define log_info(log, msg, ...)  log_line((log), LOG_INFO, (msg), __VA_ARGS__)
#define log_debug(log, msg, ...) log_line((log), LOG_DEBUG, (msg), __VA_ARGS__)

/* A value quoted for logfmt: LOG_Q(text).s lives to the end of the statement's block. */
struct log_quoted {
	char s[600];
};
struct log_quoted log_quote(const char *text);
#define LOG_Q(text) (log_quote(text).s)
