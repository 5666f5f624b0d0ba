/*
 * adverts: see the header. A segment that has something to tell stands in a queue, urgent ones in
 * front; a message takes one home's segments from it.
 */
#include "adverts.h"
#include "mem.h"
#include "set.h"
#include <assert.h>
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define PART_BYTES    (2U * (WIRE_ID_BYTES + 2U) + 8U) /* without the bitmap */
#define MESSAGE_BYTES 16U
#define REFRESH_NS    (ADVERTS_REFRESH_MS * NS_PER_MS)
#define SCAN_MAX      512U /* items looked at for one message */

enum target { TO_HOME, TO_CLUSTER, N_TARGETS };

struct item { /* a list, and what is to be told of it */
	struct wire_id segment, list;
	struct wire_set mine;
	struct wire_set have[N_TARGETS]; /* to be told */
	struct wire_set gone[N_TARGETS];
	struct wire_id told_home[N_TARGETS]; /* whom it was told last */
	bool has_home[N_TARGETS];
	struct item *prev, *next;             /* all, the least recently changed first */
	struct item *queue_prev, *queue_next; /* with something to tell */
	uint64_t due_ns;
	uint64_t told_ns; /* for the refresh */
	bool queued, urgent;
	UT_hash_handle hh;
};

struct adverts {
	struct adverts_opts opts;
	struct item *by_list;
	struct item *all;
	struct item *queue;
	int64_t bucket_bytes; /* may fall below 0 by one message */
	uint64_t filled_ns;
	uint64_t credit_rest; /* payload bytes below one byte of credit */
};

static uint64_t now_of(const struct adverts *a)
{
	return clock_now_ns(a->opts.clock);
}

struct adverts *adverts_new(const struct adverts_opts *opts)
{
	struct adverts *a = xcalloc(1, sizeof(*a));

	a->opts = *opts;
	a->bucket_bytes = ADVERTS_BURST_BYTES;
	a->filled_ns = now_of(a);
	return a;
}

static void unqueue(struct adverts *a, struct item *it)
{
	if (!it->queued)
		return;
	DL_DELETE2(a->queue, it, queue_prev, queue_next);
	it->queued = false;
	it->urgent = false;
}

static void item_free(struct adverts *a, struct item *it)
{
	unqueue(a, it);
	HASH_DEL(a->by_list, it);
	DL_DELETE(a->all, it);
	free(it);
}

void adverts_free(struct adverts **adverts)
{
	struct adverts *a = *adverts;

	if (a == NULL)
		return;
	while (a->all != NULL)
		item_free(a, a->all);
	free(a);
	*adverts = NULL;
}

static struct item *find(const struct adverts *a, const struct wire_id *list)
{
	struct item *it;

	HASH_FIND(hh, a->by_list, list->b, WIRE_ID_BYTES, it);
	return it;
}

static struct item *item_of(struct adverts *a, const struct wire_part *part)
{
	struct item *it = find(a, &part->list);

	if (it != NULL && it->mine.n != part->set.n)
		return NULL; /* our own bug, or two lists with one id: not told */
	if (it != NULL) {
		DL_DELETE(a->all, it);
		DL_APPEND(a->all, it);
		return it;
	}
	if (HASH_COUNT(a->by_list) >= ADVERTS_SEGMENTS_MAX)
		item_free(a, a->all);
	it = xcalloc(1, sizeof(*it));
	it->segment = part->segment;
	it->list = part->list;
	it->mine = set_none(part->set.n);
	for (uint32_t t = 0; t < N_TARGETS; t++)
		it->have[t] = it->gone[t] = set_none(part->set.n);
	it->told_ns = now_of(a);
	HASH_ADD(hh, a->by_list, list, WIRE_ID_BYTES, it);
	DL_APPEND(a->all, it);
	return it;
}

static bool has_news(const struct item *it)
{
	for (uint32_t t = 0; t < N_TARGETS; t++) {
		if (!set_empty(&it->have[t]) || !set_empty(&it->gone[t]))
			return true;
	}
	return false;
}

static void enqueue(struct adverts *a, struct item *it, bool urgent)
{
	const uint64_t due_ns =
		now_of(a) + (urgent ? ADVERTS_URGENT_MS : ADVERTS_BATCH_MS) * NS_PER_MS;

	if (!has_news(it))
		return;
	if (it->queued && (it->urgent || !urgent))
		return;
	if (it->queued)
		unqueue(a, it);
	else
		it->due_ns = due_ns;
	it->due_ns = due_ns < it->due_ns ? due_ns : it->due_ns;
	it->queued = true;
	it->urgent = urgent;
	if (urgent)
		DL_PREPEND2(a->queue, it, queue_prev, queue_next);
	else
		DL_APPEND2(a->queue, it, queue_prev, queue_next);
}

void adverts_ready(struct adverts *a, const struct wire_part *part, bool urgent)
{
	struct item *it = item_of(a, part);
	struct wire_set fresh;

	if (it == NULL)
		return;
	fresh = set_minus(part->set, &it->mine);
	it->mine = set_or(it->mine, &fresh);
	for (uint32_t t = 0; t < N_TARGETS; t++) {
		it->have[t] = set_or(it->have[t], &fresh);
		it->gone[t] = set_minus(it->gone[t], &fresh);
	}
	enqueue(a, it, urgent);
}

/* What was not told yet need not be taken back. */
static void lose(struct adverts *a, struct item *it, const struct wire_set *set)
{
	const struct wire_set lost = set_and(it->mine, set);

	for (uint32_t t = 0; t < N_TARGETS; t++) {
		struct wire_set told = set_minus(lost, &it->have[t]);

		if (!it->has_home[t])
			told = set_none(set->n);
		it->gone[t] = set_or(it->gone[t], &told);
		it->have[t] = set_minus(it->have[t], &lost);
	}
	it->mine = set_minus(it->mine, &lost);
	if (has_news(it))
		enqueue(a, it, true);
	else
		unqueue(a, it);
}

void adverts_gone(struct adverts *a, const struct wire_part *part)
{
	struct item *it = find(a, &part->list);

	if (it != NULL && it->mine.n == part->set.n)
		lose(a, it, &part->set);
}

void adverts_credit(struct adverts *a, uint64_t payload_bytes)
{
	const uint64_t sum = a->credit_rest + payload_bytes * ADVERTS_PER_MILLE;

	a->credit_rest = sum % 1000;
	a->bucket_bytes += (int64_t)(sum / 1000);
	if (a->bucket_bytes > ADVERTS_CREDIT_MAX_BYTES)
		a->bucket_bytes = ADVERTS_CREDIT_MAX_BYTES;
}

static bool home_of(const struct adverts *a, const struct item *it, enum target t,
                    struct wire_id *ret_home)
{
	if (t == TO_CLUSTER && !placement_has_zones(a->opts.placement))
		return false;
	return placement_home(a->opts.placement, t == TO_CLUSTER ? PLACE_CLUSTER : PLACE_ZONE,
	                      &a->opts.self, &it->segment, ret_home);
}

/* All of it, once more, to whoever is its home now. */
static void tell_again(struct adverts *a, struct item *it, enum target t)
{
	it->have[t] = it->mine;
	enqueue(a, it, false);
}

/* A home that is new, or back, is told at once: that is no steady traffic. */
static void tell_new_home(struct adverts *a, struct item *it, enum target t)
{
	tell_again(a, it, t);
	a->bucket_bytes += PART_BYTES + (it->mine.n + 7U) / 8;
	if (a->bucket_bytes > ADVERTS_CREDIT_MAX_BYTES)
		a->bucket_bytes = ADVERTS_CREDIT_MAX_BYTES;
}

void adverts_moved(struct adverts *a)
{
	struct item *it;
	struct item *newest = a->all == NULL ? NULL : a->all->prev;

	for (it = newest; it != NULL; it = it == a->all ? NULL : it->prev) {
		for (uint32_t t = 0; t < N_TARGETS; t++) {
			struct wire_id home;

			if (!home_of(a, it, t, &home) ||
			    (it->has_home[t] && id_equal(&home, &it->told_home[t])))
				continue;
			it->gone[t] = set_none(it->mine.n); /* it never heard that it was here */
			tell_new_home(a, it, t);
		}
	}
}

void adverts_again(struct adverts *a, const struct wire_id *home)
{
	struct item *it;
	struct item *newest = a->all == NULL ? NULL : a->all->prev;

	for (it = newest; it != NULL; it = it == a->all ? NULL : it->prev) {
		for (uint32_t t = 0; t < N_TARGETS; t++) {
			if (it->has_home[t] && id_equal(home, &it->told_home[t]))
				tell_new_home(a, it, t);
		}
	}
}

bool adverts_is_told(const struct adverts *a, const struct wire_id *list,
                     const struct wire_id *home)
{
	const struct item *it = find(a, list);
	bool told = false;

	for (uint32_t t = 0; it != NULL && t < N_TARGETS; t++)
		told = told || (it->has_home[t] && id_equal(home, &it->told_home[t]));
	return told;
}

void adverts_mine(const struct adverts *a, const struct wire_id *list, struct wire_set *ret_set)
{
	const struct item *it = find(a, list);

	*ret_set = set_none(0);
	if (it != NULL)
		*ret_set = it->mine;
}

/* ---- sending ---- */

static void fill_bucket(struct adverts *a)
{
	const uint64_t now_ns = now_of(a);
	const uint64_t bytes = (now_ns - a->filled_ns) / (NS_PER_S / ADVERTS_BYTES_PER_S);

	if (bytes == 0)
		return;
	a->filled_ns += bytes * (NS_PER_S / ADVERTS_BYTES_PER_S);
	if (a->bucket_bytes < ADVERTS_BURST_BYTES) {
		a->bucket_bytes +=
			(int64_t)(bytes < ADVERTS_BURST_BYTES ? bytes : ADVERTS_BURST_BYTES);
		if (a->bucket_bytes > ADVERTS_BURST_BYTES)
			a->bucket_bytes = ADVERTS_BURST_BYTES;
	}
}

/* Nobody to tell: there is no such home. */
static void drop_news(struct item *it, enum target t)
{
	it->have[t] = set_none(it->mine.n);
	it->gone[t] = set_none(it->mine.n);
	it->has_home[t] = false;
}

/* Does it have news for the target, of the kind that out is made of (or may be made of)? */
static bool fits(const struct adverts *a, struct item *it, enum target t,
                 const struct adverts_out *out, bool *ret_gone, struct wire_id *ret_home)
{
	if (set_empty(&it->have[t]) && set_empty(&it->gone[t]))
		return false;
	if (!home_of(a, it, t, ret_home)) {
		drop_news(it, t);
		return false;
	}
	*ret_gone = !set_empty(&it->gone[t]);
	if (*ret_gone && out->n_parts > 0 && out->type == WIRE_HAVE && !set_empty(&it->have[t]))
		*ret_gone = false;
	if (out->n_parts == 0)
		return true;
	return id_equal(ret_home, &out->to) && out->type == (*ret_gone ? WIRE_GONE : WIRE_HAVE);
}

static void put(struct adverts *a, struct item *it, enum target t, struct adverts_out *out,
                bool gone, const struct wire_id *home)
{
	struct wire_set *set = gone ? &it->gone[t] : &it->have[t];

	out->to = *home;
	out->type = gone ? WIRE_GONE : WIRE_HAVE;
	out->parts[out->n_parts++] =
		(struct wire_part){ .segment = it->segment, .list = it->list, .set = *set };
	a->bucket_bytes -= PART_BYTES + (set->n + 7U) / 8;
	*set = set_none(set->n);
	it->told_home[t] = *home;
	it->has_home[t] = true;
	it->told_ns = now_of(a);
}

/* Once in a long while everything is told again: homes forget. */
static void refresh(struct adverts *a)
{
	struct item *it = a->all;
	const uint64_t now_ns = now_of(a);

	for (uint32_t i = 0; it != NULL && i < 4; i++) {
		struct item *next = it->next;

		if (now_ns - it->told_ns < REFRESH_NS)
			return;
		it->told_ns = now_ns;
		DL_DELETE(a->all, it);
		DL_APPEND(a->all, it);
		for (uint32_t t = 0; t < N_TARGETS; t++)
			tell_again(a, it, t);
		it = next;
	}
}

/* Put what of an item fits into the message. */
static void take(struct adverts *a, struct item *it, struct adverts_out *out)
{
	for (uint32_t t = 0; t < N_TARGETS && out->n_parts < WIRE_ADVERTS_MAX; t++) {
		struct wire_id home;
		bool gone;

		if (fits(a, it, t, out, &gone, &home))
			put(a, it, t, out, gone, &home);
	}
	if (!has_news(it))
		unqueue(a, it);
}

bool adverts_next(struct adverts *a, struct adverts_out *ret_out)
{
	const uint64_t now_ns = now_of(a);
	struct item *it;
	struct item *next;
	uint32_t n_seen = 0;

	ret_out->n_parts = 0;
	fill_bucket(a);
	refresh(a);
	if (a->bucket_bytes <= 0)
		return false;
	for (it = a->queue; it != NULL && n_seen < SCAN_MAX; it = next, n_seen++) {
		next = it->queue_next;
		if (ret_out->n_parts > 0 || now_ns >= it->due_ns)
			take(a, it, ret_out);
	}
	if (ret_out->n_parts > 0)
		a->bucket_bytes -= MESSAGE_BYTES;
	return ret_out->n_parts > 0;
}

uint64_t adverts_due_ns(const struct adverts *a)
{
	uint64_t due_ns = UINT64_MAX;
	uint64_t money_ns = 0;
	const struct item *it;

	if (a->bucket_bytes <= 0)
		money_ns = a->filled_ns +
		           (uint64_t)(1 - a->bucket_bytes) * (NS_PER_S / ADVERTS_BYTES_PER_S);
	for (it = a->queue; it != NULL; it = it->queue_next) {
		due_ns = it->due_ns < due_ns ? it->due_ns : due_ns;
		if (!it->urgent)
			break; /* those behind it came later */
	}
	if (due_ns == UINT64_MAX)
		return a->all == NULL ? UINT64_MAX : a->all->told_ns + REFRESH_NS;
	return due_ns > money_ns ? due_ns : money_ns;
}
