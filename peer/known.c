/*
 * known: see the header.
 */
#include "known.h"
#include "err.h"
#include "mem.h"
#include "share.h"
#include "unconst.h"
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 0
#include <uthash.h>
#include <utlist.h>

struct list_entry {
	struct wire_id list;
	struct known *known;
	uint32_t segment_idx;
	UT_hash_handle hh;
};

struct known_impl {
	struct known *known;
	const struct blob_layout *key;
	UT_hash_handle hh;
	struct job job;
	struct segments *made;
	struct segments *segments;
	struct err err;
	struct list_entry *entries; /* one a segment */
};

struct known_table {
	struct known_table_opts opts;
	struct known *all; /* the least recently used first */
	struct known_impl *by_layout;
	struct list_entry *by_list;
	uint32_t n;
};

struct known_table *known_table_new(const struct known_table_opts *opts)
{
	struct known_table *t = xcalloc(1, sizeof(*t));

	t->opts = *opts;
	return t;
}

static void known_free(struct known_table *t, struct known *k)
{
	struct known_impl *impl = k->impl;
	const uint32_t n = impl->entries != NULL ? segments_count(impl->segments) : 0;

	for (uint32_t i = 0; i < n; i++) {
		assert(t->by_list != NULL);
		HASH_DEL(t->by_list, &impl->entries[i]);
	}
	assert(t->by_layout != NULL);
	HASH_DEL(t->by_layout, impl);
	DL_DELETE(t->all, k);
	t->n--;
	segments_free(&impl->segments);
	layout_unref(&k->layout);
	free(impl->entries);
	free(impl);
	free(k);
}

void known_table_free(struct known_table **table)
{
	struct known_table *t = *table;
	struct known *k;
	struct known *next;

	*table = NULL;
	if (t == NULL)
		return;
	DL_FOREACH_SAFE(t->all, k, next)
	known_free(t, k);
	free(t);
}

/* ---- making one ---- */

static void make_work(struct job *job) /* worker */
{
	struct known_impl *impl = container_of(job, struct known_impl, job);

	if (segments_new(impl->known->layout, &impl->made, &impl->err) < 0)
		impl->made = NULL;
}

static void add_lists(struct known_table *t, struct known_impl *impl)
{
	const uint32_t n = segments_count(impl->segments);

	impl->entries = calloc(n + (size_t)1, sizeof(impl->entries[0]));
	if (impl->entries == NULL)
		return;
	for (uint32_t i = 0; i < n; i++) {
		struct list_entry *entry = &impl->entries[i];

		entry->list = segments_at(impl->segments, i)->list;
		entry->known = impl->known;
		entry->segment_idx = i;
		HASH_ADD(hh, t->by_list, list, sizeof(entry->list), entry);
	}
}

static void make_after(struct job *job)
{
	struct known_impl *impl = container_of(job, struct known_impl, job);
	struct known *k = impl->known;
	struct known_table *t = k->table;

	impl->segments = impl->made;
	k->segments = impl->segments;
	k->failed = impl->segments == NULL;
	if (!k->failed)
		add_lists(t, impl);
	t->opts.made(t->opts.arg, k);
	known_put(k); /* the job's */
}

static void drop_old(struct known_table *t)
{
	struct known *k;
	struct known *next;

	DL_FOREACH_SAFE(t->all, k, next)
	{
		if (t->n < KNOWN_MAX)
			break;
		if (k->n_users == 0 && k->scan == NULL)
			known_free(t, k);
	}
}

/* Nobody else has the layout any more: its blob is closed. */
static bool is_idle(const struct known *k)
{
	const uint32_t n_own = k->segments != NULL ? 2 : 1;

	return k->n_users == 0 && atomic_load(&k->layout->refs) == n_own;
}

void known_sweep(struct known_table *t)
{
	struct known *k;
	struct known *next;
	uint32_t n_idle = 0;

	DL_FOREACH(t->all, k)
	n_idle += is_idle(k);
	DL_FOREACH_SAFE(t->all, k, next)
	{
		if (n_idle <= KNOWN_IDLE_MAX)
			return;
		if (is_idle(k)) {
			known_free(t, k);
			n_idle--;
		}
	}
}

struct known *known_find(struct known_table *t, const struct blob_layout *layout)
{
	struct known_impl *impl;

	HASH_FIND_PTR(t->by_layout, &layout, impl);
	if (impl == NULL)
		return NULL;
	impl->known->n_users++;
	DL_DELETE(t->all, impl->known);
	DL_APPEND(t->all, impl->known);
	return impl->known;
}

struct known *known_get(struct known_table *t, const struct blob_layout *layout)
{
	struct known *k = known_find(t, layout);
	struct known_impl *impl;

	if (k != NULL)
		return k;
	known_sweep(t);
	drop_old(t);
	k = xcalloc(1, sizeof(*k));
	impl = xcalloc(1, sizeof(*impl));
	k->table = t;
	k->impl = impl;
	k->layout = layout_ref(unconst(layout));
	k->n_users = 2; /* the caller's and the job's */
	impl->known = k;
	impl->key = layout;
	HASH_ADD_PTR(t->by_layout, key, impl);
	DL_APPEND(t->all, k);
	t->n++;
	impl->job = (struct job){ .work = make_work, .after = make_after, .prio = JOB_READER };
	pool_submit(t->opts.pool, &impl->job);
	return k;
}

void known_put(struct known *k)
{
	k->n_users--;
}

bool known_list(struct known_table *t, const struct wire_id *list, struct known **ret_known,
                uint32_t *ret_segment_idx)
{
	struct list_entry *entry;

	HASH_FIND(hh, t->by_list, list, sizeof(*list), entry);
	if (entry == NULL)
		return false;
	*ret_known = entry->known;
	*ret_segment_idx = entry->segment_idx;
	return true;
}

void known_each(struct known_table *t, void (*fn)(void *arg, struct known *k), void *arg)
{
	struct known *k;
	struct known *next;

	DL_FOREACH_SAFE(t->all, k, next)
	fn(arg, k);
}

struct wire_part known_part(const struct known *k, uint32_t segment_idx)
{
	const struct segment *s = segments_at(k->segments, segment_idx);

	return (struct wire_part){ .segment = s->name,
		                   .list = s->list,
		                   .set = { .n = s->n_chunks } };
}

struct wire_part known_present(const struct known *k, uint32_t segment_idx,
                               const struct cas_blob *blob)
{
	struct wire_part part = known_part(k, segment_idx);

	for (uint16_t pos = 0; pos < part.set.n; pos++) {
		if (cas_blob_is_present(blob, segments_chunk(k->segments, segment_idx, pos)))
			wire_set_add(&part.set, pos);
	}
	return part;
}
