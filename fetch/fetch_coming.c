/*
 * fetch_coming: does what a reader waits for arrive, however slowly, or could it not begin yet?
 * Asked when its time is over.
 * And how fast do origins answer?
 */
#include "bytes.h"
#include "engine.h"
#include <utlist.h>

#define PACE_FROM_BYTES                                                                            \
	(32U << 10)                  /* of fewer bytes the way there and back is most of the time  \
	                              */
#define FAILS_SOON_NS (5 * NS_PER_S) /* at least: silence may take as long (see origins) */

/* Of the question, up to that unit. */
static uint64_t asked_bytes(const struct run *run, uint32_t last_unit)
{
	uint64_t bytes = 0;
	struct unit_rec u;

	for (uint32_t i = run->ask.first_unit;
	     i <= last_unit && i - run->ask.first_unit < run->ask.n_units; i++) {
		if (layout_unit(run->blob->layout, i, &u))
			bytes += u.packed_size_bytes;
	}
	return bytes;
}

void run_note_pace(const struct run *run)
{
	struct fetch *f = run->blob->f;
	const uint64_t bytes = asked_bytes(run, UINT32_MAX);
	const uint64_t ns = clock_now_ns(f->opts.clock) - run->asked_ns;
	uint64_t pace;

	if (bytes < PACE_FROM_BYTES || ns == 0 || f->found_at[run->source_idx] != FOUND_ORIGIN)
		return;
	pace = bytes * NS_PER_MS / ns;
	f->origin_bytes_per_ms = f->origin_bytes_per_ms == 0
	                                 ? pace + 1
	                                 : f->origin_bytes_per_ms / 4 * 3 + pace / 4 + 1;
}

static bool has_moved(const struct run *run, uint64_t now_ns, uint64_t time_ns)
{
	return run->state == RUN_ASKED && run->progress_bytes > 0 &&
	       now_ns <= run->progress_ns + time_ns / SILENCE_SHARE;
}

static bool any_has_moved(const struct fetch *f, uint64_t now_ns, uint64_t time_ns)
{
	const struct run *run;

	DL_FOREACH(f->runs, run)
	{
		if (has_moved(run, now_ns, time_ns))
			return true;
	}
	return false;
}

/* It was asked more than once, and each time that was over soon: a slow line fails otherwise. */
static bool fails_soon(const struct run *run, uint64_t now_ns, uint64_t time_ns)
{
	const uint64_t soon_ns = min_u64(time_ns / SILENCE_SHARE / 2, FAILS_SOON_NS);
	const uint64_t asked_ns = run->state == RUN_ASKED ? now_ns - run->asked_ns : 0;

	return run->n_pauses > 0 && max_u64(asked_ns, run->lasted_ns) < soon_ns;
}

/* What was found last, for the many questions of one blob. */
struct line {
	bool is_known;
	const struct fetch_blob *blob;
	uint32_t source_idx;
	bool is_one;
};

static bool is_one_line(const struct run *run, const struct run *other, struct line *last)
{
	struct source *s = run->blob->f->sources[other->source_idx];

	if (s->ops->is_one_line == NULL)
		return true;
	if (!last->is_known || last->blob != other->blob || last->source_idx != other->source_idx)
		*last = (struct line){
			.is_known = true,
			.blob = other->blob,
			.source_idx = other->source_idx,
			.is_one = s->ops->is_one_line(s, run->blob->cas, other->blob->cas),
		};
	return last->is_one;
}

/* Does it wait for what comes of the other question? */
static bool is_behind(const struct run *run, const struct run *other, struct line *last)
{
	if (other->state != RUN_ASKED)
		return false;
	if (other->blob == run->blob)
		return true;
	if (run->state != RUN_QUEUED &&
	    other->source_idx != (run->state == RUN_ASKED ? run->source_idx : run->lasted_at))
		return false;
	return is_one_line(run, other, last);
}

/* Those that were asked before let its time go by, and this one has not had a moment. In the first
 * round alone: who has failed before is not asked for the first time. */
static bool is_asked_just_now(const struct run *run, uint64_t now_ns, uint64_t time_ns)
{
	return run->state == RUN_ASKED && run->n_pauses + run->n_lost == 0 &&
	       now_ns < run->asked_ns + time_ns / SILENCE_SHARE;
}

/* Its own question, or all by the same line together: on a slow one it waits for the others. */
bool run_is_coming(const struct run *run, uint32_t unit_idx, uint64_t time_ns)
{
	const struct fetch *f = run->blob->f;
	const uint64_t now_ns = clock_now_ns(f->opts.clock);
	const struct run *other;
	struct line last = { .is_known = false };
	uint64_t since_ns = now_ns;
	uint64_t came = 0;
	uint64_t all = 0;
	bool moved = false;

	if (is_asked_just_now(run, now_ns, time_ns))
		return true;
	if (has_moved(run, now_ns, time_ns) &&
	    slow_will_come(run->progress_bytes, asked_bytes(run, unit_idx), now_ns - run->asked_ns,
	                   time_ns))
		return true;
	if (fails_soon(run, now_ns, time_ns) || !any_has_moved(f, now_ns, time_ns))
		return false;
	DL_FOREACH(f->runs, other)
	{
		if (!is_behind(run, other, &last))
			continue;
		moved = moved || has_moved(other, now_ns, time_ns);
		since_ns = min_u64(since_ns, other->asked_ns);
		came += other->progress_bytes;
		all += asked_bytes(other, UINT32_MAX);
	}
	return moved && slow_will_come(came, all, now_ns - since_ns, time_ns);
}
