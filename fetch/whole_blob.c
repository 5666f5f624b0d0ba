/*
 * whole_blob: fetch all of a blob, check it, take it apart.
 *
 *   START -> OPEN -> SIZE -> FETCH -> APPEND -> UNPACK -> DONE
 *                             ^         |
 *                             `--more---'
 *
 * Every failure leads to DONE. The windows that FETCH brings bound the memory; each has a deadline
 * of its own, for the whole may take long.
 * All of it belongs to the loop thread; a worker touches struct step and what that borrows, while
 * the loop leaves both alone.
 */
#include "whole_blob.h"
#include "bytes.h"
#include "load_step.h"
#include "mem.h"
#include "metrics.h"
#include "whole_steps.h"
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (UINT64_C(8) << 20)

enum state { START, OPEN, SIZE, FETCH, APPEND, UNPACK, DONE, N_STATES };

/* What a worker has of it. */
struct step {
	struct load_step base;
	struct whole_file file;
	struct whole_unpack unpack;
};

struct whole_blob {
	struct image_loader_opts env;
	struct whole_blob_opts opts;
	char origin[CAS_ORIGIN_MAX_BYTES];
	struct blob_layout *layout;
	enum state state;
	int result;
	struct err err;
	uint64_t size_bytes; /* of the object */
	uint64_t asked_bytes;
	uint64_t window_bytes; /* asked for now */
	struct buffer window;
	struct origin_read *read;
	struct step step;
};

static enum state enter_open(struct whole_blob *op);
static enum state enter_size(struct whole_blob *op);
static enum state enter_fetch(struct whole_blob *op);
static enum state enter_append(struct whole_blob *op);
static enum state enter_unpack(struct whole_blob *op);

/* enter_*: returns the state itself to wait there for a callback, else the next one. */
static const struct {
	const char *name;
	enum state (*enter)(struct whole_blob *op);
	unsigned may_follow;
} states[N_STATES] = {
	[START] = { "start", NULL, BIT(OPEN) },
	[OPEN] = { "making room for it", enter_open, BIT(SIZE) | BIT(DONE) },
	[SIZE] = { "asking for its size", enter_size, BIT(FETCH) | BIT(DONE) },
	[FETCH] = { "getting all of it", enter_fetch, BIT(APPEND) | BIT(DONE) },
	[APPEND] = { "keeping it", enter_append, BIT(FETCH) | BIT(UNPACK) | BIT(DONE) },
	[UNPACK] = { "unpacking it", enter_unpack, BIT(DONE) },
	[DONE] = { "done", NULL, 0 },
};

static void whole_free(struct whole_blob *op)
{
	buffer_clear(&op->window);
	whole_file_close(&op->step.file);
	cas_blob_release(&op->step.unpack.ret_blob);
	layout_unref(&op->layout);
	free(op);
}

/* As far as it goes without waiting. */
static void whole_walk(struct whole_blob *op, enum state next)
{
	while (next != op->state) {
		assert(states[op->state].may_follow & BIT(next));
		op->state = next;
		if (next == DONE)
			break;
		next = states[next].enter(op);
	}
}

static void whole_run(struct whole_blob *op, enum state next)
{
	struct cas_blob *blob = NULL;

	whole_walk(op, next);
	if (op->state != DONE)
		return;
	blob = op->step.unpack.ret_blob;
	op->step.unpack.ret_blob = NULL;
	op->opts.done(op->opts.arg, op->result, blob, &op->err);
	whole_free(op);
}

/* op->err is set. */
static enum state failed(struct whole_blob *op)
{
	op->result = err_wrap(&op->err, "blob %s at %s (it has no chunk digests): %s",
	                      op->layout->blob_id, op->origin, states[op->state].name);
	return DONE;
}

static uint64_t deadline(const struct whole_blob *op)
{
	return clock_now_ns(op->env.clock) + op->env.timeout_ms * NS_PER_MS;
}

/* ---- workers ---- */

static void came_back(struct job *job, enum state next)
{
	struct whole_blob *op = container_of(job, struct whole_blob, step.base.job);

	if (load_step_back(&op->step.base, &op->env, &op->err))
		whole_run(op, op->step.base.r < 0 ? failed(op) : next);
	else
		whole_free(op);
}

static void open_work(struct job *job)
{
	struct whole_blob *op = container_of(job, struct whole_blob, step.base.job);

	op->step.base.r =
		whole_file_open(op->env.state_dir, op->env.cas, &op->step.file, &op->step.base.err);
}

static void open_after(struct job *job)
{
	came_back(job, SIZE);
}

static enum state enter_open(struct whole_blob *op)
{
	load_step_submit(&op->step.base, &op->env, JOB_NORMAL, open_work, open_after);
	return OPEN;
}

/* ---- the origin ---- */

static void on_size(void *arg, int r, uint64_t size_bytes, const struct err *why)
{
	struct whole_blob *op = arg;

	op->read = NULL;
	op->size_bytes = size_bytes;
	if (r != 0)
		op->err = *why;
	whole_run(op, r == 0 ? FETCH : failed(op));
}

static enum state enter_size(struct whole_blob *op)
{
	/* Always: the size in the image's blob table can leave out the blob's last parts. */
	if (origin_size_start(op->env.origins, op->origin, op->layout->blob_id, deadline(op),
	                      on_size, op, &op->read, &op->err) < 0)
		return failed(op);
	return SIZE;
}

static int on_body(void *arg, const uint8_t *bytes, size_t size_bytes)
{
	struct whole_blob *op = arg;

	return buffer_add(&op->window, bytes, size_bytes, &op->err);
}

static void on_window_end(void *arg, int r, const struct err *why)
{
	struct whole_blob *op = arg;
	enum state next = APPEND;

	op->read = NULL;
	if (r != 0) {
		op->err = *why;
		next = failed(op);
	} else if (op->window.size_bytes != op->window_bytes) {
		(void)err_set(&op->err, EBADMSG, "%" PRIu64 " bytes came instead of %" PRIu64,
		              op->window.size_bytes, op->window_bytes);
		next = failed(op);
	}
	whole_run(op, next);
}

static enum state enter_fetch(struct whole_blob *op)
{
	const uint64_t left_bytes = op->size_bytes - op->asked_bytes;
	const struct origin_read_opts opts = { .origin = op->origin,
		                               .object = op->layout->blob_id,
		                               .offset = op->asked_bytes,
		                               .size_bytes = min_u64(WINDOW_BYTES, left_bytes),
		                               .kind = "data",
		                               .deadline_ns = deadline(op),
		                               .body = on_body,
		                               .end = on_window_end,
		                               .arg = op };

	if (op->size_bytes == 0 || op->size_bytes > BLOB_PACKED_MAX_BYTES) {
		(void)err_set(&op->err, EUCLEAN, "%" PRIu64 " bytes are no size for a blob",
		              op->size_bytes);
		return failed(op);
	}
	op->window.max_bytes = opts.size_bytes;
	op->window_bytes = opts.size_bytes;
	op->asked_bytes += opts.size_bytes;
	if (origin_read_start(op->env.origins, &opts, &op->read, &op->err) < 0)
		return failed(op);
	return FETCH;
}

static void append_work(struct job *job)
{
	struct whole_blob *op = container_of(job, struct whole_blob, step.base.job);

	op->step.base.r = whole_file_append(&op->step.file, &op->window, &op->step.base.err);
}

static void append_after(struct job *job)
{
	struct whole_blob *op = container_of(job, struct whole_blob, step.base.job);

	buffer_clear(&op->window);
	came_back(job, op->asked_bytes < op->size_bytes ? FETCH : UNPACK);
}

static enum state enter_append(struct whole_blob *op)
{
	load_step_submit(&op->step.base, &op->env, JOB_NORMAL, append_work, append_after);
	return APPEND;
}

static void unpack_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = whole_unpack(&step->unpack, &step->base.err);
}

static void unpack_after(struct job *job)
{
	const struct whole_blob *op = container_of(job, struct whole_blob, step.base.job);

	if (op->step.base.r == 0)
		metrics_add(op->env.metrics, METRIC_ORIGIN_UNIQUE_BYTES, NULL,
		            (int64_t)op->size_bytes);
	came_back(job, DONE);
}

static enum state enter_unpack(struct whole_blob *op)
{
	op->step.unpack = (struct whole_unpack){ .cas = op->env.cas,
		                                 .file = &op->step.file,
		                                 .layout = op->layout,
		                                 .stop = &op->step.base.cancelled };
	load_step_submit(&op->step.base, &op->env, JOB_NORMAL, unpack_work, unpack_after);
	return UNPACK;
}

struct whole_blob *whole_blob_start(const struct whole_blob_opts *opts)
{
	struct whole_blob *op = xcalloc(1, sizeof(*op));

	op->opts = *opts;
	op->env = *opts->env;
	op->opts.env = NULL;
	op->layout = layout_ref(opts->layout);
	op->step.file.fd = -1;
	(void)snprintf(op->origin, sizeof(op->origin), "%s", opts->origin);
	whole_walk(op, OPEN); /* a worker has it now: it cannot be at its end */
	return op;
}

void whole_blob_cancel(struct whole_blob *op)
{
	if (op->read != NULL)
		origin_read_cancel(op->read);
	op->read = NULL;
	if (load_step_cancel(&op->step.base))
		whole_free(op);
}
