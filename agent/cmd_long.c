/*
 * cmd_long: prefetch and verify: what takes long, with a bar while it runs.
 */
#include "commands.h"
#include "mem.h"
#include "progress.h"
#include "render.h"
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static bool is_dir(const char *arg)
{
	struct stat st;

	return arg[0] == '/' || arg[0] == '.' || (stat(arg, &st) == 0 && S_ISDIR(st.st_mode));
}

int cmd_prefetch(struct shoal *sh)
{
	AUTO(json_drop) json_t *body = json_object();
	AUTO(json_drop) json_t *document = NULL;
	AUTO(free_str) char *dir = is_dir(sh->args[0]) ? absolute_path(sh->args[0]) : NULL;
	struct progress bar;
	struct client_request req = { .method = "POST", .path = "/v1/prefetch", .body = body };
	static const struct column size = { "", "plain_bytes", CELL_BYTES, NULL };
	int status;

	if (json_object_set_new(body, dir != NULL ? "dir" : "image",
	                        json_string(dir != NULL ? dir : sh->args[0])) != 0)
		return shoal_fail(sh, SHOAL_USAGE, SHOAL_NO_UTF8);
	progress_follow(&bar, "prefetch", !sh->json, &req);
	status = shoal_ask(sh, &req, &document);
	progress_end(&bar);
	if (status == SHOAL_DONE && !sh->json) {
		AUTO(free_str) char *text = render_cell(document, &size);

		render_clean(stdout, json_str(document, "name"));
		(void)printf(": %s here and verified\n", text);
	}
	return status;
}

/* ---- verify ---- */

struct verification {
	const struct shoal *sh;
	struct progress bar;
	json_t *faults;
};

static void on_line(void *arg, const json_t *line)
{
	struct verification *v = arg;
	json_t *fault = json_object_get(line, "fault");

	if (fault == NULL) {
		progress_line(&v->bar, line);
		return;
	}
	if (v->sh->json) {
		(void)json_array_append(v->faults, fault);
		return;
	}
	progress_end(&v->bar);
	render_clean(stdout, json_str(fault, "blob"));
	(void)printf(" chunk %" PRIu64 ": ", json_u64(fault, "chunk_idx"));
	render_clean(stdout, json_str(fault, "what"));
	(void)fputc('\n', stdout);
}

static bool is_all_right(const json_t *document)
{
	return json_u64(document, "n_faults") == 0 && json_u64(document, "n_left_out") == 0;
}

static void tell_left_out(const struct verification *v, uint64_t n)
{
	AUTO(free_str)
	char *why = xasprintf("%" PRIu64 " %s could not be checked (the log of shoald says why)", n,
	                      n == 1 ? "blob" : "blobs");

	(void)shoal_fail(v->sh, SHOAL_FAILED, why);
}

static void tell_result(const struct verification *v, const json_t *document)
{
	static const struct column size = { "", "done_bytes", CELL_BYTES, NULL };
	AUTO(free_str) char *bytes = render_cell(document, &size);

	if (json_u64(document, "n_dead_refs") > 0)
		(void)printf("%" PRIu64 " references to chunks that are gone from their blobs: "
		             "fetched when they are read\n",
		             json_u64(document, "n_dead_refs"));
	if (is_all_right(document))
		(void)printf("%" PRIu64 " chunks, %s: all right\n",
		             json_u64(document, "chunks_done"), bytes);
	if (json_u64(document, "n_faults") > 0)
		(void)shoal_fail(v->sh, SHOAL_FAILED,
		                 "wrong chunks were found (they are absent now, and will be "
		                 "fetched again)");
	if (json_u64(document, "n_left_out") > 0)
		tell_left_out(v, json_u64(document, "n_left_out"));
}

int cmd_verify(struct shoal *sh)
{
	AUTO(json_drop) json_t *faults = json_array();
	AUTO(json_drop) json_t *document = NULL;
	struct verification v = { .sh = sh, .faults = faults };
	struct client_request req = {
		.method = "POST", .path = "/v1/verify", .stream = true, .line = on_line, .arg = &v
	};
	struct err e = { 0 };
	int status;

	progress_begin(&v.bar, "verify", !sh->json);
	req.socket = sh->socket;
	status = client_call(&req, &document, &e);
	progress_end(&v.bar);
	if (status != SHOAL_DONE)
		return shoal_fail(sh, status, e.msg);
	if (sh->json) {
		(void)json_object_set(document, "faults", faults);
		render_json(stdout, document);
	} else {
		tell_result(&v, document);
	}
	return is_all_right(document) ? SHOAL_DONE : SHOAL_FAILED;
}
