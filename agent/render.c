/*
 * render: what the shoal command prints.
 *
 * Knows documents and widths. Knows nothing of the agent.
 */
#include "render.h"
#include "clock.h"
#include "mem.h"
#include "text.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS_MAX 16
#define SHORT_CHARS 12
#define DAY_S       86400
#define HOUR_S      3600
#define MINUTE_S    60

static char *bytes_text(uint64_t n_bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)n_bytes;
	size_t i = 0;

	while (n >= 1024 && i + 1 < ARRAY_LEN(units)) {
		n /= 1024;
		i++;
	}
	return i == 0 ? xasprintf("%" PRIu64 " B", n_bytes) : xasprintf("%.1f %s", n, units[i]);
}

static char *seconds_text(uint64_t n)
{
	if (n >= DAY_S)
		return xasprintf("%" PRIu64 "d %" PRIu64 "h", n / DAY_S, n % DAY_S / HOUR_S);
	if (n >= HOUR_S)
		return xasprintf("%" PRIu64 "h %" PRIu64 "m", n / HOUR_S, n % HOUR_S / MINUTE_S);
	if (n >= MINUTE_S)
		return xasprintf("%" PRIu64 "m %" PRIu64 "s", n / MINUTE_S, n % MINUTE_S);
	return xasprintf("%" PRIu64 "s", n);
}

#define MINUTE_CHARS 16 /* of "2026-01-02 03:04:05" */

/* To the second; "?" malloc'd */
static char *local_time_text(uint64_t wall_s)
{
	const time_t t = (time_t)wall_s;
	struct tm tm;
	char text[32] = "";

	if (localtime_r(&t, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return xstrdup("?");
	return xstrdup(text);
}

static char *when_text(uint64_t wall_s)
{
	AUTO(free_str) char *text = wall_s != 0 ? local_time_text(wall_s) : xstrdup("-");

	return xasprintf("%.*s", MINUTE_CHARS, text);
}

static char *moment_text(uint64_t wall_ms)
{
	AUTO(free_str) char *text = local_time_text(wall_ms / MS_PER_S);

	return xasprintf("%s.%03" PRIu64, text, wall_ms % MS_PER_S);
}

static char *micros_text(uint64_t us)
{
	return us < 1000 ? xasprintf("%" PRIu64 " us", us)
	                 : xasprintf("%.1f ms", (double)us / 1000);
}

static char *share_text(uint64_t part, uint64_t whole)
{
	/* Nearly all is not all: never round up to 100. */
	const uint64_t per_mille =
		whole == 0 ? 1000 : (uint64_t)((double)part * 1000 / (double)whole);

	if (part >= whole)
		return xstrdup("100%");
	return xasprintf("%" PRIu64 ".%" PRIu64 "%%", per_mille / 10, per_mille % 10);
}

static char *list_text(const json_t *list)
{
	char *all = xstrdup("");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		char *longer = xasprintf("%s%s%s", all, i > 0 ? " " : "", text != NULL ? text : "");

		free(all);
		all = longer;
	}
	return all;
}

/* A member, or with a dot in the key a member of a member. */
static const json_t *member(const json_t *object, const char *key)
{
	const char *dot = strchr(key, '.');
	AUTO(free_str) char *first = NULL;

	if (dot == NULL)
		return json_object_get(object, key);
	first = xasprintf("%.*s", (int)(dot - key), key);
	return json_object_get(json_object_get(object, first), dot + 1);
}

static uint64_t number(const json_t *object, const char *key)
{
	const json_int_t n = json_integer_value(member(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

char *render_cell(const json_t *object, const struct column *c)
{
	const json_t *value = member(object, c->key);
	const char *text = json_string_value(value);

	if (value == NULL)
		return xstrdup("");
	switch (c->kind) {
	case CELL_COUNT:
		return xasprintf("%" PRIu64, number(object, c->key));
	case CELL_BYTES:
		return bytes_text(number(object, c->key));
	case CELL_SHARE:
		return share_text(number(object, c->key), number(object, c->of));
	case CELL_SECONDS:
		return seconds_text(number(object, c->key));
	case CELL_WHEN:
		return when_text(number(object, c->key));
	case CELL_MOMENT:
		return moment_text(number(object, c->key));
	case CELL_YES:
		return xstrdup(json_is_true(value) ? "yes" : "-");
	case CELL_LIST:
		return list_text(value);
	case CELL_SHORT:
		return xasprintf("%.*s", SHORT_CHARS, text != NULL ? text : "");
	case CELL_MICROS:
		return micros_text(number(object, c->key));
	case CELL_TEXT:
	default:
		return xstrdup(text != NULL ? text : "");
	}
}

void render_clean(FILE *out, const char *text)
{
	for (const char *c = text; *c != '\0';) {
		const size_t n = text_control_bytes(c);

		(void)fputc(n > 0 ? '?' : *c, out);
		c += n > 0 ? n : 1;
	}
}

/* How many characters a text takes on a terminal: bytes that do not continue another. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (const char *c = text; *c != '\0'; c++)
		width += ((unsigned char)*c & 0xc0) != 0x80;
	return width;
}

static bool is_right(enum cell_kind kind)
{
	return kind == CELL_COUNT || kind == CELL_BYTES || kind == CELL_SHARE ||
	       kind == CELL_MICROS;
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last)
{
	const size_t own = width_of(text);
	const int pad = own < width ? (int)(width - own) : 0;

	(void)fprintf(out, "%*s", right ? pad : 0, "");
	render_clean(out, text);
	if (last)
		(void)fputc('\n', out);
	else
		(void)fprintf(out, "%*s", (right ? 0 : pad) + 2, "");
}

static void measure(const json_t *array, const struct column *columns, size_t n_columns,
                    size_t *ret_widths)
{
	for (size_t c = 0; c < n_columns; c++) {
		ret_widths[c] = strlen(columns[c].title);
		for (size_t i = 0; i < json_array_size(array); i++) {
			AUTO(free_str)
			char *text = render_cell(json_array_get(array, i), &columns[c]);
			const size_t width = width_of(text);

			ret_widths[c] = width > ret_widths[c] ? width : ret_widths[c];
		}
	}
}

void render_table(FILE *out, const json_t *array, const struct column *columns, size_t n_columns)
{
	size_t widths[COLUMNS_MAX];

	if (n_columns > COLUMNS_MAX)
		abort();
	if (json_array_size(array) == 0) {
		(void)fputs("none\n", out);
		return;
	}
	measure(array, columns, n_columns, widths);
	for (size_t c = 0; c < n_columns; c++)
		print_cell(out, columns[c].title, widths[c], is_right(columns[c].kind),
		           c + 1 == n_columns);
	for (size_t i = 0; i < json_array_size(array); i++) {
		for (size_t c = 0; c < n_columns; c++) {
			AUTO(free_str)
			char *text = render_cell(json_array_get(array, i), &columns[c]);

			print_cell(out, text, widths[c], is_right(columns[c].kind),
			           c + 1 == n_columns);
		}
	}
}

void render_fields(FILE *out, const json_t *object, const struct column *columns, size_t n_columns)
{
	size_t width = 0;

	for (size_t c = 0; c < n_columns; c++)
		width = strlen(columns[c].title) > width ? strlen(columns[c].title) : width;
	for (size_t c = 0; c < n_columns; c++) {
		AUTO(free_str) char *text = render_cell(object, &columns[c]);

		if (text[0] == '\0')
			continue;
		print_cell(out, columns[c].title, width, false, false);
		print_cell(out, text, 0, false, true);
	}
}

void render_json(FILE *out, const json_t *document)
{
	AUTO(free_str)
	char *text = json_dumps(document, isatty(fileno(out)) ? JSON_INDENT(2) : JSON_COMPACT);

	if (text != NULL)
		(void)fprintf(out, "%s\n", text);
}
