/*
 * fetch_lease: units that the sources behind one may be asked for in the name of others, too.
 *
 * A lease covers flights: it lives until the last of them is settled, and then the source that gave
 * it hears how that went. Knows nothing of who waits elsewhere.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include <stdlib.h>

struct lease {
	struct source *source;
	uint64_t token;
	uint32_t n_open; /* flights, and one while it is being given out */
	bool failed;
};

static void close_one(struct lease *lease, bool ok)
{
	lease->failed = lease->failed || !ok;
	if (--lease->n_open > 0)
		return;
	lease->source->ops->lease_end(lease->source, lease->token, !lease->failed);
	free(lease);
}

void lease_settle(struct flight *fl, bool ok)
{
	struct lease *lease = fl->lease;

	fl->lease = NULL;
	if (lease != NULL)
		close_one(lease, ok);
}

void run_on_lease(void *arg, const struct source_lease *granted)
{
	struct run *run = arg;
	const uint32_t end = run->first_unit + run->n_units;
	struct lease *lease = xcalloc(1, sizeof(*lease));
	uint32_t first = granted->first_unit;
	uint32_t last;

	lease->source = run->blob->f->sources[run->source_idx];
	lease->token = granted->token;
	lease->n_open = 1;
	if (first < run->first_unit || first >= end || granted->n_units > end - first) {
		close_one(lease, false); /* it was not asked for that */
		return;
	}
	last = first + granted->n_units;
	for (uint32_t i = first; i < last; i++) {
		struct flight *fl = run_flight(run, i);

		if (fl == NULL) /* it came meanwhile */
			continue;
		lease_settle(fl, false);
		fl->lease = lease;
		lease->n_open++;
	}
	explain_leased(run, first, granted->n_units);
	run_pass_on(run, first, last);
	close_one(lease, true);
}

void lease_advance(struct run *run, uint64_t more_bytes)
{
	/* Units leave a run and do not come back, and those that are leased leave it for a part:
	 * what was passed over is not looked at for each chunk that comes. */
	if (run->lease_unit < run->first_unit)
		run->lease_unit = run->first_unit;
	for (; run->lease_unit < run->first_unit + run->n_units; run->lease_unit++) {
		const struct flight *fl = run_flight(run, run->lease_unit);

		if (fl == NULL || fl->lease == NULL)
			continue;
		/* All flights of a run that was passed on have one lease. */
		fl->lease->source->ops->lease_progress(fl->lease->source, fl->lease->token,
		                                       (uint32_t)min_u64(more_bytes, UINT32_MAX));
		return;
	}
}
