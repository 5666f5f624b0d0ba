/*
 * flush: ready bits go to the database in three steps, in this order: what is ready now is copied
 * aside; the data files are synced; one transaction says so. A bit that is set later waits for the
 * next round. After a power cut the database therefore never says more than the files hold.
 *
 * Knows blobs, files and rows; knows nothing of who fetched what.
 */
#include "flush.h"
#include "mem.h"
#include "ready_rows.h"
#include "refer.h"
#include "reflink.h"
#include "register.h"
#include "state.h"
#include <errno.h>
#include <stdlib.h>

/* What is to be written of one blob. */
struct snapshot {
	struct cas_blob *blob; /* a reference, or NULL: borrowed by flush_one() */
	struct ready_slice *slices;
	uint32_t n_slices;
	bool synced;
	int sync_errno; /* 0: it was not tried, or done */
};

static void take_snapshot(struct cas_blob *blob, struct snapshot *ret_snapshot)
{
	struct snapshot s = { .blob = blob };
	const uint32_t n = bitmap_count(blob->dirty);

	if (n > 0)
		s.slices = xcalloc(n, sizeof(s.slices[0]));
	for (uint32_t i = bitmap_next_set(blob->dirty, 0);
	     i < blob->dirty->n_bits && s.n_slices < n; i = bitmap_next_set(blob->dirty, i + 1)) {
		/* First the mark, then the bits: whoever sets a bit does it the other way round. */
		(void)bitmap_clear(blob->dirty, i);
		ready_slice_read(blob->ready, i, &s.slices[s.n_slices++]);
	}
	*ret_snapshot = s;
}

static void put_back(const struct snapshot *s)
{
	for (uint32_t i = 0; i < s->n_slices; i++)
		(void)bitmap_set(s->blob->dirty, s->slices[i].slice);
}

/* After a failed sync the kernel has forgotten which pages are lost: trust only what the database
 * knew before. */
static void distrust_unsynced(struct snapshot *s)
{
	struct cas_blob *blob = s->blob;
	AUTO(bitmap_free) struct bitmap *stored = bitmap_new(blob->ready->n_bits);
	struct err e = { .code = 0 };

	if (stored == NULL || blob->row == 0 ||
	    ready_rows_load(blob->cas->db, blob->row, stored, &e) < 0)
		log_warn(blob->cas->log, "what was ready before a failed sync is not known",
		         "blob=%s", blob->key);
	/* What was written by now, and is not ready yet, was to be synced with the rest. */
	readers_wait(&blob->readers);
	for (uint32_t i = bitmap_next_set(blob->ready, 0); i < blob->ready->n_bits;
	     i = bitmap_next_set(blob->ready, i + 1))
		if (stored == NULL || !bitmap_get(stored, i))
			blob_void(blob, i, VOID_UNREADABLE);
	s->n_slices = 0;
}

/* The file, and once its name too. */
static int sync_file(struct cas_blob *blob, struct err *e)
{
	const struct disk *d = blob->cas->disk;
	int r = blob->file_synced ? d->sync_data(d, blob->fd) : d->sync(d, blob->fd);

	if (r == 0 && !blob->file_synced)
		r = d->sync(d, blob->cas->blobs_fd);
	if (r != 0)
		return err_errno(e, errno, "cannot sync the data file of blob %s", blob->key);
	blob->file_synced = true;
	return 0;
}

/* Registered, and its data on the disk? */
static int make_durable(struct snapshot *s, struct err *e)
{
	int r = 0;

	if (s->blob->row == 0)
		r = register_row(s->blob, e);
	if (r < 0)
		return r;
	r = sync_file(s->blob, e);
	if (r < 0)
		distrust_unsynced(s);
	s->synced = r == 0;
	s->sync_errno = -r;
	return r;
}

static int write_rows(struct db *db, const struct snapshot *snapshots, uint32_t n, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	int r = tx_begin(db, TX_LAZY, &tx, e);

	for (uint32_t i = 0; i < n; i++) {
		const struct snapshot *s = &snapshots[i];

		for (uint32_t j = 0; j < s->n_slices && s->synced && r == 0; j++)
			r = ready_rows_store(db, s->blob->row, &s->slices[j], e);
	}
	return r == 0 ? tx_commit(&tx, e) : r;
}

/* One bad file is not the disk. @return it was told that none could be synced */
static bool tell_room(struct room *room, const struct snapshot *snapshots, uint32_t n)
{
	int code = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (snapshots[i].synced) {
			room_synced(room);
			return false;
		}
		if (code == 0)
			code = snapshots[i].sync_errno;
	}
	if (code != 0)
		room_sync_failed(room, code);
	return code != 0;
}

/* Files first. @return the first failure; those that failed are put back and are not `synced` */
static int sync_all(struct snapshot *snapshots, uint32_t n, struct err *e)
{
	int first = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct err why;
		int r = 0;

		if (snapshots[i].n_slices > 0)
			r = make_durable(&snapshots[i], &why);
		if (r == 0)
			continue;
		put_back(&snapshots[i]);
		if (first == 0)
			*e = why;
		first = first == 0 ? r : first;
	}
	return first;
}

/* @param ret_told  no file could be synced, and the room knows */
static int flush_snapshots(struct cas *cas, struct snapshot *snapshots, uint32_t n, bool *ret_told,
                           struct err *e)
{
	struct err why;
	const int synced = sync_all(snapshots, n, e);
	const int written = n > 0 ? write_rows(cas->db, snapshots, n, &why) : 0;

	*ret_told = tell_room(&cas->room, snapshots, n);
	for (uint32_t i = 0; i < n && written < 0; i++)
		if (snapshots[i].synced)
			put_back(&snapshots[i]);
	if (written < 0 && synced == 0)
		*e = why;
	return synced < 0 ? synced : written;
}

/* What the owners have of it was synced just now: it can be cloned at once. */
static int flush_refers(struct cas_blob *blob, struct err *e)
{
	const int r = refer_is_dirty(blob) ? refer_flush(blob, e) : CAS_MISS;

	if (r == 0)
		reflink_soon(blob);
	return r == CAS_MISS ? 0 : r;
}

static int flush_blobs(struct cas *cas, bool *ret_told, struct err *e)
{
	struct cas_blob **blobs = NULL;
	const uint32_t n_blobs = blob_table_all(cas, &blobs);
	struct snapshot *snapshots = xcalloc((size_t)n_blobs + 1, sizeof(*snapshots));
	uint32_t n = 0;
	struct err why;
	int r;

	for (uint32_t i = 0; i < n_blobs; i++)
		if (bitmap_next_set(blobs[i]->dirty, 0) < blobs[i]->dirty->n_bits)
			take_snapshot(blobs[i], &snapshots[n++]);
	r = flush_snapshots(cas, snapshots, n, ret_told, e);
	for (uint32_t i = 0; i < n_blobs; i++) {
		const int referred = flush_refers(blobs[i], r < 0 ? &why : e);

		r = r < 0 ? r : referred;
	}
	for (uint32_t i = 0; i < n; i++)
		free(snapshots[i].slices);
	free(snapshots);
	for (uint32_t i = 0; i < n_blobs; i++)
		cas_blob_release(&blobs[i]);
	free(blobs);
	return r;
}

int flush_all(struct cas *cas, struct err *e)
{
	bool told;
	int r = flush_blobs(cas, &told, e);

	if (r != -ENOSPC || told)
		return r;
	room_ran_out(&cas->room, ENOSPC); /* chunks go, and the ballast is made anew */
	return evict_give_ballast(cas) ? flush_blobs(cas, &told, e) : r;
}

void flush_one(struct cas_blob *blob)
{
	struct snapshot s;
	struct err e;
	bool told;

	take_snapshot(blob, &s);
	if (s.n_slices > 0 && flush_snapshots(blob->cas, &s, 1, &told, &e) < 0)
		log_warn(blob->cas->log, "ready chunks could not be recorded: fetched again later",
		         "blob=%s why=%s", blob->key, LOG_Q(e.msg));
	free(s.slices);
	if (refer_is_dirty(blob) && refer_flush(blob, &e) < 0)
		log_warn(blob->cas->log, "shared chunks could not be recorded: found again later",
		         "blob=%s why=%s", blob->key, LOG_Q(e.msg));
}
