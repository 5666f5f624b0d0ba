/*
 * cmd_gc: shoal gc: what nothing uses goes, then what was used least recently, with a bar.
 */
#include "commands.h"
#include "mem.h"
#include "progress.h"
#include "render.h"
#include "text.h"
#include <inttypes.h>

static void print_result(const json_t *document)
{
	static const struct column freed = { "", "freed_bytes", CELL_BYTES, NULL };
	static const struct column after = { "", "after_bytes", CELL_BYTES, NULL };
	static const struct column pinned = { "", "pinned_bytes", CELL_BYTES, NULL };
	const bool is_dry = json_is_true(json_object_get(document, "dry_run"));
	AUTO(free_str) char *freed_text = render_cell(document, &freed);
	AUTO(free_str) char *after_text = render_cell(document, &after);
	AUTO(free_str) char *pinned_text = render_cell(document, &pinned);

	(void)printf("%s %s; blobs %s %s\n", freed_text, is_dry ? "would be freed" : "freed",
	             is_dry ? "would take" : "take", after_text);
	if (json_u64(document, "n_garbage") > 0)
		(void)printf("unused blobs and files%s removed: %" PRIu64 "\n",
		             is_dry ? " that would be" : "", json_u64(document, "n_garbage"));
	if (json_u64(document, "after_bytes") > json_u64(document, "target_bytes") &&
	    json_u64(document, "pinned_bytes") > 0)
		(void)printf("%s are pinned, or in use by the kernel, and stay\n", pinned_text);
}

int cmd_gc(struct shoal *sh)
{
	AUTO(json_drop) json_t *body = json_object();
	AUTO(json_drop) json_t *document = NULL;
	struct progress bar;
	struct client_request req = { .method = "POST", .path = "/v1/gc", .body = body };
	uint64_t to_bytes = 0;
	int status;

	if (sh->to != NULL && !text_number(sh->to, INT64_MAX, &to_bytes))
		return shoal_fail(sh, SHOAL_USAGE,
		                  "--to takes a whole number of bytes (such as --to 10737418240)");
	if (sh->to != NULL)
		json_set_u64(body, "to_bytes", to_bytes);
	if (sh->dry_run)
		(void)json_object_set_new(body, "dry_run", json_true());
	progress_follow(&bar, "gc", !sh->json, &req);
	status = shoal_ask(sh, &req, &document);
	progress_end(&bar);
	if (status == SHOAL_DONE && !sh->json)
		print_result(document);
	return status;
}
