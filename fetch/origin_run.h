/*
 * origin_run: one run of units, from the first origins that have them.
 */
#pragma once
#include "origin_kind.h"
#include "origin_marks.h"
#include "slice_heads.h"

struct origin_source {
	struct source source;
	struct origin_source_opts opts;
	struct origin_marks *marks;
	struct slice_heads *heads;
	struct source_req *runs;  /* open */
	struct timer heads_timer; /* a run that waits for a head looks whether it is there */
	uint32_t n_runs;          /* and reads */
};

/* Whose bytes: a blob's key, and where it can be had. */
struct origin_target {
	const char *key; /* borrowed during the call, as all here */
	const struct cas_origin *origins;
	uint32_t n_origins;
};

/** May any of them be asked for the unit, after the wrong bytes that one of them gave for it?
 * @return as source_ops.distrust */
bool origin_distrust(struct origin_source *s, const struct origin_target *target,
                     uint32_t unit_idx);

/** Has every origin of the target failed lately? Then it is better asked last. probe: nobody is
 * blocked, so this may be the question that finds out whether one has come back. */
bool origin_is_down(struct origin_source *s, const struct origin_target *target, bool probe);

struct origin_question {
	struct origin_target target;
	const struct unit_run *run; /* as for source_ops.get; its blob is not looked at */
	const struct source_events *ev;
	void *arg;
};
/** As source_ops.get, of any target's origins. */
int origin_run_start(struct origin_source *s, const struct origin_question *q,
                     struct source_req **ret_req, struct err *e);

/* As source_ops.cancel. */
void origin_run_cancel(struct source_req *req);

/* As source_ops.hurry. */
void origin_run_hurry(struct source_req *req, uint32_t unit_idx);

/* As source_ops.whom. */
void origin_run_whom(const struct source_req *req, char *ret_text, size_t size_bytes);

static inline struct origin_source *origin_source_of(struct source *s)
{
	return container_of(s, struct origin_source, source);
}
