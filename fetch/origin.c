/*
 * origin: the source made of a blob's origins, and its memory of wrong bytes.
 *
 * Does not know how an origin is asked: origin_kind.h does.
 */
#include "mem.h"
#include "origin_run.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Is some origin left that may be asked for the unit? */
static bool may_be_asked(const struct origin_source *s, const struct origin_target *target,
                         uint32_t unit_idx)
{
	const uint64_t now_ns = clock_now_ns(s->opts.clock);

	for (uint32_t i = 0; i < target->n_origins; i++)
		if (origin_marks_strikes(s->marks, target->origins[i].text, target->key, unit_idx,
		                         now_ns) < ORIGIN_STRIKES_OUT)
			return true;
	return false;
}

/* Who gave it; where that is forgotten, the origin that is asked first. NULL: no origin */
static const char *find_culprit(const struct origin_source *s, const struct origin_target *target,
                                uint32_t unit_idx)
{
	const char *culprit = origin_marks_deliverer(s->marks, target->key, unit_idx);

	if (culprit == NULL && target->n_origins > 0)
		culprit = target->origins[0].text;
	return culprit;
}

bool origin_distrust(struct origin_source *s, const struct origin_target *target, uint32_t unit_idx)
{
	const uint64_t now_ns = clock_now_ns(s->opts.clock);
	const char *culprit = find_culprit(s, target, unit_idx);
	uint32_t n_strikes;

	if (culprit == NULL)
		return false;
	slice_heads_forget(s->heads, target->key);
	n_strikes = origin_marks_strike(s->marks, culprit, target->key, unit_idx, now_ns);
	log_warn(s->opts.log, "wrong bytes from an origin", "origin=%s blob=%s unit=%u times=%u%s",
	         LOG_Q(culprit), target->key, unit_idx, n_strikes,
	         n_strikes >= ORIGIN_STRIKES_OUT ? " struck=true" : "");
	/* Where the same bytes can be had elsewhere, not all of them are to be tried here twice. */
	if (n_strikes >= ORIGIN_STRIKES_OUT)
		origin_marks_trouble(s->marks, culprit, true, now_ns);
	return may_be_asked(s, target, unit_idx);
}

bool origin_is_down(struct origin_source *s, const struct origin_target *target, bool probe)
{
	const uint64_t now_ns = clock_now_ns(s->opts.clock);

	for (uint32_t i = 0; i < target->n_origins; i++)
		if (!origin_marks_is_gone(s->marks, target->origins[i].text, target->key, now_ns) &&
		    !origin_marks_is_down(s->marks, target->origins[i].text, probe, now_ns))
			return false;
	return target->n_origins > 0;
}

/* The origins of a blob that is open. */
static struct cas_origin *target_of(const struct cas_blob *blob, struct origin_target *ret_target)
{
	struct cas_origin *origins = xcalloc(CAS_ORIGINS_MAX, sizeof(*origins));

	*ret_target = (struct origin_target){
		.key = cas_blob_key(blob),
		.origins = origins,
		.n_origins = cas_blob_origins(blob, origins, CAS_ORIGINS_MAX),
	};
	return origins;
}

static int get(struct source *source, const struct unit_run *run, const struct source_events *ev,
               void *arg, struct source_req **ret_req, struct err *e)
{
	struct origin_question q = { .run = run, .ev = ev, .arg = arg };
	struct cas_origin *origins = target_of(run->blob, &q.target);
	const int r = origin_run_start(origin_source_of(source), &q, ret_req, e);

	free(origins);
	return r;
}

static bool distrust(struct source *source, const struct unit_run *run, uint32_t unit_idx,
                     uint32_t giver)
{
	struct origin_target target;
	struct cas_origin *origins = target_of(run->blob, &target);
	const bool again = origin_distrust(origin_source_of(source), &target, unit_idx);

	(void)giver; /* the marks know who delivered */
	free(origins);
	return again;
}

static bool is_down(struct source *source, const struct unit_run *run)
{
	struct origin_source *s = origin_source_of(source);
	struct origin_target target;
	struct cas_origin *origins;
	bool down;

	if (!origin_marks_any(s->marks))
		return false;
	origins = target_of(run->blob, &target);
	down = origin_is_down(s, &target, !run->reader);
	free(origins);
	return down;
}

static bool is_one_line(struct source *source, const struct cas_blob *a, const struct cas_blob *b)
{
	struct origin_target of_a;
	struct origin_target of_b;
	struct cas_origin *origins_a = target_of(a, &of_a);
	struct cas_origin *origins_b = target_of(b, &of_b);
	bool one = false;

	(void)source;
	for (uint32_t i = 0; !one && i < of_a.n_origins; i++)
		for (uint32_t k = 0; !one && k < of_b.n_origins; k++)
			one = origin_is_same_host(origins_a[i].text, origins_b[k].text);
	free(origins_a);
	free(origins_b);
	return one;
}

static const struct source_ops ops = {
	.name = "origin",
	.get = get,
	.cancel = origin_run_cancel,
	.distrust = distrust,
	.is_down = is_down,
	.is_one_line = is_one_line,
	.hurry = origin_run_hurry,
	.whom = origin_run_whom,
};

int origin_source_new(const struct origin_source_opts *opts, struct source **ret_source,
                      struct err *e)
{
	struct origin_source *s = xcalloc(1, sizeof(*s));

	(void)e; /* nothing can fail today */
	s->source.ops = &ops;
	s->opts = *opts;
	s->marks = origin_marks_new();
	s->heads = slice_heads_new();
	*ret_source = &s->source;
	return 0;
}

void origin_source_free(struct source **source)
{
	struct origin_source *s;

	if (*source == NULL)
		return;
	s = origin_source_of(*source);
	assert(s->n_runs == 0);
	timer_fini(&s->heads_timer);
	slice_heads_free(&s->heads);
	origin_marks_free(&s->marks);
	free(s);
	*source = NULL;
}
