/*
 * join: see the header. Knows the tables chunk and ready; marks candidates, holds their owners.
 */
#include "join.h"
#include "mem.h"
#include "public_name.h"
#include "ready_rows.h"
#include "refer.h"
#include "share.h"
#include "state.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROUP_CHUNKS (1U << 18) /* sorted together */
#define STEP_CHUNKS  2048U      /* between looks at the clock */
#define PLACES_MAX   256        /* rows of one name that are looked at */
#define ROWS_MAX     256U       /* blobs that are looked at; those that came first */
#define OWNERS_MAX   32U        /* of a group, that are opened for it */

struct wanted {
	uint8_t name[PUBLIC_NAME_BYTES];
	uint32_t idx;
};

/* A chunk that a registered blob has ready. */
struct hit {
	uint32_t idx;    /* here */
	uint32_t row_no; /* there */
};

/* A registered blob that names came up in. */
struct other {
	uint64_t row;
	struct bitmap *ready; /* NULL: nothing of it is */
	uint32_t n_hits;      /* not covered by a better one yet */
	bool held;
};

struct join {
	struct job job;
	struct cas_blob *blob; /* a reference, once it goes on behind the opening */
	const struct blob_layout *layout;
	uint32_t next_chunk; /* behind the group */
	struct wanted *group;
	uint32_t n_group;
	uint32_t n_looked; /* of the group */
	struct hit *hits;
	uint32_t n_hits;
	uint32_t hits_room;
	struct other others[ROWS_MAX];
	uint32_t n_others;
};

static void others_free(struct join *j)
{
	for (uint32_t i = 0; i < j->n_others; i++)
		bitmap_free(&j->others[i].ready);
	j->n_others = 0;
}

static void join_free(struct join **join)
{
	struct join *j = *join;

	if (j == NULL)
		return;
	others_free(j);
	cas_blob_release(&j->blob);
	free(j->group);
	free(j->hits);
	free(j);
	*join = NULL;
}

static int by_name(const void *a, const void *b)
{
	return memcmp(((const struct wanted *)a)->name, ((const struct wanted *)b)->name,
	              PUBLIC_NAME_BYTES);
}

/* What is neither here nor found in memory. */
static void next_group(struct join *j, const struct cas_blob *blob)
{
	const struct blob_layout *l = j->layout;
	struct public_namer *namer = public_namer_new();

	j->n_group = 0;
	j->n_looked = 0;
	j->n_hits = 0;
	others_free(j);
	for (; j->next_chunk < l->n_chunks && j->n_group < GROUP_CHUNKS; j->next_chunk++) {
		const struct chunk_rec *c = &l->chunks[j->next_chunk];
		struct wanted *w = &j->group[j->n_group];

		if (c->plain_size_bytes == 0 || !(c->flags & CHUNK_HAS_DIGEST) ||
		    cas_blob_is_present(blob, j->next_chunk) ||
		    cas_blob_is_candidate(blob, j->next_chunk))
			continue;
		public_name(namer, l->digest_alg, c->digest, c->plain_size_bytes, w->name);
		w->idx = j->next_chunk;
		j->n_group++;
	}
	public_namer_free(&namer);
	qsort(j->group, j->n_group, sizeof(j->group[0]), by_name);
}

/* ---- looking ---- */

static int load_other(struct db *db, uint64_t row, struct other *ret_other, struct err *e)
{
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	int r = db_prepare(db, "SELECT n_chunks FROM blob WHERE id = ? AND dying = 0", &stmt, e);

	*ret_other = (struct other){ .row = row };
	if (r < 0)
		return r;
	db_bind_u64(stmt, 1, row);
	r = db_step(stmt, e);
	if (r != 1 || db_u64(stmt, 0) > BLOB_CHUNKS_MAX)
		return r < 0 ? r : 0;
	ret_other->ready = bitmap_new((uint32_t)db_u64(stmt, 0));
	return ret_other->ready == NULL ? err_set(e, ENOMEM, "ready map: out of memory")
	                                : ready_rows_load(db, row, ret_other->ready, e);
}

/* @return 0; 1 there are too many; negative */
static int other_of(struct join *j, struct db *db, uint64_t row, uint32_t *ret_no, struct err *e)
{
	uint32_t no = 0;
	int r = 0;

	while (no < j->n_others && j->others[no].row != row)
		no++;
	if (no == ROWS_MAX)
		return 1;
	if (no == j->n_others) {
		r = load_other(db, row, &j->others[no], e);
		j->n_others++;
	}
	*ret_no = no;
	return r;
}

static int note_hit(struct join *j, uint32_t idx, uint32_t row_no, struct err *e)
{
	if (j->n_hits == j->hits_room) {
		const uint32_t room = j->hits_room == 0 ? 4096 : j->hits_room * 2;
		struct hit *wider = reallocarray(j->hits, room, sizeof(*wider));

		if (wider == NULL)
			return err_set(e, ENOMEM, "chunks of other blobs: out of memory");
		j->hits = wider;
		j->hits_room = room;
	}
	j->hits[j->n_hits++] = (struct hit){ .idx = idx, .row_no = row_no };
	j->others[row_no].n_hits++;
	return 0;
}

/* Every place of one name where the chunk is ready. */
static int look_up(struct join *j, struct db *db, db_stmt *stmt, const struct wanted *w,
                   struct err *e)
{
	int r;

	db_bind_blob(stmt, 1, w->name, PUBLIC_NAME_BYTES);
	while ((r = db_step(stmt, e)) == 1) {
		const uint32_t their_idx = (uint32_t)db_u64(stmt, 1);
		uint32_t no = 0;

		r = db_u64(stmt, 0) == j->blob->row ? 1 : other_of(j, db, db_u64(stmt, 0), &no, e);
		if (r < 0)
			return r;
		if (r == 1 || j->others[no].ready == NULL ||
		    their_idx >= j->others[no].ready->n_bits ||
		    !bitmap_get(j->others[no].ready, their_idx))
			continue;
		r = note_hit(j, w->idx, no, e);
		if (r < 0)
			return r;
	}
	db_reset(stmt);
	return r;
}

/* So many of the group, or to its end. */
static int look_step(struct join *j, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	AUTO(tx_end) struct tx tx = { .db = NULL };
	AUTO(db_stmt_close) db_stmt *stmt = NULL;
	const uint32_t left = j->n_group - j->n_looked;
	const uint32_t end = j->n_looked + (left < STEP_CHUNKS ? left : STEP_CHUNKS);
	int r = db_reader_begin(j->blob->cas->readers, &reader, e);

	assert(j->group != NULL); /* n_group > 0 */
	if (r == 0)
		r = tx_begin_read(reader.db, &tx, e);
	if (r == 0)
		r = db_prepare(reader.db, "SELECT blob, idx FROM chunk WHERE name = ? LIMIT ?",
		               &stmt, e);
	if (r < 0)
		return r;
	db_bind_u64(stmt, 2, PLACES_MAX);
	for (; j->n_looked < end && r == 0; j->n_looked++)
		r = look_up(j, reader.db, stmt, &j->group[j->n_looked], e);
	return r; /* first the statement ends, then the transaction, then the connection goes back
	           */
}

/* ---- choosing ---- */

static uint32_t best_of(const struct join *j)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < j->n_others; i++)
		if (j->others[i].n_hits > j->others[best].n_hits)
			best = i;
	return best;
}

/* Its hits are candidates; nobody else needs to have them. */
static void take(struct join *j, struct cas_blob *blob, uint32_t row_no, bool is_open)
{
	for (uint32_t i = 0; i < j->n_hits; i++)
		if (j->hits[i].row_no == row_no && is_open)
			(void)bitmap_set(blob->candidate, j->hits[i].idx);
	j->others[row_no].held = true;
	for (uint32_t i = 0; i < j->n_others; i++)
		j->others[i].n_hits = 0;
	for (uint32_t i = 0; i < j->n_hits; i++)
		if (!j->others[j->hits[i].row_no].held &&
		    !bitmap_get(blob->candidate, j->hits[i].idx))
			j->others[j->hits[i].row_no].n_hits++;
}

/* The fewest blobs that have all of it, more or less: those with the most first. */
static int choose(struct join *j, struct err *e)
{
	struct cas_blob *blob = j->blob;
	int r = 0;

	for (uint32_t n = 0; n < OWNERS_MAX && j->n_others > 0 && r >= 0; n++) {
		const uint32_t best = best_of(j);

		if (j->others[best].n_hits == 0)
			break;
		r = refer_keep_owner(blob, j->others[best].row, e);
		take(j, blob, best, r == 0);
	}
	return r < 0 ? r : 0;
}

/* ---- the pass ---- */

/* @return 1 there is more; 0 done; negative */
static int step(struct join *j, struct err *e)
{
	int r = 0;

	if (j->n_looked == j->n_group) {
		if (j->group == NULL || j->next_chunk == j->layout->n_chunks)
			return 0;
		next_group(j, j->blob);
	}
	if (j->n_looked < j->n_group)
		r = look_step(j, e);
	if (r == 0 && j->n_looked == j->n_group)
		r = choose(j, e);
	return r < 0 ? r : 1;
}

static void finish(struct join *j, int r, const struct err *e)
{
	if (r < 0)
		log_warn(j->blob->cas->log, "which chunks other images have is not known in full",
		         "blob=%s why=%s", j->blob->key, LOG_Q(e->msg));
	join_free(&j);
}

/* Behind the opening: on the thread for it, a step at a time, so that others get their turn. */
static void go_on(struct job *job)
{
	struct join *j = container_of(job, struct join, job);
	struct cas *cas = j->blob->cas;
	struct err e = { .code = 0 };
	const int r = atomic_load(&cas->closing) ? 0 : step(j, &e);

	if (r == 1) {
		j->job = (struct job){ .work = go_on, .prio = JOB_NORMAL };
		pool_submit(cas->helper, &j->job);
		return;
	}
	atomic_fetch_sub(&cas->n_joins, 1);
	atomic_fetch_sub(&j->blob->n_joins, 1);
	finish(j, r, &e);
}

void join_blob(struct cas_blob *blob)
{
	struct cas *cas = blob->cas;
	const uint64_t wait_ms = atomic_load(&cas->joins_behind) ? 0 : JOIN_WAIT_MS;
	const uint64_t until_ns = clock_now_ns(cas->clock) + wait_ms * NS_PER_MS;
	struct join *j = xcalloc(1, sizeof(*j));
	struct err e = { .code = 0 };
	int r = 1;

	j->blob = cas_blob_ref(blob);
	j->layout = blob_layout(blob);
	j->group = calloc(j->layout->n_chunks < GROUP_CHUNKS ? j->layout->n_chunks + (size_t)1
	                                                     : GROUP_CHUNKS,
	                  sizeof(j->group[0]));
	if (j->group == NULL)
		r = err_set(&e, ENOMEM, "names of chunks: out of memory");
	while (r == 1 && clock_now_ns(cas->clock) < until_ns)
		r = step(j, &e);
	if (r == 1) {
		log_info(cas->log,
		         "which chunks other images have is being found out behind the mount",
		         "blob=%s", blob->key);
		atomic_fetch_add(&cas->n_joins, 1);
		atomic_fetch_add(&blob->n_joins, 1);
		j->job = (struct job){ .work = go_on, .prio = JOB_NORMAL };
		pool_submit(cas->helper, &j->job);
		return;
	}
	finish(j, r, &e);
}
