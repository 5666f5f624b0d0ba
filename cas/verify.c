/*
 * verify: hash everything that is ready again. What is wrong is made absent, and said.
 *
 * Works on open blobs and on those that only the database knows, and on every chunk that any image
 * described: the stored layout is the union. Knows no image.
 */
#include "bytes.h"
#include "data_file.h"
#include "mem.h"
#include "state.h"
#include "stored.h"
#include "verify_refs.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TELL_EVERY_CHUNKS 64

struct verification {
	struct cas *cas;
	void (*fault)(void *arg, const struct cas_fault *f);
	int (*progress)(void *arg, const struct cas_verify_progress *p);
	void *arg;
	struct cas_verify_progress seen;
	uint8_t *buf;
	uint64_t buf_size_bytes;
};

static void on_fault(void *arg, const struct cas_fault *f)
{
	struct verification *v = arg;

	v->seen.n_faults++;
	if (v->fault != NULL)
		v->fault(v->arg, f);
}

static int tell(struct verification *v, struct err *e)
{
	if (v->progress != NULL && v->progress(v->arg, &v->seen) != 0)
		return err_set(e, ECANCELED, "verification was stopped");
	return 0;
}

static void take_back(struct verification *v, struct cas_blob *blob, uint32_t idx,
                      enum void_reason why)
{
	static const char *const from_cache[] = { "cache" };
	struct cas_fault f = { .chunk_idx = idx, .what = void_reason_text(why) };

	memcpy(f.key, blob->key, sizeof(f.key));
	blob_void(blob, idx, why);
	metrics_add(v->cas->metrics, METRIC_VERIFY_FAILURES, from_cache, 1);
	on_fault(v, &f);
}

/* @return what is wrong with a chunk, or -1 for nothing (also where it has no digest) */
static int inspect(struct verification *v, const struct cas_blob *blob, const struct blob_layout *l,
                   uint32_t idx)
{
	const struct chunk_rec *c = &l->chunks[idx];
	int r;

	if (c->plain_size_bytes > v->buf_size_bytes) {
		v->buf = xrealloc(v->buf, c->plain_size_bytes, 1); /* <= CHUNK_PLAIN_MAX_BYTES */
		v->buf_size_bytes = c->plain_size_bytes;
	}
	r = data_file_read(v->cas->disk, blob->fd, c->plain_offset, c->plain_size_bytes, v->buf);
	if (r == -ENODATA)
		return VOID_NO_DATA;
	if (r < 0)
		return VOID_UNREADABLE;
	if (!(c->flags & CHUNK_HAS_DIGEST) ||
	    digest_matches(l->digest_alg, v->buf, c->plain_size_bytes, c->digest))
		return -1;
	return data_file_has_hole(v->cas->disk, blob->fd, c->plain_offset, c->plain_size_bytes)
	               ? VOID_NO_DATA
	               : VOID_WRONG_BYTES;
}

/* @return as inspect(), of a chunk that is still ready */
static int look_at(struct verification *v, struct cas_blob *blob, const struct blob_layout *l,
                   uint32_t idx)
{
	for (;;) {
		const uint64_t generation = atomic_load(&blob->generation);
		/* Like a reader: nothing that is ready by now is evicted under it. */
		const uint32_t turn = readers_enter(&blob->readers);
		const int wrong = bitmap_get(blob->ready, idx) ? inspect(v, blob, l, idx) : -1;

		readers_leave(&blob->readers, turn);
		if (wrong < 0 || !bitmap_get(blob->ready, idx))
			return -1;
		/* One that was taken back meanwhile may have been half replaced, and be right by
		 * now: once more. */
		if (atomic_load(&blob->generation) == generation)
			return wrong;
	}
}

static int verify_chunks(struct verification *v, struct cas_blob *blob, const struct blob_layout *l,
                         struct err *e)
{
	int r = 0;

	for (uint32_t i = bitmap_next_set(blob->ready, 0); i < l->n_chunks && r == 0;
	     i = bitmap_next_set(blob->ready, i + 1)) {
		const int wrong = look_at(v, blob, l, i);

		if (wrong >= 0)
			take_back(v, blob, i, (enum void_reason)wrong);
		v->seen.chunks_done++;
		v->seen.bytes_done += l->chunks[i].plain_size_bytes;
		if (v->seen.chunks_done % TELL_EVERY_CHUNKS == 0)
			r = tell(v, e);
	}
	return r;
}

/* What was cut off since it was looked at would be zeros in a file that has grown back. */
static int take_back_missing(struct verification *v, struct cas_blob *blob,
                             const struct blob_layout *l, struct err *e)
{
	AUTO(bitmap_free) struct bitmap *gone = bitmap_new(l->n_chunks);
	uint32_t turn;
	int64_t n;

	if (gone == NULL)
		return err_set(e, ENOMEM, "map of %" PRIu32 " chunks: out of memory", l->n_chunks);
	turn = readers_enter(&blob->readers);
	n = data_file_missing(v->cas->disk, blob->fd, l, blob->ready, gone, e);
	readers_leave(&blob->readers, turn);
	for (uint32_t i = bitmap_next_set(gone, 0); n > 0 && i < l->n_chunks;
	     i = bitmap_next_set(gone, i + 1))
		take_back(v, blob, i, VOID_NO_DATA);
	return n < 0 ? (int)n : 0;
}

static int check_refs(struct verification *v, const char *key, struct err *e)
{
	struct refs_seen refs = { .n_dead = 0 };
	const int r = verify_refs(v->cas, key, on_fault, v, &refs, e);

	v->seen.n_dead_refs += refs.n_dead;
	v->seen.n_needless_refs += refs.n_needless;
	return r;
}

static int verify_blob(struct verification *v, const char *key, struct err *e)
{
	AUTO(cas_blob_release) struct cas_blob *blob = NULL;
	AUTO(layout_unref) struct blob_layout *l = NULL;
	const uint64_t n_faults = v->seen.n_faults;
	uint64_t found_bytes = 0;
	bool is_short = false;
	int r = blob_open_registered(v->cas, key, on_fault, v, &blob, e);

	if (r == 0)
		r = stored_layout(v->cas->readers, key, &l, e);
	if (r != 0)
		return r < 0 ? r : 0; /* removed meanwhile */
	r = verify_chunks(v, blob, l, e);
	if (r == 0)
		r = check_refs(v, key, e);
	if (r == 0)
		is_short = data_file_is_short(v->cas->disk, blob->fd, blob->identity.size_bytes,
		                              &found_bytes);
	if (is_short)
		r = take_back_missing(v, blob, l, e);
	if (v->seen.n_faults > n_faults) {
		struct err why;
		const int cleared = blob_clear_now(blob, r < 0 ? &why : e);

		r = r < 0 ? r : cleared;
	}
	if (r == 0 && is_short &&
	    data_file_grow_back(v->cas->disk, blob->fd, found_bytes, blob->identity.size_bytes))
		log_warn(v->cas->log, "a data file was cut short: it has its size again", "blob=%s",
		         key);
	return r;
}

static int add_total(void *arg, const struct cas_blob_info *info)
{
	struct cas_verify_progress *p = arg;

	p->chunks_total += info->n_ready;
	p->bytes_total += info->ready_bytes;
	return 0;
}

int cas_verify(struct cas *cas, void (*fault)(void *arg, const struct cas_fault *f),
               int (*progress)(void *arg, const struct cas_verify_progress *p), void *arg,
               struct cas_verify_progress *ret_total, struct err *e)
{
	struct verification v = { .cas = cas, .fault = fault, .progress = progress, .arg = arg };
	AUTO(free_str) char *keys = NULL;
	int r = cas_blobs(cas, add_total, &v.seen, e);

	if (r == 0) {
		AUTO(db_reader_end) struct db_reader reader = { .db = NULL };

		r = db_reader_begin(cas->readers, &reader, e);
		if (r == 0)
			r = stored_keys(reader.db, &keys, e);
	}
	for (const char *key = keys; r >= 0 && key != NULL && *key != '\0';
	     key += strlen(key) + 1) {
		r = stored_pass_over(cas->log, key, verify_blob(&v, key, e), e);
		v.seen.n_left_out += r == CAS_MISS;
	}
	if (r >= 0)
		r = tell(&v, e);
	free(v.buf);
	if (r < 0)
		return r;
	*ret_total = v.seen;
	return 0;
}
