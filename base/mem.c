/*
 * mem: allocation that cannot fail, and destructors for AUTO(). Knows no limits: sizes from outside
 * do not come here.
 */
#include "mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *never_null(void *p)
{
	if (p == NULL) {
		(void)fputs("shoal: memory is out\n", stderr);
		abort();
	}
	return p;
}

void *xcalloc(size_t n, size_t size_bytes)
{
	/* A pointer of its own also for nothing: NULL would read as failure. */
	return never_null(calloc(n == 0 ? 1 : n, size_bytes == 0 ? 1 : size_bytes));
}

void *xrealloc(void *p, size_t n, size_t size_bytes)
{
	if (n == 0 || size_bytes == 0)
		n = size_bytes = 1;
	return never_null(reallocarray(p, n, size_bytes));
}

char *xstrdup(const char *s)
{
	return never_null(strdup(s));
}

char *xstrdup_or_null(const char *s)
{
	return s != NULL ? xstrdup(s) : NULL;
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	return never_null(n < 0 ? NULL : text);
}

void free_str(char **s)
{
	free(*s);
	*s = NULL;
}

void free_bytes(unsigned char **p)
{
	free(*p);
	*p = NULL;
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

int take_fd(int *fd)
{
	const int taken = *fd;

	*fd = -1;
	return taken;
}
