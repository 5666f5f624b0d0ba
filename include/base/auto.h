/*
 * auto: the few macros that every file of shoal uses.
 */
#pragma once
#include <stddef.h>

/* Run a destructor `void x_close(struct x **)` when the variable leaves its scope. */
#define AUTO(destructor) __attribute__((cleanup(destructor)))

#define MUST_CHECK                         __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)       (1U << (n))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
