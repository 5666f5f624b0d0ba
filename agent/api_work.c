/*
 * api_work: a question that blocks (SQLite, files) goes to the desk and comes back as a document.
 *
 * The worker sees its struct and the agent's parts that are for any thread.
 */
#include "api.h"
#include "image_store.h"
#include "mem.h"
#include <stdlib.h>

struct task {
	struct job job;
	struct api_call *call;
	struct agent *agent;
	api_work_fn *work;
	api_params_fn *ask_params; /* NULL: params are there */
	json_t *params;
	json_t *document;
	int result;
	struct err err;
};

static void task_work(struct job *job)
{
	struct task *task = container_of(job, struct task, job);

	task->result = task->work(task->agent, task->params, &task->document, &task->err);
}

static void task_after(struct job *job)
{
	struct task *task = container_of(job, struct task, job);

	if (task->result < 0)
		api_fail(task->call, task->result, &task->err);
	else
		api_reply(task->call, json_incref(task->document));
	json_drop(&task->document);
	json_drop(&task->params);
	free(task);
}

static struct task *task_new(struct api_call *call, api_work_fn *work, json_t *params)
{
	struct task *task = xcalloc(1, sizeof(*task));

	task->call = call;
	task->agent = call->api->agent;
	task->work = work;
	task->params = params;
	return task;
}

static void submit(struct task *task)
{
	task->job = (struct job){ .work = task_work, .after = task_after, .prio = JOB_NORMAL };
	pool_submit(task->agent->desk, &task->job);
}

void api_work(struct api_call *call, api_work_fn *work, json_t *params)
{
	submit(task_new(call, work, params));
}

static void recorded(struct job *job)
{
	struct task *task = container_of(job, struct task, job);

	if (task->ask_params != NULL)
		task->params = task->ask_params(task->call);
	submit(task);
}

void api_work_behind(struct api_call *call, api_work_fn *work, api_params_fn *params)
{
	struct task *task = task_new(call, work, NULL);

	task->ask_params = params;
	task->job.after = recorded;
	image_store_behind(task->agent->cas, &task->job);
}
