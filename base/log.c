/*
 * log: builds one logfmt line on the stack and writes it at once, so that lines of several threads
 * never mix. Knows no files and no rotation: the descriptor is the caller's.
 */
#include "log.h"
#include "bytes.h"
#include "mem.h"
#include "text.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX_BYTES 4096 /* below PIPE_BUF, so that a pipe too keeps a line in one piece */

struct log {
	int fd;
	_Atomic int level;
};

static const char *const level_names[N_LOG_LEVELS] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

struct log *log_new(int fd, enum log_level level)
{
	struct log *log = xcalloc(1, sizeof(*log));

	log->fd = fd;
	atomic_init(&log->level, (int)level);
	return log;
}

void log_free(struct log **log)
{
	free(*log);
	*log = NULL;
}

void log_set_level(struct log *log, enum log_level level)
{
	atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

static size_t put_head(char *line, size_t max_bytes, enum log_level level, const char *msg)
{
	struct timespec now = { 0 };
	struct tm tm = { 0 };
	char time_text[32] = "";
	int n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(time_text, sizeof(time_text), "%Y-%m-%dT%H:%M:%S", &tm);
	n = snprintf(line, max_bytes, "ts=%s.%03dZ level=%s msg=\"%s\"", time_text,
	             (int)(now.tv_nsec / 1000000), level_names[level], msg);
	return n < 0 ? 0 : strnlen(line, max_bytes);
}

/* A value that was not quoted must not forge a second line or reach a terminal as an escape. */
static void blunt_controls(char *text)
{
	for (; *text != '\0'; text++)
		memset(text, '?', text_control_bytes(text));
}

static void write_all(int fd, const char *text, size_t n_bytes)
{
	while (n_bytes > 0) {
		const ssize_t n = TEMP_FAILURE_RETRY(write(fd, text, n_bytes));

		if (n <= 0)
			return; /* there is nowhere to say so */
		text += n;
		n_bytes -= (size_t)n;
	}
}

void log_line(struct log *log, enum log_level level, const char *msg, const char *fields, ...)
{
	char line[LOG_LINE_MAX_BYTES];
	const size_t text_max = sizeof(line) - 1; /* the newline has its place */
	va_list args;
	size_t n;

	if (log == NULL || (int)level > atomic_load_explicit(&log->level, memory_order_relaxed))
		return;
	n = put_head(line, text_max, level, msg);
	if (fields[0] != '\0' && n + 1 < text_max) {
		line[n++] = ' ';
		va_start(args, fields);
		(void)vsnprintf(line + n, text_max - n, fields, args);
		va_end(args);
		n += strnlen(line + n, text_max - n);
	}
	line[n] = '\0';
	blunt_controls(line);
	line[n] = '\n';
	write_all(log->fd, line, n + 1);
}

static bool is_bare(const char *text)
{
	if (text[0] == '\0')
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '"' ||
		    *p == '=' || *p == '\\')
			return false;
	return true;
}

/* One byte as it stands between quotes. @return bytes written, at most 4 */
static size_t put_quoted(char *out, unsigned char c, bool is_control)
{
	static const char digits[] = "0123456789abcdef";

	if (c == '"' || c == '\\') {
		out[0] = '\\';
		out[1] = (char)c;
		return 2;
	}
	if (!is_control) {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[c >> 4];
	out[3] = digits[c & 15];
	return 4;
}

struct log_quoted log_quote(const char *text)
{
	struct log_quoted q = { "" };
	size_t control_bytes = 0; /* of the character that text is in */
	size_t n = 0;

	if (text == NULL)
		text = "-";
	if (strlen(text) < sizeof(q.s) && is_bare(text)) {
		(void)snprintf(q.s, sizeof(q.s), "%s", text);
		return q;
	}
	q.s[n++] = '"';
	/* 9: one byte quoted (4), "..." (3), the closing quote and the NUL. */
	while (*text != '\0' && n + 9 <= sizeof(q.s)) {
		control_bytes = max_u64(control_bytes, text_control_bytes(text));
		n += put_quoted(q.s + n, (unsigned char)*text++, control_bytes > 0);
		control_bytes -= control_bytes > 0;
	}
	(void)snprintf(q.s + n, sizeof(q.s) - n, "%s\"", *text != '\0' ? "..." : "");
	return q;
}
