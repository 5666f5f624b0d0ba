/*
 * holders: see the header. Two tables: lists with their holders, peers with their worth.
 */
#include "holders.h"
#include "mem.h"
#include "set.h"
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#define SAMPLES            32U         /* of the first byte, a peer */
#define RATE_MIN_BYTES     (16U << 10) /* smaller answers say nothing of the rate */
#define RATE_SHARE         4U          /* a new sample's weight: one in four */
#define FIRST_BYTE_DEFAULT (UINT64_C(20) * NS_PER_MS)
#define RATE_DEFAULT       (UINT64_C(10) << 20)
#define BREAK_MAX_MS       30000U
#define DISTRUST_MAX_MS    3600000U
#define VAIN_MAX_MS        600000U

struct worth { /* of one peer */
	struct wire_id id;
	uint64_t first_byte_ns[SAMPLES];
	uint32_t n_samples;  /* ever */
	uint32_t n_failures; /* in a row */
	uint32_t n_distrusts;
	uint32_t n_home_silent;
	uint64_t home_silent_until_ns;
	uint32_t n_home_vain;
	uint64_t home_vain_until_ns;
	bool probing; /* one request tries whether it lives again */
	struct holders_peer told;
	UT_hash_handle hh;
};

struct holder {
	struct wire_id id;
	struct wire_set set;
};

struct list {
	struct wire_id id;
	struct list *prev, *next; /* the least recently used first */
	struct holder nodes[HOLDERS_NODES_MAX];
	uint32_t n_nodes;
	UT_hash_handle hh;
};

struct holders {
	const struct clock *clock;
	struct wire_id self;
	struct list *by_id;
	struct list *oldest;
	struct worth *peers; /* in the order of their first appearance */
};

struct holders *holders_new(const struct clock *clock, const struct wire_id *self)
{
	struct holders *h = xcalloc(1, sizeof(*h));

	h->clock = clock;
	h->self = *self;
	return h;
}

static void list_free(struct holders *h, struct list *l)
{
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): not seen through uthash */
	HASH_DEL(h->by_id, l);
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): nor utlist */
	DL_DELETE(h->oldest, l);
	free(l);
}

void holders_free(struct holders **holders)
{
	struct holders *h = *holders;
	struct worth *w;
	struct worth *next;

	if (h == NULL)
		return;
	while (h->oldest != NULL)
		list_free(h, h->oldest);
	HASH_ITER(hh, h->peers, w, next)
	{
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): not seen through uthash */
		HASH_DEL(h->peers, w);
		free(w);
	}
	free(h);
	*holders = NULL;
}

/* ---- who has what ---- */

static struct list *find_list(struct holders *h, const struct wire_id *id, uint16_t n)
{
	struct list *l;

	HASH_FIND(hh, h->by_id, id->b, WIRE_ID_BYTES, l);
	if (l == NULL || l->nodes[0].set.n != n)
		return NULL;
	DL_DELETE(h->oldest, l);
	DL_APPEND(h->oldest, l);
	return l;
}

static struct list *make_list(struct holders *h, const struct wire_id *id)
{
	struct list *l;

	HASH_FIND(hh, h->by_id, id->b, WIRE_ID_BYTES, l);
	if (l != NULL)
		list_free(h, l); /* another length under the same id: the newer counts */
	if (HASH_COUNT(h->by_id) >= HOLDERS_LISTS_MAX)
		list_free(h, h->oldest);
	l = xcalloc(1, sizeof(*l));
	l->id = *id;
	HASH_ADD(hh, h->by_id, id, WIRE_ID_BYTES, l);
	DL_APPEND(h->oldest, l);
	return l;
}

static struct holder *find_holder(struct list *l, const struct wire_id *node)
{
	for (uint32_t i = 0; i < l->n_nodes; i++) {
		if (id_equal(&l->nodes[i].id, node))
			return &l->nodes[i];
	}
	return NULL;
}

/* Where all places are taken the one that has least goes. */
static struct holder *make_holder(struct list *l, const struct wire_id *node, uint16_t n)
{
	struct holder *least = &l->nodes[0];

	if (l->n_nodes < HOLDERS_NODES_MAX) {
		least = &l->nodes[l->n_nodes++];
	} else {
		for (uint32_t i = 1; i < l->n_nodes; i++) {
			if (set_count(&l->nodes[i].set) < set_count(&least->set))
				least = &l->nodes[i];
		}
	}
	*least = (struct holder){ .id = *node, .set = set_none(n) };
	return least;
}

void holders_learn(struct holders *h, const struct wire_part *part, const struct wire_id *nodes,
                   uint32_t n_nodes)
{
	struct list *l = find_list(h, &part->list, part->set.n);

	if (set_empty(&part->set))
		return;
	for (uint32_t i = 0; i < n_nodes; i++) {
		struct holder *holder;

		if (id_equal(&nodes[i], &h->self))
			continue;
		if (l == NULL)
			l = make_list(h, &part->list);
		holder = find_holder(l, &nodes[i]);
		if (holder == NULL)
			holder = make_holder(l, &nodes[i], part->set.n);
		holder->set = set_or(holder->set, &part->set);
	}
}

static void drop_holder(struct holders *h, struct list *l, struct holder *holder)
{
	*holder = l->nodes[--l->n_nodes];
	if (l->n_nodes == 0)
		list_free(h, l);
}

void holders_forget(struct holders *h, const struct wire_id *node, const struct wire_part *part)
{
	struct list *l = find_list(h, &part->list, part->set.n);
	struct holder *holder = l == NULL ? NULL : find_holder(l, node);

	if (holder == NULL)
		return;
	holder->set = set_minus(holder->set, &part->set);
	if (set_empty(&holder->set))
		drop_holder(h, l, holder);
}

void holders_forget_node(struct holders *h, const struct wire_id *node)
{
	struct list *l;
	struct list *next;
	struct worth *w;

	HASH_ITER(hh, h->by_id, l, next)
	{
		struct holder *holder = find_holder(l, node);

		if (holder != NULL)
			drop_holder(h, l, holder);
	}
	HASH_FIND(hh, h->peers, node->b, WIRE_ID_BYTES, w);
	if (w != NULL) {
		w->told.asked_bytes = 0;
		w->probing = false;
	}
}

/* ---- what they are worth ---- */

static struct worth *find_worth(const struct holders *h, const struct wire_id *node)
{
	struct worth *w;

	HASH_FIND(hh, h->peers, node->b, WIRE_ID_BYTES, w);
	return w;
}

static struct worth *worth_of(struct holders *h, const struct wire_id *node)
{
	struct worth *w = find_worth(h, node);

	if (w != NULL)
		return w;
	if (HASH_COUNT(h->peers) >= HOLDERS_PEERS_MAX) {
		w = h->peers; /* the first to appear */
		HASH_DEL(h->peers, w);
		free(w);
	}
	w = xcalloc(1, sizeof(*w));
	w->id = *node;
	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the analyzer does not follow uthash */
	HASH_ADD(hh, h->peers, id, WIRE_ID_BYTES, w);
	return w;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a;
	const uint64_t *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void add_first_byte(struct worth *w, uint64_t first_byte_ns)
{
	uint64_t sorted[SAMPLES] = { 0 };
	uint32_t n;

	w->first_byte_ns[w->n_samples++ % SAMPLES] = first_byte_ns;
	n = w->n_samples < SAMPLES ? w->n_samples : SAMPLES;
	memcpy(sorted, w->first_byte_ns, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), by_value);
	w->told.first_byte_p95_ns = sorted[n == 0 ? 0 : (n - 1) * 95 / 100];
}

static void add_rate(struct worth *w, uint64_t size_bytes, uint64_t ns)
{
	uint64_t rate;

	if (size_bytes < RATE_MIN_BYTES || ns == 0)
		return;
	rate = size_bytes * NS_PER_S / ns; /* size_bytes < 2^28: units are */
	if (w->told.rate_bytes_per_s == 0)
		w->told.rate_bytes_per_s = rate;
	else
		w->told.rate_bytes_per_s +=
			rate / RATE_SHARE - w->told.rate_bytes_per_s / RATE_SHARE;
}

static void take_back(struct worth *w, uint64_t size_bytes)
{
	w->told.asked_bytes -= size_bytes < w->told.asked_bytes ? size_bytes : w->told.asked_bytes;
}

void holders_began(struct holders *h, const struct wire_id *node, uint64_t size_bytes)
{
	struct worth *w = worth_of(h, node);

	w->told.asked_bytes += size_bytes;
	w->probing = w->n_failures >= HOLDERS_BREAKER;
}

void holders_ended(struct holders *h, const struct wire_id *node, uint64_t size_bytes,
                   uint64_t first_byte_ns, uint64_t total_ns)
{
	struct worth *w = worth_of(h, node);

	take_back(w, size_bytes);
	w->n_failures = 0;
	w->probing = false;
	w->told.broken_until_ns = 0;
	add_first_byte(w, first_byte_ns);
	add_rate(w, size_bytes, total_ns > first_byte_ns ? total_ns - first_byte_ns : 0);
}

static uint64_t growing_ms(uint64_t first_ms, uint32_t n_before, uint64_t max_ms)
{
	const uint64_t ms = first_ms << (n_before < 16 ? n_before : 16);

	return ms < max_ms ? ms : max_ms;
}

void holders_fault(struct holders *h, const struct wire_id *node, uint64_t size_bytes,
                   enum holders_fault fault)
{
	struct worth *w = worth_of(h, node);
	const uint64_t now_ns = clock_now_ns(h->clock);

	take_back(w, size_bytes);
	w->probing = false;
	w->told.n_faults[fault]++;
	if (fault == HOLDERS_MISSED)
		return; /* it lives, and evicts: no fault of its own */
	if (fault == HOLDERS_FAILED) {
		if (++w->n_failures >= HOLDERS_BREAKER)
			w->told.broken_until_ns =
				now_ns + NS_PER_MS * growing_ms(HOLDERS_BREAK_MS,
			                                        w->n_failures - HOLDERS_BREAKER,
			                                        BREAK_MAX_MS);
		return;
	}
	w->told.distrusted_until_ns =
		now_ns +
		NS_PER_MS * growing_ms(HOLDERS_DISTRUST_MS, w->n_distrusts++, DISTRUST_MAX_MS);
}

bool holders_failing(const struct holders *h, const struct wire_id *node)
{
	const struct worth *w = find_worth(h, node);

	return w != NULL && w->n_failures > 0;
}

static void home_is_silent(const struct holders *h, struct worth *w)
{
	w->home_silent_until_ns =
		clock_now_ns(h->clock) +
		NS_PER_MS * growing_ms(HOLDERS_BREAK_MS, w->n_home_silent++, BREAK_MAX_MS);
}

void holders_home_silent(struct holders *h, const struct wire_id *node)
{
	struct worth *w = worth_of(h, node);

	w->told.n_faults[HOLDERS_FAILED]++;
	home_is_silent(h, w);
}

void holders_dead(struct holders *h, const struct wire_id *node)
{
	struct worth *w = worth_of(h, node);

	if (clock_now_ns(h->clock) >= w->home_silent_until_ns)
		home_is_silent(h, w);
}

void holders_home_vain(struct holders *h, const struct wire_id *node)
{
	struct worth *w = worth_of(h, node);
	const uint64_t now_ns = clock_now_ns(h->clock);

	w->told.n_faults[HOLDERS_FAILED]++;
	if (now_ns < w->home_vain_until_ns)
		return; /* several readers, the same fault */
	if (now_ns >= w->home_vain_until_ns + VAIN_MAX_MS * NS_PER_MS)
		w->n_home_vain = 0; /* that was long ago */
	w->home_vain_until_ns =
		now_ns + NS_PER_MS * growing_ms(HOLDERS_VAIN_MS, w->n_home_vain++, VAIN_MAX_MS);
}

void holders_home_useful(struct holders *h, const struct wire_id *node)
{
	struct worth *w = find_worth(h, node);

	if (w != NULL)
		w->n_home_vain = 0;
}

void holders_home_answered(struct holders *h, const struct wire_id *node)
{
	struct worth *w = find_worth(h, node);

	if (w == NULL)
		return;
	w->n_home_silent = 0;
	w->home_silent_until_ns = 0;
}

static bool is_trusted(const struct worth *w, uint64_t now_ns)
{
	return now_ns >= w->told.distrusted_until_ns;
}

bool holders_home_usable(const struct holders *h, const struct wire_id *node)
{
	const struct worth *w = find_worth(h, node);
	const uint64_t now_ns = clock_now_ns(h->clock);

	return w == NULL || (is_trusted(w, now_ns) && now_ns >= w->home_silent_until_ns &&
	                     now_ns >= w->home_vain_until_ns);
}

void holders_cancelled(struct holders *h, const struct wire_id *node, uint64_t size_bytes)
{
	struct worth *w = worth_of(h, node);

	take_back(w, size_bytes);
	w->probing = false;
}

bool holders_trusted(const struct holders *h, const struct wire_id *node)
{
	const struct worth *w = find_worth(h, node);

	return w == NULL || is_trusted(w, clock_now_ns(h->clock));
}

bool holders_usable(struct holders *h, const struct wire_id *node)
{
	const struct worth *w = find_worth(h, node);
	const uint64_t now_ns = clock_now_ns(h->clock);

	return w == NULL ||
	       (is_trusted(w, now_ns) && now_ns >= w->told.broken_until_ns && !w->probing);
}

/* Bytes at the rate of w, and its first byte. */
static uint64_t expected_ns(const struct worth *w, uint64_t size_bytes)
{
	const uint64_t rate = w == NULL || w->told.rate_bytes_per_s == 0 ? RATE_DEFAULT
	                                                                 : w->told.rate_bytes_per_s;
	const uint64_t asked = w == NULL ? 0 : w->told.asked_bytes;

	return (asked + size_bytes) * 1000 / rate * NS_PER_MS +
	       (asked + size_bytes) * 1000 % rate * NS_PER_MS / rate;
}

uint64_t holders_hedge_ns(const struct holders *h, const struct wire_id *node, uint64_t size_bytes)
{
	const struct worth *w = find_worth(h, node);
	const uint64_t p95_ns = w == NULL || w->told.first_byte_p95_ns == 0
	                                ? FIRST_BYTE_DEFAULT
	                                : w->told.first_byte_p95_ns;
	const uint64_t wait_ns =
		2 * p95_ns > HOLDERS_HEDGE_MIN_NS ? 2 * p95_ns : HOLDERS_HEDGE_MIN_NS;

	return clock_now_ns(h->clock) + wait_ns + expected_ns(w, size_bytes);
}

void holders_peer(const struct holders *h, const struct wire_id *node,
                  struct holders_peer *ret_peer)
{
	const struct worth *w = find_worth(h, node);

	*ret_peer = (struct holders_peer){ .first_byte_p95_ns = 0 };
	if (w != NULL)
		*ret_peer = w->told;
}

/* ---- picking ---- */

static bool is_among(const struct wire_id *ids, uint32_t n, const struct wire_id *id)
{
	for (uint32_t i = 0; i < n; i++) {
		if (id_equal(&ids[i], id))
			return true;
	}
	return false;
}

bool holders_pick(struct holders *h, const struct wire_part *part, const struct wire_id *avoid,
                  uint32_t n_avoid, struct holders_pick *ret_pick)
{
	struct list *l = find_list(h, &part->list, part->set.n);
	uint32_t best_count = 0;
	uint64_t best_ns = UINT64_MAX;

	for (uint32_t i = 0; l != NULL && i < l->n_nodes; i++) {
		const struct holder *holder = &l->nodes[i];
		const struct wire_set set = set_and(holder->set, &part->set);
		const uint32_t count = set_count(&set);
		const struct worth *w = find_worth(h, &holder->id);
		const uint64_t ns = expected_ns(w, 0) + (w == NULL ? 0 : w->told.first_byte_p95_ns);

		if (count == 0 || is_among(avoid, n_avoid, &holder->id) ||
		    !holders_usable(h, &holder->id))
			continue;
		if (count > best_count || (count == best_count && ns < best_ns)) {
			*ret_pick = (struct holders_pick){ holder->id, set };
			best_count = count;
			best_ns = ns;
		}
	}
	return best_count > 0;
}
