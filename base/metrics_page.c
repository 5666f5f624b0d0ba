/*
 * metrics_page: the registry as Prometheus text. Knows nothing of HTTP.
 * Source: Prometheus text exposition format 0.0.4.
 */
#include "mem.h"
#include "metrics_registry.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {
	[METRIC_TYPE_COUNTER] = "counter",
	[METRIC_TYPE_GAUGE] = "gauge",
	[METRIC_TYPE_HISTOGRAM] = "histogram",
};

static void put_value(FILE *page, const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == '\n') {
			(void)fputs("\\n", page);
			continue;
		}
		if (*value == '"' || *value == '\\')
			(void)fputc('\\', page);
		(void)fputc(*value, page);
	}
}

/* {a="1",b="2"}, with le="..." at the end where it is not NULL; nothing where there is no label. */
static void put_labels(FILE *page, const struct metric_def *def, const struct series_node *node,
                       const char *le)
{
	const char *value = node->key;
	const char *name = def->labels;
	char before = '{';

	while (*name != '\0') {
		const size_t name_bytes = strcspn(name, ",");

		(void)fprintf(page, "%c%.*s=\"", before, (int)name_bytes, name);
		put_value(page, value);
		(void)fputc('"', page);
		before = ',';
		value += strlen(value) + 1;
		name += name_bytes + (name[name_bytes] == ',');
	}
	if (le != NULL) {
		(void)fprintf(page, "%cle=\"%s\"", before, le);
		before = ',';
	}
	if (before == ',')
		(void)fputc('}', page);
}

static void put_histogram(FILE *page, const struct metric_def *def, const struct series_node *node)
{
	struct histogram *h = node->series.histogram;
	uint64_t n = 0;

	for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
		char le[32] = "+Inf";

		if (i < HISTOGRAM_BOUNDS)
			(void)snprintf(le, sizeof(le), "%g", (double)histogram_bounds_us[i] / 1e6);
		n += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
		(void)fprintf(page, "%s_bucket", def->name);
		put_labels(page, def, node, le);
		(void)fprintf(page, " %" PRIu64 "\n", n);
	}
	(void)fprintf(page, "%s_sum", def->name);
	put_labels(page, def, node, NULL);
	(void)fprintf(page, " %.9f\n",
	              (double)atomic_load_explicit(&h->sum_ns, memory_order_relaxed) / 1e9);
	(void)fprintf(page, "%s_count", def->name);
	put_labels(page, def, node, NULL);
	(void)fprintf(page, " %" PRIu64 "\n", n);
}

static void put_family(FILE *page, const struct metric_def *def, const struct family *f)
{
	(void)fprintf(page, "# HELP %s %s\n# TYPE %s %s\n", def->name, def->help, def->name,
	              type_names[def->type]);
	for (const struct series_node *node = f->nodes; node != NULL; node = node->hh.next) {
		if (def->type == METRIC_TYPE_HISTOGRAM) {
			put_histogram(page, def, node);
			continue;
		}
		(void)fputs(def->name, page);
		put_labels(page, def, node, NULL);
		(void)fprintf(page, " %" PRId64 "\n", series_get(&node->series));
	}
}

char *metrics_render(const struct metrics *m)
{
	char *text = NULL;
	size_t text_bytes = 0;
	FILE *page = open_memstream(&text, &text_bytes);

	if (page == NULL)
		abort(); /* memory is out */
	(void)pthread_mutex_lock(m->mutex);
	for (unsigned id = 0; id < N_METRICS; id++)
		put_family(page, &metric_defs[id], &m->families[id]);
	(void)pthread_mutex_unlock(m->mutex);
	if (fclose(page) != 0)
		abort();
	return text;
}
