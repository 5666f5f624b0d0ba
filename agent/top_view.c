/*
 * top_view: the live document as lines of text. Knows neither terminals nor sockets.
 */
#include "top_view.h"
#include "mem.h"
#include "render.h"
#include <inttypes.h>
#include <string.h>

struct source {
	const char *label;
	const char *group; /* member of the document; */
	const char *key;   /* NULL: it is the number itself */
};

static uint64_t value_of(const json_t *document, const struct source *s)
{
	return s->key != NULL ? json_u64(json_object_get(document, s->group), s->key)
	                      : json_u64(document, s->group);
}

static void print_sources(FILE *out, const char *title, const struct source *sources, size_t n,
                          const json_t *document, const json_t *before)
{
	const uint64_t now_ms = json_u64(document, "uptime_ms");
	const uint64_t then_ms = json_u64(before, "uptime_ms"); /* 0 where there is none */
	const json_t *ago = json_object_get(document, "minutes_ago");
	const struct column columns[] = {
		{ title, "label", CELL_TEXT, NULL },
		{ "PER SECOND", "rate", CELL_BYTES, NULL },
		{ "LAST 5 MIN", "lately", CELL_BYTES, NULL },
		{ "IN ALL", "total", CELL_BYTES, NULL },
	};
	AUTO(json_drop) json_t *rows = json_array();

	for (size_t i = 0; i < n; i++) {
		const uint64_t total = value_of(document, &sources[i]);
		const uint64_t was = value_of(before, &sources[i]);
		json_t *row = json_pack("{s:s, s:I}", "label", sources[i].label, "total",
		                        (json_int_t)total);

		if (then_ms > 0 && now_ms > then_ms && total >= was)
			json_set_u64(row, "rate", (total - was) * 1000 / (now_ms - then_ms));
		json_set_u64(row, "lately", total - value_of(ago, &sources[i]));
		(void)json_array_append_new(rows, row);
	}
	render_table(out, rows, columns, ARRAY_LEN(columns));
	(void)fputc('\n', out);
}

/* What registries sent against the least that they could have, here and, as far as this node is the
 * home of chunks, in the cluster. */
static void print_origins(FILE *out, const json_t *document)
{
	const json_t *leased = json_object_get(document, "leased_chunks");
	const uint64_t unique = json_u64(document, "origin_unique_bytes");
	static const struct column sent = { "", "origin_data_bytes", CELL_BYTES, NULL };
	static const struct column least = { "", "origin_unique_bytes", CELL_BYTES, NULL };
	AUTO(free_str) char *sent_text = render_cell(document, &sent);
	AUTO(free_str) char *least_text = render_cell(document, &least);

	(void)fprintf(out, "origins sent %s for %s that was missing", sent_text, least_text);
	if (unique > 0)
		(void)fprintf(out, ": %.3f",
		              (double)json_u64(document, "origin_data_bytes") / (double)unique);
	if (json_u64(leased, "first") > 0)
		(void)fprintf(out,
		              "; as home it let %" PRIu64 " chunks be fetched, %" PRIu64 " again",
		              json_u64(leased, "first"), json_u64(leased, "again"));
	(void)fputs("\n\n", out);
}

/* '#' here, '+' and '-' partly, '=' shared with another image, '>' on its way, '.' absent */
static char cell_sign(char level, char note)
{
	if (note == 'f')
		return '>';
	if (note == 's')
		return '=';
	if (level == '9')
		return '#';
	if (level >= '5')
		return '+';
	return level > '0' ? '-' : '.';
}

/* The strip with its neighbouring cells made one, until the line fits: of those that differ the one
 * that is less whole counts, and what is on its way is always seen. */
static void print_strip(FILE *out, const char *strip, size_t n_cells, size_t n_a_sign)
{
	for (size_t i = 0; i < n_cells; i += n_a_sign) {
		char level = '9';
		char note = '.';

		for (size_t k = i; k < i + n_a_sign && k < n_cells; k++) {
			if (strip[2 * k] < level)
				level = strip[2 * k];
			if (note != 'f' && strip[2 * k + 1] != '.')
				note = strip[2 * k + 1];
		}
		(void)fputc(cell_sign(level, note), out);
	}
}

static void print_share(FILE *out, const json_t *mount, const char *strip, int columns)
{
	const size_t n_cells = strlen(strip) / 2;
	AUTO(free_str)
	char *words = xasprintf("%" PRIu64 " of %" PRIu64 " chunks",
	                        json_u64(mount, "chunks_ready"), json_u64(mount, "chunks"));
	const char *more = " here";
	size_t n_a_sign = 1;

	if (columns > 0) {
		const size_t n_free = (size_t)columns;
		const size_t n_fixed = strlen("  [] ") + strlen(words);

		if (n_fixed + n_cells + strlen(more) > n_free)
			more = "";
		while (n_a_sign < n_cells && n_fixed + (n_cells + n_a_sign - 1) / n_a_sign > n_free)
			n_a_sign *= 2;
	}
	(void)fputs("  [", out);
	print_strip(out, strip, n_cells, n_a_sign);
	(void)fprintf(out, "] %s%s\n", words, more);
}

static void print_mount(FILE *out, const json_t *mount, int columns)
{
	const char *strip = json_str(mount, "strip");
	const char *name = json_str(mount, "name");

	render_clean(out, name[0] != '\0' ? name : json_str(mount, "digest"));
	(void)fputs(" at ", out);
	render_clean(out, json_str(mount, "dir"));
	(void)fprintf(out, " (%s) %s\n", json_str(mount, "state"), json_str(mount, "as"));
	if (json_str(mount, "error")[0] != '\0') {
		(void)fputs("  ", out);
		render_clean(out, json_str(mount, "error"));
		(void)fputc('\n', out);
	}
	if (strip[0] != '\0')
		print_share(out, mount, strip, columns);
}

static void print_mounts(FILE *out, const json_t *document, int columns)
{
	const json_t *mounts = json_object_get(document, "mounts");
	const uint64_t n_told = json_array_size(mounts);
	const uint64_t n_all = json_u64(document, "n_mounts");
	size_t i;
	json_t *mount;

	(void)fputs("MOUNTED   # here  = shared  > on its way  . absent\n", out);
	json_array_foreach(mounts, i, mount) print_mount(out, mount, columns);
	if (n_told == 0)
		(void)fputs("none\n", out);
	if (n_all > n_told)
		(void)fprintf(out, "and %" PRIu64 " more (shoal ls has them all)\n",
		              n_all - n_told);
	(void)fputc('\n', out);
}

static void print_questions(FILE *out, const json_t *document)
{
	static const struct column columns[] = {
		{ "ASKED NOW", "source", CELL_TEXT, NULL },
		{ "SINCE", "since_us", CELL_MICROS, NULL },
		{ "READER", "reader", CELL_YES, NULL },
		{ "UNITS", "n_units", CELL_COUNT, NULL },
		{ "BLOB", "blob", CELL_SHORT, NULL },
		{ "WHOM", "detail", CELL_TEXT, NULL },
	};

	const json_t *ago = json_object_get(document, "minutes_ago");

	(void)fprintf(out,
	              "%" PRIu64 " readers wait, %" PRIu64 " units are on their way; "
	              "readers waited %.1f s in the last 5 min\n",
	              json_u64(document, "readers_waiting"),
	              json_u64(document, "fetches_in_flight"),
	              (double)(json_u64(document, "waited_ms") + json_u64(document, "waiting_ms") -
	                       json_u64(ago, "waited_ms")) /
	                      1000);
	if (json_array_size(json_object_get(document, "questions")) > 0)
		render_table(out, json_object_get(document, "questions"), columns,
		             ARRAY_LEN(columns));
	(void)fputc('\n', out);
}

static void print_peers(FILE *out, const json_t *peers)
{
	static const struct column columns[] = {
		{ "PEER", "id", CELL_SHORT, NULL },
		{ "STATE", "state", CELL_TEXT, NULL },
		{ "ZONE", "zone", CELL_TEXT, NULL },
		{ "RTT", "rtt_us", CELL_MICROS, NULL },
		{ "PER SECOND", "rate_bytes_per_s", CELL_BYTES, NULL },
		{ "RECEIVED", "received_bytes", CELL_BYTES, NULL },
		{ "SENT", "sent_bytes", CELL_BYTES, NULL },
		{ "LIED", "lied", CELL_COUNT, NULL },
		{ "WRONG BYTES", "wrong_bytes", CELL_COUNT, NULL },
	};

	if (json_array_size(peers) > 0)
		render_table(out, peers, columns, ARRAY_LEN(columns));
	else
		(void)fputs("This node is alone (peers.listen is off).\n", out);
}

void top_view(FILE *out, const json_t *document, const json_t *before, int columns)
{
	static const struct source read[] = {
		{ "cache", "read_bytes", "cache" },
		{ "another image here", "read_bytes", "dedup" },
		{ "peers", "read_bytes", "peer" },
		{ "origins", "read_bytes", "origin" },
	};
	static const struct source came[] = {
		{ "shared, not fetched", "chunk_bytes", "dedup" },
		{ "peers in this zone", "peer_received_bytes", "same" },
		{ "peers elsewhere", "peer_received_bytes", "other" },
		{ "origins", "origin_received_bytes", NULL },
	};
	AUTO(json_drop)
	json_t *up = json_pack("{s:I}", "up", (json_int_t)(json_u64(document, "uptime_ms") / 1000));
	static const struct column up_column = { "", "up", CELL_SECONDS, NULL };
	AUTO(free_str) char *up_text = render_cell(up, &up_column);
	const bool is_ready = json_is_true(json_object_get(document, "ready"));
	const bool is_full = json_is_true(json_object_get(document, "cache_full"));

	(void)fprintf(out, "shoal %s, up %s, %s%s\n\n", json_str(document, "version"), up_text,
	              is_ready ? "ready" : "not ready", is_full ? ", THE DISK IS FULL" : "");
	print_sources(out, "READERS GOT FROM", read, ARRAY_LEN(read), document, before);
	print_sources(out, "CAME FROM", came, ARRAY_LEN(came), document, before);
	print_origins(out, document);
	print_mounts(out, document, columns);
	print_questions(out, document);
	print_peers(out, json_object_get(document, "peers"));
}
