/*
 * api_verify: hash everything in the cache again, with lines of progress and of faults.
 */
#include "api_chore.h"
#include "mem.h"
#include <errno.h>

#define FAULT_LINES_MAX 100000U /* the rest is counted */

struct verify {
	struct api_chore chore;
	uint64_t n_told; /* the worker's */
};

static void on_fault(void *arg, const struct cas_fault *f)
{
	struct verify *v = arg;

	if (v->n_told++ < FAULT_LINES_MAX)
		api_chore_tell(&v->chore,
		               json_pack("{s:{s:o, s:I, s:s}}", "fault", "blob", json_words(f->key),
		                         "chunk_idx", (json_int_t)f->chunk_idx, "what", f->what));
}

static json_t *totals(const struct cas_verify_progress *p)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "chunks_done",
	                 (json_int_t)p->chunks_done, "chunks_total", (json_int_t)p->chunks_total,
	                 "done_bytes", (json_int_t)p->bytes_done, "total_bytes",
	                 (json_int_t)p->bytes_total, "n_faults", (json_int_t)p->n_faults,
	                 "n_dead_refs", (json_int_t)p->n_dead_refs, "n_needless_refs",
	                 (json_int_t)p->n_needless_refs, "n_left_out", (json_int_t)p->n_left_out);
}

static int on_progress(void *arg, const struct cas_verify_progress *p)
{
	struct verify *v = arg;

	if (api_chore_may_tell(&v->chore))
		api_chore_tell(&v->chore, totals(p));
	return api_chore_is_unwanted(&v->chore);
}

static int verify(struct api_chore *chore, json_t **ret_last, struct err *e)
{
	struct verify *v = container_of(chore, struct verify, chore);
	struct cas_verify_progress total = { 0 };
	const int r = cas_verify(chore->agent->cas, on_fault, on_progress, v, &total, e);

	if (r < 0)
		return r;
	*ret_last = totals(&total);
	(void)json_object_set_new(*ret_last, "done", json_true());
	return 0;
}

void api_verify(struct api_call *call)
{
	struct verify *v;
	struct err e = { 0 };

	if (call->api->verifying) {
		api_fail(call, err_set(&e, EBUSY, "a verification runs already (wait for it)"), &e);
		return;
	}
	v = xcalloc(1, sizeof(*v));
	api_chore_start(&v->chore, call, verify, &call->api->verifying);
}
