/*
 * api_verify: hash everything in the cache again, with lines of progress and of faults.
 *
 * One of the threads for chores does it; what it sees goes to the loop one line at a time. Both
 * sides hold the struct; the last one frees it.
 */
#include "api.h"
#include "mem.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PROGRESS_EVERY_NS (100 * NS_PER_MS)
#define FAULT_LINES_MAX   100000U /* the rest is counted */

struct verify {
	struct job job;
	struct api_call *call;
	struct agent *agent;
	atomic_bool stop;
	uint64_t told_ns; /* the worker's */
	uint64_t n_told;  /* the worker's */
	struct cas_verify_progress total;
	int result;
	struct err err;
};

/* A line on its way from the worker to the loop. */
struct line {
	struct loop_call post;
	struct verify *verify;
	json_t *json;
};

static void line_arrived(struct loop_call *post)
{
	struct line *line = container_of(post, struct line, post);

	api_stream_line(line->verify->call, line->json);
	free(line);
}

static void line_post(struct verify *v, json_t *json)
{
	struct line *line = xcalloc(1, sizeof(*line));

	line->verify = v;
	line->json = json;
	line->post.fn = line_arrived;
	loop_post(v->agent->loop, &line->post);
}

static void on_fault(void *arg, const struct cas_fault *f)
{
	struct verify *v = arg;

	if (v->n_told++ < FAULT_LINES_MAX)
		line_post(v, json_pack("{s:{s:o, s:I, s:s}}", "fault", "blob", json_words(f->key),
		                       "chunk_idx", (json_int_t)f->chunk_idx, "what", f->what));
}

static json_t *totals(const struct cas_verify_progress *p)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "chunks_done",
	                 (json_int_t)p->chunks_done, "chunks_total", (json_int_t)p->chunks_total,
	                 "done_bytes", (json_int_t)p->bytes_done, "total_bytes",
	                 (json_int_t)p->bytes_total, "n_faults", (json_int_t)p->n_faults,
	                 "n_dead_refs", (json_int_t)p->n_dead_refs, "n_needless_refs",
	                 (json_int_t)p->n_needless_refs);
}

static int on_progress(void *arg, const struct cas_verify_progress *p)
{
	struct verify *v = arg;
	const uint64_t now_ns = clock_now_ns(v->agent->clock);

	if (now_ns - v->told_ns >= PROGRESS_EVERY_NS) {
		v->told_ns = now_ns;
		line_post(v, totals(p));
	}
	return atomic_load(&v->stop);
}

static void verify_work(struct job *job)
{
	struct verify *v = container_of(job, struct verify, job);

	v->result = cas_verify(v->agent->cas, on_fault, on_progress, v, &v->total, &v->err);
}

/* Behind all lines: the loop keeps the order of posting. */
static void verify_after(struct job *job)
{
	struct verify *v = container_of(job, struct verify, job);
	json_t *last;

	if (v->result < 0) {
		last = api_error_json(v->result, v->err.msg);
	} else {
		last = totals(&v->total);
		(void)json_object_set_new(last, "done", json_true());
	}
	v->call->api->verifying = false;
	api_stream_end(v->call, last);
	free(v);
}

static void on_gone(struct api_call *call, void *arg)
{
	struct verify *v = arg;

	(void)call;
	atomic_store(&v->stop, true);
}

void api_verify(struct api_call *call)
{
	struct verify *v;
	struct err e = { 0 };

	if (call->api->verifying) {
		api_fail(call, err_set(&e, EBUSY, "a verification runs already (wait for it)"), &e);
		return;
	}
	call->api->verifying = true;
	v = xcalloc(1, sizeof(*v));
	v->call = call;
	v->agent = call->api->agent;
	call->on_gone = on_gone;
	call->on_gone_arg = v;
	api_stream_begin(call);
	v->job = (struct job){ .work = verify_work, .after = verify_after, .prio = JOB_PREFETCH };
	pool_submit(v->agent->chores, &v->job);
}
