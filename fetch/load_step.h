/*
 * load_step: what a worker does for a load of an image, one step after the other.
 *
 * While a step is out the loop leaves alone what the worker has. A load that is cancelled meanwhile
 * is freed when it is back, and the loader with its pool lives until then
 * (image_loader_is_idle()). Private to fetch; knows no load.
 */
#pragma once
#include "lazy_image.h"
#include "pool.h"
#include <stdatomic.h>

struct load_step {
	struct job job;
	int r; /* the worker's, as err */
	struct err err;
	bool out;              /* a worker has it */
	atomic_bool cancelled; /* the worker may look at it */
};

/** [loop] Give it to a worker; after runs on the loop. */
void load_step_submit(struct load_step *s, const struct image_loader_opts *env, enum job_prio prio,
                      void (*work)(struct job *job), void (*after)(struct job *job));

/** [loop] The first act of after.
 *
 * @param e  filled where the step failed: s->r < 0
 * @return false: the load was cancelled, and is to be freed */
bool load_step_back(struct load_step *s, const struct image_loader_opts *env, struct err *e);

/** [loop] Nobody waits for the load any more. @return false: a worker has its step; the load is to
 * be freed when that is back */
bool load_step_cancel(struct load_step *s);
