/*
 * command_table: every command of shoal and every option, once. The parser, --help, the manual
 * page, docs/commands.md and bash completion are made from these rows.
 */
#pragma once
#include "commands.h"
#include <stddef.h>

struct command {
	const char *name; /* one word or two */
	const char *args; /* "" for none */
	unsigned options; /* bits of shoal_options */
	int min_args, max_args;
	int (*run)(struct shoal *sh);
	const char *text;
};

struct command_option {
	const char *name; /* without dashes */
	const char *arg;  /* what its value is called; NULL: it takes none */
	unsigned bit;     /* 0: of every command */
	size_t field;     /* in struct shoal: const char *, or bool where arg is NULL */
	const char *text;
};

extern const struct command shoal_commands[];
extern const size_t shoal_n_commands;
extern const struct command_option shoal_options[];
extern const size_t shoal_n_options;

/* What else there is to say, for every page. */
extern const char shoal_image_text[];
extern const char *const shoal_exit_texts[]; /* by status; the last is NULL */
