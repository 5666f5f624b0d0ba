/*
 * fetch_flight: the units on their way, each once. A reader that needs one joins it. Knows neither
 * sources nor workers: a flight's run and batch do.
 */
#include "bytes.h"
#include "engine.h"
#include "mem.h"
#include "metrics.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

static struct flight **bucket_of(const struct fetch_blob *blob, uint32_t unit_idx)
{
	const uint64_t key = (uintptr_t)blob / sizeof(*blob) * 31 + unit_idx;

	return &blob->f->buckets[key % FLIGHT_BUCKETS];
}

struct flight *flight_find(struct fetch_blob *blob, uint32_t unit_idx)
{
	struct flight *fl;

	if (!bitmap_get(blob->in_flight, unit_idx))
		return NULL;
	fl = *bucket_of(blob, unit_idx);
	while (fl->blob != blob || fl->unit_idx != unit_idx)
		fl = fl->next_in_bucket;
	return fl;
}

bool flight_wanted(void *arg, uint32_t unit_idx)
{
	struct fetch_blob *blob = arg;

	return !bitmap_get(blob->in_flight, unit_idx) && !unit_is_here(blob, unit_idx);
}

struct plan_view flight_view(struct fetch_blob *blob)
{
	return (struct plan_view){ .layout = blob->layout, .wanted = flight_wanted, .arg = blob };
}

struct flight *flight_new(struct fetch_blob *blob, uint32_t unit_idx)
{
	struct flight **bucket = bucket_of(blob, unit_idx);
	struct flight *fl = xcalloc(1, sizeof(*fl));
	struct unit_rec u;
	const bool there = layout_unit(blob->layout, unit_idx, &u);

	assert(there);
	fl->blob = blob;
	fl->unit_idx = unit_idx;
	fl->packed_size_bytes = u.packed_size_bytes;
	fl->plain_size_bytes = u.plain_size_bytes;
	fl->next_in_bucket = *bucket;
	*bucket = fl;
	(void)bitmap_set(blob->in_flight, unit_idx);
	series_add(blob->f->fetches_in_flight, 1);
	return fl;
}

void flight_hold(struct flight *fl, uint32_t n_bytes)
{
	fl->blob->f->in_flight_bytes -= fl->held_bytes;
	fl->blob->f->in_flight_bytes += n_bytes;
	fl->held_bytes = n_bytes;
}

void flight_end(struct flight *fl)
{
	struct fetch *f = fl->blob->f;
	struct flight **at = bucket_of(fl->blob, fl->unit_idx);

	assert(fl->waiters == NULL && fl->late == NULL);
	lease_settle(fl, fl->landed);
	while (*at != fl)
		at = &(*at)->next_in_bucket;
	*at = fl->next_in_bucket;
	(void)bitmap_clear(fl->blob->in_flight, fl->unit_idx);
	flight_hold(fl, 0);
	series_add(f->fetches_in_flight, -1);
	free(fl->packed);
	free(fl->why);
	free(fl);
}

/* Does any of these readers still wait? Those that do not are let go. */
static bool any_live(struct waiter **list)
{
	struct waiter *w = *list;
	struct waiter *live = NULL;

	while (w != NULL) {
		struct waiter *next = w->next;

		if (waiter_is_live(w))
			LL_PREPEND(live, w);
		else
			waiter_release(w);
		w = next;
	}
	*list = live;
	return live != NULL;
}

bool flight_is_waited_for(struct flight *fl)
{
	const bool waited = any_live(&fl->waiters);

	return any_live(&fl->late) || waited;
}

static bool any_blocked(const struct waiter *w)
{
	while (w != NULL && !w->blocked)
		w = w->next;
	return w != NULL;
}

bool flight_is_blocked_on(const struct flight *fl)
{
	return any_blocked(fl->waiters) || any_blocked(fl->late);
}

static uint64_t since_ns(struct waiter *w)
{
	uint64_t since = UINT64_MAX;

	for (; w != NULL; w = w->next) {
		if (w->blocked && waiter_is_live(w))
			since = min_u64(since, w->st->began_ns);
	}
	return since;
}

uint64_t flight_blocked_since_ns(struct flight *fl)
{
	return min_u64(since_ns(fl->waiters), since_ns(fl->late));
}

static void fail_list(struct waiter **list, const struct err *why)
{
	while (*list != NULL) {
		struct waiter *w = *list;

		*list = w->next;
		waiter_fail(w, why);
		waiter_release(w);
	}
}

void flight_fail(struct flight *fl, const struct err *why)
{
	prefetches_on_unit(fl->blob, fl->unit_idx, -EIO, why);
	fail_list(&fl->waiters, why);
	fail_list(&fl->late, why);
	flight_end(fl);
}

void flight_drop(struct flight *fl)
{
	const struct err none = { .code = 0 };

	flight_fail(fl, &none);
}

static void place_list(struct waiter *list)
{
	while (list != NULL) {
		struct waiter *w = list;

		list = w->next;
		w->found = FOUND_DEDUP;
		if (waiter_is_live(w))
			waiter_place(w);
		else
			waiter_release(w);
	}
}

void flight_arrived(struct flight *fl)
{
	const struct err none = { .code = 0 };
	struct waiter *waiters = fl->waiters;
	struct waiter *late = fl->late;

	fl->waiters = NULL;
	fl->late = NULL;
	prefetches_on_unit(fl->blob, fl->unit_idx, CAS_MISS, &none);
	flight_end(fl);
	place_list(waiters);
	place_list(late);
}

/* With a worker: join if it has not come to this unit yet. */
static void join_submitted(struct flight *fl, struct waiter *w)
{
	bool served;

	(void)pthread_mutex_lock(&fl->batch->lock);
	served = fl->served;
	if (!served)
		LL_PREPEND(fl->waiters, w);
	(void)pthread_mutex_unlock(&fl->batch->lock);
	if (served)
		LL_PREPEND(fl->late, w); /* looks again when the batch is back */
}

bool flight_join(struct flight *fl, struct waiter *w)
{
	struct run *run = fl->run;
	struct batch *batch = fl->batch;

	w->found = fl->blob->f->found_at[fl->source_idx];
	if (w->blocked && run != NULL && run->state == RUN_QUEUED && run->prio != RUN_READER) {
		/* Readahead that was not asked for yet: better this unit now, the rest later. */
		if (run_dissolve(run))
			return false;
		run_promote(run);
	}
	if (batch != NULL && batch->submitted) {
		join_submitted(fl, w);
		return true;
	}
	LL_PREPEND(fl->waiters, w);
	if (batch != NULL && w->blocked)
		batch_promote(fl);
	if (run != NULL && w->blocked)
		run_hurry(run, fl->unit_idx);
	return true;
}
