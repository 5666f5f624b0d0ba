/*
 * refer: see the header. Knows maps and holds; rows are refer_rows.c's.
 */
#include "refer.h"
#include "mem.h"
#include "reflink.h"
#include "register.h"
#include "state.h"
#include "stored.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The map, made by whoever comes first. */
static struct refer_map *map_of(struct cas_blob *blob)
{
	struct refer_map *map = atomic_load_explicit(&blob->refers, memory_order_acquire);
	struct refer_map *mine;

	if (map != NULL)
		return map;
	mine = calloc(1, sizeof(*mine) + (size_t)blob->ready->n_bits * sizeof(mine->at[0]));
	if (mine == NULL || atomic_compare_exchange_strong(&blob->refers, &map, mine))
		return mine;
	free(mine);
	return map;
}

/* The owner's place in the list, where it is held once. @return UINT32_MAX: the list is full */
static uint32_t owner_no(struct cas_blob *blob, struct refer_map *map, struct cas_blob *owner)
{
	uint32_t i = 0;

	(void)pthread_mutex_lock(&blob->mutex);
	while (i < REFER_OWNERS_MAX && atomic_load(&map->owners[i]) != NULL &&
	       atomic_load(&map->owners[i]) != owner)
		i++;
	if (i < REFER_OWNERS_MAX && atomic_load(&map->owners[i]) == NULL) {
		blob_table_hold(owner);
		atomic_store_explicit(&map->owners[i], owner, memory_order_release);
	}
	(void)pthread_mutex_unlock(&blob->mutex);
	return i < REFER_OWNERS_MAX ? i : UINT32_MAX;
}

bool refer_same_chunk(const struct blob_layout *a, uint32_t a_idx, const struct blob_layout *b,
                      uint32_t b_idx)
{
	const struct chunk_rec *ca;
	const struct chunk_rec *cb;

	if (a_idx >= a->n_chunks || b_idx >= b->n_chunks || a->digest_alg != b->digest_alg)
		return false;
	ca = &a->chunks[a_idx];
	cb = &b->chunks[b_idx];
	return (ca->flags & CHUNK_HAS_DIGEST) && (cb->flags & CHUNK_HAS_DIGEST) &&
	       ca->plain_size_bytes > 0 && ca->plain_size_bytes == cb->plain_size_bytes &&
	       memcmp(ca->digest, cb->digest, DIGEST_BYTES) == 0;
}

static bool same_chunk(const struct cas_blob *blob, uint32_t idx, const struct cas_blob *owner,
                       uint32_t owner_idx)
{
	return blob != owner &&
	       refer_same_chunk(blob_layout(blob), idx, blob_layout(owner), owner_idx);
}

static void mark_dirty(struct cas_blob *blob, uint32_t chunk_idx)
{
	(void)bitmap_set(blob->refer_dirty, chunk_idx >> REFER_SLICE_BITS);
	flush_timer_wake(&blob->cas->flush_timer);
}

int refer_set(struct cas_blob *blob, uint32_t chunk_idx, struct cas_blob *owner, uint32_t owner_idx,
              struct err *e)
{
	struct refer_map *map = map_of(blob);
	uint64_t at;
	uint32_t no;

	if (map == NULL)
		return err_set(e, ENOMEM, "dedup map of blob %s: out of memory", blob->key);
	if (!same_chunk(blob, chunk_idx, owner, owner_idx))
		return CAS_MISS;
	no = owner_no(blob, map, owner);
	if (no == UINT32_MAX)
		return CAS_MISS;
	at = (uint64_t)(no + 1) << 32 | owner_idx;
	if (atomic_exchange(&map->at[chunk_idx], at) == at)
		return 1;
	mark_dirty(blob, chunk_idx);
	return 0;
}

void refer_drop(struct cas_blob *blob, uint32_t chunk_idx)
{
	struct refer_map *map = atomic_load_explicit(&blob->refers, memory_order_acquire);

	if (map != NULL && atomic_load_explicit(&map->at[chunk_idx], memory_order_relaxed) != 0 &&
	    atomic_exchange(&map->at[chunk_idx], 0) != 0)
		mark_dirty(blob, chunk_idx);
}

/* ---- loading ---- */

struct stored_runs {
	struct refer_run *runs;
	uint32_t n_runs;
};

static int keep_run(void *arg, const struct refer_run *run, struct err *e)
{
	struct stored_runs *s = arg;

	(void)e;
	if ((s->n_runs & (s->n_runs - 1)) == 0)
		s->runs = xrealloc(s->runs, s->n_runs == 0 ? 1 : (size_t)s->n_runs * 2,
		                   sizeof(s->runs[0]));
	s->runs[s->n_runs++] = *run;
	return 0;
}

/* An owner by its row, held. @return 0; CAS_MISS it is gone, or rotten; negative */
static int hold_owner(struct cas *cas, uint64_t row, struct cas_blob **ret_owner, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	char key[CAS_KEY_BYTES];
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = stored_key(reader.db, row, key, e);
	db_reader_end(&reader); /* opening it may wait for the writer */
	if (r != 0)
		return r;
	r = blob_hold_registered(cas, key, ret_owner, e);
	return stored_pass_over(cas->log, key, r, e);
}

/* @param changed  slices of which the database says what is not so any more */
static void apply_run(const struct cas_blob *blob, struct refer_map *map,
                      const struct refer_run *run, uint32_t no, struct bitmap *changed)
{
	const struct cas_blob *owner = atomic_load(&map->owners[no]);

	for (uint32_t i = 0; i < run->n_chunks; i++) {
		const uint32_t idx = run->chunk_idx + i;

		if (idx >= blob->ready->n_bits)
			break;
		if (!bitmap_get(blob->ready, idx) &&
		    same_chunk(blob, idx, owner, run->owner_idx + i))
			atomic_store(&map->at[idx],
			             (uint64_t)(no + 1) << 32 | (run->owner_idx + i));
		else
			(void)bitmap_set(changed, idx >> REFER_SLICE_BITS);
	}
}

/* Owners as they come up in runs, each opened once. */
struct owner_rows {
	uint64_t rows[REFER_OWNERS_MAX];
	uint32_t n;
};

/* @return 0 and its number in the map; CAS_MISS it is gone, or one too many; negative */
static int owner_of_run(struct cas_blob *blob, struct refer_map *map, struct owner_rows *known,
                        uint64_t row, uint32_t *ret_no, struct err *e)
{
	struct cas_blob *owner = NULL;
	uint32_t no = 0;
	int r = 0;

	while (no < known->n && known->rows[no] != row)
		no++;
	if (no == REFER_OWNERS_MAX || row == blob->row)
		return CAS_MISS;
	if (no == known->n) {
		r = hold_owner(blob->cas, row, &owner, e);
		if (r != 0)
			return r;
		atomic_store(&map->owners[no], owner);
		known->rows[known->n++] = row;
	}
	*ret_no = no;
	return 0;
}

static int apply(struct cas_blob *blob, const struct stored_runs *s, struct err *e)
{
	AUTO(bitmap_free) struct bitmap *changed = bitmap_new(blob->refer_dirty->n_bits);
	struct refer_map *map = map_of(blob);
	struct owner_rows known = { .n = 0 };
	int r = 0;

	if (map == NULL || changed == NULL)
		return err_set(e, ENOMEM, "dedup map of blob %s: out of memory", blob->key);
	for (uint32_t i = 0; i < s->n_runs && r >= 0; i++) {
		uint32_t no = 0;

		r = owner_of_run(blob, map, &known, s->runs[i].owner_row, &no, e);
		if (r == 0)
			apply_run(blob, map, &s->runs[i], no, changed);
		else if (r == CAS_MISS && s->runs[i].chunk_idx < blob->ready->n_bits)
			(void)bitmap_set(changed, s->runs[i].chunk_idx >> REFER_SLICE_BITS);
	}
	/* Only now: a flush in between would store what is loaded so far as all there is. */
	for (uint32_t i = bitmap_next_set(changed, 0); i < changed->n_bits && r >= 0;
	     i = bitmap_next_set(changed, i + 1))
		mark_dirty(blob, i << REFER_SLICE_BITS);
	return r < 0 ? r : 0;
}

int refer_keep_owner(struct cas_blob *blob, uint64_t owner_row, struct err *e)
{
	struct refer_map *map = map_of(blob);
	struct cas_blob *owner = NULL;
	int r;

	if (map == NULL)
		return err_set(e, ENOMEM, "dedup map of blob %s: out of memory", blob->key);
	r = hold_owner(blob->cas, owner_row, &owner, e);
	if (r != 0)
		return r;
	if (owner == blob || owner_no(blob, map, owner) == UINT32_MAX)
		r = CAS_MISS;
	blob_table_unhold(owner); /* the map holds it, too */
	return r;
}

void refer_hold(struct cas_blob *blob, struct cas_blob *owner)
{
	struct refer_map *map = map_of(blob);

	if (map != NULL)
		(void)owner_no(blob, map, owner);
}

static int read_runs(struct cas_blob *blob, struct stored_runs *ret_runs, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	const int r = db_reader_begin(blob->cas->readers, &reader, e);

	return r == 0 ? refer_rows_each(reader.db, blob->row, keep_run, ret_runs, e) : r;
}

void refer_load(struct cas_blob *blob)
{
	struct stored_runs s = { .n_runs = 0 };
	struct err e;
	int r = 0;

	if (blob->row != 0)
		r = read_runs(blob, &s, &e);
	if (r == 0 && s.n_runs > 0)
		r = apply(blob, &s, &e);
	free(s.runs);
	if (r < 0)
		log_warn(blob->cas->log, "which chunks a blob shares is not known: found again",
		         "blob=%s why=%s", blob->key, LOG_Q(e.msg));
	reflink_soon(blob);
}

void refer_forget(struct cas_blob *blob)
{
	struct refer_map *map = atomic_exchange(&blob->refers, NULL);

	for (uint32_t i = 0; map != NULL && i < REFER_OWNERS_MAX; i++) {
		struct cas_blob *owner = atomic_load(&map->owners[i]);

		if (owner == NULL)
			break;
		blob_table_unhold(owner);
	}
	/* Without the map, a later flush would write for these slices that there is nothing. */
	bitmap_clear_all(blob->refer_dirty);
	free(map);
}

/* ---- writing ---- */

static uint32_t runs_of_slice(const struct cas_blob *blob, struct refer_map *map, uint32_t slice,
                              struct refer_run *runs)
{
	const uint32_t first = slice << REFER_SLICE_BITS;
	uint32_t n = 0;

	for (uint32_t i = first; i < first + REFER_SLICE_CHUNKS && i < blob->ready->n_bits; i++) {
		const uint64_t at = map != NULL ? atomic_load(&map->at[i]) : 0;
		struct refer_run *last = n > 0 ? &runs[n - 1] : NULL;
		uint64_t row;

		if (at == 0)
			continue;
		row = atomic_load(&map->owners[(at >> 32) - 1])->row;
		if (last != NULL && last->owner_row == row &&
		    last->chunk_idx + last->n_chunks == i &&
		    last->owner_idx + last->n_chunks == (uint32_t)at) {
			last->n_chunks++;
			continue;
		}
		runs[n++] = (struct refer_run){
			.chunk_idx = i, .n_chunks = 1, .owner_row = row, .owner_idx = (uint32_t)at
		};
	}
	return n;
}

/* Whoever a row names must have one. Those that are only kept open are not told. */
static int register_all(struct cas_blob *blob, const struct refer_map *map, uint64_t *ret_rows,
                        uint32_t *ret_n, struct err *e)
{
	bool used[REFER_OWNERS_MAX + 1] = { false };
	int r = blob->row == 0 ? register_row(blob, e) : 0;

	*ret_n = 0;
	for (uint32_t i = 0; map != NULL && i < blob->ready->n_bits; i++)
		used[atomic_load_explicit(&map->at[i], memory_order_relaxed) >> 32] = true;
	for (uint32_t i = 0; r == 0 && map != NULL && i < REFER_OWNERS_MAX; i++) {
		struct cas_blob *owner = atomic_load(&map->owners[i]);

		if (owner == NULL || !used[i + 1])
			continue;
		if (owner->row == 0)
			r = register_row(owner, e);
		ret_rows[(*ret_n)++] = owner->row;
	}
	return r;
}

static int write_slices(struct cas_blob *blob, struct refer_map *map, const struct bitmap *slices,
                        struct err *e)
{
	struct refer_run *runs = xcalloc(REFER_SLICE_CHUNKS, sizeof(*runs));
	int r = 0;

	for (uint32_t i = bitmap_next_set(slices, 0); i < slices->n_bits && r == 0;
	     i = bitmap_next_set(slices, i + 1)) {
		const uint32_t n = runs_of_slice(blob, map, i, runs);

		r = refer_rows_store(blob->cas->db, blob->row, i, runs, n, e);
	}
	free(runs);
	return r;
}

static int flush_slices(struct cas_blob *blob, const struct bitmap *slices, struct err *e)
{
	struct refer_map *map = atomic_load(&blob->refers);
	uint64_t rows[REFER_OWNERS_MAX];
	uint32_t n_owners = 0;
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = register_all(blob, map, rows, &n_owners, e);

	if (r == 0)
		r = tx_begin(blob->cas->db, TX_LAZY, &tx, e);
	if (r == 0)
		r = write_slices(blob, map, slices, e);
	if (r == 0)
		r = refer_rows_owners(blob->cas->db, blob->row, rows, n_owners, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

int refer_flush(struct cas_blob *blob, struct err *e)
{
	AUTO(bitmap_free) struct bitmap *slices = bitmap_new(blob->refer_dirty->n_bits);
	int r;

	if (slices == NULL)
		return err_set(e, ENOMEM, "dedup map of blob %s: out of memory", blob->key);
	/* First the mark, then the map: whoever changes it does it the other way round. */
	for (uint32_t i = bitmap_next_set(blob->refer_dirty, 0); i < slices->n_bits;
	     i = bitmap_next_set(blob->refer_dirty, i + 1)) {
		(void)bitmap_clear(blob->refer_dirty, i);
		(void)bitmap_set(slices, i);
	}
	r = flush_slices(blob, slices, e);
	for (uint32_t i = bitmap_next_set(slices, 0); i < slices->n_bits && r < 0;
	     i = bitmap_next_set(slices, i + 1))
		(void)bitmap_set(blob->refer_dirty, i);
	return r;
}
