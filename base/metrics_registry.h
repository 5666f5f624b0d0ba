/*
 * metrics_registry: what the registry and the page of metrics share. Private to base.
 */
#pragma once
#include "metrics.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define LABELS_MAX            4
#define LABEL_VALUE_MAX_BYTES 255 /* of a value; the rest is cut */
#define HISTOGRAM_BOUNDS      16

enum metric_type { METRIC_TYPE_COUNTER, METRIC_TYPE_GAUGE, METRIC_TYPE_HISTOGRAM };

struct metric_def {
	enum metric_type type;
	const char *name;
	const char *labels; /* comma-separated */
	const char
		*values; /* of each label; of a metric with one label all there are, ", " between */
	const char *help;
};
extern const struct metric_def metric_defs[N_METRICS];
extern const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS];

struct histogram {
	_Atomic uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* each bucket alone; the page adds up */
	_Atomic uint64_t sum_ns;
};

struct series_node {
	struct series series;
	UT_hash_handle hh;
	uint32_t n_holders;
	int64_t gone; /* what those like it counted that left. In sums, not on the page: there it
	               * would look like something that happens now */
	size_t key_bytes;
	char key[]; /* the label values, each with its NUL */
};

/* One metric: its series in the order in which they were first asked for. */
struct family {
	struct series_node *nodes;
	uint32_t n_nodes;
	bool comes_and_goes; /* some were held */
};

struct metrics {
	pthread_mutex_t
		*mutex; /* guards the families, not the values; a pointer, for const readers */
	struct family families[N_METRICS];
};
