/*
 * evict_piles: what there is to evict: chunks of open blobs by their own last use, blobs that
 * nobody has open by theirs. Chooses nothing: it puts them in order.
 */
#include "bytes.h"
#include "data_file.h"
#include "evict.h"
#include "mem.h"
#include "state.h"
#include "stored.h"
#include <stdlib.h>
#include <string.h>

void piles_free(struct piles *p)
{
	for (uint32_t i = 0; i < p->n_blobs; i++) {
		free(p->blobs[i].key);
		cas_blob_release(&p->blobs[i].open);
	}
	pinned_free(&p->pinned);
	free(p->blobs);
	free(p->piles);
	*p = (struct piles){ .n_piles = 0 };
}

static void add_pile(struct piles *p, struct pile pile)
{
	if (pile.bytes == 0)
		return;
	p->piles = xrealloc(p->piles, p->n_piles + 1, sizeof(p->piles[0]));
	p->piles[p->n_piles++] = pile;
}

/* Of a file that takes so many. */
static uint64_t bytes_of_images(const struct pinned_blob *pin, uint64_t all_bytes)
{
	if (pin == NULL)
		return 0;
	return pin->whole ? all_bytes : min_u64(all_bytes, pin->bytes);
}

static uint32_t add_blob(struct piles *p, const char *key, struct cas_blob *open)
{
	p->blobs = xrealloc(p->blobs, p->n_blobs + 1, sizeof(p->blobs[0]));
	p->blobs[p->n_blobs] = (struct pile_blob){ .key = xstrdup(key),
		                                   .open = open,
		                                   .pin = pinned_find(&p->pinned, key) };
	return p->n_blobs++;
}

/* Its chunks, a pile for each tick. */
static void add_open(struct piles *p, struct cas_blob *blob)
{
	const struct blob_layout *l = blob_layout(blob);
	const uint32_t idx = add_blob(p, blob->key, blob);
	const struct pinned_blob *pin = p->blobs[idx].pin;
	uint64_t bytes[USE_TICKS] = { 0 };
	uint64_t unknown = 0;

	if (atomic_load(&blob->n_pins) > 0 || (pin != NULL && pin->whole)) {
		const uint64_t all = measure_fd(blob->fd);

		p->pinned_bytes += all;
		p->handed_bytes += all - bytes_of_images(pin, all);
		return;
	}
	p->pinned_bytes += pin != NULL ? pin->bytes : 0;
	for (uint32_t i = bitmap_next_set(blob->ready, 0); i < l->n_chunks;
	     i = bitmap_next_set(blob->ready, i + 1)) {
		const uint8_t tick = atomic_load_explicit(&blob->used[i], memory_order_relaxed);

		if (pinned_has(pin, i))
			continue;
		bytes[tick] += data_file_takes(&l->chunks[i]);
		unknown += l->chunks[i].plain_size_bytes == 0; /* of other images: some bytes */
	}
	bytes[0] += unknown;
	for (unsigned tick = 0; tick < USE_TICKS; tick++)
		add_pile(p, (struct pile){ .blob = idx,
		                           .tick = (uint8_t)tick,
		                           .used_s = UINT64_MAX,
		                           .bytes = bytes[tick] });
}

/* One that the database knows and nobody has open. */
static void add_closed(struct cas *cas, struct piles *p, const char *key, uint64_t used_s)
{
	const struct pinned_blob *pin = pinned_find(&p->pinned, key);
	char name[DATA_FILE_NAME_BYTES];
	uint64_t bytes;
	uint64_t stays;

	data_file_name(key, name);
	bytes = measure_name(cas->blobs_fd, name);
	stays = bytes_of_images(pin, bytes);
	p->pinned_bytes += stays;
	bytes -= stays;
	if (bytes == 0)
		return;
	add_pile(p, (struct pile){ .blob = add_blob(p, key, NULL),
	                           .tick = use_tick_of(&cas->use, used_s),
	                           .used_s = used_s,
	                           .bytes = bytes });
}

static bool is_in(const struct piles *p, const char *key)
{
	for (uint32_t i = 0; i < p->n_blobs; i++)
		if (p->blobs[i].open != NULL && strcmp(p->blobs[i].key, key) == 0)
			return true;
	return false;
}

static int add_all_closed(struct cas *cas, struct piles *p, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	char key[CAS_KEY_BYTES];
	int r = db_reader_begin(cas->readers, &reader, e);

	if (r == 0)
		r = db_prepare(reader.db,
		               "SELECT key, coalesce(at_s, 0) FROM blob LEFT JOIN used"
		               " ON used.blob = blob.id WHERE dying = 0",
		               &stmt, e);
	if (r < 0)
		return r;
	while ((r = db_step(stmt, e)) == 1)
		if (db_text(stmt, 0, key, sizeof(key)) && !is_in(p, key))
			add_closed(cas, p, key, db_u64(stmt, 1));
	return r;
}

static int by_use(const void *a, const void *b)
{
	const struct pile *x = a;
	const struct pile *y = b;

	if (x->tick != y->tick)
		return x->tick < y->tick ? -1 : 1;
	if (x->used_s != y->used_s)
		return x->used_s < y->used_s ? -1 : 1;
	return x->blob < y->blob ? -1 : x->blob > y->blob;
}

int piles_collect(struct cas *cas, struct piles *ret_piles, struct err *e)
{
	AUTO(piles_free) struct piles p = { .n_piles = 0 };
	struct cas_blob **open = NULL;
	uint32_t n_open;
	int r = pinned_collect(cas, &p.pinned, e);

	if (r < 0)
		return r;
	n_open = blob_table_all(cas, &open);
	for (uint32_t i = 0; i < n_open; i++)
		add_open(&p, open[i]);
	free(open);
	r = add_all_closed(cas, &p, e);
	if (r < 0)
		return r;
	if (p.n_piles > 0)
		qsort(p.piles, p.n_piles, sizeof(p.piles[0]), by_use);
	*ret_piles = p;
	p = (struct piles){ .n_piles = 0 };
	return 0;
}
