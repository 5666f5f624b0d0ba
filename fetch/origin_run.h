/*
 * origin_run: one run of units, from the first origins that have them.
 */
#pragma once
#include "origin_kind.h"
#include "origin_marks.h"

struct origin_source {
	struct source source;
	struct origin_source_opts opts;
	struct origin_marks *marks;
	uint32_t n_runs; /* and reads */
};

/* As source_ops.get and .cancel. */
int origin_run_get(struct source *s, const struct unit_run *run, const struct source_events *ev,
                   void *arg, struct source_req **ret_req, struct err *e);
void origin_run_cancel(struct source_req *req);

static inline struct origin_source *origin_source_of(struct source *s)
{
	return container_of(s, struct origin_source, source);
}
