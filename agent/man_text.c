/*
 * man_text: manual pages: escaping, and the page of the settings.
 */
#include "man_text.h"
#include "config.h"
#include "mem.h"
#include <string.h>

static void escaped(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			(void)fputs("\\e", out);
		else if (*text == '-')
			(void)fputs("\\-", out);
		else
			(void)fputc(*text, out);
	}
}

void man_line(FILE *out, const char *text)
{
	if (*text == '.' || *text == '\'')
		(void)fputs("\\&", out);
	escaped(out, text);
	(void)fputc('\n', out);
}

static void in_font(FILE *out, char font, const char *before, const char *text)
{
	if (strcmp(before, " ") == 0)
		(void)fputc(' ', out);
	(void)fprintf(out, "\\f%c", font);
	if (strcmp(before, " ") != 0)
		escaped(out, before);
	escaped(out, text);
	(void)fputs("\\fR", out);
}

void man_bold(FILE *out, const char *before, const char *text)
{
	in_font(out, 'B', before, text);
}

void man_italic(FILE *out, const char *before, const char *text)
{
	in_font(out, 'I', before, text);
}

static void man_settings(FILE *out, const struct setting *settings, uint32_t n_settings)
{
	for (uint32_t i = 0; i < n_settings; i++) {
		const struct setting *s = &settings[i];
		AUTO(free_str) char *values = setting_values(s);

		(void)fputs(".TP\n", out);
		man_bold(out, "", s->name);
		(void)fputs(" (", out);
		escaped(out, values);
		if (s->fallback != NULL && s->fallback[0] != '\0') {
			(void)fputs("; default ", out);
			escaped(out, s->fallback);
		}
		(void)fputs(config_is_at_once(s->name) ? "; at once)\n" : ")\n", out);
		man_line(out, s->text);
	}
}

void print_config_man(FILE *out)
{
	(void)fputs(
		".TH SHOALD.YAML 5 \"\" \"shoal " SHOAL_VERSION "\" \"File Formats\"\n"
		".SH NAME\nshoald.yaml \\- configuration of shoald\n"
		".SH DESCRIPTION\n"
		"A YAML file, usually\n.IR /etc/shoal/shoal.yaml .\n"
		"Unknown keys, repeated keys and values out of range are errors, which name file "
		"and line.\n.B shoald \\-\\-check\\-config\nonly checks the file. A dot is one "
		"level of YAML: cache.quota_bytes is\n.BR \"cache: { quota_bytes: 0 }\" .\n"
		"SIGHUP makes shoald read the file again. Settings marked \"at once\", and "
		"registries, take effect immediately; for any other change the log says that it "
		"needs a restart.\n.SH SETTINGS\n",
		out);
	man_settings(out, config_settings, config_n_settings);
	(void)fputs(
		".SH REGISTRIES\n"
		"The key\n.B registries\nis a list with one entry per host. A host without an "
		"entry is reached as the entry for \"*\" says, or, without one, over https with "
		"the docker config of the user that shoald runs as.\n",
		out);
	man_settings(out, config_registry_settings, config_n_registry_settings);
	(void)fputs(".SH SEE ALSO\n.BR shoald (8),\n.BR shoal (1)\n", out);
}
