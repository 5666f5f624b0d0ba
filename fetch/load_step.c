/*
 * load_step: see load_step.h.
 */
#include "load_step.h"

void load_step_submit(struct load_step *s, const struct image_loader_opts *env, enum job_prio prio,
                      void (*work)(struct job *job), void (*after)(struct job *job))
{
	s->job = (struct job){ .work = work, .after = after, .prio = prio };
	s->out = true;
	(*env->n_out)++;
	pool_submit(env->pool, &s->job);
}

bool load_step_back(struct load_step *s, const struct image_loader_opts *env, struct err *e)
{
	s->out = false;
	(*env->n_out)--;
	if (s->r < 0)
		*e = s->err;
	return !atomic_load(&s->cancelled);
}

bool load_step_cancel(struct load_step *s)
{
	atomic_store(&s->cancelled, true);
	return !s->out;
}
