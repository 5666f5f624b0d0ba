/*
 * share: chunks that one open blob has and another lacks: who has what, and making it present.
 *
 * Knows names and bits; knows not who asks, and nothing of networks.
 */
#include "share.h"
#include "gc.h"
#include "hand_out.h"
#include "join.h"
#include "mem.h"
#include "refer.h"
#include "share_rules.h"
#include "state.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 8U   /* of one chunk, tried one after another */
#define STALE_MAX  512U /* candidates that are looked at again behind one that was none */

bool cas_blob_is_present(const struct cas_blob *blob, uint32_t chunk_idx)
{
	return bitmap_get(blob->ready, chunk_idx) || refer_is_good(blob, chunk_idx);
}

bool cas_blob_is_candidate(const struct cas_blob *blob, uint32_t chunk_idx)
{
	return bitmap_get(blob->candidate, chunk_idx) && !cas_blob_is_present(blob, chunk_idx);
}

bool cas_blob_owner_of(const struct cas_blob *blob, uint32_t chunk_idx,
                       struct cas_chunk_place *ret_place)
{
	struct cas_blob *owner = NULL;
	const struct chunk_rec *c;
	uint32_t idx = 0;

	if (bitmap_get(blob->ready, chunk_idx) || !refer_get(blob, chunk_idx, &owner, &idx) ||
	    !bitmap_get(owner->ready, idx))
		return false;
	c = &blob_layout(owner)->chunks[idx];
	*ret_place = (struct cas_chunk_place){ .chunk_idx = idx,
		                               .plain_size_bytes = c->plain_size_bytes,
		                               .plain_offset = c->plain_offset,
		                               .ready = true };
	memcpy(ret_place->key, owner->key, sizeof(ret_place->key));
	return true;
}

const char *cas_share_way(const struct cas *cas)
{
	if (!cas->dedup)
		return "off";
	return cas->can_clone ? "reflink" : "refer";
}

void cas_join_behind(struct cas *cas, bool on)
{
	atomic_store(&cas->joins_behind, on);
}

uint32_t cas_joins_running(const struct cas *cas)
{
	return atomic_load(&cas->n_joins);
}

bool cas_blob_is_joining(const struct cas_blob *blob)
{
	return atomic_load(&blob->n_joins) > 0;
}

/* ---- candidates ---- */

static bool mark(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	const struct cas_blob *from = arg;

	/* Not whether it is referred: without a reference its map may be on its way out. */
	if (blob != from && !bitmap_get(blob->ready, chunk_idx))
		(void)bitmap_set(blob->candidate, chunk_idx);
	return true;
}

void share_arrived(struct cas_blob *blob, uint32_t chunk_idx)
{
	struct cas *cas = blob->cas;

	/* The bit is set before this looks; who joins looks at bits after it can be found here. */
	if (cas->dedup)
		share_map_each_of(cas->map, blob, chunk_idx, mark, blob);
	hooks_ready(&cas->hooks, blob, chunk_idx);
}

struct wanting {
	const struct cas_blob *from;
	uint32_t n;
	struct cas_blob *blobs[PLACES_MAX]; /* with references */
};

static bool note_wanting(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct wanting *w = arg;
	uint32_t i = 0;

	if (blob == w->from || !bitmap_get(blob->candidate, chunk_idx) ||
	    bitmap_get(blob->ready, chunk_idx))
		return true;
	while (i < w->n && w->blobs[i] != blob)
		i++;
	/* One that closes itself wants nothing; two that close would call each other back for ever.
	 */
	if (i == w->n && i < PLACES_MAX && blob_table_try_ref_used(blob))
		w->blobs[w->n++] = blob;
	return true;
}

static void note_all_wanting(struct wanting *w)
{
	const struct cas_blob *blob = w->from;
	const struct blob_layout *l = blob_layout(blob);
	struct public_namer *namer = public_namer_new();

	for (uint32_t i = bitmap_next_set(blob->ready, 0); i < l->n_chunks && w->n < PLACES_MAX;
	     i = bitmap_next_set(blob->ready, i + 1)) {
		const struct chunk_rec *c = &l->chunks[i];
		uint8_t name[PUBLIC_NAME_BYTES];

		if (!(c->flags & CHUNK_HAS_DIGEST))
			continue;
		public_name(namer, l->digest_alg, c->digest, c->plain_size_bytes, name);
		share_map_each(blob->cas->map, name, note_wanting, w);
	}
	public_namer_free(&namer);
}

void share_closing(struct cas_blob *blob)
{
	struct wanting w = { .from = blob };

	if (!blob->cas->dedup || atomic_load(&blob->cas->closing) ||
	    atomic_load(&blob->entries) == NULL || !blob_table_any_wants(blob))
		return;
	note_all_wanting(&w);
	for (uint32_t i = 0; i < w.n; i++) {
		refer_hold(w.blobs[i], blob);
		cas_blob_release(&w.blobs[i]);
	}
}

/* One who refers to a chunk that went. */
struct referrer {
	struct cas_blob *blob; /* a reference */
	uint32_t chunk_idx;
};

struct told {
	uint32_t n, room;
	struct referrer *referrers;
};

/* A place more, always. @return NULL: memory is out */
static struct referrer *make_room(struct told *told)
{
	const uint32_t room = told->room == 0 ? 16 : told->room * 2; /* <= open blobs, doubled */
	struct referrer *wider;

	if (told->n < told->room)
		return &told->referrers[told->n];
	wider = reallocarray(told->referrers, room, sizeof(*wider));
	if (wider == NULL)
		return NULL;
	told->referrers = wider;
	told->room = room;
	return &told->referrers[told->n];
}

static bool note_referrer(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct told *told = arg;
	struct referrer *next;

	if (bitmap_get(blob->ready, chunk_idx))
		return true;
	next = make_room(told);
	if (next == NULL)
		return false; /* they find out when they are asked for it */
	if (blob_table_try_ref(blob)) {
		*next = (struct referrer){ .blob = blob, .chunk_idx = chunk_idx };
		told->n++;
	}
	return true;
}

/* The map can be looked at with a reference only: it may be on its way out. */
static bool refers_to(const struct referrer *r, const struct cas_blob *owner, uint32_t owner_idx)
{
	struct cas_blob *its_owner = NULL;
	uint32_t idx = 0;

	return refer_get(r->blob, r->chunk_idx, &its_owner, &idx) && its_owner == owner &&
	       idx == owner_idx;
}

struct look {
	const struct cas_blob *except;
	uint32_t n_max;
	uint32_t n;
	struct cas_blob *blobs[PLACES_MAX]; /* with references, if with_refs */
	uint32_t idx[PLACES_MAX];
	bool with_refs;
};

/* Stops at the last that fits. */
static bool note_ready(void *arg, struct cas_blob *blob, uint32_t chunk_idx)
{
	struct look *look = arg;

	if (blob == look->except || !bitmap_get(blob->ready, chunk_idx))
		return true;
	if (look->with_refs && !blob_table_try_ref(blob))
		return true;
	look->blobs[look->n] = blob;
	look->idx[look->n] = chunk_idx;
	look->n++;
	return look->n < look->n_max;
}

/* Another blob has it still: a candidate again for this one and for all who referred to it here. */
static void mark_again(struct cas_blob *blob, const uint8_t name[PUBLIC_NAME_BYTES])
{
	struct look look = { .except = blob, .n_max = 1 };

	share_map_each(blob->cas->map, name, note_ready, &look);
	if (look.n > 0)
		share_map_each(blob->cas->map, name, mark, look.blobs[0]);
}

void share_went(struct cas_blob *blob, uint32_t chunk_idx)
{
	struct cas *cas = blob->cas;
	struct told told = { .n = 0 };
	uint8_t name[PUBLIC_NAME_BYTES];
	const bool is_named = share_map_name(blob, chunk_idx, name);

	if (is_named && cas->dedup)
		mark_again(blob, name);
	if (!atomic_load(&cas->hooks.is_on))
		return;
	hooks_gone(&cas->hooks, blob, chunk_idx);
	if (is_named)
		share_map_each(cas->map, name, note_referrer, &told);
	for (uint32_t i = 0; i < told.n; i++) {
		struct referrer *r = &told.referrers[i];

		if (refers_to(r, blob, chunk_idx))
			hooks_gone(&cas->hooks, r->blob, r->chunk_idx);
		cas_blob_release(&r->blob);
	}
	free(told.referrers);
}

/* What of the blob do others have ready? */
static void mark_candidates(struct cas_blob *blob)
{
	const struct blob_layout *l = blob_layout(blob);
	struct public_namer *namer = public_namer_new();

	for (uint32_t i = 0; i < l->n_chunks; i++) {
		const struct chunk_rec *c = &l->chunks[i];
		struct look look = { .except = blob, .n_max = 1 };
		uint8_t name[PUBLIC_NAME_BYTES];

		if (c->plain_size_bytes == 0 || !(c->flags & CHUNK_HAS_DIGEST) ||
		    cas_blob_is_present(blob, i))
			continue;
		public_name(namer, l->digest_alg, c->digest, c->plain_size_bytes, name);
		share_map_each(blob->cas->map, name, note_ready, &look);
		if (look.n > 0)
			(void)bitmap_set(blob->candidate, i);
	}
	public_namer_free(&namer);
}

/* As long as nobody used it, it kept nobody open: who had these may be closed, and the join is to
 * look for them. */
static void forget_candidates(struct cas_blob *blob)
{
	const struct bitmap *candidate = blob->candidate;

	for (uint32_t i = bitmap_next_set(candidate, 0); i < candidate->n_bits;
	     i = bitmap_next_set(candidate, i + 1))
		(void)bitmap_clear(blob->candidate, i);
}

static void be_found(struct cas_blob *blob, struct blob_layout *known)
{
	struct err e;

	/* Twice the same layout: nothing new to find. */
	if (atomic_exchange(&blob->joined_layout, known) == known)
		return;
	if (share_map_add(blob->cas->map, blob, &e) < 0)
		log_warn(blob->cas->log, "chunks of a blob are not shared", "blob=%s why=%s",
		         blob->key, LOG_Q(e.msg));
}

void share_joined(struct cas_blob *blob, bool active)
{
	struct blob_layout *known = blob_layout(blob);
	struct blob_layout *sought;

	be_found(blob, known);
	if (!active || !blob->cas->dedup)
		return;
	sought = atomic_exchange(&blob->sought_layout, known);
	if (sought == known)
		return;
	if (sought == NULL)
		forget_candidates(blob);
	mark_candidates(blob);
	join_blob(blob);
}

/* ---- finding ---- */

int cas_find_open(struct cas *cas, const uint8_t name[PUBLIC_NAME_BYTES],
                  struct cas_blob **ret_blob, uint32_t *ret_idx)
{
	struct look look = { .n_max = 1, .with_refs = true };

	share_map_each(cas->map, name, note_ready, &look);
	if (look.n == 0)
		return CAS_MISS;
	*ret_blob = look.blobs[0];
	*ret_idx = look.idx[0];
	return 0;
}

/* ---- sharing ---- */

static void count_shared(const struct cas_blob *blob, uint32_t size_bytes)
{
	static const char *const from_dedup[] = { "dedup" };
	struct metrics *m = blob->cas->metrics;

	metrics_add(m, METRIC_CHUNKS, from_dedup, 1);
	metrics_add(m, METRIC_CHUNK_BYTES, from_dedup, size_bytes);
	metrics_add(m, METRIC_DEDUP_SAVED_BYTES, NULL, size_bytes);
}

/* The bytes are right: where shall the chunk stand? @return 0; CAS_MISS; CAS_FULL; negative */
static int settle(struct cas_blob *blob, uint32_t chunk_idx, struct cas_blob *from,
                  uint32_t from_idx, const uint8_t *plain, struct err *e)
{
	const uint32_t size_bytes = blob_layout(blob)->chunks[chunk_idx].plain_size_bytes;
	/* The kernel looks for it in this file and nowhere else, also after its mount is gone. */
	const bool here = cas_blob_is_pinned(blob) || blob_is_held_elsewhere(blob);
	int r = here ? CAS_MISS : refer_set(blob, chunk_idx, from, from_idx, e);

	if (r == 0) {
		count_shared(blob, size_bytes);
		share_arrived(blob, chunk_idx);
	} else if (r == CAS_MISS) { /* or too many owners */
		r = cas_blob_put(blob, chunk_idx, plain, e);
		if (r == 0)
			count_shared(blob, size_bytes);
	}
	return r == 1 ? 0 : r;
}

/* @param plain  room for the chunk; its bytes if 0 is returned
 * @return 0; CAS_MISS these bytes are wrong, or gone; CAS_FULL; negative */
static int share_from(struct cas_blob *blob, uint32_t chunk_idx, struct cas_blob *from,
                      uint32_t from_idx, uint8_t *plain, struct err *e)
{
	static const char *const from_dedup[] = { "dedup" };
	const struct blob_layout *l = blob_layout(blob);
	const struct chunk_rec *c = &l->chunks[chunk_idx];
	const struct chunk_rec *theirs = &blob_layout(from)->chunks[from_idx];
	int r;

	if (theirs->plain_size_bytes != c->plain_size_bytes)
		return CAS_MISS;
	r = cas_blob_read(from, from_idx, 1, theirs->plain_offset, theirs->plain_size_bytes, plain,
	                  e);
	if (r != 0)
		return r;
	if (digest_matches(l->digest_alg, plain, c->plain_size_bytes, c->digest))
		return settle(blob, chunk_idx, from, from_idx, plain, e);
	metrics_add(blob->cas->metrics, METRIC_VERIFY_FAILURES, from_dedup, 1);
	blob_void(from, from_idx, VOID_WRONG_BYTES);
	return CAS_MISS;
}

/* Does an open blob have it? to_share: one that can be had now; else perhaps in a moment. */
static bool somebody_has(struct cas_blob *blob, uint32_t chunk_idx, bool to_share)
{
	struct look look = { .except = blob, .n_max = 1, .with_refs = to_share };

	share_map_each_of(blob->cas->map, blob, chunk_idx, note_ready, &look);
	if (to_share)
		cas_blob_release(&look.blobs[0]);
	return look.n > 0;
}

/* Nobody has it any more. The same may be so for those behind it (an image was removed, or
 * evicted): planning is to know before it ends a request at each of them. */
static void forget_stale(struct cas_blob *blob, uint32_t chunk_idx)
{
	const uint32_t n_chunks = blob_layout(blob)->n_chunks;
	const uint32_t end = n_chunks - chunk_idx > STALE_MAX ? chunk_idx + STALE_MAX : n_chunks;

	for (uint32_t i = bitmap_next_set(blob->candidate, chunk_idx); i < end;
	     i = bitmap_next_set(blob->candidate, i + 1)) {
		if (somebody_has(blob, i, false))
			continue;
		(void)bitmap_clear(blob->candidate, i);
		if (somebody_has(blob, i, false)) /* it came meanwhile */
			(void)bitmap_set(blob->candidate, i);
	}
}

int cas_blob_share_into(struct cas_blob *blob, uint32_t chunk_idx, uint8_t *ret_plain,
                        struct err *e)
{
	const struct blob_layout *l = blob_layout(blob);
	struct look look = { .except = blob, .n_max = PLACES_MAX, .with_refs = true };
	int r = CAS_MISS;

	if (!blob->cas->dedup || chunk_idx >= l->n_chunks ||
	    !(l->chunks[chunk_idx].flags & CHUNK_HAS_DIGEST))
		return CAS_MISS;
	share_map_each_of(blob->cas->map, blob, chunk_idx, note_ready, &look);
	for (uint32_t i = 0; i < look.n; i++) {
		if (r == CAS_MISS)
			r = share_from(blob, chunk_idx, look.blobs[i], look.idx[i], ret_plain, e);
		cas_blob_release(&look.blobs[i]);
	}
	/* Only now: as long as it is tried, nobody is to ask for it elsewhere. */
	(void)bitmap_clear(blob->candidate, chunk_idx);
	if (r == CAS_MISS && look.n == 0) {
		if (somebody_has(blob, chunk_idx, true)) /* it came meanwhile, and could be had */
			(void)bitmap_set(blob->candidate, chunk_idx);
		forget_stale(blob, chunk_idx);
	}
	return r;
}

int cas_blob_share(struct cas_blob *blob, uint32_t chunk_idx, struct err *e)
{
	uint8_t *plain;
	int r;

	if (cas_blob_is_present(blob, chunk_idx))
		return 0;
	if (!cas_blob_is_candidate(blob, chunk_idx))
		return CAS_MISS;
	plain = malloc(blob_layout(blob)->chunks[chunk_idx].plain_size_bytes + (size_t)1);
	if (plain == NULL)
		return err_set(e, ENOMEM, "sharing chunk %" PRIu32 ": out of memory", chunk_idx);
	r = cas_blob_share_into(blob, chunk_idx, plain, e);
	free(plain);
	return r;
}
