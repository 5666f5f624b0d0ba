/*
 * api_prefetch: all of an image, with lines of progress; ends when it is here and verified.
 *
 *   LOAD (unless it is mounted) --> FETCH --> answered
 *
 * When the caller hangs up, what has come stays and the rest is not fetched.
 */
#include "api.h"
#include "mem.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct prefetch {
	struct api_call *call;
	struct image_load *load;
	struct lazy_image *image;
	struct fetch_prefetch *run;
	struct loop_call refused; /* an image without blobs has nothing to fetch */
	bool streaming;
	uint64_t told_ns;
	uint64_t done_bytes, total_bytes;
};

/* Who reads "no room" wants to know who has it. */
static void tell_who_has_the_room(const struct prefetch *p, struct err *e)
{
	struct metrics *m = p->call->api->agent->metrics;

	(void)err_set(e, ENOSPC,
	              "there is no room for all of it: blobs take %" PRId64 " bytes, %" PRId64
	              " of them pinned (raise cache.quota_bytes, free space, or unpin an image)",
	              metrics_sum(m, METRIC_CACHE_BYTES),
	              metrics_sum(m, METRIC_CACHE_PINNED_BYTES));
}

static void prefetch_end(struct prefetch *p, int r, const struct err *why)
{
	struct api_call *call = p->call;
	struct err full;
	json_t *last;

	if (r == -ENOSPC) {
		tell_who_has_the_room(p, &full);
		why = &full;
	}
	call->on_gone = NULL;
	if (!p->streaming) {
		if (r < 0)
			api_fail(call, r, why);
	} else {
		last = r < 0 ? api_error_json(r, why->msg)
		             : json_pack("{s:b, s:o, s:s, s:I}", "done", true, "name",
		                         json_words(p->image->name), "digest", p->image->digest,
		                         "plain_bytes", (json_int_t)p->total_bytes);
		api_stream_end(call, last);
	}
	lazy_image_release(&p->image);
	free(p);
}

static void on_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct prefetch *p = arg;
	const uint64_t now_ns = clock_now_ns(p->call->api->agent->clock);

	p->done_bytes = done_bytes;
	p->total_bytes = total_bytes;
	if (now_ns - p->told_ns < API_PROGRESS_EVERY_NS)
		return;
	p->told_ns = now_ns;
	api_stream_line(p->call, json_pack("{s:I, s:I}", "done_bytes", (json_int_t)done_bytes,
	                                   "total_bytes", (json_int_t)total_bytes));
}

static void on_fetched(void *arg, int result, const struct err *why)
{
	struct prefetch *p = arg;

	p->run = NULL;
	prefetch_end(p, result, why);
}

static void on_nothing(struct loop_call *call)
{
	prefetch_end(container_of(call, struct prefetch, refused), 0, NULL);
}

static void prefetch_run(struct prefetch *p)
{
	const struct fetch_prefetch_opts opts = { .blobs = p->image->blobs,
		                                  .n_blobs = p->image->n_blobs,
		                                  .named = p->image->named,
		                                  .progress = on_progress,
		                                  .done = on_fetched,
		                                  .arg = p };

	p->streaming = true;
	api_stream_begin(p->call);
	if (p->image->n_blobs > 0) {
		p->run = fetch_prefetch_start(p->call->api->agent->fetch, &opts);
	} else {
		p->call->on_gone = NULL;
		p->refused.fn = on_nothing;
		loop_post(p->call->api->agent->loop, &p->refused);
	}
}

static void on_loaded(void *arg, int r, struct lazy_image *image, const struct err *why)
{
	struct prefetch *p = arg;

	p->load = NULL;
	p->image = image;
	if (r < 0) {
		p->image = NULL;
		prefetch_end(p, r, why);
		return;
	}
	prefetch_run(p);
}

static void on_gone(struct api_call *call, void *arg)
{
	struct prefetch *p = arg;
	struct err e = { 0 };

	(void)call;
	if (p->run != NULL) {
		fetch_prefetch_cancel(p->run); /* ends it through on_fetched() */
		return;
	}
	if (p->load != NULL)
		image_load_cancel(p->load);
	prefetch_end(p, err_set(&e, ECANCELED, "it was cancelled"), &e);
}

static int start(struct prefetch *p, struct err *e)
{
	const struct agent *agent = p->call->api->agent;
	const struct mounted *m;
	const char *dir = NULL;
	struct image_load_opts opts = { .done = on_loaded, .arg = p };
	int r = json_get_text(p->call->body, "dir", &dir, e);

	if (r == 0)
		r = json_get_text(p->call->body, "image", &opts.reference, e);
	if (r < 0)
		return r;
	if ((dir != NULL) == (opts.reference != NULL))
		return err_set(e, EINVAL,
		               "either \"image\" or \"dir\" must be named (see docs/api.md)");
	if (dir == NULL)
		return image_load_start(agent->loader, &opts, &p->load, e);
	m = mounts_find(agent->mounts, dir);
	if (m == NULL || m->image == NULL)
		return err_set(e, ENOENT, "nothing is mounted at %s (see shoal ls)", dir);
	p->image = lazy_image_ref(m->image);
	prefetch_run(p);
	return 0;
}

void api_prefetch(struct api_call *call)
{
	struct prefetch *p = xcalloc(1, sizeof(*p));
	struct err e = { 0 };
	int r;

	p->call = call;
	call->on_gone = on_gone;
	call->on_gone_arg = p;
	r = start(p, &e);
	if (r < 0)
		prefetch_end(p, r, &e);
}
