/*
 * print_docs: the reference of settings and metrics, as Markdown.
 *
 * Made from the tables, so that what is written is what is checked and shown.
 */
#include "print_docs.h"
#include "config.h"
#include "mem.h"
#include "metrics.h"
#include <string.h>

/* @param with_reload  a column for what counts at once on SIGHUP */
static void print_settings(FILE *out, const struct setting *settings, uint32_t n_settings,
                           bool with_reload)
{
	(void)fputs(with_reload
	                    ? "| setting | values | default | SIGHUP | |\n|---|---|---|---|---|\n"
	                    : "| setting | values | default | |\n|---|---|---|---|\n",
	            out);
	for (uint32_t i = 0; i < n_settings; i++) {
		const struct setting *s = &settings[i];
		const char *fallback = s->fallback != NULL ? s->fallback : "none";
		AUTO(free_str) char *values = setting_values(s);

		(void)fprintf(out, "| `%s` | %s | %s | %s%s |\n", s->name, values,
		              fallback[0] != '\0' ? fallback : "\"\"",
		              !with_reload                 ? ""
		              : config_is_at_once(s->name) ? "at once | "
		                                           : "restart | ",
		              s->text);
	}
}

void print_config_doc(FILE *out)
{
	(void)fputs(
		"# Configuration\n\n"
		"<!-- Made by `shoald --print-docs config`; do not edit. -->\n\n"
		"`shoald --config FILE` reads a YAML file. Unknown keys, repeated keys and values "
		"out of "
		"range are errors, which\nname file and line. `shoald --check-config FILE` only "
		"checks the file: exit status 0, or 2.\n\n"
		"SIGHUP makes shoald read the file again. Settings marked *at once*, and "
		"`registries`, take effect immediately;\nfor any other change the log says that "
		"it needs a restart. A file with errors changes nothing. Certificates are\nread "
		"again, too.\n\n"
		"A dot is one level of YAML: `cache.quota_bytes` is `cache: { quota_bytes: 0 "
		"}`.\n\n",
		out);
	print_settings(out, config_settings, config_n_settings, true);
	(void)fputs(
		"\n## registries\n\n"
		"A list with one entry per host: `registries: [{ host: \"127.0.0.1:5000\", "
		"scheme: http }]`. A host without an entry is\nreached as the entry for `\"*\"` "
		"says, or, without one, over https with the docker config of the user that\n"
		"shoald runs as. On SIGHUP, changed entries apply to new requests.\n\n",
		out);
	print_settings(out, config_registry_settings, config_n_registry_settings, false);
}

/* Each label with its values; both lists are in the same order. */
static void print_labels(FILE *out, const char *labels, const char *values)
{
	while (*labels != '\0') {
		const size_t label_bytes = strcspn(labels, ",");
		const size_t values_bytes = strcspn(values, ";");

		(void)fprintf(out, "`%.*s`: %.*s", (int)label_bytes, labels, (int)values_bytes,
		              values);
		labels += label_bytes;
		values += values_bytes;
		if (*labels == ',') {
			(void)fputs("; ", out);
			labels++;
			values += strspn(values, "; ");
		}
	}
}

void print_metrics_doc(FILE *out)
{
	static const struct {
		const char *type, *name, *labels, *values, *help;
	} rows[] = {
#define X(id, type, name, labels, values, help) { #type, (name), (labels), (values), (help) },
		METRICS_TABLE(X)
#undef X
	};

	(void)fputs("# Metrics\n\n"
	            "<!-- Made by `shoald --print-docs metrics`; do not edit. -->\n\n"
	            "Served as Prometheus text at `/metrics` of `http.listen`.\n\n"
	            "| name | type | labels | meaning |\n|---|---|---|---|\n",
	            out);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)fprintf(out, "| `%s` | ", rows[i].name);
		for (const char *c = rows[i].type; *c != '\0'; c++)
			(void)fputc(*c | 0x20, out);
		(void)fputs(" | ", out);
		print_labels(out, rows[i].labels, rows[i].values);
		(void)fprintf(out, " | %s |\n", rows[i].help);
	}
}
