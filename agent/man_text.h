/*
 * man_text: text in the manual pages' own language, escaped.
 */
#pragma once
#include <stdio.h>

/** A line of its own: a dot or quote at its begin is no request. */
void man_line(FILE *out, const char *text);
/** Within a line. before: in the same way, plain where it is a space. */
void man_bold(FILE *out, const char *before, const char *text);
void man_italic(FILE *out, const char *before, const char *text);

/** shoald.yaml.5, from the table of settings. */
void print_config_man(FILE *out);
