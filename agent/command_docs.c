/*
 * command_docs: see the header.
 */
#include "command_docs.h"
#include "command_table.h"
#include "man_text.h"
#include "mem.h"
#include <stdlib.h>
#include <string.h>

#define HELP_COLUMNS 80

/* "--how HOW" */
static char *option_words(const struct command_option *o)
{
	return xasprintf("--%s%s%s", o->name, o->arg != NULL ? " " : "",
	                 o->arg != NULL ? o->arg : "");
}

static char *command_words(const struct command *c)
{
	return xasprintf("%s%s%s", c->name, c->args[0] != '\0' ? " " : "", c->args);
}

static bool is_of(const struct command_option *o, const struct command *c)
{
	return c == NULL ? o->bit == 0 : (o->bit & c->options) != 0;
}

/* ---- --help ---- */

/* text from this column on, wrapped to lines that begin at indent, and the end of the line. */
static void help_wrapped(FILE *out, int column, int indent, const char *text)
{
	const char *space = "";

	while (*text != '\0') {
		const int n = (int)strcspn(text, " ");

		if (column + n >= HELP_COLUMNS && column > indent) {
			(void)fprintf(out, "\n%*s", indent, "");
			column = indent;
			space = "";
		}
		column += fprintf(out, "%s%.*s", space, n, text);
		text += n + (text[n] == ' ');
		space = " ";
	}
	(void)fputc('\n', out);
}

/* "  WORDS   text", the text wrapped below itself. */
static void help_line(FILE *out, const char *words, int width, const char *text)
{
	help_wrapped(out, fprintf(out, "  %-*s", width, words), 2 + width, text);
}

static void help_options(FILE *out, const struct command *c)
{
	for (size_t i = 0; i < shoal_n_options; i++) {
		AUTO(free_str) char *words = option_words(&shoal_options[i]);

		if (is_of(&shoal_options[i], c))
			help_line(out, words, 20, shoal_options[i].text);
	}
}

void print_command_help(FILE *out)
{
	(void)fputs("Usage: shoal [--socket PATH] [--json] COMMAND ...\n\nCommands:\n", out);
	for (size_t i = 0; i < shoal_n_commands; i++) {
		AUTO(free_str) char *words = command_words(&shoal_commands[i]);

		help_line(out, words, 26, shoal_commands[i].text);
	}
	(void)fputs("\nOptions:\n", out);
	help_options(out, NULL);
	for (size_t i = 0; i < shoal_n_commands; i++) {
		if (shoal_commands[i].options == 0)
			continue;
		(void)fprintf(out, "\nOptions of %s:\n", shoal_commands[i].name);
		help_options(out, &shoal_commands[i]);
	}
	(void)fprintf(out, "\n%s\n\nExit status:\n", shoal_image_text);
	for (int i = 0; shoal_exit_texts[i] != NULL; i++)
		(void)fprintf(out, "  %d  %s\n", i, shoal_exit_texts[i]);
}

/* ---- docs/commands.md ---- */

/* A cell of a table: '|' would end it. */
static void cell(FILE *out, const char *text)
{
	for (; *text != '\0'; text++)
		(void)fprintf(out, *text == '|' ? "\\|" : "%c", *text);
}

static void page_options(FILE *out, const struct command *c)
{
	(void)fputs("| option | |\n|---|---|\n", out);
	for (size_t i = 0; i < shoal_n_options; i++) {
		AUTO(free_str) char *words = option_words(&shoal_options[i]);

		if (is_of(&shoal_options[i], c))
			(void)fprintf(out, "| `%s` | %s |\n", words, shoal_options[i].text);
	}
}

void print_command_page(FILE *out)
{
	(void)fputs("# Commands\n\n"
	            "<!-- Made by `shoal --print-docs commands`; do not edit. -->\n\n"
	            "`shoal [--socket PATH] [--json] COMMAND ...` speaks to the agent of this "
	            "node over its socket. Only `pki`, and\n`image inspect` of a file, need no "
	            "agent. Paths are those of the agent's mount namespace.\n\n"
	            "| command | |\n|---|---|\n",
	            out);
	for (size_t i = 0; i < shoal_n_commands; i++) {
		AUTO(free_str) char *words = command_words(&shoal_commands[i]);

		(void)fputs("| `", out);
		cell(out, words);
		(void)fprintf(out, "` | %s |\n", shoal_commands[i].text);
	}
	(void)fprintf(out, "\n%s\n\n## Options of every command\n\n", shoal_image_text);
	page_options(out, NULL);
	for (size_t i = 0; i < shoal_n_commands; i++) {
		if (shoal_commands[i].options == 0)
			continue;
		(void)fprintf(out, "\n## Options of %s\n\n", shoal_commands[i].name);
		page_options(out, &shoal_commands[i]);
	}
	(void)fputs("\n## Exit status\n\n| | |\n|---|---|\n", out);
	for (int i = 0; shoal_exit_texts[i] != NULL; i++)
		(void)fprintf(out, "| %d | %s |\n", i, shoal_exit_texts[i]);
	(void)fputs("\nAn error is one line on stderr, `shoal: WHAT: WHY (WHAT TO DO)`. With "
	            "`--json`, results and errors are one\nJSON document on stdout. Long commands "
	            "draw a progress bar if stderr is a terminal.\n",
	            out);
}

/* ---- shoal.1 ---- */

static void man_options(FILE *out, const struct command *c)
{
	for (size_t i = 0; i < shoal_n_options; i++) {
		const struct command_option *o = &shoal_options[i];

		if (!is_of(o, c))
			continue;
		(void)fputs(".TP\n", out);
		man_bold(out, "--", o->name);
		if (o->arg != NULL)
			man_italic(out, " ", o->arg);
		(void)fputc('\n', out);
		man_line(out, o->text);
	}
}

void print_command_man(FILE *out)
{
	(void)fputs(".TH SHOAL 1 \"\" \"shoal " SHOAL_VERSION "\" \"User Commands\"\n"
	            ".SH NAME\nshoal \\- mount container images before they are downloaded\n"
	            ".SH SYNOPSIS\n.B shoal\n[\\fB\\-\\-socket\\fR \\fIPATH\\fR] "
	            "[\\fB\\-\\-json\\fR] \\fICOMMAND\\fR ...\n"
	            ".SH DESCRIPTION\nSpeaks to the agent of this node,\n.BR shoald (8),\nover its "
	            "socket.\n.SH COMMANDS\n",
	            out);
	for (size_t i = 0; i < shoal_n_commands; i++) {
		(void)fputs(".TP\n", out);
		man_bold(out, "", shoal_commands[i].name);
		if (shoal_commands[i].args[0] != '\0')
			man_italic(out, " ", shoal_commands[i].args);
		(void)fputc('\n', out);
		man_line(out, shoal_commands[i].text);
	}
	(void)fputs(".PP\n", out);
	man_line(out, shoal_image_text);
	(void)fputs(".SH OPTIONS\n", out);
	man_options(out, NULL);
	for (size_t i = 0; i < shoal_n_commands; i++) {
		if (shoal_commands[i].options == 0)
			continue;
		(void)fprintf(out, ".SS Options of %s\n", shoal_commands[i].name);
		man_options(out, &shoal_commands[i]);
	}
	(void)fputs(".SH EXIT STATUS\n", out);
	for (int i = 0; shoal_exit_texts[i] != NULL; i++) {
		(void)fprintf(out, ".TP\n.B %d\n", i);
		man_line(out, shoal_exit_texts[i]);
	}
	(void)fputs(".SH ENVIRONMENT\n.TP\n.B SHOAL_SOCKET\nThe agent's socket, where \\-\\-socket "
	            "is not given.\n.SH SEE ALSO\n.BR shoald (8),\n.BR shoald.yaml (5)\n",
	            out);
}

/* ---- completion ---- */

void print_command_words(FILE *out)
{
	for (size_t i = 0; i < shoal_n_commands; i++) {
		(void)fprintf(out, "%s\t%s\t", shoal_commands[i].name, shoal_commands[i].args);
		for (size_t k = 0; k < shoal_n_options; k++) {
			const struct command_option *o = &shoal_options[k];

			if (o->bit == 0 || (o->bit & shoal_commands[i].options))
				(void)fprintf(out, "--%s%s%s ", o->name, o->arg != NULL ? "=" : "",
				              o->arg != NULL ? o->arg : "");
		}
		(void)fputc('\n', out);
	}
}
