/*
 * command_docs: the table of commands as --help, as Markdown, as a manual page, and as words for
 * bash completion.
 */
#pragma once
#include <stdio.h>

void print_command_help(FILE *out);
void print_command_page(FILE *out);  /* docs/commands.md */
void print_command_man(FILE *out);   /* shoal.1 */
void print_command_words(FILE *out); /* a line a command: name, arguments, options; tabs between */
