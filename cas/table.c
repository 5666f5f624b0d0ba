/*
 * table: the blobs that are open, one object a key, and their references.
 *
 * Knows who holds what and who has to wait; knows nothing of files or rows, but that the last
 * holder's blob is flushed and closed on the writer.
 */
#include "flush.h"
#include "mem.h"
#include "refer.h"
#include "share_rules.h"
#include "state.h"
#include "use_rows.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

void blob_table_init(struct blob_table *t)
{
	(void)pthread_mutex_init(&t->mutex, NULL);
	(void)pthread_cond_init(&t->changed, NULL);
}

void blob_table_fini(struct blob_table *t)
{
	assert(t->first == NULL); /* a blob was not released */
	(void)pthread_cond_destroy(&t->changed);
	(void)pthread_mutex_destroy(&t->mutex);
}

/* All of these: with the table's mutex held. */
static struct cas_blob *find(struct blob_table *t, const char *key)
{
	struct cas_blob *b = t->first;

	while (b != NULL && strcmp(b->key, key) != 0)
		b = b->next;
	return b;
}

static void take_out(struct blob_table *t, struct cas_blob *blob)
{
	struct cas_blob **at = &t->first;

	while (*at != blob)
		at = &(*at)->next;
	*at = blob->next;
}

static struct cas_blob *put_in(struct cas *cas, const char *key)
{
	struct cas_blob *b = xcalloc(1, sizeof(*b));

	b->cas = cas;
	b->fd = -1;
	(void)strncpy(b->key, key, sizeof(b->key) - 1);
	(void)pthread_mutex_init(&b->mutex, NULL);
	b->state = BLOB_OPENING;
	b->n_refs = 1;
	b->next = cas->table.first;
	cas->table.first = b;
	return b;
}

/* With a reference: until this caller can have it. @return false: it is gone, look again */
static bool wait_open(struct blob_table *t, struct cas_blob *b, enum blob_get how)
{
	b->n_refs++;
	while (b->state == BLOB_OPENING || (b->state == BLOB_ACTIVATING && how != GET_HOLD))
		(void)pthread_cond_wait(&t->changed, &t->mutex);
	if (b->state != BLOB_GONE)
		return true;
	if (--b->n_refs == 0)
		blob_free(&b); /* the last of those who waited for what failed */
	return false;
}

struct cas_blob *blob_table_get(struct cas *cas, const char *key, enum blob_get how,
                                enum blob_got *ret_got)
{
	struct blob_table *t = &cas->table;
	struct cas_blob *b = NULL;

	(void)pthread_mutex_lock(&t->mutex);
	do
		b = find(t, key);
	while (b != NULL && !wait_open(t, b, how));
	*ret_got = b == NULL ? GOT_NEW : GOT_OPEN;
	if (b == NULL) {
		b = put_in(cas, key);
	} else if (how == GET_ACTIVE && b->passive) {
		b->state = BLOB_ACTIVATING;
		*ret_got = GOT_PASSIVE;
	}
	(void)pthread_mutex_unlock(&t->mutex);
	return b;
}

/* It can be found, so its bits are there; also while it is being opened. */
static bool may_want(const struct cas_blob *b)
{
	return atomic_load(&b->entries) != NULL && !(b->state == BLOB_OPEN && b->passive);
}

bool blob_table_any_wants(const struct cas_blob *except)
{
	struct blob_table *t = &except->cas->table;
	const struct cas_blob *b;

	(void)pthread_mutex_lock(&t->mutex);
	for (b = t->first; b != NULL; b = b->next)
		if (b != except && may_want(b) && bitmap_any_but(b->candidate, b->ready))
			break;
	(void)pthread_mutex_unlock(&t->mutex);
	return b != NULL;
}

void blob_table_active(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;

	(void)pthread_mutex_lock(&t->mutex);
	blob->state = BLOB_OPEN;
	blob->passive = false;
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->mutex);
}

void blob_table_hold(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;

	(void)pthread_mutex_lock(&t->mutex);
	blob->n_holds++;
	(void)pthread_mutex_unlock(&t->mutex);
}

struct cas_blob *blob_table_reserve(struct cas *cas, const char *key)
{
	struct blob_table *t = &cas->table;
	struct cas_blob *b = NULL;

	(void)pthread_mutex_lock(&t->mutex);
	if (find(t, key) == NULL)
		b = put_in(cas, key);
	(void)pthread_mutex_unlock(&t->mutex);
	return b;
}

void blob_table_opened(struct cas_blob *blob, enum blob_get how, bool ok)
{
	struct blob_table *t = &blob->cas->table;
	bool is_last = false;

	(void)pthread_mutex_lock(&t->mutex);
	blob->state = !ok ? BLOB_GONE : how == GET_ACTIVE ? BLOB_ACTIVATING : BLOB_OPEN;
	blob->passive = true;
	if (!ok) {
		take_out(t, blob);
		is_last = --blob->n_refs == 0;
	}
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->mutex);
	if (is_last)
		blob_free(&blob);
}

struct cas_blob *blob_table_find(struct cas *cas, const char *key)
{
	struct blob_table *t = &cas->table;
	struct cas_blob *b = NULL;

	(void)pthread_mutex_lock(&t->mutex);
	b = find(t, key);
	if (b != NULL && b->state == BLOB_OPEN)
		b->n_refs++;
	else
		b = NULL;
	(void)pthread_mutex_unlock(&t->mutex);
	return b;
}

bool blob_table_try_ref(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;
	bool is_open = false;

	(void)pthread_mutex_lock(&t->mutex);
	is_open = blob->state == BLOB_OPEN;
	if (is_open)
		blob->n_refs++;
	(void)pthread_mutex_unlock(&t->mutex);
	return is_open;
}

bool blob_table_try_ref_used(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;
	bool is_used = false;

	(void)pthread_mutex_lock(&t->mutex);
	is_used = blob->state == BLOB_OPEN && !blob->passive && blob->n_refs > 0;
	blob->n_refs += is_used;
	(void)pthread_mutex_unlock(&t->mutex);
	return is_used;
}

uint32_t blob_table_all(struct cas *cas, struct cas_blob ***ret_blobs)
{
	struct blob_table *t = &cas->table;
	struct cas_blob **blobs = NULL;
	uint32_t n = 0;

	(void)pthread_mutex_lock(&t->mutex);
	for (struct cas_blob *b = t->first; b != NULL; b = b->next)
		n++;
	blobs = xcalloc(n + 1, sizeof(struct cas_blob *));
	n = 0;
	for (struct cas_blob *b = t->first; b != NULL; b = b->next) {
		if (b->state != BLOB_OPEN && b->state != BLOB_ACTIVATING)
			continue;
		b->n_refs++;
		blobs[n++] = b;
	}
	(void)pthread_mutex_unlock(&t->mutex);
	*ret_blobs = blobs;
	return n;
}

struct cas_blob *cas_blob_ref(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;

	(void)pthread_mutex_lock(&t->mutex);
	blob->n_refs++;
	(void)pthread_mutex_unlock(&t->mutex);
	return blob;
}

/* With the table's mutex held. */
static void queue_close(struct cas_blob *blob);

void blob_table_ref_to_hold(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;

	(void)pthread_mutex_lock(&t->mutex);
	blob->n_refs--;
	blob->n_holds++;
	/* Its last user went meanwhile: a map that nobody uses would keep its owners open, and two
	 * such blobs each other for good. */
	if (blob->n_refs == 0 && !blob->passive && !blob->close_queued)
		queue_close(blob);
	(void)pthread_mutex_unlock(&t->mutex);
}

/* The map of a blob that nobody uses, but others refer to: it lets its own owners go, so that two
 * that refer to each other can be closed. */
static void make_passive(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;

	refer_forget(blob);
	atomic_store(&blob->sought_layout, NULL); /* nor does it keep open who has its candidates */
	(void)pthread_mutex_lock(&t->mutex);
	blob->state = BLOB_OPEN;
	blob->passive = true;
	if (blob->n_refs == 0 && blob->n_holds == 0 && !blob->close_queued)
		queue_close(blob);
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->mutex);
}

/* [writer] Nobody uses it: record what is ready and close it, unless somebody came back. */
static void close_work(struct job *job)
{
	struct cas_blob *blob = container_of(job, struct cas_blob, close_job);
	struct cas *cas = blob->cas;
	bool is_unused = false;
	bool is_held = false;

	(void)pthread_mutex_lock(&cas->table.mutex);
	blob->close_queued = false; /* whoever comes and goes from here on queues another */
	is_unused = blob->n_refs == 0;
	is_held = blob->n_holds > 0;
	(void)pthread_mutex_unlock(&cas->table.mutex);
	flush_one(blob);
	use_rows_store(blob);
	if (is_unused && !is_held) /* else it stays open: the last hold that goes queues another */
		share_closing(blob);
	(void)pthread_mutex_lock(&cas->table.mutex);
	is_unused = blob->n_refs == 0 && !blob->close_queued && blob->state == BLOB_OPEN;
	is_held = blob->n_holds > 0;
	if (is_unused && !is_held) {
		blob->state = BLOB_GONE; /* nor can it be had through the map */
		take_out(&cas->table, blob);
	} else if (is_unused && !blob->passive) {
		blob->state = BLOB_ACTIVATING;
	} else {
		is_unused = false;
	}
	(void)pthread_mutex_unlock(&cas->table.mutex);
	if (!is_unused)
		return;
	if (is_held) {
		make_passive(blob);
		return;
	}
	share_map_remove(cas->map, blob);
	refer_forget(blob);
	blob_free(&blob);
	if (atomic_load(&cas->evictor.has_garbage) && !atomic_load(&cas->closing))
		evict_chores_soon(cas);
}

static void queue_close(struct cas_blob *blob)
{
	blob->close_queued = true;
	blob->close_job = (struct job){ .work = close_work };
	writer_submit(blob->cas, &blob->close_job);
}

void blob_table_unhold(struct cas_blob *blob)
{
	struct blob_table *t = &blob->cas->table;

	(void)pthread_mutex_lock(&t->mutex);
	assert(blob->n_holds > 0);
	blob->n_holds--;
	if (blob->n_holds == 0 && blob->n_refs == 0 && !blob->close_queued)
		queue_close(blob);
	(void)pthread_mutex_unlock(&t->mutex);
}

void cas_blob_release(struct cas_blob **blob)
{
	struct cas_blob *b = *blob;

	*blob = NULL;
	if (b == NULL)
		return;
	(void)pthread_mutex_lock(&b->cas->table.mutex);
	assert(b->n_refs > 0);
	b->n_refs--;
	if (b->n_refs == 0 && !b->close_queued)
		queue_close(b);
	(void)pthread_mutex_unlock(&b->cas->table.mutex);
}
