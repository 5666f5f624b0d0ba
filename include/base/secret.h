/*
 * secret: texts that are wiped before their memory is given back.
 */
#pragma once
#include "auto.h"
#include <stdlib.h>
#include <string.h>

static inline void free_secret(char **s) /* NULL is fine */
{
	if (*s != NULL)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}
