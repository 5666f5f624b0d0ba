/*
 * metrics: the registry: which series there are, found by their label values. Knows neither who
 * counts nor what the page looks like (metrics_page.c).
 */
#include "mem.h"
#include "metrics_registry.h"
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const struct metric_def metric_defs[N_METRICS] = {
#define X(id, type, name, labels, values, help)                                                    \
	[METRIC_##id] = { METRIC_TYPE_##type, name, labels, values, help },
	METRICS_TABLE(X)
#undef X
};

/* 100 us to 10 s; what takes longer is in the last bucket, which has no bound. */
const uint64_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
	100,   250,    500,    1000,   2500,    5000,    10000,   25000,
	50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};

/* ---- the typed wrapper of uthash: node by key ---- */

static struct series_node *nodes_find(const struct family *f, const char *key, size_t key_bytes)
{
	struct series_node *node = NULL;

	HASH_FIND(hh, f->nodes, key, key_bytes, node);
	return node;
}

static void nodes_add(struct family *f, struct series_node *node)
{
	HASH_ADD_KEYPTR(hh, f->nodes, node->key, node->key_bytes, node);
	if (node->hh.tbl == NULL)
		abort(); /* memory is out */
	f->n_nodes++;
}

static void nodes_free(struct family *f)
{
	struct series_node *node = f->nodes;

	HASH_CLEAR(hh, f->nodes); /* the table alone: the nodes stay, and stay chained */
	while (node != NULL) {
		struct series_node *next = node->hh.next;

		free(node->series.histogram);
		free(node);
		node = next;
	}
}

/* ---- keys: the label values, each with its NUL ---- */

static uint32_t metric_n_labels(enum metric_id id)
{
	const char *labels = metric_defs[id].labels;
	uint32_t n = labels[0] != '\0';

	for (; *labels != '\0'; labels++)
		n += *labels == ',';
	return n;
}

/* The page is UTF-8, and one bad byte would spoil all of it: what is not ASCII text becomes '_'. */
static size_t put_value(char *out, const char *value)
{
	size_t n = 0;

	for (; *value != '\0' && n < LABEL_VALUE_MAX_BYTES; value++) {
		const bool is_text = (*value >= 0x20 && *value < 0x7f) || *value == '\n';

		out[n++] = (char)(is_text ? *value : '_');
	}
	out[n++] = '\0';
	return n;
}

struct key {
	size_t n_bytes;
	char bytes[LABELS_MAX * (LABEL_VALUE_MAX_BYTES + 1)];
};

static void make_key(uint32_t n_labels, const char *const *values, struct key *ret_key)
{
	assert(n_labels <= LABELS_MAX);
	ret_key->n_bytes = 0;
	for (uint32_t i = 0; i < n_labels; i++)
		ret_key->n_bytes += put_value(ret_key->bytes + ret_key->n_bytes, values[i]);
}

static struct series_node *node_new(enum metric_id id, const struct key *key)
{
	struct series_node *node = xcalloc(1, sizeof(*node) + key->n_bytes);

	node->key_bytes = key->n_bytes;
	memcpy(node->key, key->bytes, key->n_bytes);
	if (metric_defs[id].type == METRIC_TYPE_HISTOGRAM)
		node->series.histogram = xcalloc(1, sizeof(*node->series.histogram));
	return node;
}

/* Names come from outside: where there is no room, those not seen before share one series; of what
 * comes and goes, one for each of the other labels' values. key: of one of them */
static void key_of_the_rest(const struct family *f, uint32_t n_labels, const char *key,
                            struct key *ret_key)
{
	const uint32_t n_own = f->comes_and_goes ? n_labels - 1 : 0;
	const char *values[LABELS_MAX];

	for (uint32_t i = 0; i < n_labels; i++) {
		values[i] = i < n_own ? key : "other";
		key += strlen(key) + 1;
	}
	make_key(n_labels, values, ret_key);
}

static struct series_node *find_or_add(struct family *f, enum metric_id id, const struct key *key)
{
	struct series_node *node = nodes_find(f, key->bytes, key->n_bytes);

	if (node == NULL) {
		node = node_new(id, key);
		nodes_add(f, node);
	}
	return node;
}

static int64_t sum_of(const struct series_node *node)
{
	return series_get(&node->series) + node->gone;
}

/* The oldest that nobody holds leaves what it counted to the sums of the rest. @return false: there
 * is none */
static bool make_room(struct family *f, enum metric_id id)
{
	const uint32_t n_labels = metric_n_labels(id);

	for (struct series_node *node = f->nodes; f->comes_and_goes && node != NULL;
	     node = node->hh.next) {
		struct key rest;

		key_of_the_rest(f, n_labels, node->key, &rest);
		if (node->n_holders > 0 || (rest.n_bytes == node->key_bytes &&
		                            memcmp(rest.bytes, node->key, rest.n_bytes) == 0))
			continue;
		HASH_DELETE(hh, f->nodes, node);
		f->n_nodes--;
		find_or_add(f, id, &rest)->gone += sum_of(node);
		free(node);
		return true;
	}
	return false;
}

static struct series_node *find_or_make(struct family *f, enum metric_id id, const struct key *key)
{
	struct series_node *node = nodes_find(f, key->bytes, key->n_bytes);
	struct key rest;

	if (node != NULL)
		return node;
	if (f->n_nodes < METRICS_SERIES_MAX || make_room(f, id))
		return find_or_add(f, id, key);
	key_of_the_rest(f, metric_n_labels(id), key->bytes, &rest);
	return find_or_add(f, id, &rest);
}

/* What a rule asks of a counter is how it grows: one that is not there before the first fault has
 * not grown by it. With one label (or none) all series are known: the page has them from the start.
 */
static void show_from_the_start(struct metrics *m, enum metric_id id)
{
	const char *at = metric_defs[id].values;

	if (metric_n_labels(id) == 0)
		(void)metrics_series(m, id, NULL);
	while (metric_n_labels(id) == 1 && *at != '\0') {
		AUTO(free_str) char *value = xasprintf("%.*s", (int)strcspn(at, ","), at);
		const char *const values[] = { value };

		(void)metrics_series(m, id, values);
		at += strlen(value);
		at += strspn(at, ", ");
	}
}

struct metrics *metrics_new(void)
{
	struct metrics *m = xcalloc(1, sizeof(*m));

	m->mutex = xcalloc(1, sizeof(pthread_mutex_t));
	(void)pthread_mutex_init(m->mutex, NULL);
	for (unsigned id = 0; id < N_METRICS; id++)
		show_from_the_start(m, id);
	return m;
}

void metrics_free(struct metrics **m)
{
	struct metrics *gone = *m;

	if (gone == NULL)
		return;
	for (unsigned id = 0; id < N_METRICS; id++)
		nodes_free(&gone->families[id]);
	(void)pthread_mutex_destroy(gone->mutex);
	free(gone->mutex);
	free(gone);
	*m = NULL;
}

struct series *metrics_series(struct metrics *m, enum metric_id id, const char *const *label_values)
{
	struct series_node *node = NULL;
	struct key key;

	assert((unsigned)id < N_METRICS);
	make_key(metric_n_labels(id), label_values, &key);
	(void)pthread_mutex_lock(m->mutex);
	node = find_or_make(&m->families[id], id, &key);
	(void)pthread_mutex_unlock(m->mutex);
	return &node->series;
}

struct series *metrics_hold(struct metrics *m, enum metric_id id, const char *const *label_values)
{
	struct series_node *node = NULL;
	struct key key;

	assert(metric_defs[id].type == METRIC_TYPE_COUNTER && metric_n_labels(id) > 0);
	make_key(metric_n_labels(id), label_values, &key);
	(void)pthread_mutex_lock(m->mutex);
	m->families[id].comes_and_goes = true;
	node = find_or_make(&m->families[id], id, &key);
	node->n_holders++;
	(void)pthread_mutex_unlock(m->mutex);
	return &node->series;
}

void metrics_release(struct metrics *m, struct series **series)
{
	struct series_node *node;

	if (*series == NULL)
		return;
	node = container_of(*series, struct series_node, series);
	*series = NULL;
	(void)pthread_mutex_lock(m->mutex);
	assert(node->n_holders > 0);
	node->n_holders--;
	(void)pthread_mutex_unlock(m->mutex);
}

void metrics_add(struct metrics *m, enum metric_id id, const char *const *label_values, int64_t n)
{
	series_add(metrics_series(m, id, label_values), n);
}

int64_t metrics_sum(const struct metrics *m, enum metric_id id)
{
	return metrics_sum_where(m, id, NULL);
}

int64_t metrics_sum_where(const struct metrics *m, enum metric_id id, const char *first_value)
{
	return metrics_sum_at(m, id, 0, first_value);
}

/* A key is its values, each with its NUL. */
static const char *value_at(const struct series_node *n, uint32_t label_idx)
{
	const char *value = n->key;

	for (; label_idx > 0; label_idx--)
		value += strlen(value) + 1;
	return value;
}

int64_t metrics_sum_at(const struct metrics *m, enum metric_id id, uint32_t label_idx,
                       const char *value)
{
	int64_t sum = 0;

	assert(value == NULL || label_idx < metric_n_labels(id));
	(void)pthread_mutex_lock(m->mutex);
	for (const struct series_node *n = m->families[id].nodes; n != NULL; n = n->hh.next)
		if (value == NULL || strcmp(value_at(n, label_idx), value) == 0)
			sum += sum_of(n);
	(void)pthread_mutex_unlock(m->mutex);
	return sum;
}

uint64_t metrics_sum_ns_where(const struct metrics *m, enum metric_id id, const char *first_value)
{
	uint64_t sum_ns = 0;

	assert(metric_defs[id].type == METRIC_TYPE_HISTOGRAM);
	(void)pthread_mutex_lock(m->mutex);
	for (const struct series_node *n = m->families[id].nodes; n != NULL; n = n->hh.next)
		if (strcmp(n->key, first_value) == 0)
			sum_ns += n->series.histogram->sum_ns;
	(void)pthread_mutex_unlock(m->mutex);
	return sum_ns;
}

void series_observe_ns(struct series *s, uint64_t ns)
{
	struct histogram *h = s->histogram;
	unsigned i = 0;

	assert(h != NULL);
	while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds_us[i] * 1000)
		i++;
	atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}
