/*
 * mem: allocation. x... abort when memory is out: for small sizes of our own. A size that came
 * from outside is first held against a named ..._MAX_BYTES, then calloc() and -ENOMEM.
 */
#pragma once
#include "auto.h"
#include <stddef.h>

void *xcalloc(size_t n, size_t size_bytes) __attribute__((returns_nonnull, malloc));
void *xrealloc(void *p, size_t n, size_t size_bytes) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((returns_nonnull, malloc));
char *xstrdup_or_null(const char *s); /* NULL: of NULL alone */
char *xasprintf(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((returns_nonnull));

/* Destructors for AUTO(). NULL is fine, and they leave NULL (or -1). */
void free_str(char **s);
void free_bytes(unsigned char **p);
void close_fd(int *fd);

/** For what AUTO(close_fd) would close: now it is the caller's. */
int take_fd(int *fd);
