/*
 * api_gc: make room by hand, with lines of progress. The thread of eviction does the work; one
 * of the threads for chores waits for it.
 */
#include "api_chore.h"
#include "gc.h"
#include "mem.h"
#include <errno.h>

struct gc {
	struct api_chore chore;
	struct cas_gc_opts opts;
};

static int on_progress(void *arg, const struct cas_gc_progress *p)
{
	struct gc *gc = arg;

	if (api_chore_may_tell(&gc->chore))
		api_chore_tell(&gc->chore,
		               json_pack("{s:I, s:I}", "done_bytes", (json_int_t)p->done_bytes,
		                         "total_bytes", (json_int_t)p->total_bytes));
	return api_chore_is_unwanted(&gc->chore);
}

static json_t *result_json(const struct cas_gc_result *r, bool dry_run)
{
	json_t *document = json_pack(
		"{s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "done", 1, "dry_run", dry_run,
		"before_bytes", (json_int_t)r->before_bytes, "after_bytes",
		(json_int_t)r->after_bytes, "target_bytes", (json_int_t)r->target_bytes, "n_chunks",
		(json_int_t)r->n_chunks, "n_garbage", (json_int_t)r->n_garbage);
	const uint64_t freed =
		r->before_bytes > r->after_bytes ? r->before_bytes - r->after_bytes : 0;

	json_set_u64(document, "freed_bytes", freed);
	json_set_u64(document, "pinned_bytes", r->pinned_bytes);
	return document;
}

static int collect(struct api_chore *chore, json_t **ret_last, struct err *e)
{
	const struct gc *gc = container_of(chore, struct gc, chore);
	struct cas_gc_result result = { 0 };
	const int r = cas_gc(chore->agent->cas, &gc->opts, &result, e);

	if (r < 0)
		return r;
	*ret_last = result_json(&result, gc->opts.dry_run);
	return 0;
}

void api_gc(struct api_call *call)
{
	struct err e = { 0 };
	json_int_t to_bytes = -1;
	int dry_run = 0;
	struct gc *gc;

	if (json_unpack_ex(call->body, NULL, 0, "{s?I, s?b !}", "to_bytes", &to_bytes, "dry_run",
	                   &dry_run) != 0 ||
	    (to_bytes < 0 && json_object_get(call->body, "to_bytes") != NULL)) {
		api_fail(call,
		         err_set(&e, EINVAL,
		                 "to_bytes (a number of bytes) and dry_run (true or "
		                 "false) are all that may be said"),
		         &e);
		return;
	}
	if (call->api->collecting) {
		api_fail(call, err_set(&e, EBUSY, "a gc runs already (wait for it)"), &e);
		return;
	}
	gc = xcalloc(1, sizeof(*gc));
	gc->opts = (struct cas_gc_opts){ .to_bytes = to_bytes < 0 ? UINT64_MAX : (uint64_t)to_bytes,
		                         .dry_run = dry_run != 0,
		                         .progress = on_progress,
		                         .arg = gc };
	api_chore_start(&gc->chore, call, collect, &call->api->collecting);
}
