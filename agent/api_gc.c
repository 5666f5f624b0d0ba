/*
 * api_gc: make room by hand, with lines of progress. The thread of eviction does the work; one
 * of the threads for chores waits for it.
 */
#include "api.h"
#include "gc.h"
#include "mem.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PROGRESS_EVERY_NS (100 * NS_PER_MS)

struct gc {
	struct job job;
	struct api_call *call;
	struct agent *agent;
	atomic_bool stop;
	uint64_t told_ns; /* the evicting thread's */
	struct cas_gc_opts opts;
	struct cas_gc_result result;
	int r;
	struct err err;
};

/* A line on its way to the loop. */
struct line {
	struct loop_call post;
	struct gc *gc;
	json_t *json;
};

static void line_arrived(struct loop_call *post)
{
	struct line *line = container_of(post, struct line, post);

	api_stream_line(line->gc->call, line->json);
	free(line);
}

static int on_progress(void *arg, const struct cas_gc_progress *p)
{
	struct gc *gc = arg;
	const uint64_t now_ns = clock_now_ns(gc->agent->clock);

	if (now_ns - gc->told_ns >= PROGRESS_EVERY_NS) {
		struct line *line = xcalloc(1, sizeof(*line));

		gc->told_ns = now_ns;
		line->gc = gc;
		line->json = json_pack("{s:I, s:I}", "done_bytes", (json_int_t)p->done_bytes,
		                       "total_bytes", (json_int_t)p->total_bytes);
		line->post.fn = line_arrived;
		loop_post(gc->agent->loop, &line->post);
	}
	return atomic_load(&gc->stop);
}

static void gc_work(struct job *job)
{
	struct gc *gc = container_of(job, struct gc, job);

	gc->r = cas_gc(gc->agent->cas, &gc->opts, &gc->result, &gc->err);
}

static json_t *result_json(const struct gc *gc)
{
	const struct cas_gc_result *r = &gc->result;
	json_t *document = json_pack(
		"{s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "done", 1, "dry_run", gc->opts.dry_run,
		"before_bytes", (json_int_t)r->before_bytes, "after_bytes",
		(json_int_t)r->after_bytes, "target_bytes", (json_int_t)r->target_bytes, "n_chunks",
		(json_int_t)r->n_chunks, "n_garbage", (json_int_t)r->n_garbage);
	const uint64_t freed =
		r->before_bytes > r->after_bytes ? r->before_bytes - r->after_bytes : 0;

	json_set_u64(document, "freed_bytes", freed);
	json_set_u64(document, "pinned_bytes", r->pinned_bytes);
	return document;
}

/* Behind all lines: the loop keeps the order of posting. */
static void gc_after(struct job *job)
{
	struct gc *gc = container_of(job, struct gc, job);

	gc->call->api->collecting = false;
	api_stream_end(gc->call, gc->r < 0 ? api_error_json(gc->r, gc->err.msg) : result_json(gc));
	free(gc);
}

static void on_gone(struct api_call *call, void *arg)
{
	struct gc *gc = arg;

	(void)call;
	atomic_store(&gc->stop, true);
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
	call->api->collecting = true;
	gc = xcalloc(1, sizeof(*gc));
	gc->call = call;
	gc->agent = call->api->agent;
	gc->opts = (struct cas_gc_opts){ .to_bytes = to_bytes < 0 ? UINT64_MAX : (uint64_t)to_bytes,
		                         .dry_run = dry_run != 0,
		                         .progress = on_progress,
		                         .arg = gc };
	call->on_gone = on_gone;
	call->on_gone_arg = gc;
	api_stream_begin(call);
	gc->job = (struct job){ .work = gc_work, .after = gc_after, .prio = JOB_PREFETCH };
	pool_submit(gc->agent->chores, &gc->job);
}
