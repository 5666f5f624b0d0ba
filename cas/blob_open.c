/*
 * blob_open: from a layout to an open blob: which key, which file, which of its chunks are ready.
 *
 * Knows the database through stored.h and files through data_file.h. Rows are written by
 * register.c, later and on the writer; only what takes back ready chunks is waited for.
 */
#include "data_file.h"
#include "gc.h"
#include "layout_code.h"
#include "mem.h"
#include "ready_rows.h"
#include "refer.h"
#include "register.h"
#include "share.h"
#include "share_rules.h"
#include "state.h"
#include "stored.h"
#include "unregister.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VARIANTS_MAX 8
#define KEY_TAKEN    2 /* outcome: the key belongs to a layout that does not agree */
#define LAYOUT_MOVED 3 /* outcome: another image's came in between */

struct layout_list {
	struct blob_layout *layout;
	struct layout_list *next;
};

static uint32_t n_described(const struct blob_layout *l)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < l->n_chunks; i++)
		n += l->chunks[i].plain_size_bytes > 0;
	return n;
}

static uint64_t table_bytes(const struct blob_layout *l)
{
	return (uint64_t)l->n_chunks * sizeof(l->chunks[0]);
}

/* Replace the layout; the old one stays readable. With blob->mutex held, once others have it.
 * @param n  n_described() of it */
static void set_layout(struct cas_blob *blob, struct blob_layout *layout, uint32_t n)
{
	struct blob_layout *old = blob_layout(blob);

	if (old != NULL) {
		struct layout_list *kept = xcalloc(1, sizeof(*kept));

		kept->layout = old;
		kept->next = blob->replaced;
		blob->replaced = kept;
		blob->replaced_bytes += table_bytes(old);
	}
	atomic_store_explicit(&blob->layout, layout_ref(layout), memory_order_release);
	blob->n_described = n;
}

void blob_free(struct cas_blob **blob)
{
	struct cas_blob *b = *blob;
	struct blob_layout *layout = NULL;

	if (b == NULL)
		return;
	layout = blob_layout(b);
	layout_unref(&layout);
	while (b->replaced != NULL) {
		struct layout_list *kept = b->replaced;

		b->replaced = kept->next;
		layout_unref(&kept->layout);
		free(kept);
	}
	bitmap_free(&b->ready);
	bitmap_free(&b->barred);
	bitmap_free(&b->dirty);
	bitmap_free(&b->candidate);
	bitmap_free(&b->refer_dirty);
	free(b->used);
	free(b->origins);
	close_fd(&b->fd);
	(void)pthread_mutex_destroy(&b->mutex);
	free(b);
	*blob = NULL;
}

/* A way into an open, from a layout or from what is registered. */
struct opening {
	struct blob_layout *layout; /* NULL: by what is stored */
	enum layout_trust domain;   /* of layout */
	void (*fault)(void *arg, const struct cas_fault *f);
	void *arg;
};

static int make_maps(struct cas_blob *blob, uint32_t n_chunks, struct err *e)
{
	blob->ready = bitmap_new(n_chunks);
	blob->barred = bitmap_new(n_chunks);
	blob->dirty = bitmap_new(ready_n_slices(n_chunks));
	blob->candidate = bitmap_new(n_chunks);
	blob->refer_dirty = bitmap_new(refer_n_slices(n_chunks));
	blob->used = calloc(n_chunks + (size_t)1, sizeof(blob->used[0]));
	if (blob->ready == NULL || blob->barred == NULL || blob->dirty == NULL ||
	    blob->candidate == NULL || blob->refer_dirty == NULL || blob->used == NULL)
		return err_set(e, ENOMEM, "maps of %" PRIu32 " chunks: out of memory", n_chunks);
	return 0;
}

/* Its chunks are as old as the blob's last use: more is not kept. */
static void was_used(struct cas_blob *blob, uint64_t used_s)
{
	const uint8_t tick = use_tick_of(&blob->cas->use, used_s);

	blob->used_s = used_s;
	for (uint32_t i = 0; i < blob->ready->n_bits; i++)
		atomic_store_explicit(&blob->used[i], tick, memory_order_relaxed);
}

/* Ready chunks without data in the file are taken back, durably, before anybody sees the blob.
 * @return 0; 1 nobody can tell which those are: it is worth as little as another file; negative */
static int forget_missing(struct cas_blob *blob, const struct opening *o,
                          const struct blob_layout *l, struct err *e)
{
	AUTO(bitmap_free) struct bitmap *gone = bitmap_new(l->n_chunks);
	int64_t n;

	if (gone == NULL)
		return err_set(e, ENOMEM, "map of %" PRIu32 " chunks: out of memory", l->n_chunks);
	n = data_file_missing(blob->cas->disk, blob->fd, l, blob->ready, gone, e);
	if (n < 0)
		log_warn(blob->cas->log, "a blob's file is no good", "blob=%s why=%s", blob->key,
		         LOG_Q(e->msg));
	if (n <= 0)
		return n < 0;
	for (uint32_t i = bitmap_next_set(gone, 0); i < l->n_chunks;
	     i = bitmap_next_set(gone, i + 1)) {
		struct cas_fault f = { .chunk_idx = i, .what = void_reason_text(VOID_NO_DATA) };

		(void)bitmap_clear(blob->ready, i);
		(void)bitmap_set(blob->barred, i);
		memcpy(f.key, blob->key, sizeof(f.key));
		if (o->fault != NULL)
			o->fault(o->arg, &f);
	}
	log_warn(blob->cas->log, "data of ready chunks is gone from a blob's file: fetched again",
	         "blob=%s chunks=%" PRId64, blob->key, n);
	return blob_clear_now(blob, e);
}

struct forget {
	uint64_t row;
	uint32_t n_chunks;
};

static int forget_ready(struct cas *cas, void *arg, struct err *e)
{
	AUTO(tx_end) struct tx tx = { .db = NULL };
	const struct forget *f = arg;
	int r = tx_begin(cas->db, TX_SYNCED, &tx, e);

	if (r == 0)
		r = ready_rows_delete(cas->db, f->row, e);
	return r == 0 ? tx_commit(&tx, e) : r;
}

/* The file that the ready map is about is gone: so are its chunks. */
static int forget_all(struct cas_blob *blob, const struct opening *o, const struct stored_blob *s,
                      struct err *e)
{
	struct forget f = { .row = s->row };
	uint32_t n = 0;

	for (uint32_t i = bitmap_next_set(blob->ready, 0); i < blob->ready->n_bits;
	     i = bitmap_next_set(blob->ready, i + 1)) {
		struct cas_fault fault = { .chunk_idx = i, .what = void_reason_text(VOID_NO_DATA) };

		memcpy(fault.key, blob->key, sizeof(fault.key));
		if (o->fault != NULL)
			o->fault(o->arg, &fault);
		(void)bitmap_clear(blob->ready, i);
		n++;
	}
	if (n > 0)
		log_warn(blob->cas->log, "a blob's file is missing or another one: fetched again",
		         "blob=%s chunks=%" PRIu32, blob->key, n);
	return writer_do(blob->cas, forget_ready, &f, e);
}

/* Whoever goes over all blobs leaves out one whose file is no good, as one whose rows are not. */
static int file_failed(const struct opening *o, int r, struct err *e)
{
	if (r >= 0 || o->layout != NULL || r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		return r;
	e->code = EUCLEAN;
	return -EUCLEAN;
}

/* The file of a blob that is registered. Bits before bytes: nothing is made or removed while the
 * database says that it is ready. */
static int open_stored_file(struct cas_blob *blob, const struct opening *o,
                            const struct stored_blob *s, const struct blob_layout *places,
                            bool *ret_is_new, struct err *e)
{
	struct data_file_opts opts = {
		.disk = blob->cas->disk,
		.dir_fd = blob->cas->blobs_fd,
		.key = blob->key,
		.size_bytes = places->plain_size_bytes,
		.known = &s->identity,
	};
	int r = file_failed(o, data_file_open_known(&opts, &blob->fd, &blob->identity, e), e);

	if (r == 0)
		r = forget_missing(blob, o, places, e);
	*ret_is_new = r == 1;
	if (r != 1)
		return r;
	close_fd(&blob->fd);
	r = forget_all(blob, o, s, e);
	return r == 0 ? file_failed(o, data_file_make(&opts, &blob->fd, &blob->identity, e), e) : r;
}

static int open_registered_file(struct cas_blob *blob, const struct opening *o,
                                const struct stored_blob *s, bool *ret_is_new, struct err *e)
{
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	int r = db_reader_begin(blob->cas->readers, &reader, e);

	if (r == 0)
		r = ready_rows_load(reader.db, s->row, blob->ready, e);
	if (r == 0)
		r = stored_origins(reader.db, s->row, &blob->origins, &blob->n_origins, e);
	db_reader_end(&reader); /* not while waiting for the writer */
	return r == 0 ? open_stored_file(blob, o, s, s->layout, ret_is_new, e) : r;
}

static int open_new_file(struct cas_blob *blob, const struct blob_layout *l, struct err *e)
{
	const struct data_file_opts opts = {
		.disk = blob->cas->disk,
		.dir_fd = blob->cas->blobs_fd,
		.key = blob->key,
		.size_bytes = l->plain_size_bytes,
	};

	return data_file_make(&opts, &blob->fd, &blob->identity, e);
}

/* What the database knows of the key, if it does not contradict. @return 0 it knows; CAS_MISS it
 * does not; KEY_TAKEN; negative */
static int look_up(struct cas_blob *blob, const struct opening *o, struct stored_blob *ret_stored,
                   struct err *e)
{
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	AUTO(db_reader_end) struct db_reader reader = { .db = NULL };
	int r = db_reader_begin(blob->cas->readers, &reader, e);

	if (r == 0)
		r = stored_blob_find(reader.db, blob->key, &s, e);
	if (r != 0)
		return r;
	if (o->layout != NULL &&
	    (layout_domain(s.layout) != o->domain || !layout_compatible(s.layout, o->layout)))
		return KEY_TAKEN;
	*ret_stored = s;
	s.layout = NULL;
	return 0;
}

static int forget_rows(struct cas *cas, void *arg, struct err *e)
{
	return unregister_blob(cas, arg, e);
}

/* Its rows contradict each other: with a layout at hand they are worth less than a new start.
 * @return CAS_MISS; negative */
static int forget_rotten(struct cas_blob *blob, struct err *e)
{
	int r;

	log_error(blob->cas->log, "a blob's rows are no good: forgotten, it is fetched again",
	          "blob=%s why=%s", blob->key, LOG_Q(e->msg));
	r = writer_do(blob->cas, forget_rows, blob->key, e);
	return r < 0 ? r : CAS_MISS;
}

/* Not registered yet: an empty file. */
static int load_new(struct cas_blob *blob, const struct opening *o, bool *ret_to_register,
                    struct err *e)
{
	int r;

	if (o->layout == NULL)
		return CAS_MISS;
	blob->domain = o->domain;
	set_layout(blob, o->layout, n_described(o->layout));
	r = make_maps(blob, o->layout->n_chunks, e);
	if (r == 0)
		r = open_new_file(blob, o->layout, e);
	/* Without digests nothing becomes ready: there is nothing to remember yet. */
	*ret_to_register = o->layout->trust != TRUST_WHOLE_BLOB;
	return r;
}

static int load_stored(struct cas_blob *blob, const struct opening *o, struct stored_blob *s,
                       bool *ret_to_register, struct err *e)
{
	struct blob_layout *l = NULL;
	bool is_new = false;
	int r;

	blob->domain = layout_domain(s->layout);
	layout_complete(s->layout, s->layout); /* it carries its domain: now its own trust */
	if (o->layout != NULL)
		layout_complete(o->layout, s->layout);
	l = o->layout != NULL ? o->layout : s->layout;
	set_layout(blob, l, n_described(l));
	blob->for_inspection = o->layout == NULL;
	blob->row = s->row; /* before anything is taken back in it */
	blob->has_unnamed = layout_says_more(blob_layout(blob), s->layout);
	r = make_maps(blob, s->layout->n_chunks, e);
	if (r == 0)
		was_used(blob, s->used_s);
	if (r == 0)
		r = open_registered_file(blob, o, s, &is_new, e);
	*ret_to_register = is_new || s->n_named < s->layout->n_chunks ||
	                   layout_says_more(s->layout, blob_layout(blob));
	return r;
}

/* Fill in a blob that is this thread's alone. @return 0; KEY_TAKEN; CAS_MISS; negative */
static int load(struct cas_blob *blob, const struct opening *o, bool *ret_to_register,
                struct err *e)
{
	AUTO(stored_blob_fini) struct stored_blob s = { .row = 0 };
	int r = look_up(blob, o, &s, e);

	if (r == -EUCLEAN && o->layout != NULL)
		r = forget_rotten(blob, e);
	if (r == CAS_MISS)
		return load_new(blob, o, ret_to_register, e);
	return r == 0 ? load_stored(blob, o, &s, ret_to_register, e) : r;
}

/* The layout of a blob that others have open, and what it is to become. */
struct adoption {
	struct blob_layout
		*mine;       /* a reference: while there is one, no other layout has its place */
	bool for_inspection; /* mine says nothing of packing */
	struct blob_layout *next; /* a reference; NULL: it stays */
	bool has_unnamed;         /* mine has chunks that next lacks */
	uint32_t n_described;     /* of next */
};

static void adoption_fini(struct adoption *a)
{
	layout_unref(&a->mine);
	layout_unref(&a->next);
}

static void look_at_open(struct cas_blob *blob, struct adoption *ret_a)
{
	(void)pthread_mutex_lock(&blob->mutex);
	*ret_a = (struct adoption){ .mine = layout_ref(blob_layout(blob)),
		                    .for_inspection = blob->for_inspection };
	(void)pthread_mutex_unlock(&blob->mutex);
}

/* Each step looks at every chunk: not with blob->mutex held, for which the loop may wait. Layout is
 * the caller's alone. @return 0; KEY_TAKEN */
static int make_next(struct adoption *a, struct blob_layout *layout, bool *ret_to_register)
{
	if (!layout_compatible(a->mine, layout) ||
	    (!a->for_inspection && !layout_same_packing(a->mine, layout)))
		return KEY_TAKEN;
	*ret_to_register = layout_says_more(a->mine, layout);
	if (a->for_inspection) {
		layout_complete(layout, a->mine);
		a->has_unnamed = layout_says_more(layout, a->mine);
		a->next = layout_ref(layout);
	} else if (!*ret_to_register) {
		return 0;
	} else if (a->mine->units == NULL) {
		a->next = layout_union(a->mine, layout);
	} else if (!layout_says_more(layout, a->mine)) {
		a->next = layout_ref(layout);
	}
	if (a->next == NULL)
		return KEY_TAKEN;
	a->n_described = n_described(a->next);
	return 0;
}

/* Whoever looks at a layout may do so as long as the blob is open: where images come and go beside
 * one that stays, what they leave behind is bounded. One is always taken. */
static bool may_replace(const struct cas_blob *blob)
{
	return blob->replaced == NULL || blob->for_inspection ||
	       blob->replaced_bytes + table_bytes(blob_layout(blob)) <= LAYOUTS_REPLACED_MAX_BYTES;
}

/* @return 0; KEY_TAKEN; LAYOUT_MOVED */
static int set_next(struct cas_blob *blob, const struct adoption *a)
{
	int r = LAYOUT_MOVED;

	(void)pthread_mutex_lock(&blob->mutex);
	if (blob_layout(blob) == a->mine && blob->for_inspection == a->for_inspection)
		r = may_replace(blob) ? 0 : KEY_TAKEN;
	if (r == 0) {
		set_layout(blob, a->next, a->n_described);
		if (a->for_inspection)
			blob->has_unnamed = a->has_unnamed;
		blob->for_inspection = false;
	}
	(void)pthread_mutex_unlock(&blob->mutex);
	return r;
}

/* A blob that others have open: can it serve this layout too? */
static int adopt(struct cas_blob *blob, const struct opening *o, bool *ret_to_register)
{
	int r = blob->domain == o->domain ? LAYOUT_MOVED : KEY_TAKEN;

	while (r == LAYOUT_MOVED) {
		AUTO(adoption_fini) struct adoption a;

		look_at_open(blob, &a);
		r = make_next(&a, o->layout, ret_to_register);
		if (r == 0 && a.next != NULL)
			r = set_next(blob, &a);
	}
	return r;
}

/* Its dedup map, where the caller wants it and it has none yet. */
static void activate(struct cas_blob *blob, enum blob_get how, enum blob_got got)
{
	if (got == GOT_PASSIVE || (got == GOT_NEW && how == GET_ACTIVE)) {
		refer_load(blob);
		blob_table_active(blob);
	}
}

static int open_key(struct cas *cas, const char *key, enum blob_get how, const struct opening *o,
                    struct cas_blob **ret_blob, struct err *e)
{
	bool to_register = false;
	enum blob_got got;
	struct cas_blob *blob = blob_table_get(cas, key, how, &got);
	int r = 0;

	if (got == GOT_NEW) {
		r = load(blob, o, &to_register, e);
		blob_table_opened(blob, how, r == 0);
		if (r != 0)
			return r;
	}
	activate(blob, how, got);
	if (got != GOT_NEW && o->layout != NULL)
		r = adopt(blob, o, &to_register);
	if (r != 0) {
		cas_blob_release(&blob);
		return r;
	}
	if (to_register)
		register_start(blob);
	/* For one look at its bytes it need not be found by the names of all its chunks. */
	if (how != GET_PASSIVE)
		share_joined(blob, how == GET_ACTIVE);
	*ret_blob = blob;
	return 0;
}

static bool key_is_file_name(const char *id)
{
	return id[0] != '\0' && memchr(id, '\0', BLOB_ID_MAX + 1) != NULL &&
	       strchr(id, '/') == NULL && strcmp(id, ".") != 0 && strcmp(id, "..") != 0;
}

int cas_blob_open(struct cas *cas, struct blob_layout *layout, struct cas_blob **ret_blob,
                  struct err *e)
{
	const struct opening o = { .layout = layout, .domain = layout_domain(layout) };
	char key[CAS_KEY_BYTES];
	int r = KEY_TAKEN;

	if (!key_is_file_name(layout->blob_id) || layout->n_chunks > BLOB_CHUNKS_MAX ||
	    layout->plain_size_bytes > BLOB_PLAIN_MAX_BYTES)
		return err_set(e, EINVAL, "a layout that was not checked");
	if (layout->trust == TRUST_WHOLE_BLOB && layout_has_digests(layout))
		layout->trust = TRUST_DIGESTS; /* computed here, from the blob that its id names */
	for (unsigned v = o.domain != TRUST_DIGESTS; v < VARIANTS_MAX && r == KEY_TAKEN; v++) {
		layout_key(layout, o.domain, v, key);
		r = open_key(cas, key, GET_ACTIVE, &o, ret_blob, e);
		if (err_is_no_space(-r) && cas_make_room(cas, 0))
			r = open_key(cas, key, GET_ACTIVE, &o, ret_blob, e);
	}
	if (r == KEY_TAKEN)
		return err_set(e, EEXIST, "blob %s: %d other layouts of this id are cached",
		               layout->blob_id, VARIANTS_MAX);
	return r < 0 ? err_wrap(e, "blob %s", layout->blob_id) : r;
}

int blob_open_registered(struct cas *cas, const char *key,
                         void (*fault)(void *arg, const struct cas_fault *f), void *arg,
                         struct cas_blob **ret_blob, struct err *e)
{
	const struct opening o = { .fault = fault, .arg = arg };

	return open_key(cas, key, GET_PASSIVE, &o, ret_blob, e);
}

int blob_hold_registered(struct cas *cas, const char *key, struct cas_blob **ret_blob,
                         struct err *e)
{
	const struct opening o = { .layout = NULL };
	const int r = open_key(cas, key, GET_HOLD, &o, ret_blob, e);

	if (r == 0)
		blob_table_ref_to_hold(*ret_blob);
	return r;
}

const struct blob_layout *cas_blob_layout(const struct cas_blob *blob)
{
	return blob_layout(blob);
}

const char *cas_blob_key(const struct cas_blob *blob)
{
	return blob->key;
}

uint32_t cas_blob_n_ready(const struct cas_blob *blob)
{
	const struct blob_layout *l = blob_layout(blob);
	uint32_t n = 0;

	if (!blob->has_unnamed && atomic_load(&blob->refers) == NULL)
		return bitmap_count(blob->ready);
	for (uint32_t i = 0; i < l->n_chunks; i++)
		n += l->chunks[i].plain_size_bytes > 0 && cas_blob_is_present(blob, i);
	return n;
}

uint32_t cas_blob_n_described(const struct cas_blob *blob)
{
	return blob->n_described;
}
