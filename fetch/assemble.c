/*
 * assemble: open an image that is in the image store.
 *
 *   START -> OPEN -> METAS -> LAYOUTS -> WHOLE -> DONE
 *
 * METAS brings the indexes that are not here, several at once; WHOLE the blobs that have no
 * digests, one after the other. Native images need neither. Every failure leads to DONE.
 *
 * All of it belongs to the loop thread; a worker touches struct step, while the loop leaves that
 * alone. What goes over the network has deadlines.
 */
#include "assemble.h"
#include "assemble_steps.h"
#include "load_step.h"
#include "mem.h"
#include "path.h"
#include "whole_blob.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METAS_AT_ONCE 8U

enum state { START, OPEN, METAS, LAYOUTS, WHOLE, DONE, N_STATES };

/* What a worker has of it. */
struct step {
	struct load_step base;
	struct assembly assembly;
};

/* The index of one part, on its way. */
struct meta_slot {
	struct assemble *op;
	struct meta_load *load;
};

struct assemble {
	struct image_loader_opts env;
	struct assemble_opts opts;
	char digest[DIGEST_TEXT_BYTES];
	char name[CAS_ORIGIN_MAX_BYTES];
	char origin[CAS_ORIGIN_MAX_BYTES];
	char *metas_dirs[METAS_DIRS_MAX]; /* or NULL */
	enum state state;
	int result;
	struct err err;
	struct meta_slot slots[IMAGE_BLOBS_MAX];
	uint32_t n_metas_running;
	uint32_t next_part; /* METAS, WHOLE: not looked at yet */
	struct whole_blob *whole;
	struct step step;
};

static enum state enter_open(struct assemble *op);
static enum state enter_metas(struct assemble *op);
static enum state enter_layouts(struct assemble *op);
static enum state enter_whole(struct assemble *op);

/* enter_*: returns the state itself to wait there for a callback, else the next one. */
static const struct {
	enum state (*enter)(struct assemble *op);
	unsigned may_follow;
} states[N_STATES] = {
	[START] = { NULL, BIT(OPEN) },
	[OPEN] = { enter_open, BIT(METAS) | BIT(DONE) },
	[METAS] = { enter_metas, BIT(LAYOUTS) | BIT(DONE) },
	[LAYOUTS] = { enter_layouts, BIT(WHOLE) | BIT(DONE) },
	[WHOLE] = { enter_whole, BIT(DONE) },
	[DONE] = { NULL, 0 },
};

static void assemble_free(struct assemble *op)
{
	assembly_clear(&op->step.assembly);
	for (size_t i = 0; i < ARRAY_LEN(op->metas_dirs); i++)
		free(op->metas_dirs[i]);
	free(op);
}

/* Hand over what the assembly holds. @return NULL: memory is out */
static struct lazy_image *make_image(struct assemble *op)
{
	struct assembly *a = &op->step.assembly;
	struct lazy_image *image = xcalloc(1, sizeof(*image));
	bool whole = true;

	image->refs = 1;
	memcpy(image->digest, op->digest, sizeof(image->digest));
	memcpy(image->name, op->name, sizeof(image->name));
	image->n_blobs = a->n_parts;
	image->unverified = a->n_unverified;
	image->blobs = xcalloc(a->n_parts + (size_t)1, sizeof(struct fetch_blob *));
	for (uint32_t i = 0; i < a->n_parts && whole; i++) {
		image->blobs[i] = fetch_blob_open(op->env.fetch, a->parts[i].blob);
		whole = image->blobs[i] != NULL;
	}
	if (!whole) {
		for (uint32_t i = 0; i < a->n_parts; i++)
			fetch_blob_release(&image->blobs[i]);
		free(image->blobs);
		free(image);
		return NULL;
	}
	fetch_blobs_together(image->blobs, image->n_blobs);
	image->named = xcalloc(a->n_parts + (size_t)1, sizeof(struct bitmap *));
	for (uint32_t i = 0; i < a->n_parts; i++) {
		image->named[i] = a->parts[i].named;
		a->parts[i].named = NULL;
	}
	image->image = a->image;
	a->image = NULL;
	image->bootstrap = a->bootstrap;
	a->bootstrap = (struct image_file){ .data = NULL };
	return image;
}

/* As far as it goes without waiting. */
static void assemble_walk(struct assemble *op, enum state next)
{
	while (next != op->state) {
		assert(states[op->state].may_follow & BIT(next));
		op->state = next;
		if (next == DONE)
			break;
		next = states[next].enter(op);
	}
}

static void assemble_run(struct assemble *op, enum state next)
{
	struct lazy_image *image = NULL;

	assemble_walk(op, next);
	if (op->state != DONE)
		return;
	if (op->result == 0) {
		image = make_image(op);
		if (image == NULL)
			op->result = err_set(&op->err, ENOMEM, "image %s: out of memory", op->name);
	}
	op->opts.done(op->opts.arg, op->result, image, &op->err);
	assemble_free(op);
}

static void cancel_metas(struct assemble *op)
{
	for (uint32_t i = 0; i < op->next_part && i < IMAGE_BLOBS_MAX; i++) {
		if (op->slots[i].load != NULL)
			meta_load_cancel(op->slots[i].load);
		op->slots[i].load = NULL;
	}
	op->n_metas_running = 0;
}

/* op->err is set. */
static enum state failed(struct assemble *op)
{
	cancel_metas(op);
	op->result = err_wrap(&op->err, "image %s", op->name);
	return DONE;
}

/* ---- workers ---- */

static void came_back(struct job *job, enum state next)
{
	struct assemble *op = container_of(job, struct assemble, step.base.job);

	if (load_step_back(&op->step.base, &op->env, &op->err))
		assemble_run(op, op->step.base.r < 0 ? failed(op) : next);
	else
		assemble_free(op);
}

static void open_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = assembly_open(&step->assembly, &step->base.err);
}

static void open_after(struct job *job)
{
	came_back(job, METAS);
}

static enum state enter_open(struct assemble *op)
{
	op->step.assembly =
		(struct assembly){ .cas = op->env.cas,
		                   .log = op->env.log,
		                   .digest = op->digest,
		                   .metas_dirs = { op->metas_dirs[0], op->metas_dirs[1] },
		                   .allow_unverified = op->env.allow_unverified };
	load_step_submit(&op->step.base, &op->env, JOB_READER, open_work, open_after);
	return OPEN;
}

static void layouts_work(struct job *job)
{
	struct step *step = container_of(job, struct step, base.job);

	step->base.r = assembly_layouts(&step->assembly, &step->base.err);
}

static void layouts_after(struct job *job)
{
	came_back(job, WHOLE);
}

static enum state enter_layouts(struct assemble *op)
{
	op->next_part = 0;
	load_step_submit(&op->step.base, &op->env, JOB_READER, layouts_work, layouts_after);
	return LAYOUTS;
}

/* ---- indexes that are not here ---- */

static enum state more_metas(struct assemble *op);

/* What lay beside the bootstrap was not asked for. */
static void take_extras(struct part *part, struct blob_extras *extras)
{
	part->extras.digests = extras->digests;
	extras->digests = NULL;
	if (extras->meta == NULL)
		return;
	part->extras.meta = extras->meta;
	part->extras.meta_size_bytes = extras->meta_size_bytes;
	extras->meta = NULL;
}

static void on_meta(void *arg, int r, struct blob_extras *extras, const struct err *why)
{
	struct meta_slot *slot = arg;
	struct assemble *op = slot->op;
	enum state next = METAS;

	slot->load = NULL;
	op->n_metas_running--;
	if (r < 0) {
		op->err = *why;
		next = failed(op);
	} else {
		take_extras(&op->step.assembly.parts[slot - op->slots], extras);
		next = more_metas(op);
	}
	assemble_run(op, next);
}

static int start_meta(struct assemble *op, uint32_t i)
{
	const struct part *part = &op->step.assembly.parts[i];
	struct meta_slot *slot = &op->slots[i];
	const struct meta_load_opts opts = { .env = &op->env,
		                             .image = op->step.assembly.image,
		                             .blob_idx = i,
		                             .origin = op->origin,
		                             .image_digest = op->digest,
		                             .wants_meta = part->wants_meta,
		                             .wants_digests = part->wants_digests,
		                             .deadline_ns = op->opts.deadline_ns,
		                             .done = on_meta,
		                             .arg = slot };

	slot->op = op;
	return meta_load_start(&opts, &slot->load, &op->err);
}

static enum state more_metas(struct assemble *op)
{
	const struct assembly *a = &op->step.assembly;

	while (op->next_part < a->n_parts && op->n_metas_running < METAS_AT_ONCE) {
		const uint32_t i = op->next_part++;

		if (!a->parts[i].wants_meta && !a->parts[i].wants_digests)
			continue;
		if (start_meta(op, i) < 0)
			return failed(op);
		op->n_metas_running++;
	}
	return op->n_metas_running > 0 ? METAS : LAYOUTS;
}

static enum state enter_metas(struct assemble *op)
{
	return more_metas(op);
}

/* ---- blobs without digests ---- */

static enum state next_whole(struct assemble *op);

static void on_whole(void *arg, int r, struct cas_blob *blob, const struct err *why)
{
	struct assemble *op = arg;
	enum state next = WHOLE;

	op->whole = NULL;
	if (r < 0) {
		op->err = *why;
		next = failed(op);
	} else {
		op->step.assembly.parts[op->next_part - 1].blob = blob;
		next = next_whole(op);
	}
	assemble_run(op, next);
}

static enum state next_whole(struct assemble *op)
{
	struct assembly *a = &op->step.assembly;

	while (op->next_part < a->n_parts) {
		struct part *part = &a->parts[op->next_part++];
		const struct whole_blob_opts opts = { .env = &op->env,
			                              .layout = part->whole,
			                              .origin = op->origin,
			                              .done = on_whole,
			                              .arg = op };

		if (part->whole == NULL)
			continue;
		log_info(op->env.log, "a blob without chunk digests is fetched whole",
		         "image=%s blob=%s", op->name, part->info.blob_id);
		op->whole = whole_blob_start(&opts);
		layout_unref(&part->whole);
		return WHOLE;
	}
	return DONE;
}

static enum state enter_whole(struct assemble *op)
{
	return next_whole(op);
}

struct assemble *assemble_start(const struct assemble_opts *opts)
{
	struct assemble *op = xcalloc(1, sizeof(*op));

	op->opts = *opts;
	op->env = *opts->env;
	op->opts.env = NULL;
	(void)snprintf(op->digest, sizeof(op->digest), "%s", opts->digest);
	(void)snprintf(op->name, sizeof(op->name), "%s", opts->name);
	(void)snprintf(op->origin, sizeof(op->origin), "%s", opts->origin);
	if (opts->bootstrap_path != NULL)
		op->metas_dirs[0] = path_parent(opts->bootstrap_path);
	op->metas_dirs[1] = xstrdup_or_null(opts->metas_dir);
	assemble_walk(op, OPEN); /* a worker has it now: it cannot be at its end */
	return op;
}

void assemble_cancel(struct assemble *op)
{
	cancel_metas(op);
	if (op->whole != NULL)
		whole_blob_cancel(op->whole);
	op->whole = NULL;
	if (load_step_cancel(&op->step.base))
		assemble_free(op);
}
