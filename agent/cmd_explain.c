/*
 * cmd_explain: where one byte of a mounted file stands, and who was asked for it.
 */
#include "commands.h"
#include "mem.h"
#include "render.h"
#include "text.h"

static void render_explain(const json_t *document)
{
	static const struct column fields[] = {
		{ "why", "why", CELL_TEXT, NULL },
		{ "file", "path", CELL_TEXT, NULL },
		{ "mount", "dir", CELL_TEXT, NULL },
		{ "image", "name", CELL_TEXT, NULL },
		{ "size", "file_size_bytes", CELL_COUNT, NULL },
		{ "offset", "offset", CELL_COUNT, NULL },
		{ "hole: zeros", "hole", CELL_YES, NULL },
		{ "blob", "blob", CELL_TEXT, NULL },
		{ "chunk", "chunk_idx", CELL_COUNT, NULL },
		{ "offset in chunk", "chunk_offset", CELL_COUNT, NULL },
		{ "digest", "digest", CELL_TEXT, NULL },
		{ "size of chunk", "plain_size_bytes", CELL_COUNT, NULL },
		{ "fetched as", "unit_kind", CELL_TEXT, NULL },
		{ "packed at", "packed_offset", CELL_COUNT, NULL },
		{ "packed size", "packed_size_bytes", CELL_COUNT, NULL },
		{ "packed with", "packed_as", CELL_TEXT, NULL },
		{ "encrypted", "encrypted", CELL_YES, NULL },
		{ "is here", "ready", CELL_YES, NULL },
		{ "came from", "source", CELL_TEXT, NULL },
		{ "stands in blob", "owner", CELL_TEXT, NULL },
		{ "as its chunk", "owner_chunk_idx", CELL_COUNT, NULL },
		{ "in", "data_file", CELL_TEXT, NULL },
		{ "at", "data_offset", CELL_COUNT, NULL },
		{ "origins", "origins", CELL_LIST, NULL },
		{ "asked since", "asked_since_wall_ms", CELL_MOMENT, NULL },
	};
	static const struct column asked[] = {
		{ "ASKED", "source", CELL_TEXT, NULL },
		{ "WHEN", "asked_wall_ms", CELL_MOMENT, NULL },
		{ "FOR", "for", CELL_TEXT, NULL },
		{ "UNITS", "asked_n_units", CELL_COUNT, NULL },
		{ "SAID", "result", CELL_TEXT, NULL },
		{ "FIRST", "first_unit_us", CELL_MICROS, NULL },
		{ "TOOK", "took_us", CELL_MICROS, NULL },
		{ "DETAIL", "detail", CELL_TEXT, NULL },
	};
	json_t *events = json_object_get(document, "asked");

	render_fields(stdout, document, fields, ARRAY_LEN(fields));
	if (json_array_size(events) == 0)
		return;
	(void)fputc('\n', stdout);
	render_table(stdout, events, asked, ARRAY_LEN(asked));
}

int cmd_explain(struct shoal *sh)
{
	const char *offset = sh->offset != NULL ? sh->offset : "0";
	AUTO(free_str) char *file = absolute_path(sh->args[0]);
	AUTO(free_str) char *query = client_query("/v1/explain", "path", file);
	AUTO(free_str) char *path = NULL;
	AUTO(json_drop) json_t *document = NULL;
	struct client_request req = { .method = "GET" };
	uint64_t n = 0;
	int status;

	if (!text_number(offset, INT64_MAX, &n))
		return shoal_fail(sh, SHOAL_USAGE,
		                  "--offset takes a whole number of bytes (such as --offset 4096)");
	path = xasprintf("%s&offset=%s", query, offset);
	req.path = path;
	status = shoal_ask(sh, &req, &document);
	if (status == SHOAL_DONE && !sh->json)
		render_explain(document);
	return status;
}
