/*
 * api_chore: see api_chore.h. What the chore's thread sees goes to the loop one line at a time.
 * Both sides hold the struct; the loop frees it, last.
 */
#include "api_chore.h"
#include "mem.h"
#include <stdlib.h>

/* A line on its way to the loop. */
struct line {
	struct loop_call post;
	struct api_chore *chore;
	json_t *json;
};

static void line_arrived(struct loop_call *post)
{
	struct line *line = container_of(post, struct line, post);

	api_stream_line(line->chore->call, line->json);
	free(line);
}

void api_chore_tell(struct api_chore *chore, json_t *json)
{
	struct line *line = xcalloc(1, sizeof(*line));

	line->chore = chore;
	line->json = json;
	line->post.fn = line_arrived;
	loop_post(chore->agent->loop, &line->post);
}

bool api_chore_may_tell(struct api_chore *chore)
{
	const uint64_t now_ns = clock_now_ns(chore->agent->clock);

	if (now_ns - chore->told_ns < API_PROGRESS_EVERY_NS)
		return false;
	chore->told_ns = now_ns;
	return true;
}

bool api_chore_is_unwanted(struct api_chore *chore)
{
	return atomic_load(&chore->unwanted);
}

static void chore_work(struct job *job)
{
	struct api_chore *chore = container_of(job, struct api_chore, job);

	chore->result = chore->work(chore, &chore->last, &chore->err);
}

/* Behind all lines: the loop keeps the order of posting. */
static void chore_after(struct job *job)
{
	struct api_chore *chore = container_of(job, struct api_chore, job);

	*chore->running = false;
	api_stream_end(chore->call, chore->result < 0
	                                    ? api_error_json(chore->result, chore->err.msg)
	                                    : chore->last);
	free(chore);
}

static void on_gone(struct api_call *call, void *arg)
{
	struct api_chore *chore = arg;

	(void)call;
	atomic_store(&chore->unwanted, true);
}

void api_chore_start(struct api_chore *chore, struct api_call *call, api_chore_fn *work,
                     bool *running)
{
	*running = true;
	chore->call = call;
	chore->agent = call->api->agent;
	chore->work = work;
	chore->running = running;
	call->on_gone = on_gone;
	call->on_gone_arg = chore;
	api_stream_begin(call);
	chore->job = (struct job){ .work = chore_work, .after = chore_after, .prio = JOB_PREFETCH };
	pool_submit(chore->agent->chores, &chore->job);
}
