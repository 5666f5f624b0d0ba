/*
 * blob: an open blob's cache file, and the table of those that are open. Private to cas/.
 */
#pragma once
#include "bitmap.h"
#include "cas.h"
#include "disk.h"
#include "layout_merge.h"
#include "readers.h"
#include "use.h"
#include <pthread.h>
#include <stdatomic.h>

#define READY_SLICE_BITS           32768U
#define LAYOUTS_REPLACED_MAX_BYTES (UINT64_C(64) << 20) /* of one open blob */

enum blob_state {
	BLOB_OPENING,    /* one worker is at it; others of the same key wait */
	BLOB_ACTIVATING, /* its dedup map comes or goes; as an owner it is open */
	BLOB_OPEN,
	BLOB_GONE, /* opening failed, or its rows are being deleted: those who waited try again */
};

struct refer_map;
struct share_entry;
struct layout_list; /* layouts that were replaced, kept for whoever still looks at them */

struct cas_blob {
	struct cas *cas;
	char key[CAS_KEY_BYTES];
	enum layout_trust domain;             /* layout_domain() of all that open it */
	_Atomic(struct blob_layout *) layout; /* changes under mutex; old ones stay in replaced */
	struct bitmap *ready;
	struct bitmap *barred; /* taken back here, not yet in the database: may not become ready */
	struct bitmap *dirty;  /* a bit a slice of ready that the database does not have yet */
	_Atomic uint8_t *used; /* a tick of cas->use a chunk */
	uint64_t used_s;    /* when it was used last, as the database has it; [writer] once open */
	atomic_uint n_pins; /* nothing is evicted while there are any */
	struct bitmap *candidate; /* another open blob had it ready when it was looked at last */
	_Atomic(struct refer_map *) refers; /* refer.h; NULL: none, or passive */
	atomic_bool clone_queued;           /* reflink.h; the job has a reference */
	atomic_bool clone_wanted;           /* there are references that it may not have seen */
	atomic_bool cannot_clone;           /* this file system refuses */
	struct job clone_job;
	uint32_t clone_at;          /* the job's */
	struct bitmap *refer_dirty; /* a bit a slice of it that the database does not have yet */
	_Atomic(struct share_entry *) entries;       /* share_map.h's */
	_Atomic(struct blob_layout *) joined_layout; /* the layout whose chunks are in the map */
	_Atomic(struct blob_layout *) sought_layout; /* ... were looked for in other blobs */
	_Atomic uint32_t n_described;                /* chunks of the layout that are no holes */
	_Atomic uint64_t generation;                 /* grows with each blob_void() */
	atomic_uint n_joins; /* that go on behind an opening of it: join.h */
	struct readers readers;
	int fd;
	struct file_identity identity;

	/* Guards the block below, and that a chunk is barred and not ready at once; never held
	 * across I/O. */
	pthread_mutex_t mutex;
	struct layout_list *replaced;
	uint64_t replaced_bytes; /* what their chunk tables take */
	bool for_inspection; /* the layout is the database's: it says nothing of origins' packing */
	atomic_bool has_unnamed; /* the database knows chunks of it that this layout does not */
	struct cas_origin *origins;
	uint32_t n_origins;

	/* The table's, under its mutex. */
	enum blob_state state;
	uint32_t n_refs;  /* with those who wait while it is being opened */
	uint32_t n_holds; /* by blobs that refer to it: they need its file, and keep it open */
	bool passive;     /* nobody needs its own dedup map, and it has none */
	bool close_queued;
	struct cas_blob *next;
	struct job close_job;

	/* [writer] */
	_Atomic uint64_t row; /* 0: not registered yet. The writer sets it, and others look at it */
	uint32_t register_turn; /* of the latest registration */
	bool file_synced;       /* the file's name and size are durable */
	atomic_bool clear_queued;
	struct job clear_job;
};

/* All blobs that are open, opening or closing: short, so a list. */
struct blob_table {
	pthread_mutex_t mutex; /* guards the list and each blob's fields of the table */
	pthread_cond_t changed;
	struct cas_blob *first;
};

void blob_table_init(struct blob_table *t);
void blob_table_fini(struct blob_table *t);

enum blob_get {
	GET_ACTIVE,  /* with its dedup map */
	GET_PASSIVE, /* its own file is enough */
	GET_HOLD,    /* the same, for one that refers to it: also while its own map comes or goes */
};
enum blob_got {
	GOT_OPEN,
	GOT_NEW,     /* it was not there: the caller opens it, then calls blob_table_opened() */
	GOT_PASSIVE, /* GET_ACTIVE: it is open; the caller loads its map, then blob_table_active()
	              */
};

/** The blob of this key, with a reference. Waits while another thread opens or deletes it. */
struct cas_blob *blob_table_get(struct cas *cas, const char *key, enum blob_get how,
                                enum blob_got *ret_got);

/** [any] Does any other open blob have a candidate that it lacks? */
bool blob_table_any_wants(const struct cas_blob *except);

/** GOT_PASSIVE: the map is there; others may have it. */
void blob_table_active(struct cas_blob *blob);

/** [any] Keep an owner open. The caller has a reference, or holds it already. */
void blob_table_hold(struct cas_blob *blob);
void blob_table_unhold(struct cas_blob *blob);
/** A reference becomes a hold. */
void blob_table_ref_to_hold(struct cas_blob *blob);

/** The opener is done. ok: others may have it (how: GET_ACTIVE: as an owner; its map comes next,
 * then blob_table_active()). Not ok: it leaves the table; the caller's reference goes with it. */
void blob_table_opened(struct cas_blob *blob, enum blob_get how, bool ok);

/** Keep everybody away from a key that is not open, until
 * blob_table_opened(.., false).
 * @return NULL: it is open, or is being opened */
struct cas_blob *blob_table_reserve(struct cas *cas, const char *key);

/** NULL where it is not open. With a reference. */
struct cas_blob *blob_table_find(struct cas *cas, const char *key);

/** [any] One more reference, if the blob is open: for who found it by other ways than the table,
 * and knows that it is not freed yet. */
bool blob_table_try_ref(struct cas_blob *blob);
/** [any] The same, where somebody uses it, with its dedup map: not one that waits to be closed. */
bool blob_table_try_ref_used(struct cas_blob *blob);

/** References of all open blobs, in a new array. @return how many */
uint32_t blob_table_all(struct cas *cas, struct cas_blob ***ret_blobs);

static inline struct blob_layout *blob_layout(const struct cas_blob *blob)
{
	return atomic_load_explicit(&blob->layout, memory_order_acquire);
}

/** Close and free; it is in no table. NULL is fine. */
void blob_free(struct cas_blob **blob);

/** The ready bit of this chunk, and that its slice is to be written. */
void blob_mark_ready(struct cas_blob *blob, uint32_t chunk_idx);
/** The rest of it, once the bit is set. */
void blob_became_ready(struct cas_blob *blob, uint32_t chunk_idx);

/* Chunks that must not be ready: wrong bytes, or none. */
enum void_reason { VOID_WRONG_BYTES, VOID_NO_DATA, VOID_UNREADABLE };
const char *void_reason_text(enum void_reason why);

/** [any] At once for readers here; on disk soon, and before the chunk can become ready again. */
void blob_void(struct cas_blob *blob, uint32_t chunk_idx, enum void_reason why);

/** [writer] Behind the taking off of bars that are not blob_void()'s own: whoever found one there
 * and relied on it has cleared the ready bit when this returns, so that no flush records it. */
void blob_voids_wait(struct cas_blob *blob);

/** [worker] What was voided is cleared on disk when this returns 0. */
MUST_CHECK int blob_clear_now(struct cas_blob *blob, struct err *e);

/** Open the blob of a registered key by what the database says, for inspection. fault (may be NULL)
 * is told of ready chunks whose data is missing. @return 0; CAS_MISS not registered; -EUCLEAN its
 * rows or its file are no good (stored_pass_over()) */
MUST_CHECK int blob_open_registered(struct cas *cas, const char *key,
                                    void (*fault)(void *arg, const struct cas_fault *f), void *arg,
                                    struct cas_blob **ret_blob, struct err *e);

/** [worker] The blob of a registered key, held. @return 0; CAS_MISS not registered; negative */
MUST_CHECK int blob_hold_registered(struct cas *cas, const char *key, struct cas_blob **ret_blob,
                                    struct err *e);
