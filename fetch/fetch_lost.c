/*
 * fetch_lost: what sources said that gave nothing; and a run that none gave anything for: it fails,
 * or tries all of them again later.
 */
#include "bytes.h"
#include "engine.h"
#include "random.h"
#include "share.h"
#include <errno.h>

#define PAUSE_FIRST_MS 100
#define PAUSES_DOUBLED 5 /* to 3.2 s */

#define MISSES_MAX 3 /* rounds in which who has nothing now may come to have it: 0.7 s */

/* A refusal is what somebody can mend, whatever was heard before it; and who was down, and so is
 * asked behind the others, has more to say than those: that no other blob has it explains nothing.
 */
static void note_gone(struct run *run, const struct err *why)
{
	const struct source *source = run->blob->f->sources[run->source_idx];
	const bool is_refusal = source_refused(why->code);

	if (run->why.code != 0 && !is_refusal &&
	    (!run->last_resort || source_refused(run->why.code)))
		return;
	if (why->msg[0] != '\0')
		(void)err_set(&run->why, is_refusal ? why->code : EIO, "%s", why->msg);
	else
		(void)err_set(&run->why, EIO, "%s does not have it", source->ops->name);
}

void run_note_failure(struct run *run, int r, const struct err *why)
{
	const struct source *source = run->blob->f->sources[run->source_idx];

	if (r == SOURCE_GONE)
		run->struck |= BIT(run->source_idx);
	if (r == SOURCE_MISS)
		run->missed |= BIT(run->source_idx);
	if (r < 0 && !source_refused(run->why.code))
		run->why = *why;
	else if (r == SOURCE_GONE)
		note_gone(run, why);
	else if (r == SOURCE_OK)
		(void)err_set(&run->why, EPROTO, "%s ended before all was there",
		              source->ops->name);
	if (run->why.code == 0)
		return;
	for (uint32_t i = 0; i < run->n_units; i++) {
		const struct flight *fl = run_flight(run, run->first_unit + i);

		for (struct waiter *w = fl != NULL ? fl->waiters : NULL; w != NULL; w = w->next)
			waiter_note(w, &run->why);
	}
}

static bool is_every_source(const struct run *run, uint32_t mask)
{
	const uint32_t all = BIT(run->blob->f->opts.n_sources) - 1;

	return (mask & all) == all;
}

static bool all_struck(const struct run *run)
{
	return is_every_source(run, run->struck);
}

bool run_is_denied(const struct run *run)
{
	return run->struck != 0 && is_every_source(run, run->struck | run->missed);
}

/* ... for a while, too: neighbours are no hope where nobody can get it from an origin. */
static bool is_hopeless(const struct run *run)
{
	return all_struck(run) || (run_is_denied(run) && run->n_pauses >= MISSES_MAX);
}

void run_fail(struct run *run)
{
	struct err why = run->why;

	if (why.code == 0)
		(void)err_set(&why, EIO, "no source has it");
	(void)err_wrap(&why, "blob %s", cas_blob_key(run->blob->cas));
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL)
			flight_fail(fl, &why);
	}
}

/* Others need not wait for this node any more. */
static void give_up_leases(struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL)
			lease_settle(fl, false);
	}
}

/* Who has its chunks is still being found out behind the mount: perhaps another blob here does. */
static bool may_come_yet(const struct run *run)
{
	return cas_blob_is_joining(run->blob->cas);
}

/* What another blob has by now is asked of no source. */
static void take_arrived(struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL && unit_is_here(run->blob, fl->unit_idx))
			flight_arrived(fl);
	}
	runs_pump(run->blob->f);
}

enum run_state run_lost(struct run *run)
{
	const bool joining = may_come_yet(run); /* before the look at what it has found */

	if (run->sweeps)
		sweep_ends(run->blob);
	else
		run->blob->f->n_failed_runs += run->prio == RUN_PREFETCH;
	take_arrived(run);
	if (is_hopeless(run) && !joining) {
		if (run->why.code == EBADMSG)
			log_error(run->blob->f->opts.log, "no source gives the right bytes",
			          "blob=%s unit=%u why=%s", cas_blob_key(run->blob->cas),
			          run->first_unit, LOG_Q(run->why.msg));
		run_fail(run);
		return RUN_DONE;
	}
	give_up_leases(run);
	return run_drop_idle(run) > 0 ? RUN_PAUSED : RUN_DONE;
}

static void on_pause_end(struct timer *t)
{
	struct run *run = container_of(t, struct run, timer);
	struct fetch *f = run->blob->f;

	run->source_idx = 0;
	run->missed = 0;
	run->put_off = 0;
	run->last_resort = false;
	take_arrived(run);
	(void)run_drop_idle(run);
	run_go_on(run, RUN_QUEUED);
	/* Where nobody waits any more it is over: others may have its room, and waited for its end.
	 */
	runs_pump(f);
	prefetches_pump(f);
}

/* What nobody is asked for needs no room: readers of others, whose sources answer, have it. */
static void give_room(struct run *run)
{
	for (uint32_t i = 0; i < run->n_units; i++) {
		struct flight *fl = run_flight(run, run->first_unit + i);

		if (fl != NULL)
			flight_hold(fl, 0);
	}
	runs_pump_soon(run->blob->f);
}

enum run_state run_pause(struct run *run)
{
	const uint32_t doubled = (uint32_t)min_u64(run->n_pauses + run->n_lost, PAUSES_DOUBLED);
	const uint32_t pause_ms =
		all_struck(run) ? PAUSE_FIRST_MS : (uint32_t)PAUSE_FIRST_MS << doubled;

	run->n_pauses++;
	give_room(run);
	if (run->timer.ev == NULL)
		timer_init(&run->timer, run->blob->f->opts.loop, on_pause_end);
	timer_start(&run->timer, pause_ms + random_next(&run->blob->f->random) % (pause_ms / 4));
	return RUN_PAUSED;
}
