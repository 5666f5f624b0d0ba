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

/* Is some origin of this blob left that may be asked for the unit? */
static bool may_be_asked(const struct origin_source *s, const struct unit_run *run,
                         uint32_t unit_idx)
{
	struct cas_origin *origins = xcalloc(CAS_ORIGINS_MAX, sizeof(*origins));
	const uint32_t n = cas_blob_origins(run->blob, origins, CAS_ORIGINS_MAX);
	const uint64_t now_ns = clock_now_ns(s->opts.clock);
	bool may = false;

	for (uint32_t i = 0; i < n && !may; i++)
		may = origin_marks_strikes(s->marks, origins[i].text, cas_blob_key(run->blob),
		                           unit_idx, now_ns) < ORIGIN_STRIKES_OUT;
	free(origins);
	return may;
}

/* Who gave it; where that is forgotten, the origin that is asked first. @return false: no origin */
static bool find_culprit(const struct origin_source *s, const struct unit_run *run,
                         uint32_t unit_idx, struct cas_origin *ret_origin)
{
	const char *culprit = origin_marks_deliverer(s->marks, cas_blob_key(run->blob), unit_idx);
	size_t n;

	if (culprit == NULL)
		return cas_blob_origins(run->blob, ret_origin, 1) > 0;
	n = strnlen(culprit, sizeof(ret_origin->text) - 1);
	memcpy(ret_origin->text, culprit, n);
	ret_origin->text[n] = '\0';
	return true;
}

static bool distrust(struct source *source, const struct unit_run *run, uint32_t unit_idx,
                     uint32_t giver)
{
	struct origin_source *s = origin_source_of(source);
	struct cas_origin culprit;
	uint32_t n_strikes;

	(void)giver; /* the marks know who delivered */
	if (!find_culprit(s, run, unit_idx, &culprit))
		return false;
	n_strikes = origin_marks_strike(s->marks, culprit.text, cas_blob_key(run->blob), unit_idx,
	                                clock_now_ns(s->opts.clock));
	log_warn(s->opts.log, "wrong bytes from an origin", "origin=%s blob=%s unit=%u times=%u%s",
	         LOG_Q(culprit.text), cas_blob_key(run->blob), unit_idx, n_strikes,
	         n_strikes >= ORIGIN_STRIKES_OUT ? " struck=true" : "");
	return may_be_asked(s, run, unit_idx);
}

static const struct source_ops ops = {
	.name = "origin",
	.get = origin_run_get,
	.cancel = origin_run_cancel,
	.distrust = distrust,
};

int origin_source_new(const struct origin_source_opts *opts, struct source **ret_source,
                      struct err *e)
{
	struct origin_source *s = xcalloc(1, sizeof(*s));

	(void)e; /* nothing can fail today */
	s->source.ops = &ops;
	s->opts = *opts;
	s->marks = origin_marks_new();
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
	origin_marks_free(&s->marks);
	free(s);
	*source = NULL;
}
