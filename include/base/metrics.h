/*
 * metrics: the numbers that shoal shows, as Prometheus text.
 *
 * One X-macro table (base/metrics_table.h) has name, type, unit, labels and help of each metric:
 * the page, the docs and the checks are made from it. Counting is one atomic addition on a series
 * that the caller looked up once. Any thread.
 * Source: Prometheus text exposition format 0.0.4.
 */
#pragma once
#include "auto.h"
#include "err.h"
#include <stdatomic.h>
#include <stdint.h>

struct metrics;

#include "metrics_table.h"

enum metric_id {
#define X(id, type, name, labels, values, help) METRIC_##id,
	METRICS_TABLE(X)
#undef X
		N_METRICS
};

/* One line of a metric: its values for one set of labels. Lives as long as the registry, but see
 * metrics_hold(). */
struct series {
	_Atomic int64_t value; /* counters and gauges */
	struct histogram *histogram;
};

struct metrics *metrics_new(void); /* never NULL */
void metrics_free(struct metrics **m);

/**
 * The series with these label values, made when it is asked for first. label_values: as many as
 * the metric has labels, in the table's order; copied. At most METRICS_SERIES_MAX a metric: beyond
 * that, the series whose values are all "other" (so that names from outside cannot fill memory).
 */
#define METRICS_SERIES_MAX 1000
struct series *metrics_series(struct metrics *m, enum metric_id id,
                              const char *const *label_values);

/**
 * The same of a counter whose last label names what comes and goes, as images do. Where there are
 * METRICS_SERIES_MAX, one that nobody holds any more makes room: what it counted goes to the series
 * that has "other" for its last value, and so does what finds no room. Of such a metric,
 * metrics_series() is for the thread that holds and releases, and for a look.
 */
struct series *metrics_hold(struct metrics *m, enum metric_id id, const char *const *label_values);
/** As often as it was held. Set to NULL; NULL is fine. */
void metrics_release(struct metrics *m, struct series **series);

static inline void series_add(struct series *s, int64_t n)
{
	atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
}

static inline void series_set(struct series *s, int64_t n)
{
	atomic_store_explicit(&s->value, n, memory_order_relaxed);
}

static inline int64_t series_get(const struct series *s)
{
	return atomic_load_explicit(&s->value, memory_order_relaxed);
}

/** A histogram metric: count one observation of so many seconds. */
void series_observe_ns(struct series *s, uint64_t ns);

/** Look up and add: for the paths where one look-up more does not matter. */
void metrics_add(struct metrics *m, enum metric_id id, const char *const *label_values, int64_t n);

/** Sum of a counter or gauge over all its series. */
int64_t metrics_sum(const struct metrics *m, enum metric_id id);

/** ... over those whose first label has this value; NULL: any. Else the metric has labels. */
int64_t metrics_sum_where(const struct metrics *m, enum metric_id id, const char *first_value);

/** ... over those whose label at that place, of the table's order from 0 on, has this value. */
int64_t metrics_sum_at(const struct metrics *m, enum metric_id id, uint32_t label_idx,
                       const char *value);

/** Of a histogram: the sum of what was observed by the series whose first label has this value. */
uint64_t metrics_sum_ns_where(const struct metrics *m, enum metric_id id, const char *first_value);

/** The whole page. malloc'd text, owned by the caller. */
char *metrics_render(const struct metrics *m);
